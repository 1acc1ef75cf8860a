"""Building a network of the user from the fields of a configuration."""

from collections.abc import Sequence
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import UserError
from mecl_jax.models.assemble import assemble
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import parameter_dtype
from mecl_jax.models.multi_exit import FINAL, MultiExit, TargetStatistic
from mecl_jax.models.named import Named
from mecl_jax.models.own.add_exits import body_of
from mecl_jax.models.own.factories import make
from mecl_jax.models.registry import DTYPES


def build_own(
  name: str,
  exits: Sequence[str | float],
  head: str,
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  shape: tuple[int, int, int],
  image_size: int,
  mean: ArrayLike,
  std: ArrayLike,
  width: int,
  head_width: int,
  dtype: DTypeLike,
  remat: bool,
  rngs: nnx.Rngs,
  standardised: bool,
) -> MultiExit:
  """Builds the network that a function of the user makes; see `factory.build`.

  A network that has exits already keeps its exits, its normalisation of pixels, and its dtype. If
  its heads predict numbers that are not standardised, they are taken as standardised ones from now
  on, if `standardised`.

  Args:
    name: of the function, see `factories.find`.
    shape: (height, width, channels) of the input of the network.
    image_shape: of the images.

  Raises:
    UserError: the function cannot be used, or its network cannot be cut or does not fit the data.
  """
  made = make(
    name,
    image_shape=shape,
    num_classes=num_classes,
    in_channels=shape[-1],
    width=width,
    dtype=dtype,
    rngs=rngs,
  )
  if isinstance(made, MultiExit):
    _check_dtype(made, dtype)
    network = _fitted(made, exits, num_classes, image_shape, image_size)
    network.remat = remat
    if standardised and not network.standardised:
      _standardise(network, num_classes)
    return network
  everywhere = not isinstance(made, Backbone)
  body = body_of(made, exits, shape, num_classes, dtype=dtype, rngs=rngs, everywhere=everywhere)
  return assemble(
    body.backbone,
    body.exits,
    head,
    num_classes=num_classes,
    shape=shape,
    image_size=image_size,
    mean=mean,
    std=std,
    head_width=head_width,
    dtype=dtype,
    remat=remat,
    rngs=rngs,
    final_head=body.final,
    standardised=standardised,
  )


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


def _standardise(network: MultiExit, outputs: int) -> None:
  """Makes heads predict standardised numbers; mean and deviation of the targets are set later."""
  kept = parameter_dtype(network.dtype)
  network.target_mean = TargetStatistic(jnp.zeros(outputs, kept))
  network.target_std = TargetStatistic(jnp.ones(outputs, kept))
  network.standardised = network.final_must_train = True


def _fitted(
  network: MultiExit,
  exits: Sequence[str | float],
  num_classes: int,
  image_shape: tuple[int, int, int],
  image_size: int,
) -> MultiExit:
  """Returns a network that has exits, with all of them or its final exit only.

  Raises:
    UserError: other exits are configured, or the images or classes are others.
  """
  if not exits:
    network = _without_early_exits(network)
  elif tuple(exits) not in (entries(network), network.exit_names[:-1]):
    raise UserError(
      f'model.exits is {tuple(exits)}, but the network has the exits'
      f' {network.exit_names[:-1]} already; set model.exits={",".join(network.exit_names[:-1])}'
    )
  form, state = nnx.split(network)
  network = nnx.merge(form, jax.tree.map(jnp.array, state))  # copies: training donates its arrays
  network.image_size = image_size or network.image_size
  network.eval()
  images: Any = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
  graphdef, state = nnx.split(network)
  logits = jax.eval_shape(lambda state, x: nnx.merge(graphdef, state)(x), state, images)
  if logits.shape[-1] != num_classes:
    raise UserError(
      f'the network has exits for {logits.shape[-1]} classes, but the data have {num_classes}'
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
