"""Multiply-accumulates (MACs) and parameters, counted from the program that JAX would run.

One MAC is one multiplication with its addition, that is two FLOPs. As is usual, only convolutions
and matrix products count, not normalisation, activation or pooling. Products with padding count.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from mecl_jax.models.backbones.backbone import Backbone, feature_map
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.multi_exit import MultiExit


@dataclasses.dataclass(frozen=True)
class StageCost:
  """The cost of one stage.

  Attributes:
    name: name of the stage.
    shape: (height, width, channels) of its feature map for heads.
    macs: per image.
    parameters: number of trainable parameters.
  """

  name: str
  shape: tuple[int, int, int]
  macs: int
  parameters: int


@dataclasses.dataclass(frozen=True)
class ExitCost:
  """The cost of a prediction at one exit: all stages up to the exit, and its head.

  Heads of earlier exits are not included, except those whose logits the head of this exit uses.

  Attributes:
    name: name of the exit.
    stage: name of its stage.
    head: kind of its head, for example 'conv'.
    macs: per image, of stages and heads.
    parameters: number of trainable parameters of these stages and heads.
    head_macs, head_parameters: the part of `macs` and `parameters` that is in heads.
  """

  name: str
  stage: str
  head: str
  macs: int
  parameters: int
  head_macs: int
  head_parameters: int


def stage_costs(backbone: Backbone, image_shape: Sequence[int]) -> tuple[StageCost, ...]:
  """Returns the cost of every stage of a backbone.

  Args:
    backbone: not changed.
    image_shape: (height, width, channels) of the input of the first stage.

  Returns:
    one `StageCost` per stage, first to last.
  """
  x: Any = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  costs = []
  for name in backbone.stage_names:
    stage = backbone.stages[name]
    macs, x = _trace(stage, x)
    _, height, width, channels = feature_map(x).shape
    costs.append(StageCost(name, (height, width, channels), macs, count_parameters(stage)))
  return tuple(costs)


def exit_costs(model: MultiExit, image_shape: Sequence[int]) -> tuple[ExitCost, ...]:
  """Returns the cost of every exit of a network.

  Args:
    model: not changed.
    image_shape: (height, width, channels) of the images, before the network resizes them.

  Returns:
    one `ExitCost` per exit, earliest first.
  """
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
    used = [heads[needed] for needed in model.needed((name,))]
    head_macs, head_parameters = (sum(cost) for cost in zip(*used, strict=True))
    total, total_parameters = macs + head_macs, parameters + head_parameters
    costs.append(ExitCost(name, stage, kind, total, total_parameters, head_macs, head_parameters))
  return tuple(costs)


def quantity(number: float) -> str:
  """Formats a number with three digits and a unit.

  >>> quantity(40551808)
  '40.6 M'
  """
  for power, unit in ((9, 'G'), (6, 'M'), (3, 'k')):
    if number >= 0.9995 * 10**power:
      return f'{number / 10**power:#.3g}'.rstrip('.') + f' {unit}'
  return f'{number:.0f}'


def _head_cost(head: nnx.Module, features: jax.ShapeDtypeStruct) -> tuple[int, int]:
  """Returns MACs and number of parameters of a head."""
  inputs = [features]
  if isinstance(head, CascadeHead):  # its second input are the logits of the exit before
    inputs.append(jax.ShapeDtypeStruct((1, head.linear.in_features), jnp.float32))
  macs, _ = _trace(head, *inputs)
  return macs, count_parameters(head)


def count_parameters(module: nnx.Module) -> int:
  """Returns the number of trainable parameters of a module."""
  return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def count_macs(function: Callable, *args: Any) -> int:
  """Counts the MACs of one call of a function that JAX can trace; nothing is computed.

  >>> count_macs(jnp.matmul, jnp.ones((3, 4)), jnp.ones((4, 5)))
  60

  Args:
    function: traced once.
    *args: arrays, or instances of jax.ShapeDtypeStruct.

  Returns:
    the exact number. For a `cond` it is that of the branch with the most MACs.

  Raises:
    ValueError: a `while_loop` contains products, so that the number of MACs is unknown.
  """
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _trace(module: Callable, *inputs: Any) -> tuple[int, Any]:
  """Returns the MACs of `module(*inputs)`, and shapes and dtypes of its result."""
  graphdef, state = nnx.split(module)
  arrays, structure = jax.tree.flatten((state, inputs))
  shapes = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
  return _traced(graphdef, structure, shapes)


# A run needs its costs several times, and deep networks repeat a few kinds of blocks.
@functools.lru_cache(maxsize=1024)
def _traced(
  graphdef: nnx.GraphDef, structure: PyTreeDef, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> tuple[int, Any]:
  def pure(state, inputs):
    return nnx.merge(graphdef, state)(*inputs)  # a copy, because statistics may change

  jaxpr, out = jax.make_jaxpr(pure, return_shape=True)(*jax.tree.unflatten(structure, shapes))
  return _count(jaxpr.jaxpr), out


def _count(jaxpr: Jaxpr) -> int:
  return sum(count_equation(equation) for equation in jaxpr.eqns)


def count_equation(equation: JaxprEqn) -> int:
  """Returns the MACs of one equation of a program; see `count_macs`."""
  name, params = equation.primitive.name, equation.params
  shapes = [getattr(var.aval, 'shape', ()) for var in (*equation.outvars, *equation.invars)]
  if name == 'dot_general':
    out, left, _ = shapes
    contracted, _ = params['dimension_numbers'][0]
    return math.prod(out) * math.prod(left[axis] for axis in contracted)
  if name == 'conv_general_dilated':
    out, _, kernel = shapes
    return math.prod(out) * math.prod(kernel) // kernel[params['dimension_numbers'].rhs_spec[0]]
  inner = [_count(jaxpr) for jaxpr in sub_jaxprs(params)]
  if name == 'while' and any(inner):
    raise ValueError('cannot count the MACs of a while_loop: its number of iterations is unknown')
  if name == 'cond':
    return max(inner)
  return sum(inner) * params.get('length', 1)  # iterations of a scan


def sub_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
  """Yields the inner programs of an equation, from its parameters."""
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, Jaxpr):
        yield item
