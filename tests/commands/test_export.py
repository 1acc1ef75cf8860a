"""The commands `export` and `offload`, which needs a bundle, on a run of a tiny network."""

import csv
import re
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.session import restored_run
from mecl_jax.errors import RunError, UserError
from mecl_jax.files import read_json, write_checked_json
from tests.commands.report_of_run import with_export

pytest.importorskip('jax2onnx', reason='the extra export is not installed')

from mecl_jax.commands import offload as commands_offload
from mecl_jax.commands.export import export
from mecl_jax.commands.offload import offload
from mecl_jax.deploy import check
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.evaluation import predict

QUIET = Console(quiet=True)
FOLDERS = ('bundle', 'bundle-float16')


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


@pytest.mark.slow
def test_bottlenecks_are_trained_once_and_compared(copied, monkeypatch):
  pytest.importorskip('uvicorn', reason='the extra serve is not installed')
  from mecl_jax.deploy import bottleneck, loopback

  settings = {'bottlenecks': (2,), 'bottleneck_duration': '3 steps'}
  fields = export(copied, with_export(copied, **settings), console=QUIET)
  (first,), (second,), last = (each['bottlenecks'] for each in fields['exits'])
  assert not last and {first['encoder'], second['decoder']} <= set(fields['files'])
  sizes = [2 * np.prod(each['features'][0]['shape'][1:]) / 4 for each in fields['exits'][:2]]
  assert [first['bytes'], second['bytes']] == sizes
  assert [len(each['test_accuracy']) for each in (first, second)] == [2, 1]
  monkeypatch.setattr(bottleneck, 'train', None)  # of another precision they are the same
  export(copied, with_export(copied, quantise='float16', **settings), console=QUIET)
  (again,) = read_json(copied / 'bundle-float16/bundle.json')['exits'][0]['bottlenecks']
  same = [(copied / folder / again['encoder']).read_bytes() for folder in FOLDERS]
  assert same[0] == same[1]

  monkeypatch.setattr(commands_offload, 'MEASURED_SECONDS', 0.1)
  monkeypatch.setattr(loopback, 'WARM_UP', 1)
  found = offload(copied, with_offload(copied, images=40, real_images=4), console=QUIET)
  of_codes = {each['after']: each for each in found['sizes'] if each['send_as'] == 'bottleneck2'}
  assert [each['bytes'] for each in of_codes.values()] == sizes
  assert all(each['encoding_ms'] > 0 and each['decoding_ms'] > 0 for each in of_codes.values())
  row = next(each for each in found['real'] if each['policy'] == 'bottleneck split')
  assert row['same_class'] == row['same_side'] == 1


def test_bottlenecks_with_too_many_channels_are_an_error(copied):
  with pytest.raises(UserError, match=r'export\.bottlenecks has 9000, but no exit has features'):
    export(copied, with_export(copied, bottlenecks=(2, 9000)), console=QUIET)


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


def with_offload(run, **fields):
  """Returns the configuration of a run, with fields of `offload`."""
  c = config.read(run / 'config.json')
  c.offload.update(fields)
  return c


def test_split_is_simulated_and_measured(copied, monkeypatch):
  pytest.importorskip('uvicorn', reason='the extra serve is not installed')
  from mecl_jax.deploy import loopback

  monkeypatch.setattr(commands_offload, 'MEASURED_SECONDS', 0.1)
  monkeypatch.setattr(loopback, 'WARM_UP', 1)
  monkeypatch.setattr(loopback, 'PAUSE_SECONDS', 0)
  settings = with_offload(copied, images=40, real_images=4, round_trip=5.0, send_as='int8')
  fields = offload(copied, settings, console=QUIET)
  assert read_json(copied / 'offload.json') == fields
  assert [row['chosen'] for row in fields['policies']].count(True) == 1
  kinds = [row['policy'] for row in fields['policies']]
  assert kinds[0] == 'device only' and kinds == [row['policy'] for row in fields['real']]
  of_server = fields['policies'][kinds.index('server only')]
  assert of_server['sent'] == 1 and of_server['mean_ms'] > 5
  assert fields['request_ms'] > 0 and min(fields['device_ms']) > 0
  for row in fields['real']:
    assert row['images'] == 4 and row['same_class'] == row['same_side'] == 1
    assert row['mean_ms_real'] > 0
  with (copied / 'offload/tables/policies.csv').open() as file:
    assert [row['policy'] for row in csv.DictReader(file)] == kinds
  page = (copied / 'offload/index.html').read_text()
  assert 'Two processes' in page and (copied / 'offload/offload.png').exists()


def test_split_can_be_simulated_alone(copied, monkeypatch):
  from mecl_jax.deploy import loopback

  monkeypatch.setattr(loopback, 'serving', None)
  monkeypatch.setattr(commands_offload, 'MEASURED_SECONDS', 0.1)
  settings = with_offload(copied, images=20, real_images=0, request_ms=2.0, target='bytes<=0')
  fields = offload(copied, settings, console=QUIET)
  assert fields['real'] == [] and fields['request_ms'] == 2
  assert {row['policy'] for row in fields['policies'] if row['bytes']} >= {'server only'}
  assert next(row for row in fields['policies'] if row['chosen'])['bytes'] == 0
  assert 'Two processes' not in (copied / 'offload/index.html').read_text()


def test_split_needs_the_bundle_of_the_checkpoint(copied):
  with pytest.raises(UserError, match=r'offload\.target is .fast.; write accuracy'):
    offload(copied, with_offload(copied, target='fast'), console=QUIET)
  fields = read_json(copied / 'bundle/bundle.json')
  fields['run']['steps'] += 1
  write_checked_json(copied / 'bundle/bundle.json', fields)
  with pytest.raises(UserError, match='bundle is not of the newest checkpoint; --mode=export'):
    offload(copied, console=QUIET)
  shutil.rmtree(copied / 'bundle')
  with pytest.raises(UserError, match=r'does not exist.*; --mode=export --workdir=.* writes'):
    offload(copied, console=QUIET)


def test_missing_packages_are_named(monkeypatch):
  from mecl_jax.deploy import installed

  monkeypatch.setattr(installed, 'PACKAGES', ('jax', 'no_such_package'))
  with pytest.raises(UserError, match=r"needs no_such_package; pip install -e '\.\[export\]'"):
    installed.check_installed()
