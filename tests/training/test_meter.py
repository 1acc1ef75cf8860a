import types

import numpy as np
import pytest

from mecl_jax.curriculum import Curriculum, pacing
from mecl_jax.training import meter


def make(steps, learning_rate=1.0, head_rates=None):
  """Returns the meter of a phase with intervals of 10 steps, and the list of what it writes."""
  plan = types.SimpleNamespace(
    phase=types.SimpleNamespace(name='heads', exits=('a',)),
    **{'log_every': 10, 'before': 0, 'learning_rates': np.ones(steps), 'head_rates': head_rates},
    settings=types.SimpleNamespace(learning_rate=learning_rate),
  )
  run, written = types.SimpleNamespace(), []
  run.config = types.SimpleNamespace(batch_size=4, task='classification')
  curriculum = Curriculum(np.arange(8), pacing.constant(), batch_size=4, seed=0)
  metrics = types.SimpleNamespace(write=written.append)
  return meter.Meter(run, plan, curriculum, metrics), written


def of_steps(steps):
  """Returns metrics of steps, whose loss is the number of the step."""
  loss = np.array(steps, float)
  return loss, loss[:, None], np.ones((len(loss), 1)), np.ones(len(loss), bool)


def test_speed_is_of_whole_logging_intervals(monkeypatch):
  """A report waits for the device; the speed of the few steps after it would be too high."""
  clock = [0.0]
  monkeypatch.setattr(meter.time, 'monotonic', lambda: clock[0])
  measured, written = make(25)
  for stop, now in ((5, 2.0), (10, 4.0), (15, 5.0), (20, 6.0), (25, 6.1)):
    steps = range(stop - 5, stop)
    measured.add(steps, of_steps(steps))
    clock[0] = now
    if stop in (5, 10, 20, 25):
      measured.report(last=stop == 25)
  assert [row['images_per_second'] for row in written] == [10 * 4 / 4, 10 * 4 / 2, 20.0]


def records(first, last, stops):
  """Returns step and loss of the records of steps `first` to `last`, with a report at `stops`."""
  measured, written = make(last)
  for step in range(first, last):
    if measured.due:
      measured.report()
    steps = range(step, step + 1)
    measured.add(steps, of_steps(steps))
    if step + 1 in stops:  # a validation or a checkpoint
      measured.report()
  measured.report(last=True)
  return [(row['step'], row['loss']) for row in written]


def test_checkpoint_and_validation_write_no_record_of_few_steps():
  """The loss of step k is k; a mean of one batch alone would be a spike in the curves."""
  found = records(0, 40, stops=(11, 21, 22, 39))
  assert found == [(10, 4.5), (20, 14.5), (30, 24.5), (40, 34.5)]


def test_last_record_of_a_phase_is_the_mean_of_an_interval():
  assert records(0, 31, stops=(30,)) == [(10, 4.5), (20, 14.5), (30, 24.5), (31, 25.5)]
  assert records(0, 3, stops=()) == [(3, 1.0)]


def test_record_after_a_resume_is_of_half_an_interval_at_least():
  assert records(9, 20, stops=()) == [(20, 14.0)]  # step 9 is part of it
  assert records(4, 20, stops=()) == [(10, 6.5), (20, 14.5)]


@pytest.mark.parametrize(
  ('learning_rate', 'head_rates', 'expected'),
  [(1.0, None, 1.0), (1.0, (3.0, 2.0), 1.0), ('auto', (0.3, 0.1), 0.3), ((0.5, 2.0), (0.5, 2), 2)],
)
def test_records_have_the_highest_rate_of_heads(learning_rate, head_rates, expected):
  measured, written = make(10, learning_rate, None if head_rates is None else np.array(head_rates))
  measured.add(range(10), of_steps(range(10)))
  measured.report(last=True)
  assert written[0]['learning_rate'] == pytest.approx(expected)
