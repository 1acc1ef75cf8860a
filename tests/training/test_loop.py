import numpy as np
import pytest

from mecl_jax.evaluation import load_predictions
from tests.runs import run, stopped_at

pytestmark = pytest.mark.stacks


@pytest.mark.parametrize('method', [pytest.param('equilibrium', marks=pytest.mark.slow), 'cagrad'])
def test_gradients_are_shared_in_the_joint_phase_only(toy_config, tmp_path, method):
  c = toy_config
  c.strategy, c.curriculum.order = 'mixed', 'none'
  run(c, tmp_path / 'sum')
  run(c, tmp_path / method, gradients=method)
  sums, mine = (load_predictions(tmp_path / d / 'predictions.npz') for d in ('sum', method))
  assert not np.array_equal(sums['test_logits'], mine['test_logits'])
  assert np.isfinite(mine['test_logits']).all()


def test_stopped_joint_run_and_teacher_resume(toy_config, tmp_path):
  """With streamed data, several steps per call, distillation and weights of survivors."""
  c = toy_config
  c.strategy, c.data.placement, c.steps_per_dispatch = 'joint', 'host', 2
  c.distillation.weight, c.curriculum.sample_weights = 0.5, 'survivors'
  c.curriculum.per_exit, c.curriculum.exit_factors = 'scaled', (0.5, 1.0, 2.0)
  whole = run(c, tmp_path / 'whole')
  stopped = tmp_path / 'stopped'
  with stopped_at(3):  # of 6 calls
    run(c, stopped)
  assert (stopped / 'teacher/checkpoints/6').exists() and not (stopped / 'checkpoints/6').exists()
  with stopped_at(4):
    run(c, stopped)
  assert (stopped / 'teacher/summary.json').exists() and (stopped / 'checkpoints/8').exists()
  resumed = run(c, stopped)
  assert {**resumed, 'wall_seconds': 0} == {**whole, 'wall_seconds': 0}
  mine, other = (load_predictions(tmp_path / d / 'predictions.npz') for d in ('stopped', 'whole'))
  for name, values in other.items():
    assert np.array_equal(mine[name], values), name


@pytest.mark.slow
def test_stopped_run_with_state_of_its_methods_resumes(toy_config, tmp_path):
  """The state of the network that weights examples, of adapters and of the optimiser is kept."""
  c = toy_config
  c.strategy, c.exit_schedule, c.curriculum.order = 'joint', 'shallow_first', 'none'
  c.curriculum.sample_weights, c.curriculum.weight_rate = 'l2w_den', 0.01
  c.distillation.weight, c.distillation.feature_weight = 0.3, 0.1
  whole = run(c, tmp_path / 'whole')
  with stopped_at(5):
    run(c, tmp_path / 'stopped')
  resumed = run(c, tmp_path / 'stopped')
  assert {**resumed, 'wall_seconds': 0} == {**whole, 'wall_seconds': 0}
  plain = run(c, tmp_path / 'plain', **{'curriculum.sample_weights': 'none'})
  assert plain['exits'] != whole['exits']
  mine, other = (load_predictions(tmp_path / d / 'predictions.npz') for d in ('stopped', 'whole'))
  for name, values in other.items():
    assert np.array_equal(mine[name], values), name
