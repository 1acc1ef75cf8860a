"""Building a network from the fields of a configuration."""

from collections.abc import Sequence
import functools

from flax import nnx
import jax
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import OWN_BACKBONE, UserError, choose
from mecl_jax.models.assemble import USUAL_WIDTH, assemble, check_memory
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.own.add_exits import body_of
from mecl_jax.models.own.factories import is_own, make
from mecl_jax.models.own.given import fitted
from mecl_jax.models.registry import BACKBONES, DTYPES, HEADS, STEMS, BackboneEntry


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

  Examples:
    >>> model = build(
    ...   backbone='resnet8', exits=['stage1'], head='conv', num_classes=10,
    ...   image_shape=(32, 32, 3), mean=[0.5], std=[0.25], seed=0,
    ... )
    >>> model.exit_names
    ('stage1', 'final')
    >>> jax.eval_shape(model, jax.ShapeDtypeStruct((4, 32, 32, 3), 'uint8')).shape
    (4, 2, 10)

  Args:
    backbone: one of `BACKBONES`, or a network of your own, see `own.factories.find`.
    exits: places of the early exits, see `placement.place_exits`. An entry such as 'stage1=vit'
      also sets the head of that exit. The final exit is always added.
    head: one of `HEADS`, for early exits without their own head. The first exit has no exit before
      it; for example, its head is 'conv' if `head` is 'cascade_conv'. The head of the final exit is
      the classifier of the backbone.
    num_classes: number of classes of the data set, or of outputs of another task.
    image_shape: (height, width, channels) of the images.
    mean: float [channels], of pixel values in 0..1, to normalise images with.
    std: likewise.
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
  entry = None if is_own(backbone) else _entry(backbone, stem)
  choose('model.head', head, HEADS)
  compute = _compute_dtype(dtype)
  shape = _input_shape(image_shape, image_size, input_channels)
  rngs = nnx.Rngs(seed)
  if entry is None:
    made = make(
      backbone,
      image_shape=shape,
      num_classes=num_classes,
      in_channels=shape[-1],
      width=width,
      dtype=compute,
      rngs=rngs,
    )
    if isinstance(made, MultiExit):
      return fitted(
        made,
        exits,
        num_classes=num_classes,
        image_shape=image_shape,
        image_size=image_size,
        dtype=compute,
        remat=remat,
        standardised=standardised,
      )
    everywhere = not isinstance(made, Backbone)
    cut = body_of(made, exits, shape, num_classes, dtype=compute, rngs=rngs, everywhere=everywhere)
    body, exits, final_head = cut.backbone, cut.exits, cut.final
  else:
    _check_size(backbone, entry.smallest, shape)
    make_body = functools.partial(entry, shape[-1], width=width, dtype=compute)
    if max(width, head_width, shape[-1]) > USUAL_WIDTH:
      check_memory(backbone, width, lambda r: make_body(rngs=r))
    body, final_head = make_body(rngs=rngs), entry.final_head
  return assemble(
    body,
    exits,
    head,
    num_classes=num_classes,
    shape=shape,
    image_size=image_size,
    mean=mean,
    std=std,
    head_width=head_width,
    dtype=compute,
    remat=remat,
    rngs=rngs,
    final_head=final_head,
    standardised=standardised,
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
