import logging
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.data import Split
from mecl_jax.evaluation import load_predictions, predict
from mecl_jax.training import devices, feature_files, features
from tests.runs import run as train_run
from tests.training.test_step import IMAGES, LABELS, make_model

SPLIT = Split(IMAGES, LABELS, np.array([str(i) for i in range(32)]))
EXITS = ('stage1', 'stage2')


@pytest.fixture
def mesh():
  return devices.make_mesh(8)


@pytest.fixture(autouse=True)
def always_written(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(features, 'WORTH', 0.0)


@pytest.fixture
def calls(monkeypatch):
  """Counts how often features are computed."""
  made, compute = [], features.cached_features

  def counted(model, split, exits, *args, **settings):
    made.append(exits)
    return compute(model, split, exits, *args, **settings)

  monkeypatch.setattr(features, 'cached_features', counted)
  return made


def as_run(mesh, frozen=True, gigabytes=1.0, **changes):
  """Returns what `features_of` needs of a run."""
  c = config.default()
  c.model.frozen, c.feature_files_gb = frozen, gigabytes
  return types.SimpleNamespace(model=make_model(**changes), config=c, mesh=mesh)


def summaries(found):
  return [np.asarray(array, np.float32) for array in found['summaries']]


def test_cached_features_equal_the_features(mesh):
  """The last batch overlaps the one before it, since 20 does not divide 32."""
  model, exits = make_model(), ('stage1', 'stage2')
  model.eval()
  done = []
  cached = features.cached_features(model, SPLIT, exits, mesh, batch_size=20, on_batch=done.append)
  summaries = jax.jit(lambda m: m.summarise(m.features(IMAGES, exits), exits))(model)
  for got, expected in zip(cached['summaries'], summaries, strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
  assert np.array_equal(cached['labels'], LABELS) and done == [20, 32]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_second_run_reads_the_same_features(mesh, calls, dtype):
  first = features.features_of(as_run(mesh, dtype=dtype), SPLIT, EXITS)
  other = as_run(mesh, dtype=dtype, exits=('stage2',))  # one of the two exits
  again = features.features_of(other, SPLIT, ('stage2',))
  assert len(calls) == 1
  assert again['summaries'][0].dtype == jnp.dtype(dtype)
  np.testing.assert_array_equal(summaries(again)[0], summaries(first)[1])


def test_other_weights_images_and_exits_are_computed(mesh, calls):
  features.features_of(as_run(mesh), SPLIT, EXITS)
  features.features_of(as_run(mesh, seed=1), SPLIT, EXITS)
  features.features_of(as_run(mesh), Split(IMAGES[::-1], LABELS, SPLIT.ids), EXITS)
  features.features_of(as_run(mesh, head='msdnet'), SPLIT, EXITS)
  features.features_of(as_run(mesh), SPLIT, ('final',))
  assert len(calls) == 5
  features.features_of(as_run(mesh), Split(IMAGES, LABELS[::-1], SPLIT.ids), EXITS)
  assert len(calls) == 5  # labels change no feature


def test_damaged_file_is_computed_again(mesh, calls, caplog):
  first = features.features_of(as_run(mesh), SPLIT, EXITS)
  path = feature_files.path_of(as_run(mesh), SPLIT, 'stage1')
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with caplog.at_level(logging.WARNING):
    again = features.features_of(as_run(mesh), SPLIT, EXITS)
  assert len(calls) == 2 and 'features are computed again' in caplog.text
  for one, other in zip(summaries(first), summaries(again), strict=True):
    np.testing.assert_array_equal(one, other)
  features.features_of(as_run(mesh), SPLIT, EXITS)
  assert len(calls) == 2


def test_zero_gigabytes_keep_no_file(mesh, calls, tmp_path):
  for _ in range(2):
    features.features_of(as_run(mesh, gigabytes=0.0), SPLIT, EXITS)
  assert len(calls) == 2 and not (tmp_path / 'mecl_jax').exists()


def test_features_beyond_the_limit_are_not_written(mesh, calls):
  for _ in range(2):
    features.features_of(as_run(mesh, gigabytes=1e-7), SPLIT, EXITS)
  assert len(calls) == 2


def test_files_used_longest_ago_are_removed(tmp_path):
  array = np.zeros(1000, np.float32)
  paths = [tmp_path / f'{name}.npz' for name in 'abc']
  feature_files.write({paths[0]: array, paths[1]: array}, 100_000)
  os.utime(paths[1], (1, 1))
  feature_files.write({paths[2]: array}, 2 * paths[0].stat().st_size + 10)
  assert [path.exists() for path in paths] == [True, False, True]


def test_unwritable_folder_is_a_warning(mesh, tmp_path, monkeypatch, caplog):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert features.features_of(as_run(mesh), SPLIT, EXITS) is not None
  assert 'could not be stored' in caplog.text


@pytest.mark.parametrize('exits', [None, ('final',), ('stage2', 'stage1')])
@pytest.mark.parametrize('head', ['conv', 'cascade_linear'])
def test_predictions_from_features(mesh, calls, exits, head, monkeypatch):
  monkeypatch.setattr(features, '_AT_ONCE', 20)  # the last rows overlap
  run = as_run(mesh, head=head)
  found = features.predict_split(run, SPLIT, exits)
  np.testing.assert_allclose(found, predict(run.model, IMAGES, exits), rtol=1e-4, atol=1e-5)
  assert len(calls) == 1


def test_frozen_run_trains_heads_only(toy_config, ended, tmp_path):
  base = ended()
  toy_config.curriculum.order = 'none'
  changes = {'model.pretrained': str(base), 'model.frozen': True, 'seed': 1}
  for strategy in ('joint', 'classifier_wise'):
    workdir = tmp_path / strategy
    train_run(toy_config, workdir, strategy=strategy, **changes)
    old, new = (state_of(folder) for folder in (base, workdir))
    jax.tree.map(np.testing.assert_array_equal, old['backbone'], new['backbone'])
    kernels = [state['heads']['final']['linear']['kernel'] for state in (old, new)]
    assert not np.array_equal(*kernels)
    predictions = load_predictions(workdir / 'predictions.npz')
    assert np.isfinite(predictions['test_logits']).all()


def test_frozen_final_exit_teaches_with_its_present_logits(toy_config, ended, tmp_path):
  toy_config.curriculum.order = 'none'
  changes = {'model.pretrained': str(ended()), 'model.frozen': True, 'strategy': 'joint'}
  changes |= {'distillation.weight': 0.5, 'augment.crop': 0, 'augment.flip': False}
  logits = []
  for cached in (True, False):
    workdir = tmp_path / str(cached)
    train_run(toy_config, workdir, cache_features=cached, **changes)
    logits.append(load_predictions(workdir / 'predictions.npz')['test_logits'])
  np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-3)


def state_of(workdir):
  from mecl_jax.training.checkpoints import Checkpoints

  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    return checkpoints.arrays(devices.replicated(devices.make_mesh(8)))
