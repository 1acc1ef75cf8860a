"""Configurations by name: those that come with the package, and files."""

from collections.abc import Callable, Iterator
import contextlib
import inspect
import pathlib
import runpy
import traceback

from ml_collections import ConfigDict

from mecl_jax.config.valid import is_path, shown
from mecl_jax.errors import UserError

_PACKAGE = pathlib.Path(__file__).parents[1]


def folder() -> pathlib.Path:
  """Returns the folder of the configurations that come with the package.

  A wheel has them in `mecl_jax/configs`, a checkout in `configs` beside the package.
  """
  inside = _PACKAGE / 'configs'
  return inside if inside.is_dir() else _PACKAGE.parent / 'configs'


def names() -> list[str]:
  """Returns the names of the configurations that come with the package.

  Examples:
    >>> 'cifar10' in names()
    True
  """
  return sorted(path.stem for path in folder().glob('*.py'))


def find(name: str) -> str:
  """Returns the file of a configuration, with the variant if there is one.

  Args:
    name: 'NAME' or 'NAME:VARIANT' of a configuration that comes with the package, or
      'FILE.py' or 'FILE.py:VARIANT'.

  Returns:
    'FILE.py' or 'FILE.py:VARIANT', where FILE.py exists.

  Raises:
    UserError: there is no such configuration; the message lists the names.
  """
  if not is_path(name):
    raise UserError(f'--config is {shown(name)}; it must be a name, or the path of a file')
  stem, colon, variant = name.partition(':')
  path, known = pathlib.Path(stem), names()
  is_name = path.suffix != '.py' and path.name == stem
  if is_name and stem in known:
    path = folder() / f'{stem}.py'
  elif not path.is_file():
    there = f'configurations that come with mecl_jax: {", ".join(known)}'
    if is_name:
      raise UserError(f'there is no configuration {stem!r}; {there}; or give a file, FILE.py')
    hint = f'use --config={path.stem}{colon}{variant}; ' if path.stem in known else ''
    raise UserError(f'there is no configuration file {stem}; {hint}{there}')
  return f'{path}{colon}{variant}'


def load(name: str) -> ConfigDict:
  """Loads a configuration by its name, or from a file.

  Args:
    name: as 'cifar10' or 'cifar10:smoke', or 'mine.py' or 'mine.py:VARIANT' for a file with a
      function `get_config`.

  Returns:
    the configuration; its fields can be changed.

  Raises:
    UserError: there is no such configuration or variant; the message lists those that exist. Or
      the file raises an error; the message has its place in the file.

  Examples:
    >>> load('cifar10:smoke').model.backbone
    'resnet8'
  """
  file, colon, variant = find(name).partition(':')
  with _errors_of(file):
    get_config = runpy.run_path(file).get('get_config')
  if not callable(get_config):
    raise UserError(f'{file} has no function get_config')
  arguments = (variant,) if colon else ()
  _check_arguments(file, get_config, arguments)
  with _errors_of(file):
    config = get_config(*arguments)
  if not isinstance(config, ConfigDict):
    raise UserError(
      f'{file}: get_config returns {type(config).__name__}; it must return the configuration of'
      ' mecl_jax.default_config(), with changed fields'
    )
  return config


def _check_arguments(file: str, get_config: Callable, arguments: tuple[str, ...]) -> None:
  """Raises a UserError if the function does not take a variant, or needs one."""
  try:
    inspect.signature(get_config).bind(*arguments)
  except TypeError:
    problem = (
      f'takes no variant; use --config={file}'
      if arguments
      else f'needs a variant; use --config={file}:VARIANT'
    )
    raise UserError(f'{file}: get_config {problem}') from None


@contextlib.contextmanager
def _errors_of(file: str) -> Iterator[None]:
  """Turns any error that a user's file raises into one line with its place in that file."""
  try:
    yield
  except UserError:
    raise
  except (Exception, SystemExit) as error:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
      lines = [error.lineno]
    place = f'{file}, line {lines[-1]}' if lines else file
    reason = f'{type(error).__name__}: {getattr(error, "msg", None) or error}'
    if isinstance(error, SystemExit):
      reason = f'the file ends the program, with code {error.code}; a configuration must not do so'
    raise UserError(f'{place}: {" ".join(reason.split())[:500]}') from error
