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
  """Answering at one exit, from the image on: the stages up to it and its head.

  Heads of earlier exits are not included, unless this exit's head runs them.

  Attributes:
    name: of the exit.
    macs: per image, cumulative.
    parameters: trainable ones in that path.
  """

  name: str
  macs: int
  parameters: int


def stage_costs(backbone: Backbone, image_shape: Sequence[int]) -> tuple[StageCost, ...]:
  """Every stage of a backbone for images of (height, width, channels), first to last."""
  x: Any = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  costs = []
  for name in backbone.stage_names:
    stage = backbone.stages[name]
    macs, x = _trace(stage, lambda stage, x: stage(x), x)
    costs.append(StageCost(name, feature_map(x).shape[1:], macs, count_parameters(stage)))
  return tuple(costs)


def exit_costs(model: MultiExit, image_shape: Sequence[int]) -> tuple[ExitCost, ...]:
  """Every exit for images of (height, width, channels), earliest first."""
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
  costs, backbone = [], 0
  for name, segment in zip(model.exit_names, model.segments, strict=True):
    macs, _ = _trace(model, lambda model, x, name=name: model(x, (name,)), images)
    backbone += sum(count_parameters(model.backbone.stages[stage]) for stage in segment)
    costs.append(ExitCost(name, macs, backbone + count_parameters(model.heads[name])))
  return tuple(costs)


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


def _trace(module: nnx.Module, call: Callable, x: Any) -> tuple[int, Any]:
  """MACs of `call(module, x)`, and the form of what it returns."""
  graphdef, state = nnx.split(module)

  def pure(state, x):
    return call(nnx.merge(graphdef, state), x)  # a copy, whose statistics may move

  return count_macs(pure, state, x), jax.eval_shape(pure, state, x)


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
