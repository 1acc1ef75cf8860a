"""Workers, turns and ratios."""

import os
import pathlib
import time

import pytest

from benchmarks.turns import Worker, WorkerError, WorkerTimeout, ratio, spread, take_turns
from benchmarks.turns import workers_in_turns as in_turns


def test_ratio_is_taken_within_a_turn():
  assert ratio([2.0, 4.0, 9.0], [1.0, 8.0, 9.0]) == {'min': 0.5, 'median': 1.0, 'max': 2.0}
  assert spread([3.0, 1.0]) == {'min': 1.0, 'median': 2.0, 'max': 3.0}


def test_sides_alternate():
  calls = []
  sides = {name: lambda name=name: calls.append(name) or len(calls) for name in 'ab'}
  assert take_turns(sides, 2) == {'a': [1, 4], 'b': [2, 3]}
  assert calls == ['a', 'b', 'b', 'a']


def test_no_round_starts_after_its_end():
  measured = take_turns({'a': lambda: 1.0}, 5, until=time.monotonic() - 1)
  assert measured == {'a': [1.0]}


def test_worker_answers_in_order():
  with Worker() as worker:
    assert worker.call('benchmarks.turns:spread', values=[1, 2])['median'] == 1.5
    worker.start('benchmarks.turns:spread', values=[4])
    assert worker.wait(60)['max'] == 4


def test_printing_does_not_disturb_answers(tmp_path):
  with (tmp_path / 'log').open('w') as log, Worker(log=log) as worker:
    assert worker.call('builtins:print', end='{"value": 7}\n') is None
  assert (tmp_path / 'log').read_text() == '{"value": 7}\n'


def test_error_is_passed_on_and_worker_lives(tmp_path):
  with (tmp_path / 'log').open('w') as log, Worker(log=log) as worker:
    with pytest.raises(WorkerError, match="No module named 'nowhere'"):
      worker.call('nowhere:f')
    assert worker.call('benchmarks.turns:spread', values=[1])['min'] == 1


def test_worker_that_dies_is_an_error():
  with Worker() as worker, pytest.raises(WorkerError, match='ended with code 3'):
    worker.call('tests.benchmarks.calls:die')


def test_slow_call_ends_worker_and_its_children(tmp_path):
  mark = tmp_path / 'pid'
  with Worker() as worker, pytest.raises(WorkerTimeout):
    worker.call('benchmarks.turns:spread', values=[1])  # it has started
    worker.call('subprocess:run', 3, args=f'echo $$ > {mark}; sleep 60', shell=True)
  assert ended(mark.read_text().strip())


def ended(process, seconds=20):
  """Waits until a process is gone or a zombie."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    try:
      if pathlib.Path('/proc', process, 'stat').read_text().rpartition(')')[2].split()[0] == 'Z':
        return True
    except OSError:
      return True
    time.sleep(0.05)
  return False


def test_call_after_a_timeout_is_an_error():
  with Worker() as worker:
    with pytest.raises(WorkerTimeout):
      worker.call('tests.benchmarks.calls:work', 0.1, seconds=60)
    for _ in range(2):
      with pytest.raises(WorkerError, match='ended with code'):
        worker.start('benchmarks.turns:spread', values=[1])


def test_worker_ends_with_its_parent():
  worker = Worker()
  worker.call('benchmarks.turns:spread', values=[1])
  worker._process.stdin.close()
  assert worker._process.wait(30) == 0
  worker.close()


@pytest.mark.skipif(not os.path.exists('/proc/self/stat'), reason='needs /proc')
def test_busy_worker_is_seen_while_others_measure():
  with Worker() as idle, Worker() as busy:
    for worker in (idle, busy):
      worker.call('benchmarks.turns:spread', values=[1])

    def wait(worker):
      time.sleep(0.5)
      return 1.0

    calls = {'idle': (idle, wait), 'busy': (busy, wait)}
    assert in_turns(calls, 1)[1] < 0.2
    busy.start('tests.benchmarks.calls:work', seconds=9)
    assert in_turns(calls, 1)[1] > 0.05
