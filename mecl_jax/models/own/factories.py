"""Functions of the user that make networks, found by the name in a configuration.

A name is 'my_package.my_module:make_network', which is imported, or was given to
`register_backbone`. Nothing else is imported, and nothing from the folder of a run.
"""

from collections.abc import Callable, Mapping
import hashlib
import inspect
import pathlib
from typing import Any

from flax import linen, nnx
import jax

from mecl_jax.errors import UserError, first_line
from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.own.modules import FIELD, import_module
from mecl_jax.models.registry import BACKBONES

KEYWORDS = ('image_shape', 'num_classes', 'in_channels', 'width', 'dtype', 'rngs')
GIVEN = 'network-'  # beginning of the names of networks that were given to `train`

_registered = dict[str, Callable[..., Any]]()


def register_backbone(name: str, make: Callable[..., Any]) -> None:
  """Lets `model.backbone` be a name for a network of your own, in this process.

  Args:
    name: without a colon; not one of `models.BACKBONES`.
    make: is called with those of the keywords `image_shape`, `num_classes`, `in_channels`, `width`,
      `dtype` and `rngs` that it has. It returns an nnx.Module or a Linen module, a dict of stages,
      or what `add_exits` returns.

  Raises:
    UserError: the name cannot be used, or `make` cannot be called.
  """
  if ':' in name or name in BACKBONES or not name.strip():
    raise UserError(
      f'a backbone of your own cannot have the name {name!r}; choose one that is not in'
      ' mecl_jax.models.BACKBONES and has no colon'
    )
  if not callable(make):
    raise UserError(f'the backbone {name!r} is {type(make).__name__}; it must be a function')
  _registered[name] = make


def register_network(network: MultiExit) -> str:
  """Registers a network with exits, and returns the name that it has in configurations.

  The name is that of its structure, so that the same code gives the same name in another process.
  """
  name = f'{GIVEN}{structure(network)[:8]}'
  _registered[name] = lambda: network
  return name


def is_own(name: Any) -> bool:
  """Returns whether the name of a backbone is that of a network of the user."""
  return isinstance(name, str) and (':' in name or name in _registered or name.startswith(GIVEN))


def names_with(name: Any) -> tuple[str, ...]:
  """Returns the valid names of backbones, among them this one if it is a function that exists.

  Raises:
    UserError: it looks like the name of a function, which cannot be imported.
  """
  if is_own(name):
    find(name)
  return (*BACKBONES, *dict.fromkeys([*_registered, *([name] if is_own(name) else [])]))


def find(name: str) -> Callable[..., Any]:
  """Returns the function that makes a network.

  Raises:
    UserError: it cannot be imported, or was not registered in this process.
  """
  if name in _registered:
    return _registered[name]
  if name.startswith(GIVEN):
    raise UserError(
      f'{FIELD} is {name}, a network that was given in Python; make it again, and call'
      ' mecl_jax.register_network(network) before'
    )
  module_name, _, attribute = name.partition(':')
  module = import_module(name, module_name)
  make: Any = module
  for part in attribute.split('.'):
    make = getattr(make, part, None)
  if not callable(make):
    functions = [n for n, f in vars(module).items() if inspect.isfunction(f) and n[0] != '_']
    raise UserError(
      f'{FIELD} is {name}, but {module_name} has no function {attribute}; it has:'
      f' {", ".join(functions) or "none"}'
    )
  return make


def make(name: str, **given: Any) -> nnx.Module | linen.Module | Mapping[str, Any]:
  """Calls the function of a name with those of `KEYWORDS` that it has.

  Returns:
    an nnx.Module, also a `Backbone` or a `MultiExit`; a Linen module; or stages by name.

  Raises:
    UserError: the function cannot be found, fails, or returns something else.
  """
  function = find(name)
  parameters = _parameters(name, function)
  takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  keywords = {key: given[key] for key in KEYWORDS if takes_all or key in parameters}
  if given['width'] != 16 and 'width' not in keywords and not name.startswith(GIVEN):
    raise UserError(f'model.width is {given["width"]}, but {name} has no argument width')
  try:
    made = function(**keywords)
  except UserError:
    raise
  except (Exception, SystemExit) as error:  # of the user's code
    raise UserError(
      f'{name}({", ".join(keywords)}) failed: {type(error).__name__}: {first_line(error)}'
    ) from error
  if not isinstance(made, nnx.Module | linen.Module | Mapping):
    raise UserError(
      f'{name} returned {type(made).__name__}; it must return an nnx.Module, a Linen module, or a'
      ' dict of stages'
    )
  return made


def _parameters(name: str, function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
  of_class = inspect.isclass(function) and issubclass(function, nnx.Module)
  try:
    return inspect.signature(function.__init__ if of_class else function).parameters
  except (TypeError, ValueError) as error:
    raise UserError(
      f'the arguments of {name} cannot be read: {first_line(error)}; write a Python function that'
      ' calls it'
    ) from error


def structure(network: MultiExit) -> str:
  """Returns a SHA-256 of the paths, shapes and dtypes of the state of a network, and its exits."""
  state = nnx.to_pure_dict(nnx.state(network, nnx.Not(nnx.RngState)))
  leaves = [
    (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype))
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
  ]
  facts = leaves, network.exit_names, network.exit_stages, network.segments
  return hashlib.sha256(repr(facts).encode()).hexdigest()


def source(name: str) -> str:
  """Returns a SHA-256 of the file of the module that has the function; '' if there is none."""
  function = inspect.unwrap(find(name))
  if name.startswith(GIVEN) or not (inspect.isroutine(function) or inspect.isclass(function)):
    return ''
  try:
    path = inspect.getsourcefile(function)
  except (OSError, TypeError):  # of a notebook, or not written in Python
    return ''
  if path is None or not pathlib.Path(path).is_file():
    return ''
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
