import pathlib

import pytest

from mecl_jax import config
from mecl_jax.config import named
from mecl_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


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
  pathlib.Path('digits.py').write_text('def get_config(): return 3')
  assert config.load_config('digits.py') == 3
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
