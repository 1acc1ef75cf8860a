import dataclasses
import functools
import io
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.data.augment import augment
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions, predict
from mecl_jax.training import copies, devices, feature_files, features, rates_file, sources
from mecl_jax.training.augmentation import Augmentation, Copy
from mecl_jax.training.batches import batch_maker, make_curriculum, make_layout
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.run import set_up_run
from tests.runs import QUIET, run, stopped_at

pytestmark = pytest.mark.stacks

CROP = {'crop': 1, 'flip': False, 'cutout': 3}
FILL = (7, 8, 9)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
ROWS = np.arange(32)
EXITS = ('stage1', 'stage2')


@pytest.fixture(autouse=True)
def always_written(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(features, 'WORTH', 0.0)


@pytest.fixture
def calls(monkeypatch):
  """Collects the copies whose features are computed."""
  made, compute = [], features.cached_features

  def counted(*args, copy, **settings):
    made.append(copy and copy.number)
    return compute(*args, copy=copy, **settings)

  monkeypatch.setattr(features, 'cached_features', counted)
  return made


def made(augmentation, number, images=IMAGES, rows=ROWS):
  return np.asarray(jax.jit(augmentation.of_copy)(images, rows, np.full(len(rows), number)))


def opened(c, workdir, **changes):
  """Returns a run with 3 copies, and the plan of its heads."""
  c.update_from_flattened_dict({'curriculum.order': 'none', 'augment.copies': 3, **changes})
  found = set_up_run(resolve(c), workdir, QUIET, Interruption())
  return found, found.plans[-1]


@functools.partial(jax.jit, static_argnames='exits')
def summarise(model, images, exits):
  return model.summarise(model.features(images, exits), exits)


def of_images(found, exits=EXITS, taught=False):
  """Returns what `features_of_copies` should return, from augmented images and the model."""
  model, train, augmentation = found.model, found.dataset.train, Augmentation.of(found)
  model.eval()
  for number in range(3):
    images = made(augmentation, number, train.images, np.arange(len(train)))
    yield summarise(model, images, exits), predict(model, images)[:, -1]


def trained(own, plan, source):
  """Returns the parameters of heads after their phase."""
  phase = PhaseSteps(own, plan, *make_curriculum(own, plan, None), source)
  list(phase.take())
  return jax.device_get(phase.state.params)


def close(one, other):
  np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_copy_is_the_augmentation_of_a_key():
  augmentation = Augmentation(**CROP, fill=FILL)
  alone = jax.jit(functools.partial(augment, **CROP))
  first, second = made(augmentation, 0), made(augmentation, 1)
  for row in (0, 9, 31):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), 1)
    image = IMAGES[row : row + 1]
    assert np.array_equal(second[row], alone(key, image, fill=jnp.array(FILL))[0])
  equal = (first == second).all(axis=(1, 2, 3))
  assert equal.mean() < 0.1, 'copies differ'


def test_copy_does_not_depend_on_the_batch():
  augmentation = Augmentation(**CROP, fill=FILL)
  some = np.array([30, 4, 11])
  assert np.array_equal(made(augmentation, 2)[some], made(augmentation, 2, IMAGES[some], some))


def test_flips_of_copies_alternate():
  none = {'crop': 0, 'cutout': 0, 'fill': FILL}
  first, second, third = (
    made(Augmentation(**none, flip=True, alternates=True), number) for number in range(3)
  )
  assert np.array_equal(second, first[:, :, ::-1]) and np.array_equal(third, first)
  mirrored = [np.array_equal(one, two[:, ::-1]) for one, two in zip(first, IMAGES, strict=True)]
  assert 5 < sum(mirrored) < 27
  drawn = [made(Augmentation(**none, flip=True), number) for number in range(2)]
  same = [np.array_equal(one, two) for one, two in zip(*drawn, strict=True)]
  assert 5 < sum(same) < 27


@pytest.mark.parametrize('head', ['linear', pytest.param('cascade_linear', marks=pytest.mark.slow)])
def test_features_are_those_of_augmented_images(toy_config, tmp_path, head, calls):
  found, _ = opened(toy_config, tmp_path, **{'model.head': head})
  for taught in (False, True):
    store = copies.features_of_copies(found, EXITS, taught=taught)
    assert set(store) == {'summaries', 'labels', *(['teacher'] if taught else [])}
    for number, (summaries, logits) in enumerate(of_images(found)):
      for got, expected in zip(store['summaries'], summaries, strict=True):
        close(got[number], expected)
      assert np.array_equal(store['labels'][number], found.dataset.train.labels)
      if taught:
        close(store['teacher'][number], logits)


