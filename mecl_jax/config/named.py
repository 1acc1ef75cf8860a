"""Configurations by name: those that come with the package, and files."""

import pathlib
import runpy

from ml_collections import ConfigDict

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
    UserError: there is no such configuration or variant; the message lists those that exist.

  >>> load('cifar10:smoke').model.backbone
  'resnet8'
  """
  file, colon, variant = find(name).partition(':')
  get_config = runpy.run_path(file).get('get_config')
  if get_config is None:
    raise UserError(f'{file} has no function get_config')
  return get_config(variant) if colon else get_config()
