"""The command `export`, on a run of a tiny network."""

import re
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.session import restored_run
from mecl_jax.errors import RunError, UserError
from mecl_jax.files import read_json
from tests.commands.report_of_run import with_export

pytest.importorskip('jax2onnx', reason='the extra export is not installed')

from mecl_jax.commands.export import export
from mecl_jax.deploy import check
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.evaluation import predict

QUIET = Console(quiet=True)


@pytest.fixture(scope='module')
def exported(run):
  """The work directory of a run with its bundle."""
  export(run, console=QUIET)
  return run


@pytest.fixture(scope='module')
def test_split(exported):
  """The test images of the run, and the logits of its network in JAX."""
  with restored_run(exported, None, QUIET) as (opened, _):
    return opened.dataset.test, predict(opened.model, opened.dataset.test.images)


def test_bundle_predicts_what_the_run_predicts(exported, test_split):
  test, logits = test_split
  network, fields = Network(exported / 'bundle'), read_json(exported / 'bundle/bundle.json')
  for name, policy in fields['policies'].items():
    answers = network(test.images, policy=name)
    np.testing.assert_allclose(
      answers.logits, logits[np.arange(len(test)), answers.exits], rtol=0, atol=1e-5
    )
    accuracy = float((answers.classes == test.labels).mean())
    assert accuracy == pytest.approx(policy['test']['accuracy'], abs=1.5 / len(test))
    shares = np.bincount(answers.exits, minlength=logits.shape[1]) / len(test)
    np.testing.assert_allclose(shares, policy['test']['share'], atol=1.5 / len(test))


def test_accuracies_of_the_exits_are_those_of_the_run(exported):
  fields, summary = read_json(exported / 'bundle/bundle.json'), read_json(exported / 'summary.json')
  for ours, theirs in zip(fields['exits'], summary['exits'], strict=True):
    assert ours['test_accuracy'] == pytest.approx(theirs['accuracy'])
    assert ours['macs'] == theirs['macs']
  # The segments with all heads are what an image costs that leaves nowhere early.
  assert sum(one['segment_macs'] for one in fields['exits']) == summary['exits'][-1]['dynamic_macs']


def test_bundle_says_what_it_is(exported):
  fields = read_json(exported / 'bundle/bundle.json')
  assert list(fields['policies']) == ['accurate', 'balanced', 'fast']
  assert fields['default_policy'] == 'balanced'
  assert fields['precision'] == 'float32'
  assert fields['check']['largest_difference'] < fields['check']['tolerance']
  assert set(fields['files']) == {
    'README.md',
    'segments.png',
    'early_exit.py',
    *(exit_['file'] for exit_ in fields['exits']),
  }
  text = (exported / 'bundle/README.md').read_text()
  assert all(name in text for name in ('accurate', 'balanced', 'fast', 'segment_1.onnx'))


@pytest.fixture
def copied(exported, tmp_path):
  """A copy of the run with its bundle."""
  return shutil.copytree(exported, tmp_path / 'copy')


def test_quantised_bundles_lie_beside_the_other(copied):
  sizes = {}
  for precision in ('int8', 'float16'):
    fields = export(copied, with_export(copied, quantise=precision), console=QUIET)
    assert fields['precision'] == precision
    loss = [one['checkpoint_test_accuracy'] - one['test_accuracy'] for one in fields['exits']]
    assert max(loss) < 0.2  # of 80 images that a tiny network is unsure of
    sizes[precision] = _bytes(copied / f'bundle-{precision}')
    images = np.zeros((3, *fields['image_shape']), np.uint8)
    assert Network(copied / f'bundle-{precision}')(images).classes.shape == (3,)
  assert sizes['float16'] < _bytes(copied / 'bundle')
  assert (copied / 'bundle/bundle.json').exists()


def _bytes(folder):
  return sum(path.stat().st_size for path in folder.glob('*.onnx'))


def test_own_points(copied):
  fields = export(copied, with_export(copied, points='tiny=1 , half=0.5'), console=QUIET)
  assert list(fields['policies']) == ['tiny', 'half']
  assert fields['default_policy'] == 'tiny'


def test_failed_export_leaves_the_earlier_bundle(copied, monkeypatch):
  before = {path: path.read_bytes() for path in (copied / 'bundle').iterdir()}
  with pytest.raises(UserError, match=r'export\.points, tiny: no operating point meets'):
    export(copied, with_export(copied, points='tiny=1 MACs'), console=QUIET)
  monkeypatch.setattr(check, 'TOLERANCE', 0.0)
  with pytest.raises(RunError, match=r'differ from the network.*no bundle is written'):
    export(copied, console=QUIET)
  assert {path: path.read_bytes() for path in (copied / 'bundle').iterdir()} == before
  assert not [path for path in copied.iterdir() if re.match(r'\.outcome', path.name)]


def test_missing_packages_are_named(monkeypatch):
  from mecl_jax.deploy import installed

  monkeypatch.setattr(installed, 'PACKAGES', ('jax', 'no_such_package'))
  with pytest.raises(UserError, match=r"needs no_such_package; pip install -e '\.\[export\]'"):
    installed.check_installed()
