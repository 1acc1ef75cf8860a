"""From the fields of a configuration to a network."""

from collections.abc import Sequence

from flax import nnx
import jax
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import UserError, choose
from mecl_jax.models.heads.convolutional import LinearHead
from mecl_jax.models.macs import stage_costs
from mecl_jax.models.multi_exit import FINAL, MultiExit
from mecl_jax.models.placement import place_exits, split_head
from mecl_jax.models.registry import BACKBONES, DTYPES, HEADS


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
  width: int = 16,
  head_width: int = 64,
  input_channels: int = 0,
  dtype: str = 'float32',
) -> MultiExit:
  """Makes a multi-exit network with fresh parameters, in evaluation mode.

  Args:
    backbone: one of `BACKBONES`.
    exits: of the early exits, see `placement.place_exits`, each with a head of its own if it is
      written as 'stage1=vit'; the final one comes by itself.
    head: one of `HEADS`, of the other early exits; the final exit's is always `linear`.
    num_classes: of the data set.
    image_shape: (height, width, channels) of its images.
    mean, std: per channel of its images, pixels in 0..1.
    seed: of the parameters; equal arguments make equal networks.
    width: channels of the backbone's first stages, 16 for those of the published network; see
      `registry.BackboneEntry`.
    head_width: channels inside a head.
    input_channels: that the backbone takes; 0: as many as the images have; 3 repeats gray images.
    dtype: of the computation, one of `DTYPES`. Parameters, statistics and logits are float32, or
      float64 with 'float64', which needs JAX_ENABLE_X64.

  Raises:
    UserError: one line that says what is wrong and what would be right.
  """
  make_backbone = BACKBONES[choose('model.backbone', backbone, BACKBONES)]
  _check_size(backbone, image_shape)
  channels = _channels(image_shape, input_channels)
  compute = _compute_dtype(dtype)
  choose('model.head', head, HEADS)
  rngs = nnx.Rngs(seed)
  body = make_backbone(channels, width=width, dtype=compute, rngs=rngs)
  costs = stage_costs(body, (*image_shape[:2], channels))
  macs = {cost.name: cost.macs for cost in costs}
  shapes = {cost.name: cost.shape for cost in costs}
  pairs = [split_head(wanted) for wanted in exits]
  placed = place_exits([place for place, _ in pairs], macs)
  kinds = {name: own or head for place, own in pairs for name in place_exits([place], macs)}
  heads = {}
  for name, stage in placed.items():
    make_head = HEADS[choose(f'the head of exit {name} in model.exits', kinds[name], HEADS)]
    heads[name] = make_head(shapes[stage], num_classes, width=head_width, dtype=compute, rngs=rngs)
  last = body.stage_names[-1]
  heads[FINAL] = LinearHead(shapes[last], num_classes, width=head_width, dtype=compute, rngs=rngs)
  stages = (*placed.values(), last)
  model = MultiExit(body, heads, stages, channels=channels, mean=mean, std=std, dtype=compute)
  model.eval()
  return model


def _check_size(backbone: str, image_shape: tuple[int, int, int]) -> None:
  height, width, _ = image_shape
  side = BACKBONES[backbone].smallest
  if min(height, width) < side:
    raise UserError(
      f'images are {height}x{width}; model.backbone={backbone} takes {side}x{side} and up'
    )


def _channels(image_shape: tuple[int, int, int], input_channels: int) -> int:
  *_, channels = image_shape
  if input_channels not in (0, channels) and channels != 1:
    raise UserError(
      f'model.input_channels is {input_channels}, but the images have {channels};'
      f' choose 0 or {channels} (only gray images can be repeated)'
    )
  return input_channels or channels


def _compute_dtype(name: str) -> DTypeLike:
  if choose('model.dtype', name, DTYPES) == 'float64' and not jax.config.read('jax_enable_x64'):
    raise UserError('model.dtype=float64 needs JAX_ENABLE_X64=1 in the environment')
  return DTYPES[name]
