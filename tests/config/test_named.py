import pathlib

import pytest

from mecl_jax import config
from mecl_jax.config import named
from mecl_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]

START = 'import sys\nimport mecl_jax\n\ndef get_config():\n  c = mecl_jax.default_config()\n'


def test_name_is_the_file_of_configs():
  assert config.find_config('cifar10:smoke') == f'{ROOT / "configs/cifar10.py"}:smoke'
  assert config.config_names() == sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))


def test_wheel_has_the_files_inside_the_package(tmp_path, monkeypatch):
  monkeypatch.setattr(named, '_PACKAGE', tmp_path)
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'mine.py').touch()
  assert config.config_names() == ['mine']
  assert config.find_config('mine') == str(tmp_path / 'configs/mine.py')


def test_path_is_a_file_also_beside_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('digits.py').write_text(f'{START}  c.seed = 3\n  return c')
  assert config.load_config('digits.py').seed == 3
  assert config.load_config('digits').data.name == 'digits'


def test_variant_is_loaded():
  assert config.load_config('cifar10:smoke').model.backbone == 'resnet8'
  with pytest.raises(UserError, match='choose one of: short, paper'):
    config.load_config('digits:smoke')


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('cifr10', "no configuration 'cifr10'; .*: cifar10, cifar100, .*; or give a file"),
    ('mine.py', r'no configuration file mine\.py; configurations that .*: cifar10, '),
    ('configs/cifar10.py:smoke', 'use --config=cifar10:smoke; '),
    ('configs/cifar10', 'no configuration file configs/cifar10; use --config=cifar10; '),
  ],
)
def test_missing_configuration_is_rejected(name, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=message):
    config.find_config(name)


def test_file_without_get_config_is_rejected(tmp_path):
  path = tmp_path / 'empty.py'
  path.touch()
  with pytest.raises(UserError, match='has no function get_config'):
    config.load_config(str(path))


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (
      f'{START}  c.batch_size = len(3)\n  return c',
      "line 6: TypeError: object of type 'int' has no",
    ),
    (f'{START}  c.seed = "1"\n  return c', "line 6: TypeError: Could not override field 'seed'"),
    (f'{START}  sys.exit(3)', 'line 6: the file ends the program, with code 3'),
    ('raise OSError("no\\nfile")', 'line 1: OSError: no file'),
    (f'{START}  c.batch_size = (', 'line 6: SyntaxError: .* was never closed'),
    ('def get_config():\n  return {"seed": 1}', 'get_config returns dict; it must return the conf'),
    ('def get_config(): pass', 'get_config returns NoneType; it must return'),
    ('def get_config(variant): pass', 'get_config needs a variant; use --config=.*mine.py:VARIANT'),
    ('get_config = 3', 'has no function get_config'),
    ('a\0b', 'SyntaxError|ValueError'),
  ],
)
def test_error_in_a_configuration_file_is_one_line(tmp_path, text, message):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  with pytest.raises(UserError, match=message) as error:
    config.load_config(str(path))
  assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_variant_of_a_file_without_variants_is_rejected(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(f'{START}  return c')
  with pytest.raises(UserError, match=f'takes no variant; use --config={path}$'):
    config.load_config(f'{path}:small')


@pytest.mark.parametrize('name', ['x' * 300, 'a/' + 'x' * 300 + '.py', 'a\0b', '\ud800'])
def test_impossible_name_is_rejected(name):
  with pytest.raises(UserError, match='must be a name, or the path of a file'):
    config.find_config(name)
