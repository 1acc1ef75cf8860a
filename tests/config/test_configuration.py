import json
import os
import pathlib
import runpy

import pytest

from mecl_jax import config
from mecl_jax.config.document import document
from mecl_jax.errors import UserError

pytestmark = pytest.mark.stacks

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / 'tests/golden/configs.json'
FILES = sorted((ROOT / 'configs').glob('*.py'))
VARIANTS = {'digits': ('', 'paper', 'short'), 'cifar10_fast': ('', 'short', 'smoke')}
CONFIGS = [
  (path, variant)
  for path in FILES
  for variant in VARIANTS.get(path.stem, ('', 'paper', 'short', 'smoke', 'paper-smoke'))
]


def load(path, variant):
  return runpy.run_path(str(path))['get_config'](variant)


def test_configurations_are_as_recorded():
  """Shows a changed default in the diff of one file; UPDATE_GOLDEN=1 records it.

  The file holds all defaults, and for every configuration its differences from them.
  """
  defaults = dict(config.flatten(config.default()))
  now = {'defaults': defaults}
  for path, variant in CONFIGS:
    fields = config.flatten(load(path, variant))
    changed = {name: value for name, value in fields if value != defaults[name]}
    now['-'.join(filter(None, (path.stem, variant)))] = changed
  if os.environ.get('UPDATE_GOLDEN'):
    GOLDEN.write_text(json.dumps(now, indent=2) + '\n')
  assert json.loads(json.dumps(now)) == json.loads(GOLDEN.read_text())


def test_document_of_the_fields_is_current():
  assert (ROOT / 'docs/configuration.md').read_text() == document()


def test_mutable_fields_exist():
  names = [name for name, _ in config.all_fields()]
  for prefix in config.MUTABLE_FIELDS:
    assert any(name.startswith(prefix) for name in names), prefix


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_unknown_variant_is_rejected(path):
  with pytest.raises(
    UserError, match=r'choose one of: (short, smoke, paper, paper-smoke|short, paper|short, smoke)$'
  ):
    load(path, 'smok')


def test_unknown_field_cannot_be_set():
  with pytest.raises(AttributeError):
    config.default().curriculum.pase = 1


def test_missing_fields_get_their_defaults(tmp_path):
  c = config.default()
  c.model.exits = ('stem', 0.5)
  c.seed = 3
  written = json.loads(c.to_json())
  del written['phases']['heads']['decay']
  (tmp_path / 'config.json').write_text(json.dumps(written))
  read = config.read(tmp_path / 'config.json')
  assert config.differences(c, read) == []
  c.seed = 4
  assert config.differences(c, read) == ['seed is 4, was 3']


@pytest.mark.parametrize(
  'text',
  ['{"sed": 1}', '{"seed": "x"}', '{"data": {"label_noise": 1' + '0' * 400 + '}}', '{', '[]'],
)
def test_invalid_config_file_is_rejected(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match=r'is not a (valid mecl_jax configuration|JSON file)'):
    config.read(tmp_path / 'config.json')


def test_mutable_fields_make_no_difference():
  c, other = config.default(), config.default()
  other.data.data_dir = '/elsewhere'
  other.logging.every = '1 step'
  other.checkpoints.keep = 9
  assert config.differences(c, other) == []


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config.sed=1', 'there is no field config.sed; config has: augment, batch_size'),
    ('--config.model.depth=1', 'config.model has: backbone, dtype'),
    ('--config.seed.x=1', 'config.seed has: no fields'),
    ('--config.seed=1', None),
  ],
)
def test_unknown_field_on_the_command_line(argument, message):
  found = config.unknown_field(['main', '--workdir=x', argument])
  assert found is None if message is None else message in found
