import types

import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.curriculum import Curriculum, pacing
from mecl_jax.training import meter, phase


@pytest.mark.parametrize(
  ('steps', 'on_cpu', 'wanted', 'at_once'),
  [(300, False, 0, 15), (1056, False, 0, 16), (13, False, 0, 13), (1009, False, 0, 16),
   (300, True, 0, 1), (300, False, 7, 7)],
)  # fmt: skip
def test_calls_to_an_accelerator_have_one_shape_if_possible(
  steps, on_cpu, wanted, at_once, monkeypatch
):
  monkeypatch.setattr(phase.devices, 'on_cpu', lambda: on_cpu)
  c = config.default()
  c.steps_per_dispatch = wanted
  assert phase.steps_per_dispatch(c, steps) == at_once


def test_speed_is_that_of_whole_logging_intervals(monkeypatch):
  """A report waits for the device; the speed of the few steps after it would be too high."""
  clock, written = [0.0], []
  monkeypatch.setattr(meter.time, 'monotonic', lambda: clock[0])
  plan = types.SimpleNamespace(
    phase=types.SimpleNamespace(name='heads', exits=('a',)),
    **{'log_every': 10, 'before': 0, 'learning_rates': np.ones(25)},
  )
  run = types.SimpleNamespace(config=types.SimpleNamespace(batch_size=4))
  metrics = types.SimpleNamespace(write=written.append)
  curriculum = Curriculum(np.arange(8), pacing.constant(), batch_size=4, seed=0)
  measured = meter.Meter(run, plan, curriculum, metrics)
  for stop, now in ((5, 2.0), (10, 4.0), (15, 5.0), (20, 6.0), (25, 6.1)):
    steps = range(stop - 5, stop)
    measured.add(steps, (np.ones(5), np.ones((5, 1)), np.ones((5, 1)), np.ones(5, bool)))
    clock[0] = now
    if stop in (5, 10, 20, 25):
      measured.report()
  assert [row['images_per_second'] for row in written] == [5 * 4 / 2, 10 * 4 / 4, 10 * 4 / 2, 20.0]
