"""A network made of stages that a user gives one by one."""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

from flax import nnx
import jax

from mecl_jax.errors import UserError, first_line
from mecl_jax.models.backbones.backbone import check_batch_norm


class Function(nnx.Module):
  """A stage that is a function without state."""

  def __init__(self, function: Callable[..., Any]):
    self._function = function

  def __call__(self, x: Any) -> Any:
    return self._function(x)


class Chain(nnx.Module):
  """Calls stages one after the other.

  Args:
    stages: name -> module or function of the output of the stage before.

  Raises:
    UserError: a name is no name of Python, a stage is neither a module nor a function, or a
      function uses a module that is not given as a stage.
  """

  def __init__(self, stages: Mapping[str, nnx.Module | Callable[..., Any]]):
    modules = dict[str, nnx.Module]()
    for name, stage in stages.items():
      if not str(name).isidentifier():
        raise UserError(f'the stage {name!r} must have a name of letters, digits and underscores')
      if not callable(stage):
        raise UserError(f'stage {name} is {type(stage).__name__}; it must be a module or function')
      if not isinstance(stage, nnx.Module):
        _check_stateless(name, stage)
        stage = Function(stage)
      modules[name] = stage
    check_batch_norm(modules, 'stage')
    self._order = tuple(modules)
    for name, module in modules.items():
      setattr(self, name, module)

  def __call__(self, x: Any) -> Any:
    for name in self._order:
      try:
        y = getattr(self, name)(x)
      except Exception as error:  # of the user's code
        shapes = ' and '.join(str(list(leaf.shape)) for leaf in jax.tree.leaves(x))
        raise UserError(
          f'stage {name} cannot take its input, {shapes}: {first_line(error)}'
        ) from error
      x = y
    return x


def _check_stateless(name: str, function: Callable[..., Any]) -> None:
  """Raises UserError if a function uses a module, whose parameters would be constants in it."""
  for variable, value in _used(function).items():
    values = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, nnx.Module) for part in values):
      raise UserError(
        f'stage {name} is a function that uses the module {variable}, whose parameters would not be'
        ' trained or saved; give nnx.Sequential(function, layer) instead, or an nnx.Module that has'
        ' the layer as an attribute'
      )


def _used(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns the variables outside of a function that it uses, and the defaults of its arguments."""
  if inspect.ismethod(function):
    return {**_used(function.__func__), 'self': function.__self__}
  if not inspect.isfunction(function):
    return {}
  outside = inspect.getclosurevars(function)
  parameters = inspect.signature(function).parameters.values()
  return {**outside.globals, **outside.nonlocals, **{p.name: p.default for p in parameters}}
