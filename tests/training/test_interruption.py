import signal

import pytest

from mecl_jax.training.interruption import Interrupted, Interruption


def test_unhandled_signal_is_passed_on():
  with Interruption() as whole:
    whole.wait_for_safe_points()
    with Interruption() as part:
      part.wait_for_safe_points()
      signal.raise_signal(signal.SIGTERM)
    assert part.signal == signal.SIGTERM
    with pytest.raises(Interrupted):
      whole.check()


def test_handled_signal_stays_in_the_part():
  with Interruption() as whole:
    whole.wait_for_safe_points()
    with pytest.raises(Interrupted), Interruption() as part:
      part.wait_for_safe_points()
      signal.raise_signal(signal.SIGTERM)
      part.check()
    whole.check()


@pytest.mark.parametrize(('number', 'exit_code'), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_exit_code_follows_from_the_signal(number, exit_code):
  with pytest.raises(Interrupted, match=number.name) as stop, Interruption():
    signal.raise_signal(number)
  assert stop.value.exit_code == exit_code
