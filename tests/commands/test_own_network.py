"""Runs of networks that a user brings."""

import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys

from flax import nnx
import jax
import numpy as np
import pytest
from rich.console import Console

import mecl_jax
from mecl_jax.commands.describe import describe
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train
from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.rules import Rule
from mecl_jax.models import build, count_macs
from mecl_jax.models.own import factories
from tests.commands.test_resume import assert_same, result, wait_for_step
from tests.models.own.networks import CLASSES, CNN, NETWORKS, SHAPE, make
from tests.toys import make_config, write_config_file

ROOT = pathlib.Path(__file__).parent.parent.parent
QUIET = Console(quiet=True)
SOURCE = """
from tests.models.own.networks import CNN

def make(num_classes, rngs):
  return CNN(num_classes, rngs)
"""


def configured(toy_file, backbone, exits=('bn1', 'bn2'), steps=4):
  c = make_config(toy_file)
  c.model.backbone, c.model.exits, c.model.width = backbone, exits, 16
  for phase in c.phases.values():
    phase.duration = f'{steps} steps'
  return c


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch):
  """Keeps the names of networks that a test registers from other tests."""
  monkeypatch.setattr(factories, '_registered', {})


@pytest.fixture
def module(tmp_path, monkeypatch):
  """Returns a function that writes the module `mine` into the current folder, as a user does."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [path for path in sys.path if path])

  def write(text=SOURCE):
    (tmp_path / 'mine.py').write_text(text)
    forget()

  def forget():
    sys.modules.pop('mine', None)
    importlib.invalidate_caches()
    for cached in tmp_path.glob('__pycache__/mine.*'):
      cached.unlink()

  yield write
  forget()


def test_network_of_a_module_trains_and_is_evaluated(toy_file, module, tmp_path, capsys):
  module()
  summary = train(configured(toy_file, 'mine:make', ('bn2',)), 'run', console=QUIET)
  assert [row['name'] for row in summary['exits']] == ['bn2', 'final']
  assert summary['exits'][-1]['macs'] == _macs(make('cnn'))
  model = mecl_jax.load_network('run')
  images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)
  logits, rule = np.asarray(model(images)), Rule('max_probability')
  sure = np.sort(rule.confidence(logits)[:, 0])[9:11].mean()
  for policy in (fixed(0, 2), Policy(rule, np.array([sure]))):
    answers, leaves_at = mecl_jax.EarlyExit(model, policy)(images), policy.leaves_at(logits)
    assert (answers.exits == leaves_at).all()
    assert (answers.classes == logits[np.arange(20), leaves_at].argmax(-1)).all()
  assert sorted(leaves_at) == [0] * 10 + [1] * 10

  module(SOURCE + '# changed')
  mecl_jax.evaluate('run')
  assert 'the file of mine:make has changed' in ' '.join(capsys.readouterr().out.split())
  module(
    SOURCE.replace('CNN(num', 'Other(num')
    + """
class Other(CNN):
  def __init__(self, classes, rngs):
    super().__init__(classes, rngs)
    self.fc = type(self.fc)(8, classes, use_bias=False, rngs=rngs)