def test_each_pass_uses_the_next_copy(toy_config, tmp_path):
  """A pass over 200 images is 10 steps."""
  found, plan = opened(toy_config, tmp_path)
  curriculum, easiness = make_curriculum(found, plan, None)
  make = batch_maker(found, plan, curriculum, easiness, streamed=False)
  steps = [make(range(step, step + 10)) for step in (0, 10, 0)]
  assert [np.unique(batches.copy).tolist() for batches in steps] == [[0], [1], [0]]
  assert steps[0].copy.shape == steps[0].ids.shape and steps[0].copy.dtype == np.int32
  assert [curriculum.passes([step])[0, 0] % 3 for step in (20, 30, 40)] == [2, 0, 1]


def test_other_phases_and_runs_have_no_copies(toy_config, tmp_path):
  found, heads = opened(toy_config, tmp_path)
  backbone = found.plans[0]
  for own, plan in ((found, backbone), opened(toy_config, tmp_path, **{'augment.copies': 0})):
    make = batch_maker(own, plan, *make_curriculum(own, plan, None), streamed=False)
    assert make(range(2)).copy is None
    assert make_layout(own, plan, streamed=False).copy is None
  assert make_layout(found, heads, streamed=False).copy is not None


def test_zero_copies_train_as_the_features_alone(toy_config, tmp_path):
  """Without copies the augmentation changes nothing for the heads."""
  results = []
  for crop in (0, 1):
    own, plan = opened(toy_config, tmp_path, **{'augment.copies': 0, 'augment.crop': crop})
    results.append(trained(own, plan, sources.phase_source(own, plan)))
  jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.parametrize('distilled', [0.0, 0.5])
def test_copies_that_do_not_fit_are_made_in_every_step(
  toy_config, tmp_path, monkeypatch, distilled
):
  """The heads are the same, with images on the device or streamed."""
  changes = {'distillation.weight': distilled, 'phases.heads.duration': '35 steps'}
  own, plan = opened(toy_config, tmp_path, **changes)
  source = sources.phase_source(own, plan)
  assert source['summaries'][0].shape[:2] == source['labels'].shape == (3, 200)
  cached = trained(own, plan, source)
  monkeypatch.setattr(devices, 'memory_budget', lambda: 0)
  for placement in ('auto', 'device'):
    own, plan = opened(toy_config, tmp_path, **{'data.placement': placement})
    source = sources.phase_source(own, plan)
    assert (source is None) == (placement == 'auto')
    jax.tree.map(close, cached, trained(own, plan, source))


def test_console_has_size_and_reason(toy_config, tmp_path, monkeypatch):
  found, plan = opened(toy_config, tmp_path)
  shown = io.StringIO()
  own = dataclasses.replace(found, console=Console(file=shown, width=200))
  sources.phase_source(own, plan)
  assert re.search(r'^features 600/600  0\.\d MB  \d+\.\d s$', shown.getvalue(), re.MULTILINE)
  monkeypatch.setattr(devices, 'memory_budget', lambda: 0)
  sources.phase_source(own, plan)
  assert 'features of 3 copies of every image do not fit into memory' in shown.getvalue()


def test_memory_counts_all_copies(toy_config, tmp_path, monkeypatch):
  found, _ = opened(toy_config, tmp_path)
  store = copies.features_of_copies(found, EXITS, taught=False)
  size = sum(array.nbytes for array in store['summaries'])
  for budget, fits in ((size, True), (size - 1, False)):
    monkeypatch.setattr(devices, 'memory_budget', lambda budget=budget: budget)
    for gigabytes in (8.0, 0.0):  # from files, and computed
      found.config.unlock()
      found.config.feature_files_gb = gigabytes
      assert (copies.features_of_copies(found, EXITS, taught=False) is not None) == fits


