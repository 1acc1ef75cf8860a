import io

import pytest
from rich.console import Console

from mecl_jax.training import log


@pytest.fixture
def clock(monkeypatch):
  """A list with the seconds that `time.monotonic` returns in log.py."""
  now = [0.0]
  monkeypatch.setattr(log.time, 'monotonic', lambda: now[0])
  return now


def test_plain_lines_show_the_time_left(clock):
  console = Console(file=io.StringIO(), width=120)
  with log.Bar(console, 'heads', total=100, done=20) as bar:
    for seconds, done in ((50, 21), (60, 31), (90, 41), (95, 42), (100, 100)):
      clock[0] = seconds
      bar.update(done, f'at {seconds}')
  assert console.file.getvalue().splitlines() == [
    'heads 21/100  at 50',  # its time was mostly that of compilation
    'heads 31/100  0:01:09 left  at 60',  # a step per second since then
    'heads 41/100  0:01:58 left  at 90',  # 2 seconds per step
    'heads 100/100  at 100',
    'heads 100/100  at 100',
  ]
