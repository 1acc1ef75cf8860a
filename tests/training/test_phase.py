import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.evaluation import load_predictions, predict
from mecl_jax.training import phase
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.run import set_up_run
from mecl_jax.training.sources import phase_source

pytestmark = pytest.mark.stacks


@pytest.mark.parametrize(
  ('steps', 'on_cpu', 'wanted', 'at_once'),
  [(300, False, 0, 15), (1056, False, 0, 16), (13, False, 0, 13), (1009, False, 0, 16),
   (300, True, 0, 1), (300, False, 7, 7)],
)  # fmt: skip
def test_calls_to_an_accelerator_have_one_shape(steps, on_cpu, wanted, at_once, monkeypatch):
  monkeypatch.setattr(phase.devices, 'on_cpu', lambda: on_cpu)
  c = config.default()
  c.steps_per_dispatch = wanted
  assert phase.steps_per_dispatch(c, steps) == at_once


def opened(c, workdir):
  """Returns a joint run without a teacher, and the steps of its phase."""
  c.update_from_flattened_dict({'strategy': 'joint', 'curriculum.order': 'random'})
  with Interruption() as interruption:
    run = set_up_run(resolve(c), workdir, Console(quiet=True), interruption)
  (plan,) = run.plans
  steps = PhaseSteps(run, plan, *make_curriculum(run, plan, None), phase_source(run, plan))
  return run, steps


def test_steps_alone_train_what_the_program_trains(toy_config, ended, tmp_path):
  """Studies take the steps of a phase without the program's loop, bit for bit the same."""
  run, steps = opened(toy_config, tmp_path)
  assert [taken.stop for taken, _ in steps.take()] == list(range(1, 13))
  steps.update_model()
  whole = ended(**{'strategy': 'joint', 'curriculum.order': 'random'})
  saved = load_predictions(whole / 'predictions.npz')['test_logits']
  assert np.array_equal(predict(run.model, run.dataset.test.images, mesh=run.mesh), saved)


def test_one_compilation_serves_runs_of_one_form(toy_config, tmp_path):
  """Seed, pacing, learning rate and duration are no part of the compiled step."""
  used = []
  for seed, rate, duration in ((0, 0.1, '2 steps'), (1, 0.01, '3 steps')):
    toy_config.seed, toy_config.phases.joint.learning_rate = seed, rate
    toy_config.phases.joint.duration = duration
    toy_config.curriculum.start = 0.5 + seed / 4
    _, steps = opened(toy_config, tmp_path)
    before = steps._step._cache_size()
    assert len(list(steps.take())) == 2 + seed
    used.append(steps._step)
  assert used[0] is used[1] and used[1]._cache_size() == before
  toy_config.phases.joint.optimizer = 'adam'
  assert opened(toy_config, tmp_path)[1]._step is not used[0]
