"""Puts heads on the stages of a backbone."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

from flax import nnx
import jax
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import UserError, choose
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.head import Head
from mecl_jax.models.macs import stage_costs
from mecl_jax.models.multi_exit import FINAL, MultiExit
from mecl_jax.models.named import Named
from mecl_jax.models.placement import place_exits, split_head
from mecl_jax.models.registry import CASCADE, HEADS

USUAL_WIDTH = 512  # of a network that need not be checked against the memory
OWN = 'own'  # kind of a final head that is part of the user's network


def assemble(
  body: Backbone,
  exits: Sequence[str | float],
  head: str,
  *,
  num_classes: int,
  shape: tuple[int, int, int],
  image_size: int = 0,
  mean: ArrayLike,
  std: ArrayLike,
  head_width: int,
  dtype: DTypeLike,
  remat: bool = False,
  rngs: nnx.Rngs,
  final_head: str | Head,
  standardised: bool = False,
) -> MultiExit:
  """Returns a backbone with heads, in evaluation mode.

  Args:
    body: the backbone.
    exits, head, num_classes, image_size, mean, std, head_width, remat, standardised: see
      `factory.build`.
    shape: (height, width, channels) of the input of the backbone.
    dtype: of the computation.
    rngs: random keys of the initial parameters of the heads.
    final_head: kind of the head of the final exit, or the head itself.

  Raises:
    UserError: see `factory.build`.
  """
  costs = stage_costs(body, shape)
  placed, kinds = _place(exits, head, {cost.name: cost.macs for cost in costs})
  if FINAL in placed:
    raise UserError(
      f'there can be no early exit after {FINAL}, since this is the name of the last exit; choose'
      ' another place, or give that part of the network another name'
    )
  placed[FINAL] = body.stage_names[-1]
  kinds[FINAL] = final_head if isinstance(final_head, str) else OWN
  shapes = {cost.name: cost.shape for cost in costs}

  def make_heads(rngs: nnx.Rngs) -> dict[str, Head | CascadeHead]:
    return {
      name: _make_head(
        kinds[name], name, shapes[stage], num_classes, width=head_width, dtype=dtype, rngs=rngs
      )
      for name, stage in placed.items()
      if kinds[name] != OWN
    }

  if max(head_width, num_classes, shape[-1]) > USUAL_WIDTH:
    check_memory('the heads', head_width, lambda r: Named(make_heads(r)))
  heads = make_heads(rngs)
  if not isinstance(final_head, str):
    heads[FINAL] = final_head
  model = MultiExit(
    body,
    heads,
    tuple(placed.values()),
    tuple(kinds[name] for name in placed),
    channels=shape[-1],
    image_size=image_size,
    mean=mean,
    std=std,
    dtype=dtype,
    remat=remat,
    standardised=num_classes if standardised else 0,
  )
  model.final_must_train = isinstance(final_head, str) or standardised
  model.eval()
  return model


def check_memory(what: str, width: int, make: Callable[[nnx.Rngs], nnx.Module]) -> None:
  """Raises UserError if parameters would take more than half of the memory of the machine."""
  shapes = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param))
  needed = sum(leaf.size * leaf.dtype.itemsize for leaf in shapes)
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  if needed > memory // 2:
    raise UserError(
      f'the parameters of {what} with a width of {width} take {needed / 1e9:,.0f} GB, and this'
      f' machine has {memory / 1e9:,.0f} GB; choose a smaller model.width or model.head_width'
    )


def _place(
  exits: Sequence[str | float], head: str, macs: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, str]]:
  """Returns the stage and the kind of head of every early exit by name, earliest first."""
  pairs = [split_head(entry) for entry in exits]
  placed = place_exits([place for place, _ in pairs], macs)
  owned = {name: own for place, own in pairs for name in place_exits([place], macs)}
  kinds = {name: head if own is None else own for name, own in owned.items()}
  for name, kind in kinds.items():
    choose(f'the head of exit {name} in model.exits', kind, HEADS)
  for first in list(placed)[:1]:
    if kinds[first].startswith(CASCADE):
      if len(placed) == 1 or owned[first] is not None:
        raise UserError(
          f'the head of exit {first} is {kinds[first]}, but there is no exit before it;'
          f' choose {kinds[first].removeprefix(CASCADE)}'
        )
      kinds[first] = kinds[first].removeprefix(CASCADE)
  return placed, kinds


def _make_head(
  kind: str, exit_name: str, shape: tuple[int, int, int], num_classes: int, **settings: Any
) -> Head | CascadeHead:
  """Makes a head; raises UserError if the feature map is too small for it."""
  height, width, _ = shape
  side = HEADS[kind].smallest
  if min(height, width) < side:
    raise UserError(
      f'exit {exit_name}: the feature map is {height}x{width}, but head {kind} needs at least'
      f' {side}x{side}; choose head linear, an earlier stage, or a larger data.image_size'
    )
  return HEADS[kind](shape, num_classes, **settings)
