import types

import numpy as np

from mecl_jax.curriculum import Curriculum, pacing
from mecl_jax.training import meter


def test_speed_is_of_whole_logging_intervals(monkeypatch):
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
