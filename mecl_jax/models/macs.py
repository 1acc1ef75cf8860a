"""Multiply-accumulates (MACs), counted exactly from what JAX would run.

One MAC is one multiplication with its addition, half of a FLOP count. Convolutions and matrix
products count and, as is usual, nothing else: no normalisation, activation or pooling. Products
with padding are counted.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import math
from typing import Any

from flax import nnx
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
import jax.numpy as jnp

from mecl_jax.models.backbones.backbone import Backbone, feature_map
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.multi_exit import MultiExit


@dataclasses.dataclass(frozen=True)
class StageCost:
  """One stage by itself.

  Attributes:
    name: of the stage.
    shape: (height, width, channels) of the feature map that a head takes there.
    macs: per image.
    parameters: trainable ones.
  """

  name: str
  shape: tuple[int, int, int]
  macs: int
  parameters: int


@dataclasses.dataclass(frozen=True)
class ExitCost:
  """Answering at one exit: the stages up to it and its head, for an image of the network's size.

  Heads of earlier exits are not included, unless this exit's head needs what they say.

  Attributes:
    name: of the exit.
    stage: at which it sits.
    head: kind of its head, as 'conv'.
    macs: per image, cumulative.
    parameters: trainable ones in that path.
    head_macs, head_parameters: the share of both that is not the backbone's.
  """

  name: str
  stage: str
  head: str
  macs: int
  parameters: int
  head_macs: int
  head_parameters: int


def stage_costs(backbone: Backbone, image_shape: Sequence[int]) -> tuple[StageCost, ...]:
  """Every stage of a backbone for images of (height, width, channels), first to last."""
  x: Any = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  costs = []
  for name in backbone.stage_names:
    stage = backbone.stages[name]
    macs, x = _trace(stage, x)
    _, height, width, channels = feature_map(x).shape
    costs.append(StageCost(name, (height, width, channels), macs, count_parameters(stage)))
  return tuple(costs)


def exit_costs(model: MultiExit, image_shape: Sequence[int]) -> tuple[ExitCost, ...]:
  """Every exit for images of (height, width, channels), earliest first."""
  stages = {c.name: c for c in stage_costs(model.backbone, model.input_shape(image_shape))}
  maps = {
    name: jax.ShapeDtypeStruct((1, *stages[stage].shape), model.dtype)
    for name, stage in zip(model.exit_names, model.exit_stages, strict=True)
  }
  heads = {name: _head_cost(model.heads[name], maps[name]) for name in model.exit_names}
  costs, macs, parameters = [], 0, 0
  exits = zip(model.exit_names, model.exit_stages, model.head_kinds, strict=True)
  for (name, stage, kind), segment in zip(exits, model.segments, strict=True):
    macs += sum(stages[passed].macs for passed in segment)
    parameters += sum(stages[passed].parameters for passed in segment)
    asked = [heads[needed] for needed in model.needed((name,))]
    of_heads, in_heads = (sum(cost) for cost in zip(*asked, strict=True))
    total, held = macs + of_heads, parameters + in_heads
    costs.append(ExitCost(name, stage, kind, total, held, of_heads, in_heads))
  return tuple(costs)


def quantity(number: float) -> str:
  """Three digits and a unit: 40551808 as '40.6 M'."""
  for power, unit in ((9, 'G'), (6, 'M'), (3, 'k')):
    if number >= 0.9995 * 10**power:
      return f'{number / 10**power:#.3g}'.rstrip('.') + f' {unit}'
  return f'{number:.0f}'


def _head_cost(head: nnx.Module, features: jax.ShapeDtypeStruct) -> tuple[int, int]:
  """MACs and parameters of a head by itself."""
  inputs = [features]
  if isinstance(head, CascadeHead):  # which takes the logits of the exit before, too
    inputs.append(jax.ShapeDtypeStruct((1, head.linear.in_features), jnp.float32))
  macs, _ = _trace(head, *inputs)
  return macs, count_parameters(head)


def count_parameters(module: nnx.Module) -> int:
  """How many numbers are trained."""
  return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def count_macs(function: Callable, *args: Any) -> int:
  """MACs of one call of a function that JAX can trace.

  Args:
    args: arrays, or jax.ShapeDtypeStruct in their place; nothing is computed.

  Returns:
    the exact number; of the branches of a `cond` the dearest counts.

  Raises:
    ValueError: a `while_loop` holds products; how often it runs is not known.
  """
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _trace(module: Callable, *inputs: Any) -> tuple[int, Any]:
  """MACs of `module(*inputs)`, and the form of what it returns."""
  graphdef, state = nnx.split(module)

  def pure(state, *inputs):
    return nnx.merge(graphdef, state)(*inputs)  # a copy, whose statistics may move

  jaxpr, out = jax.make_jaxpr(pure, return_shape=True)(state, *inputs)
  return _count(jaxpr.jaxpr), out


def _count(jaxpr: Jaxpr) -> int:
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: JaxprEqn) -> int:
  name, params = equation.primitive.name, equation.params
  shapes = [getattr(var.aval, 'shape', ()) for var in (*equation.outvars, *equation.invars)]
  if name == 'dot_general':
    out, left, _ = shapes
    contracted, _ = params['dimension_numbers'][0]
    return math.prod(out) * math.prod(left[axis] for axis in contracted)
  if name == 'conv_general_dilated':
    out, _, kernel = shapes
    return math.prod(out) * math.prod(kernel) // kernel[params['dimension_numbers'].rhs_spec[0]]
  inner = [_count(jaxpr) for jaxpr in _sub_jaxprs(params)]
  if name == 'while' and any(inner):
    raise ValueError('cannot count the MACs of a while_loop: how often it runs is not known')
  if name == 'cond':
    return max(inner)
  return sum(inner) * params.get('length', 1)  # a scan's length


def _sub_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, Jaxpr):
        yield item
