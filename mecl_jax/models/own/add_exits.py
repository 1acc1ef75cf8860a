"""Early exits on a network of the user."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from flax import linen, nnx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
import numpy as np

from mecl_jax.errors import UserError, choose
from mecl_jax.models.assemble import assemble
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.heads.head import Head
from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.own.calls import Call, call_of
from mecl_jax.models.own.chain import Chain
from mecl_jax.models.own.cutting import Cutting
from mecl_jax.models.own.stages import parts, stage_name
from mecl_jax.models.placement import split_head
from mecl_jax.models.registry import DTYPES, HEADS

LAST = 'rest'  # name of the last stage, if no part has it
Stages = Mapping[str, nnx.Module | Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class Body:
  """A network without exits.

  Attributes:
    backbone: its stages.
    final: its own classifier, or the kind of a new head.
    exits: places of the exits in names of stages, with their heads.
  """

  backbone: Backbone
  final: str | Head
  exits: tuple[str | float, ...]


def add_exits(
  network: nnx.Module | linen.Module | None = None,
  after: Sequence[str] = (),
  head: str = 'conv',
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  stages: Stages | None = None,
  variables: Mapping[str, Any] | None = None,
  mean: ArrayLike = 0.0,
  std: ArrayLike = 1.0,
  head_width: int = 64,
  dtype: str = 'float32',
  seed: int = 0,
) -> MultiExit:
  """Puts early exits on a network, whose code and parameters stay as they are.

  The final exit is the classifier of the network if its output is [B, num_classes]. If it is
  [B, other classes], the last layer is replaced by a new linear one. If it is a feature map
  [B, H, W, C], tokens [B, N, C] or features [B, C] after a pooling, a new linear head is added.
  `head_kinds[-1]` is 'own' in the first case and 'linear' in the others.

  Examples:
    >>> class Net(nnx.Module):
    ...   def __init__(self, rngs):
    ...     self.conv1 = nnx.Conv(3, 8, (3, 3), rngs=rngs)
    ...     self.conv2 = nnx.Conv(8, 8, (3, 3), rngs=rngs)
    ...     self.fc = nnx.Linear(8, 10, rngs=rngs)
    ...   def __call__(self, x):
    ...     x = nnx.relu(self.conv1(x))
    ...     return self.fc(nnx.relu(self.conv2(x)).mean((1, 2)))
    >>> add_exits(
    ...   Net(nnx.Rngs(0)), after=['conv1'], head='linear', image_shape=(8, 8, 3), num_classes=10
    ... ).head_kinds
    ('linear', 'own')

  Args:
    network: an nnx.Module, or a Linen module; images [B, H, W, C] -> one array. It is not changed;
      its arrays are copied.
    after: names of its parts after which exits are placed, such as 'bn1' or 'blocks.2'; the name of
      a list of parts is that of its last one. 'bn1=vit' also sets the head of that exit. The exit
      of `blocks.2` is named `blocks_2`.
    head: one of `models.HEADS`, for exits without their own head.
    image_shape: (height, width, channels) of the images.
    num_classes: number of classes.
    stages: instead of a network, its stages in order: name -> module or function. `after` then has
      names of stages.
    variables: of a Linen module, as from its `init`; None: drawn.
    mean: float, or [channels], of pixel values in 0..1, to normalise images with; the default gives
      the network pixels in 0..1.
    std: likewise.
    head_width: channels inside a head.
    dtype: of the input of the network, one of `models.DTYPES`.
    seed: of the initial parameters of the heads, and of a Linen module without `variables`.

  Returns:
    the network with exits, in evaluation mode. It takes images with pixel values in 0..255.

  Raises:
    UserError: the network cannot be cut there, or the images or parameters do not fit.
  """
  choose('head', head, HEADS)
  height, width, channels = image_shape
  shape, rngs = (height, width, channels), nnx.Rngs(seed)
  compute = DTYPES[choose('dtype', dtype, DTYPES)]
  if (network is None) == (stages is None):
    raise UserError('give either a network, or its stages=')
  if isinstance(after, str):
    after = (after,)
  made = network if stages is None else dict(stages)
  body = body_of(made, after, shape, num_classes, dtype=compute, variables=variables, rngs=rngs)
  return assemble(
    body.backbone,
    body.exits,
    head,
    num_classes=num_classes,
    shape=shape,
    mean=np.broadcast_to(mean, channels),
    std=np.broadcast_to(std, channels),
    head_width=head_width,
    dtype=compute,
    rngs=rngs,
    final_head=body.final,
  )


def body_of(
  made: Any,
  exits: Sequence[str | float],
  image_shape: tuple[int, int, int],
  num_classes: int,
  *,
  dtype: DTypeLike,
  variables: Mapping[str, Any] | None = None,
  rngs: nnx.Rngs,
  everywhere: bool = False,
) -> Body:
  """Cuts what a user gives as a network.

  Args:
    made: a module, a mapping of stages, or a `Backbone`.
    exits: places of the exits.
    image_shape: (height, width, channels) of its input.
    num_classes: number of classes.
    dtype: of its input.
    variables: of a Linen module.
    rngs: of a Linen module without variables.
    everywhere: whether each outermost part ends a stage, and not those of `exits` only.

  Raises:
    UserError: it cannot be cut.
  """
  if isinstance(made, Backbone):
    return Body(made, 'linear', tuple(exits))
  names = tuple(made) if isinstance(made, Mapping) else ()
  network = Chain(made) if names else made
  call = call_of(network, image_shape, variables, rngs)
  _check_finite(call)
  cutting = Cutting(call, image_shape, num_classes, dtype)
  places = [place for place, _ in map(split_head, exits)]
  if names:
    wanted, last = list(names[:-1]), names[-1]
  elif everywhere or not all(isinstance(place, str) for place in places):
    wanted, last = list(cutting.candidates()), _last_name(cutting)
    wanted += [place for place in places if '.' in str(place) and isinstance(place, str)]
  else:
    wanted, last = [str(place) for place in places], _last_name(cutting)
  cutting.cut([cutting.resolve(name) for name in wanted])
  stages, classifier = parts(cutting, call.values, last)
  return Body(Backbone(stages), classifier or 'linear', tuple(map(_in_names_of_stages, exits)))


def _last_name(cutting: Cutting) -> str:
  """Returns a name for the last stage that no part of the network has."""
  taken = {stage_name(part) for part in cutting.called}
  names = itertools.chain([LAST], (f'{LAST}{number}' for number in itertools.count(2)))
  return next(name for name in names if name not in taken)


def _in_names_of_stages(entry: str | float) -> str | float:
  """Returns an entry of `exits` with the name of the stage of a part, as 'blocks_2=vit'."""
  place, head = split_head(entry)
  if not isinstance(place, str):
    return entry
  return stage_name(place) if head is None else f'{stage_name(place)}={head}'


def _check_finite(call: Call) -> None:
  """Raises UserError if a parameter is not finite; values that are only traced are not checked."""
  for path, value in call.values.items():
    if call.kinds[path] not in (nnx.Param, nnx.BatchStat) or isinstance(value, jax.core.Tracer):
      continue
    if not bool(jnp.isfinite(value).all()):
      raise UserError(f'{path} of the network has values that are not finite')
