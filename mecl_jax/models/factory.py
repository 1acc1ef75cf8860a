"""From the fields of a configuration to a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
import jax
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import UserError, choose
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.head import Head
from mecl_jax.models.macs import stage_costs
from mecl_jax.models.multi_exit import FINAL, MultiExit
from mecl_jax.models.placement import place_exits, split_head
from mecl_jax.models.registry import BACKBONES, CASCADE, DTYPES, HEADS, STEMS, BackboneEntry


def build(
  *,
  backbone: str,
  exits: Sequence[str | float],
  head: str,
  num_classes: int,
  image_shape: tuple[int, int, int],
  mean: ArrayLike,
  std: ArrayLike,
  seed: int,
  stem: str = 'auto',
  width: int = 16,
  head_width: int = 64,
  input_channels: int = 0,
  image_size: int = 0,
  dtype: str = 'float32',
) -> MultiExit:
  """Makes a multi-exit network with fresh parameters, in evaluation mode.

  Args:
    backbone: one of `BACKBONES`.
    exits: of the early exits, see `placement.place_exits`, each with a head of its own if it is
      written as 'stage1=vit'; the final one comes by itself.
    head: one of `HEADS`, of the other early exits; the first one, which has none before it, is
      `conv` where this is `cascade_conv`. The final exit's is the backbone's own.
    num_classes: of the data set.
    image_shape: (height, width, channels) of its images.
    mean, std: per channel of its images, pixels in 0..1.
    seed: of the parameters; equal arguments make equal networks.
    stem: of the backbone, one of `STEMS`.
    width: channels of the backbone's first stages, 16 for those of the published network; see
      `registry.BackboneEntry`.
    head_width: channels inside a head.
    input_channels: that the backbone takes; 0: as many as the images have; 3 repeats gray images.
    image_size: side in pixels that images are resized to within the network; 0: not at all.
    dtype: of the computation, one of `DTYPES`. Parameters, statistics and logits are float32, or
      float64 with 'float64', which needs JAX_ENABLE_X64.

  Raises:
    UserError: one line that says what is wrong and what would be right.
  """
  entry = _entry(backbone, stem)
  choose('model.head', head, HEADS)
  compute = _compute_dtype(dtype)
  shape = _input_shape(image_shape, image_size, input_channels)
  _check_size(backbone, entry.smallest, shape)
  rngs = nnx.Rngs(seed)
  body = entry(shape[-1], width=width, dtype=compute, rngs=rngs)
  costs = stage_costs(body, shape)
  placed, kinds = _place(exits, head, {cost.name: cost.macs for cost in costs})
  placed[FINAL], kinds[FINAL] = body.stage_names[-1], entry.final_head
  shapes = {cost.name: cost.shape for cost in costs}
  heads = {
    name: _make_head(
      kinds[name], name, shapes[stage], num_classes, width=head_width, dtype=compute, rngs=rngs
    )
    for name, stage in placed.items()
  }
  model = MultiExit(
    body,
    heads,
    tuple(placed.values()),
    tuple(kinds[name] for name in placed),
    channels=shape[-1],
    image_size=image_size,
    mean=mean,
    std=std,
    dtype=compute,
  )
  model.eval()
  return model


def _entry(backbone: str, stem: str) -> BackboneEntry:
  entry = BACKBONES[choose('model.backbone', backbone, BACKBONES)]
  if choose('model.stem', stem, STEMS) == 'auto':
    return entry
  if entry.stem is None:
    raise UserError(f'model.stem is {stem!r}, but {backbone} has one stem only; choose auto')
  return entry.with_stem('cifar' if stem == 'cifar' else 'imagenet')


def _place(
  exits: Sequence[str | float], head: str, macs: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, str]]:
  """The stage and the kind of head of every early exit by its name, earliest first."""
  pairs = [split_head(wanted) for wanted in exits]
  placed = place_exits([place for place, _ in pairs], macs)
  owned = {name: own for place, own in pairs for name in place_exits([place], macs)}
  kinds = {name: head if own is None else own for name, own in owned.items()}
  for name, kind in kinds.items():
    choose(f'the head of exit {name} in model.exits', kind, HEADS)
  for first in list(placed)[:1]:
    if kinds[first].startswith(CASCADE):
      if len(placed) == 1 or owned[first] is not None:
        raise UserError(
          f'the head of exit {first} is {kinds[first]}, but there is no exit before it to see;'
          f' choose {kinds[first].removeprefix(CASCADE)}'
        )
      kinds[first] = kinds[first].removeprefix(CASCADE)
  return placed, kinds


def _make_head(
  kind: str, exit_name: str, shape: tuple[int, int, int], num_classes: int, **settings: Any
) -> Head | CascadeHead:
  """Raises UserError for a feature map that is too small for the head."""
  height, width, _ = shape
  side = HEADS[kind].smallest
  if min(height, width) < side:
    raise UserError(
      f'exit {exit_name}: the feature map there is {height}x{width}, and head {kind} takes'
      f' {side}x{side} and up; choose linear, an earlier stage, or a larger data.image_size'
    )
  return HEADS[kind](shape, num_classes, **settings)


def _check_size(backbone: str, smallest: int, shape: tuple[int, int, int]) -> None:
  height, width, _ = shape
  if min(height, width) < smallest:
    raise UserError(
      f'images are {height}x{width}; model.backbone={backbone} takes {smallest}x{smallest} and up:'
      f' data.image_size={smallest} enlarges them'
    )


def _input_shape(
  image_shape: tuple[int, int, int], image_size: int, input_channels: int
) -> tuple[int, int, int]:
  """(height, width, channels) that the backbone sees."""
  height, width, channels = image_shape
  if input_channels not in (0, channels) and channels != 1:
    raise UserError(
      f'model.input_channels is {input_channels}, but the images have {channels};'
      f' choose 0 or {channels} (only gray images can be repeated)'
    )
  return image_size or height, image_size or width, input_channels or channels


def _compute_dtype(name: str) -> DTypeLike:
  if choose('model.dtype', name, DTYPES) == 'float64' and not jax.config.read('jax_enable_x64'):
    raise UserError('model.dtype=float64 needs JAX_ENABLE_X64=1 in the environment')
  return DTYPES[name]
