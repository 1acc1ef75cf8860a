import dataclasses

from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.errors import MissingFile, RunError, UserError
from mecl_jax.files import read_json
from mecl_jax.training import rates, rates_file
from mecl_jax.training.features import features_of
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.plan import make_plan
from mecl_jax.training.rates import Rung, compressed
from mecl_jax.training.run import set_up_run
from tests.runs import QUIET, run

EXITS = ('stage1', 'stage2')
# At a rate of 1e30, weight decay makes the parameters infinite.
DECAYED = {'phases.heads.optimizer': 'sgd', 'phases.heads.weight_decay': 0.01}


def set_up(c, workdir, **changes):
  """Returns a run whose heads have rates to be found, their plan, and their features."""
  c.curriculum.order, c.phases.heads.learning_rate = 'none', 'auto'
  c.update_from_flattened_dict(changes)
  found = set_up_run(resolve(c), workdir, QUIET, Interruption())
  train, validation = (
    features_of(found, split, EXITS) for split in (found.dataset.train, found.dataset.validation)
  )
  return found, found.plans[-1], train, validation


@pytest.fixture
def short_rungs(monkeypatch):
  monkeypatch.setattr(rates, 'LEAST_STEPS', 1)


def values(model):
  return jax.tree.map(np.array, jax.device_get(nnx.to_pure_dict(nnx.state(model, nnx.Param))))


@pytest.mark.stacks
@pytest.mark.parametrize('head', ['linear', pytest.param('conv', marks=pytest.mark.slow)])
def test_candidates_at_once_train_as_one_by_one(toy_config, tmp_path, head):
  c = toy_config
  own, plan, source, _ = set_up(c, tmp_path, **{'model.head': head, 'model.head_width': 4})
  tried = np.array([[0.001, 0.3], [0.1, 0.01], [0.02, 0.02]])
  curriculum = rates.make_curriculum(own, plan, None)
  before, trained = values(own.model), []
  initial = jax.tree.map(np.array, jax.device_get(nnx.state(own.model)))
  for train in (rates._at_once, rates._one_by_one):
    nnx.update(own.model, initial)
    each = []
    for _ in train(own, plan, curriculum, source, tried, lambda done: None):
      each.append(values(own.model))
      nnx.update(own.model, initial)
    trained.append(each)
  assert len(trained[0]) == 3
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *trained)
  assert not np.allclose(trained[0][0]['heads']['stage1']['linear']['kernel'],
                         trained[0][1]['heads']['stage1']['linear']['kernel'])  # fmt: skip
  same = jax.tree.map(np.array_equal, before['backbone'], trained[0][2]['backbone'])
  assert all(jax.tree.leaves(same))


def test_search_takes_the_rate_that_learns(toy_config, tmp_path, short_rungs):
  """A rate too low to learn, and one at which parameters become infinite, lose at every exit."""
  own, plan, source, validation = set_up(
    toy_config, tmp_path, **DECAYED | {'phases.heads.candidate_rates': (1e-8, 0.5, 1e30)}
  )
  before = values(own.model)
  first, *rest = rates.search(own, plan, None, source, validation)
  assert [rung.steps for rung in (first, *rest)] == [1, 3, 12]
  assert np.shape(first.accuracy) == (3, 2)
  assert rest[-1].best(1).tolist() == [[0.5, 0.5]]
  assert rest[0].accuracy[2] == [rates.FAILED] * 2
  jax.tree.map(np.testing.assert_array_equal, before, values(own.model))
  again = list(rates.search(own, plan, None, source, validation, rungs=[first]))
  assert [rung.accuracy for rung in again] == [rung.accuracy for rung in rest]


def test_short_rungs_train_at_higher_rates(toy_config, tmp_path, short_rungs, monkeypatch):
  own, plan, source, validation = set_up(
    toy_config, tmp_path, **{'phases.heads.candidate_rates': (0.01, 0.1)}
  )
  tried, at_once = [], rates._at_once

  def noting(run, plan, curriculum, source, rows, on_step):
    tried.append((plan.steps, sorted(set(rows.ravel().tolist()))))
    return at_once(run, plan, curriculum, source, rows, on_step)

  monkeypatch.setattr(rates, '_at_once', noting)
  rungs = list(rates.search(own, plan, None, source, validation))
  assert [steps for steps, _ in tried] == [1, 3, 12]
  for (steps, used), rung in zip(tried, rungs, strict=True):
    expected = sorted({rate * (12 / steps) for row in rung.rates for rate in row})
    np.testing.assert_allclose(used, expected)


def test_search_of_a_short_phase_is_one_rung(toy_config, tmp_path):
  own, plan, _, _ = set_up(toy_config, tmp_path)
  assert rates.steps_of_rungs(own, plan) == [12]
  for steps, expected in ((120, [50, 120]), (1000, [63, 250, 1000])):
    assert rates.steps_of_rungs(own, dataclasses.replace(plan, steps=steps)) == expected


def test_search_without_a_finite_rate_fails(toy_config, tmp_path):
  fields = DECAYED | {'phases.heads.candidate_rates': (1e29, 1e30)}
  own, plan, source, validation = set_up(toy_config, tmp_path, **fields)
  with pytest.raises(RunError, match=r'loss of exit stage1 .* phases\.heads\.candidate_rates'):
    list(rates.search(own, plan, None, source, validation))


