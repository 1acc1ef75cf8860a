"""Building a network from the fields of a configuration."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

from flax import nnx
import jax
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import OWN_BACKBONE, UserError, choose
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.head import Head
from mecl_jax.models.macs import stage_costs
from mecl_jax.models.multi_exit import FINAL, MultiExit
from mecl_jax.models.named import Named
from mecl_jax.models.placement import place_exits, split_head
from mecl_jax.models.registry import BACKBONES, CASCADE, DTYPES, HEADS, STEMS, BackboneEntry

USUAL_WIDTH = 512  # of a network that need not be checked against the memory


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
  remat: bool = False,
  standardised: bool = False,
) -> MultiExit:
  """Builds a multi-exit network with initial parameters, in evaluation mode.

  >>> model = build(
  ...   backbone='resnet8', exits=['stage1'], head='conv', num_classes=10, image_shape=(32, 32, 3),
  ...   mean=[0.5], std=[0.25], seed=0,
  ... )
  >>> model.exit_names
  ('stage1', 'final')
  >>> jax.eval_shape(model, jax.ShapeDtypeStruct((4, 32, 32, 3), 'uint8')).shape
  (4, 2, 10)

  Args:
    backbone: one of `BACKBONES`.
    exits: places of the early exits, see `placement.place_exits`. An entry such as 'stage1=vit'
      also sets the head of that exit. The final exit is always added.
    head: one of `HEADS`, for early exits without their own head. The first exit has no exit before
      it; for example, its head is 'conv' if `head` is 'cascade_conv'. The head of the final exit is
      the classifier of the backbone.
    num_classes: number of classes of the data set, or of outputs of another task.
    image_shape: (height, width, channels) of the images.
    mean, std: float [channels], of pixel values in 0..1, to normalise images with.
    seed: of the initial parameters; equal arguments build equal networks.
    stem: one of `STEMS`; 'auto' is that of the published network.
    width: 16 for the published network, other values scale its channels; see
      `registry.BackboneEntry`.
    head_width: channels inside a head.
    input_channels: channels of the input of the backbone. 0 is the number of channels of the
      images; 3 repeats grayscale images.
    image_size: side in pixels to which the network resizes images; 0 for no resizing.
    dtype: of the computation, one of `DTYPES`. Parameters, statistics and logits are float32, or
      float64 with 'float64', which needs JAX_ENABLE_X64=1.
    remat: see `MultiExit`.
    standardised: whether heads predict standardised numbers instead of logits, see `MultiExit`.

  Raises:
    UserError: an argument is unknown, not valid for this backbone or these images, or the network
      does not fit into memory.
  """
  entry = _entry(backbone, stem)
  choose('model.head', head, HEADS)
  compute = _compute_dtype(dtype)
  shape = _input_shape(image_shape, image_size, input_channels)
  _check_size(backbone, entry.smallest, shape)
  rngs = nnx.Rngs(seed)
  if max(width, head_width, shape[-1]) > USUAL_WIDTH:
    _check_memory(backbone, width, lambda r: entry(shape[-1], width=width, dtype=compute, rngs=r))
  body = entry(shape[-1], width=width, dtype=compute, rngs=rngs)
  costs = stage_costs(body, shape)
  placed, kinds = _place(exits, head, {cost.name: cost.macs for cost in costs})
  placed[FINAL], kinds[FINAL] = body.stage_names[-1], entry.final_head
  shapes = {cost.name: cost.shape for cost in costs}

  def make_heads(rngs: nnx.Rngs) -> dict[str, Head | CascadeHead]:
    return {
      name: _make_head(
        kinds[name], name, shapes[stage], num_classes, width=head_width, dtype=compute, rngs=rngs
      )
      for name, stage in placed.items()
    }

  if max(head_width, num_classes, shape[-1]) > USUAL_WIDTH:
    _check_memory('the heads', head_width, lambda r: Named(make_heads(r)))
  heads = make_heads(rngs)
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
    remat=remat,
    standardised=num_classes if standardised else 0,
  )
  model.eval()
  return model


def _check_memory(what: str, width: int, make: Callable[[nnx.Rngs], nnx.Module]) -> None:
  """Raises UserError if parameters would take more than half of the memory of the machine."""
  shapes = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param))
  needed = sum(leaf.size * leaf.dtype.itemsize for leaf in shapes)
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  if needed > memory // 2:
    raise UserError(
      f'the parameters of {what} with a width of {width} take {needed / 1e9:,.0f} GB, and this'
      f' machine has {memory / 1e9:,.0f} GB; choose a smaller model.width or model.head_width'
    )


def _entry(backbone: str, stem: str) -> BackboneEntry:
  if backbone not in BACKBONES:
    raise UserError(
      f'model.backbone is {backbone!r}; choose one of: {", ".join(BACKBONES)}; {OWN_BACKBONE}'
    )
  entry = BACKBONES[backbone]
  if choose('model.stem', stem, STEMS) == 'auto':
    return entry
  if entry.stem is None:
    raise UserError(f'model.stem is {stem!r}, but {backbone} has only one stem; choose auto')
  return entry.with_stem('cifar' if stem == 'cifar' else 'imagenet')


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


def _check_size(backbone: str, smallest: int, shape: tuple[int, int, int]) -> None:
  height, width, _ = shape
  if min(height, width) < smallest:
    raise UserError(
      f'images are {height}x{width}, but model.backbone={backbone} needs at least'
      f' {smallest}x{smallest}; set data.image_size={smallest} to enlarge them'
    )


def _input_shape(
  image_shape: tuple[int, int, int], image_size: int, input_channels: int
) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the input of the backbone."""
  height, width, channels = image_shape
  if input_channels not in (0, channels) and channels != 1:
    raise UserError(
      f'model.input_channels is {input_channels}, but the images have {channels} channels;'
      f' choose 0 or {channels} (only grayscale images can be repeated)'
    )
  return image_size or height, image_size or width, input_channels or channels


def _compute_dtype(name: str) -> DTypeLike:
  if choose('model.dtype', name, DTYPES) == 'float64' and not jax.config.read('jax_enable_x64'):
    raise UserError('model.dtype=float64 needs JAX_ENABLE_X64=1 in the environment')
  return DTYPES[name]
