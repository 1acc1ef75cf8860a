import signal

import pytest

from mecl_jax.training.interruption import Interrupted, Interruption


def test_what_a_part_of_the_work_noted_and_did_not_obey_is_told_to_the_whole():
  with Interruption() as whole:
    whole.wait_for_safe_points()
    with Interruption() as part:
      part.wait_for_safe_points()
      signal.raise_signal(signal.SIGTERM)
    assert part.signal == signal.SIGTERM
    with pytest.raises(Interrupted):
      whole.check()


def test_what_was_obeyed_is_over():
  with Interruption() as whole:
    whole.wait_for_safe_points()
    with pytest.raises(Interrupted), Interruption() as part:
      part.wait_for_safe_points()
      signal.raise_signal(signal.SIGTERM)
      part.check()
    whole.check()
