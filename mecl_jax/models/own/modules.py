"""Imports the modules that have functions of the user, except from the folders of runs."""

from collections.abc import Iterator
import importlib
from importlib.machinery import PathFinder
import os
import pathlib
import sys
from types import ModuleType

from mecl_jax.errors import UserError, first_line

FIELD = 'model.backbone'


def import_module(name: str, module_name: str) -> ModuleType:
  """Imports a module, which is searched in the current folder too, as `python -m` does.

  No module is imported from the folder of a run: if the run comes from somebody else, its
  configuration could name a module that came with it.

  Args:
    name: value of `model.backbone`, for messages.
    module_name: such as 'my_package.my_module'.

  Raises:
    UserError: it cannot be imported, or lies in the folder of a run.
  """
  if not all(part.isidentifier() for part in module_name.split('.')):
    raise UserError(f'{FIELD} is {name!r}; it must be as my_package.my_module:make_network')
  if loaded := sys.modules.get(module_name):
    return loaded
  if os.getcwd() not in sys.path and '' not in sys.path:
    sys.path.insert(0, os.getcwd())
  for folder in _folders(module_name):
    if _is_run(folder):
      raise UserError(
        f'{FIELD} is {name}, but {folder} is the folder of a run, and no code in the folder of a'
        ' run is executed; if you trust that code, move it to another folder'
      )
  try:
    return importlib.import_module(module_name)
  except (Exception, SystemExit) as error:  # of the user's code
    missing = isinstance(error, ModuleNotFoundError) and f'{module_name}.'.startswith(
      f'{error.name}.'
    )
    reason = 'there is no such module' if missing else f'{type(error).__name__}: {error}'
    raise UserError(
      f'{FIELD} is {name}, but {module_name} cannot be imported: {first_line(Exception(reason))};'
      ' start the program in the folder that has it, or add that to PYTHONPATH'
    ) from error


def _folders(module_name: str) -> Iterator[pathlib.Path]:
  """Yields the folders of a module, from the entry of `sys.path` on; imports nothing."""
  places = None
  for part in module_name.split('.'):
    # By the last part of its name only, since a dotted name needs that its parents are imported.
    spec = PathFinder.find_spec(part, places)
    if spec is None:
      return
    places = list(spec.submodule_search_locations or ())
    for place in places:
      yield pathlib.Path(place).parent
      yield pathlib.Path(place)
    if spec.has_location and spec.origin:
      yield pathlib.Path(spec.origin).parent


def _is_run(folder: pathlib.Path) -> bool:
  whole = (folder / 'config.json').exists() and (folder / 'checkpoints').exists()
  return whole or (folder / 'identity.json').exists()