def test_every_exit_keeps_its_own_best():
  rung = Rung(5, [[1, 1], [2, 2], [3, 3]], [[0.1, 0.9], [0.3, 0.9], [0.2, 0.1]], 0.0)
  assert rung.best(2).tolist() == [[2, 1], [3, 2]]
  assert rung.best(1).tolist() == [[2, 1]]


def with_lookahead(plan):
  settings = plan.settings.copy_and_resolve_references()
  settings.lookahead = 4
  return settings


def test_compressed_plan_has_the_same_schedules():
  c = config.default()
  c.curriculum.pacing, c.curriculum.start, c.curriculum.full_after = 'linear', 0.2, '50%'
  c.phases.heads.duration = '100 steps'
  plan = make_plan(resolve(c), (*EXITS, 'final'), [EXITS[:1]] * 3, 2000, num_classes=10)[1]
  short = compressed(plan, 25)
  assert short.steps == len(short.learning_rates) == 25
  np.testing.assert_array_equal(short.learning_rates, plan.learning_rates[::4])
  assert short.slow_shares is None
  pulled = compressed(dataclasses.replace(plan, settings=with_lookahead(plan)), 25)
  np.testing.assert_array_equal(np.flatnonzero(pulled.slow_shares >= 0), [3, 7, 11, 15, 19, 23, 24])
  assert [short.pacing(step) for step in range(25)] == [plan.pacing(4 * s) for s in range(25)]


@pytest.mark.stacks
def test_run_finds_rates_and_goes_on_after_a_rung(toy_config, tmp_path, short_rungs, monkeypatch):
  c = toy_config
  c.phases.heads.learning_rate, c.curriculum.order = 'auto', 'none'
  whole = run(c, tmp_path / 'whole')
  found = whole['learning_rates']['heads']
  assert tuple(found['rates']) == EXITS and set(found['rates'].values()) <= set(
    c.phases.heads.candidate_rates
  )
  assert found['examples'] == (8 * 1 + 5 * 3 + 2 * 12) * 20
  fields = read_json(tmp_path / 'whole/rates.json')
  search = rates.search

  def stopping(*args, rungs=(), **settings):
    yield next(search(*args, rungs=rungs, **settings))
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(rates, 'search', stopping)
    run(c, tmp_path / 'stopped')
  assert len(read_json(tmp_path / 'stopped/rates.json')['heads']['rungs']) == 1
  resumed = run(c, tmp_path / 'stopped')
  assert resumed['exits'] == whole['exits']
  again = read_json(tmp_path / 'stopped/rates.json')
  for ours, theirs in zip(again['heads']['rungs'], fields['heads']['rungs'], strict=True):
    assert ours[:3] == theirs[:3]  # not the seconds


def test_rates_of_a_phase_that_has_begun_are_needed(toy_config, tmp_path):
  own, plan, source, _ = set_up(toy_config, tmp_path)
  with pytest.raises(MissingFile, match=r'rates\.json .*start it again in a new work directory'):
    rates_file.with_rates(own, plan, None, source, begun=True)
  fixed = dataclasses.replace(plan, settings=own.config.phases.joint)
  assert rates_file.with_rates(own, fixed, None, source, begun=True) is fixed


def test_features_that_do_not_fit_are_reported(toy_config, tmp_path):
  own, plan, _, _ = set_up(toy_config, tmp_path)
  with pytest.raises(UserError, match='learning_rate=auto needs features that fit into memory'):
    rates_file.with_rates(own, plan, None, None, begun=False)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'phases.backbone.learning_rate': 'auto'},
      'one number, since the phase trains the backbone too',
    ),
    ({'phases.backbone.learning_rate': (0.1, 0.2)}, r'factors .* in phases\.backbone\.head_rates'),
    ({'phases.heads.learning_rate': 'best'}, r"is 'best'; it must be above 0, .* or `auto`"),
    ({'phases.heads.learning_rate': (0.1, 0.0)}, 'must be above 0'),
    ({'phases.heads.learning_rate': (0.1,), 'phases.heads.head_rates': (2.0,)}, 'set only one of'),
    ({'phases.heads.learning_rate': 'auto', 'cache_features': False}, 'cache_features=True'),
    (
      {'phases.heads.learning_rate': 'auto', 'curriculum.sample_weights': 'survivors'},
      'independent exits: survivors weights depend on earlier exits',
    ),
    (
      {'phases.heads.learning_rate': 'auto', 'model.head': 'cascade_linear'},
      'independent exits: cascade_linear takes inputs from the exit before',
    ),
    ({'phases.heads.candidate_rates': (0.1, 0.1)}, 'each once'),
    ({'phases.heads.candidate_rates': (0.1, 1e35)}, 'at most 1e30'),
  ],
)
def test_rates_that_cannot_be_used_are_rejected(fields, message):
  c = config.default()
  c.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=message):
    resolve(c)


def test_rates_of_phases_without_use_are_not_checked():
  c = config.default()
  c.strategy, c.phases.heads.learning_rate, c.cache_features = 'joint', 'auto', False
  assert resolve(c).phases.heads.learning_rate == 'auto'


@pytest.mark.parametrize('given', [(0.5, 2.0), [0.5, 2]])
def test_rate_of_every_exit_may_be_given(given):
  c = config.default()
  c.curriculum.order, c.phases.heads.learning_rate = 'none', given
  plan = make_plan(resolve(c), (*EXITS, 'final'), [EXITS[:1]] * 3, 2000, num_classes=10)[1]
  assert plan.head_rates.tolist() == [0.5, 2.0]
  assert plan.learning_rates.max() == 1
