"""Networks of the user that have exits already, and the fields of a configuration."""

from collections.abc import Sequence
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.errors import UserError
from mecl_jax.models.multi_exit import FINAL, MultiExit
from mecl_jax.models.named import Named
from mecl_jax.models.registry import DTYPES


def fitted(
  given: MultiExit,
  exits: Sequence[str | float],
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  image_size: int,
  dtype: DTypeLike,
  remat: bool,
  standardised: bool,
) -> MultiExit:
  """Returns a copy of a network that has exits already, for the fields of a configuration.

  It keeps its exits, its normalisation of pixels, and its dtype. If its heads predict numbers that
  are not standardised, they are taken as standardised ones from now on, if `standardised`.

  Args:
    given: not changed.
    exits: its early exits, or none for its final exit alone.
    num_classes, image_shape, image_size, dtype, remat, standardised: see `factory.build`.

  Raises:
    UserError: other exits or another dtype are configured, or the images or classes are others.
  """
  _check_dtype(given, dtype)
  network = _with_exits(given, exits)
  form, state = nnx.split(network)
  network = nnx.merge(form, jax.tree.map(jnp.array, state))  # copies: training donates its arrays
  network.image_size, network.remat = image_size or network.image_size, remat
  network.eval()
  images: Any = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
  graphdef, state = nnx.split(network)
  logits = jax.eval_shape(lambda state, x: nnx.merge(graphdef, state)(x), state, images)
  if logits.shape[-1] != num_classes:
    raise UserError(
      f'the network has exits for {logits.shape[-1]} classes, but the data have {num_classes}'
    )
  if standardised and not network.standardised:
    network.standardise(num_classes)
    network.final_must_train = True
  return network


def entries(network: MultiExit) -> tuple[str, ...]:
  """Returns the early exits of a network as entries of `model.exits`, as 'bn1=conv'."""
  pairs = zip(network.exit_names[:-1], network.head_kinds[:-1], strict=True)
  return tuple(f'{name}={kind}' for name, kind in pairs)


def _check_dtype(network: MultiExit, dtype: DTypeLike) -> None:
  given, own = jnp.dtype(dtype), jnp.dtype(network.dtype)
  if given not in (DTYPES['float32'], own):  # the default, and its own
    raise UserError(
      f'model.dtype is {given.name}, but the network has exits already and computes in {own.name};'
      f' give dtype={given.name!r} to add_exits instead'
    )


def _with_exits(network: MultiExit, exits: Sequence[str | float]) -> MultiExit:
  """Returns a network with all of its exits or the final one alone, or raises UserError."""
  if not exits:
    return _without_early_exits(network)
  if tuple(exits) not in (entries(network), network.exit_names[:-1]):
    raise UserError(
      f'model.exits is {tuple(exits)}, but the network has the exits'
      f' {network.exit_names[:-1]} already; set model.exits={",".join(network.exit_names[:-1])}'
    )
  return network


def _without_early_exits(network: MultiExit) -> MultiExit:
  heads = Named({FINAL: network.heads[FINAL]})
  alone = MultiExit(
    network.backbone,
    heads,
    network.exit_stages[-1:],
    network.head_kinds[-1:],
    channels=network.channels,
    image_size=network.image_size,
    mean=network.mean[...],
    std=network.std[...],
    dtype=network.dtype,
    remat=network.remat,
    standardised=network.target_mean.shape[0] if network.standardised else 0,
  )
  if network.standardised:
    alone.target_mean[...] = network.target_mean[...]
    alone.target_std[...] = network.target_std[...]
  alone.final_must_train = network.final_must_train
  return alone
