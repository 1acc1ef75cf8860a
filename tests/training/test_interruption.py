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
