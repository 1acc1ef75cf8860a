import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mecl_jax.training import interruption
from mecl_jax.training.interruption import Interrupted, Interruption

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def usual():
  """Collects the signals that have their usual effect."""
  received = []
  previous = {n: signal.signal(n, lambda n, _: received.append(n)) for n in interruption.HANDLED}
  yield received
  for number, handler in previous.items():
    signal.signal(number, handler)


def test_part_stops_with_the_run_around_it(usual):
  with Interruption() as whole:
    whole.wait_for_safe_points()
    signal.raise_signal(signal.SIGTERM)
    with Interruption() as part:
      part.wait_for_safe_points()
      with pytest.raises(Interrupted):
        part.check()
    with pytest.raises(Interrupted):
      whole.check()
  assert not usual


def test_part_receives_a_signal_for_the_whole(usual):
  with Interruption() as whole:
    whole.wait_for_safe_points()
    with Interruption() as part:
      signal.raise_signal(signal.SIGTERM)
      assert part.signal == signal.SIGTERM
    assert whole.signal == signal.SIGTERM and not usual


@pytest.mark.parametrize(('number', 'exit_code'), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_exit_code_follows_from_the_signal(usual, number, exit_code):
  with pytest.raises(Interrupted, match=number.name) as stop, Interruption() as run:
    run.wait_for_safe_points()
    run.check()
    signal.raise_signal(number)
    run.check()
  assert stop.value.exit_code == exit_code


def test_signal_after_the_last_safe_point_has_its_usual_effect(usual):
  with Interruption() as run:
    run.wait_for_safe_points()
    signal.raise_signal(signal.SIGINT)
    assert not usual
  assert usual == [signal.SIGINT]


def test_signal_has_its_usual_effect_before_and_after(usual):
  with Interruption() as run:
    signal.raise_signal(signal.SIGINT)
    assert usual == [signal.SIGINT] and not run.signal
    run.wait_for_safe_points()
  signal.raise_signal(signal.SIGTERM)
  assert usual == [signal.SIGINT, signal.SIGTERM] and not run.signal


def test_second_signal_has_its_usual_effect(usual):
  with Interruption() as run:
    run.wait_for_safe_points()
    signal.raise_signal(signal.SIGINT)
    assert not usual
    signal.raise_signal(signal.SIGINT)
    assert usual == [signal.SIGINT]


def test_ctrl_c_raises_in_a_library_until_training_starts():
  # Tests that a shell starts in the background ignore SIGINT.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  with pytest.raises(KeyboardInterrupt), Interruption():
    signal.raise_signal(signal.SIGINT)
  signal.signal(signal.SIGINT, before)


# Python runs a handler also in a callback of the garbage collector, which drops its exception.
COLLECTING = 'gc.callbacks.append(lambda *_: time.sleep(0.01))\n  while True: gc.collect()'
# Python runs no handler during a call into C, as of XLA; this one ends after the test.
IN_C = 'hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)'


def start(script):
  return subprocess.Popen(
    [sys.executable, *script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )  # fmt: skip


def ended(process):
  try:
    _, errors = process.communicate(timeout=60)  # none of these programs ends in time by itself
  finally:
    process.kill()
  return process.returncode, errors


@pytest.mark.parametrize('work', [COLLECTING, IN_C], ids=['collecting', 'in_c'])
@pytest.mark.parametrize('number', interruption.HANDLED)
def test_signal_at_the_start_of_the_program_ends_it(tmp_path, work, number):
  config = tmp_path / 'slow.py'
  config.write_text(
    'import gc, hashlib, time\n'
    f'def get_config():\n  print("busy", flush=True)\n  time.sleep(0.1)\n  {work}\n'
  )
  process = start(['-m', 'mecl_jax.main', f'--config={config}', f'--workdir={tmp_path / "w"}'])
  assert process.stdout.readline() == 'busy\n'
  time.sleep(0.3)
  process.send_signal(number)
  line = f'stopped by {number.name}; run the same command again to resume\n'
  assert ended(process) == (128 + number, line)


# A program that stops 0.5 s (first signal) or never (second signal) after a request.
WAITING = """
import time
from mecl_jax.training import interruption
interruption.watch()
with interruption.Interruption() as run:
  run.wait_for_safe_points()
  print('busy', flush=True)
  end = time.monotonic() + 20
  while time.monotonic() < end and not (run.signal and {stops}):
    time.sleep(0.5)
  run.check()
"""


def test_two_signals_at_once_count_as_one():
  """GNU timeout sends SIGTERM to the process and to its group."""
  process = start(['-c', WAITING.format(stops=True)])
  assert process.stdout.readline() == 'busy\n'
  for _ in range(2):
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
  code, errors = ended(process)
  assert code == 1 and errors.splitlines()[-1].endswith('Interrupted: SIGTERM')


def test_later_second_signal_ends_the_program():
  process = start(['-c', WAITING.format(stops=False)])
  assert process.stdout.readline() == 'busy\n'
  process.send_signal(signal.SIGINT)
  time.sleep(interruption.ONE_SIGNAL_SECONDS + 0.5)
  process.send_signal(signal.SIGINT)
  code, errors = ended(process)
  assert code == 130
  assert errors == (
    'stopped at once by SIGINT; run the same command again to resume from the last checkpoint\n'
  )


def test_signal_after_the_last_safe_point_ends_the_program():
  script = WAITING.format(stops=True).replace('run.check()', 'pass\ntime.sleep(20)')
  process = start(['-c', script])
  assert process.stdout.readline() == 'busy\n'
  process.send_signal(signal.SIGINT)
  line = 'stopped by SIGINT; run the same command again to resume\n'
  assert ended(process) == (130, line)


def test_signal_of_a_forked_process_is_not_one_of_the_program():
  script = WAITING.format(stops=True).replace(
    "print('busy'",
    """
  import os, signal, time
  for _ in range(20):  # also in the moment in which a child still has the handlers of its parent
    child = os.fork()
    if not child:
      time.sleep(20)
      os._exit(0)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
  print('busy'""",
  )
  process = start(['-c', script])
  assert process.stdout.readline() == 'busy\n'
  process.send_signal(signal.SIGTERM)
  code, errors = ended(process)
  assert code == 1 and errors.splitlines()[-1].endswith('Interrupted: SIGTERM')