def test_files_of_copies_are_shared(toy_config, tmp_path, calls):
  found, _ = opened(toy_config, tmp_path)
  first = copies.features_of_copies(found, EXITS, taught=True)
  assert calls == [0, 1, 2]
  again = copies.features_of_copies(found, EXITS, taught=True)
  more, _ = opened(toy_config, tmp_path, **{'augment.copies': 4, 'batch_size': 40})
  copies.features_of_copies(more, EXITS, taught=True)
  assert calls == [0, 1, 2, 3], 'only one copy is new'
  jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize(
  'other', [{'augment.crop': 2}, {'augment.flip': True}, {'augment.cutout': 2}, {'seed': 1}]
)
def test_other_augmentation_or_weights_have_other_files(toy_config, tmp_path, calls, other):
  for changes in ({}, other):
    found, _ = opened(toy_config, tmp_path, **changes)
    copies.features_of_copies(found, EXITS, taught=False)
  assert calls == [0, 1, 2] * 2


def test_damaged_file_of_a_copy_is_made_anew(toy_config, tmp_path, calls, caplog):
  found, _ = opened(toy_config, tmp_path)
  first = copies.features_of_copies(found, EXITS, taught=False)
  path = feature_files.path_of(found, found.dataset.train, 'stage2')
  path = feature_files.of_copy(path, Copy(Augmentation.of(found), 1, 3))
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with caplog.at_level(logging.WARNING):
    again = copies.features_of_copies(found, EXITS, taught=False)
  assert calls == [0, 1, 2, 1] and 'features are computed again' in caplog.text
  jax.tree.map(np.testing.assert_array_equal, first, again)
  copies.features_of_copies(found, EXITS, taught=False)
  assert len(calls) == 4


def test_copies_without_room_together_write_no_file(toy_config, tmp_path, calls):
  found, _ = opened(toy_config, tmp_path)
  size = sum(x.nbytes for x in copies.features_of_copies(found, EXITS, taught=False)['summaries'])
  calls.clear()
  for share in (0.9, 2.0):
    changes = {'feature_files_gb': share * size / 1e9, 'augment.crop': 2}
    for _ in range(2):
      found, _ = opened(toy_config, tmp_path, **changes)
      copies.features_of_copies(found, EXITS, taught=False)
  assert calls == [0, 1, 2] * 3


@pytest.mark.slow
def test_run_resumes_with_the_same_copies(toy_config, ended, tmp_path):
  changes = {'model.pretrained': str(ended()), 'phases.backbone.duration': '0 steps'}
  changes |= {'augment.copies': 2, 'curriculum.order': 'none', 'phases.heads.duration': '24 steps'}
  run(toy_config, tmp_path / 'whole', **changes)
  with stopped_at(13):  # in the second pass
    run(toy_config, tmp_path / 'stopped')
  run(toy_config, tmp_path / 'stopped')
  run(toy_config, tmp_path / 'none', **{'augment.copies': 0})
  whole, stopped, none = (
    load_predictions(tmp_path / name / 'predictions.npz')['test_logits']
    for name in ('whole', 'stopped', 'none')
  )
  assert np.array_equal(whole, stopped)
  assert not np.array_equal(whole, none), 'copies train other heads'


def test_rates_are_found_on_copies(toy_config, tmp_path):
  found, plan = opened(toy_config, tmp_path, **{'phases.heads.learning_rate': 'auto'})
  source = sources.phase_source(found, plan)
  rated = rates_file.with_rates(found, plan, None, source, begun=False)
  assert set(rated.head_rates) <= set(np.float32(plan.settings.candidate_rates))
  with pytest.raises(UserError, match=r'choose fewer augment\.copies, other exits or heads'):
    rates_file.with_rates(*opened(toy_config, tmp_path / 'other'), None, None, begun=False)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'strategy': 'joint'}, 'copies=2 has no effect with strategy=joint: .* frozen backbone'),
    ({'cache_features': False}, 'no effect with cache_features=False'),
    ({'augment.crop': 0, 'augment.flip': False}, 'no effect without augmentation: set augment'),
    ({'augment.copies': -1}, r'augment\.copies is -1'),
  ],
)
def test_copies_without_effect_are_rejected(fields, message):
  c = config.default()
  c.update_from_flattened_dict({'augment.copies': 2, **fields})
  with pytest.raises(UserError, match=message):
    resolve(c)