"""
  )
  for command in (mecl_jax.evaluate, mecl_jax.load_network):
    with pytest.raises(UserError, match='makes another network than when the run in run began'):
      command('run')
  assert any((tmp_path / 'run' / 'checkpoints').iterdir())  # they are not taken for damaged
  module('')
  with pytest.raises(UserError, match='mine has no function make'):
    mecl_jax.evaluate('run')
  (tmp_path / 'mine.py').unlink()
  sys.modules.pop('mine')
  with pytest.raises(UserError, match='mine cannot be imported: there is no such module'):
    mecl_jax.evaluate('run')


def _macs(network):
  network.eval()
  form, state = nnx.split(network)
  images = jax.ShapeDtypeStruct((1, *SHAPE), np.float32)
  arrays = nnx.to_pure_dict(state)
  return count_macs(lambda arrays, x: nnx.merge(form, arrays)(x), arrays, images)


@pytest.mark.parametrize(
  'backbone, message',
  [
    ('mine:wrong', 'has no function wrong; it has: make'),
    ('mine.other:make', 'mine.other cannot be imported: there is no such module'),
    ('leaves:make', 'leaves cannot be imported: SystemExit: 3'),
    ('mi ne:make', 'must be as my_package.my_module:make_network'),
    ('resnet9', 'model.backbone is .resnet9.; choose .*my_package.my_module:make'),
    ('network-0123', 'given in Python; make it again'),
  ],
)
def test_unknown_function_is_one_clear_line(toy_file, module, tmp_path, backbone, message):
  module()
  (tmp_path / 'leaves.py').write_text('raise SystemExit(3)')
  with pytest.raises(UserError, match=message):
    resolve(configured(toy_file, backbone))


@pytest.mark.parametrize(
  'body, message',
  [
    ('1 / 0', 'failed: ZeroDivisionError'),
    ('raise SystemExit', 'failed: SystemExit'),
    ('return 5', 'returned int; it must return an nnx.Module'),
    ('return CNN(num_classes, rngs).conv1', 'model.exits is .bn1.'),
  ],
)
def test_function_that_fails_leaves_no_run(toy_file, module, tmp_path, body, message):
  module(SOURCE.replace('return CNN(num_classes, rngs)', body))
  with pytest.raises(UserError, match=message):
    train(configured(toy_file, 'mine:make'), 'run', console=QUIET)
  assert not (tmp_path / 'run' / 'config.json').exists()


@pytest.mark.parametrize(
  'files, backbone, folder',
  [
    (('got/identity.json', 'got/evil.py'), 'got.evil:make', 'got'),
    (('runs/got/identity.json', 'runs/got/code/evil.py'), 'runs.got.code.evil:make', 'got'),
    (('got/config.json', 'got/checkpoints/0', 'got/__init__.py'), 'got:make', 'got'),
    (('got/identity.json', 'got/__init__.py'), 'got.missing:make', 'got'),
    (('identity.json', 'evil.py'), 'evil:make', ''),
  ],
)
def test_code_in_the_folder_of_a_run_is_not_executed(module, tmp_path, files, backbone, folder):
  module()
  for file in files:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('open("executed", "w")')
  with pytest.raises(UserError, match=rf'{folder} is the folder of a run, and no code'):
    factories.find(backbone)
  assert not (tmp_path / 'executed').exists()


def test_package_beside_runs_is_imported(module, tmp_path):
  module()
  package = tmp_path / 'package' / 'inner'
  package.mkdir(parents=True)
  (tmp_path / 'mine.py').rename(package / 'nets.py')
  (tmp_path / 'package' / 'runs').mkdir()
  (tmp_path / 'package' / 'runs' / 'identity.json').touch()
  assert factories.find('package.inner.nets:make')(CLASSES, nnx.Rngs(0)).fc is not None


def test_functions_without_source_or_arguments(toy_file):
  mecl_jax.register_backbone('notebook', type('Net', (CNN,), {'__module__': 'no_file'}))
  assert factories.source('notebook') == ''
  mecl_jax.register_backbone('builtin', type)
  with pytest.raises(UserError, match=r'arguments of builtin cannot be read: .*signature'):
    factories.make('builtin', width=16)


def test_width_that_has_no_effect_is_rejected(toy_file, tmp_path):
  c = configured(toy_file, 'tests.models.own.networks:make_cnn')
  c.model.width = 8
  with pytest.raises(UserError, match='has no argument width'):
    train(c, tmp_path, console=QUIET)


def test_trained_network_is_given_in_python_and_frozen(toy_file, tmp_path):
  network = make('cnn', seed=3)
  exits = mecl_jax.add_exits(
    network, after=['bn1'], head='linear', image_shape=SHAPE, num_classes=CLASSES
  )
  images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE), np.uint8)
  before = np.asarray(exits(images))
  c = configured(toy_file, 'resnet8')
  c.phases.backbone.duration = '0 steps'
  train(c, tmp_path, network=exits, console=QUIET)
  np.testing.assert_array_equal(exits(images), before)
  after = np.asarray(mecl_jax.load_network(tmp_path)(images))
  np.testing.assert_allclose(after[:, -1], before[:, -1], atol=1e-6)
  assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-3
  other = mecl_jax.add_exits(
    make('cnn', seed=4), after=['bn1'], head='linear', image_shape=SHAPE, num_classes=CLASSES
  )
  (tmp_path / 'summary.json').unlink()
  with pytest.raises(UserError, match='began with other parameters'):
    train(c, tmp_path, network=other, console=QUIET)
  train(c, tmp_path, network=exits, console=QUIET)
  alike = mecl_jax.add_exits(
    Shifted(CLASSES, nnx.Rngs(3)),
    after=['bn1'],
    head='linear',
    image_shape=SHAPE,
    num_classes=CLASSES,
  )
  assert mecl_jax.register_network(alike) == mecl_jax.register_network(exits)
  mecl_jax.load_network(tmp_path)
  mecl_jax.register_network(alike)
  for command in (mecl_jax.load_network, mecl_jax.evaluate):
    with pytest.raises(UserError, match=r'computes something else .*register_network'):
      command(tmp_path)


class Shifted(CNN):
  """Has the arrays of a CNN, and computes something else."""

  def __call__(self, x):
    return super().__call__(1 - x)


@pytest.fixture
def numbers_file(toy_file, tmp_path):
  with np.load(toy_file) as arrays:
    changed = {
      **arrays,
      **{f'{s}_labels': 100.0 + arrays[f'{s}_labels'] for s in ('train', 'test')},
    }
  np.savez(tmp_path / 'numbers.npz', **changed)
  return tmp_path / 'numbers.npz'


def test_given_network_predicts_standardised_numbers(numbers_file, tmp_path):
  c = configured(numbers_file, 'resnet8')
  c.task = 'regression'
  exits = mecl_jax.add_exits(
    make('cnn'), after=['bn1'], head='linear', image_shape=SHAPE, num_classes=1
  )
  assert exits.head_kinds[-1] == 'linear' and exits.final_must_train
  train(c, tmp_path / 'first', network=exits, console=QUIET)
  model = mecl_jax.load_network(tmp_path / 'first')
  images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE), np.uint8)
  assert not exits.standardised and model.standardised and not model.final_must_train
  assert 90 < np.asarray(model(images)).mean() < 110
  form = tuple(build_given(model, exits=()).target_mean[...])
  assert form == tuple(model.target_mean[...])

  # A final head that is trained already need not train; and such a run is resumed.
  c.phases.backbone.duration, c.model.pretrained = '0 steps', str(tmp_path / 'first')
  train(c, tmp_path / 'second', network=model, console=QUIET)
  (tmp_path / 'second' / 'summary.json').unlink()
  train(c, tmp_path / 'second', network=model, console=QUIET)


def build_given(network, **settings):
  return build(
    backbone=mecl_jax.register_network(network),
    head='linear',
    num_classes=1,
    image_shape=SHAPE,
    mean=[0.0],
    std=[1.0],
    seed=0,
    **settings,
  )


def test_own_classifier_cannot_predict_standardised_numbers_untrained(numbers_file, tmp_path):
  c = configured(numbers_file, 'resnet8')
  c.task, c.phases.backbone.duration = 'regression', '0 steps'
  exits = mecl_jax.add_exits(
    CNN(1, nnx.Rngs(0)), after=['bn1'], head='linear', image_shape=SHAPE, num_classes=1
  )
  assert exits.head_kinds[-1] == 'own' and not exits.final_must_train
  with pytest.raises(UserError, match=r'does not predict standardised numbers, .* no phase trains'):
    train(c, tmp_path / 'run', network=exits, console=QUIET)
  assert not (tmp_path / 'run' / 'config.json').exists()


def test_dtype_and_remat_of_a_given_network():
  exits = mecl_jax.add_exits(
    CNN(1, nnx.Rngs(0)), after=['bn1'], head='linear', image_shape=SHAPE, num_classes=1
  )
  assert build_given(exits, exits=['bn1'], remat=True).remat and not exits.remat
  with pytest.raises(UserError, match=r'model.dtype is bfloat16, but .* computes in float32'):
    build_given(exits, exits=['bn1'], dtype='bfloat16')


def test_new_final_head_that_no_phase_trains_is_rejected(toy_file, tmp_path):
  c = configured(toy_file, 'mine')
  mecl_jax.register_backbone('mine', lambda rngs: CNN(7, rngs))
  c.phases.backbone.duration = '0 steps'
  with pytest.raises(UserError, match='its final exit is new, and no phase trains it'):
    train(c, tmp_path, console=QUIET)


@pytest.mark.parametrize('name', ['resnet8', 'a:b', ' '])
def test_names_that_cannot_be_registered(name):
  with pytest.raises(UserError, match='cannot have the name'):
    factories.register_backbone(name, make)


def test_describe_needs_no_data(toy_file, tmp_path, capsys):
  c = configured(toy_file, 'tests.models.own.networks:make_cnn')
  describe(tmp_path, c, images=SHAPE, classes=CLASSES)
  assert 'bn2' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, strategy, exits',
  [
    ('resnet', 'joint', ('layer1',)),
    ('vit', 'classifier_wise', ('blocks.0',)),
    ('spectral', 'mixed', ('conv1',)),
    ('unet', 'layer_wise', ('middle',)),
  ],
)
def test_networks_of_others_train(toy_file, tmp_path, name, strategy, exits):
  if name not in NETWORKS:
    pytest.skip('Flax does not have it')
  mecl_jax.register_backbone(name, lambda num_classes: make(name, num_classes))
  c = configured(toy_file, name, exits)
  c.strategy = strategy
  summary = train(c, tmp_path, console=QUIET)
  assert len(summary['exits']) == len(exits) + 1
  again = mecl_jax.evaluate(tmp_path, console=QUIET)
  assert again['exits'] == summary['exits']


@pytest.mark.slow
def test_resumes_after_sigkill_by_the_command_line(toy_file, module, tmp_path):
  module()
  c = configured(toy_file, 'mine:make', steps=8)
  c.checkpoints.every_seconds = 0.0
  file = write_config_file(c, tmp_path / 'own.py')
  command = [sys.executable, '-m', 'mecl_jax.main', f'--config={file}']
  settings = {'cwd': tmp_path, 'env': {**os.environ, 'PYTHONPATH': str(ROOT)}, 'text': True}
  train(c, tmp_path / 'whole', console=QUIET)
  process = subprocess.Popen(
    [*command, '--workdir=killed'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings
  )
  wait_for_step(tmp_path / 'killed', 5, process)
  process.send_signal(signal.SIGKILL)
  process.wait()
  done = subprocess.run([*command, '--workdir=killed'], check=True, capture_output=True, **settings)
  assert 'resuming at step' in done.stdout
  assert_same(result(tmp_path / 'whole'), result(tmp_path / 'killed'))


@pytest.mark.slow
def test_example_of_the_document_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  code = re.search(r'```python\n(.*?)```', (ROOT / 'docs/own_network.md').read_text(), re.S)
  names = {}
  exec(compile(code[1], 'own_network.md', 'exec'), names)
  assert [row['name'] for row in names['summary']['exits']] == ['bn1', 'final']
  factories._registered.clear()  # as in another program
  with pytest.raises(UserError, match='given in Python; make it again'):
    mecl_jax.evaluate('runs/mine', console=QUIET)
  mecl_jax.register_network(names['exits'])
  assert mecl_jax.evaluate('runs/mine', console=QUIET)['exits'] == names['summary']['exits']
