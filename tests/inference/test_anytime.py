"""Deadlines, by a clock that the segments move themselves."""

import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import predict
from mecl_jax.inference import Anytime, anytime
from tests.inference.networks import IMAGES, build

ONE = IMAGES[:1]
QUIET = [10.0, 20.0, 30.0]  # ms that segments take when nothing else runs


@pytest.fixture
def taking(monkeypatch):
  """Milliseconds that the segments take from now on, by a clock that nothing else moves."""
  now, times = [0.0], list(QUIET)

  def chain(images):
    for number, ms in enumerate(times):
      now[0] += ms / 1000
      yield jnp.full((1, 5), number)

  monkeypatch.setattr(anytime.time, 'perf_counter', lambda: now[0])
  monkeypatch.setattr(anytime, 'Chain', lambda segments, shape: chain)
  return times


def ready(**settings):
  """A network that compiled before its first deadline."""
  network = Anytime(build(), QUIET, **settings)
  network.compile(ONE.shape)
  return network


@pytest.mark.parametrize(
  ('deadline_ms', 'number', 'elapsed_ms', 'in_time'),
  [(5, 0, 10, False), (29, 0, 10, True), (31, 1, 30, True), (59, 1, 30, True), (61, 2, 60, True)],
)
def test_the_deepest_exit_that_there_is_time_for_answers(
  deadline_ms, number, elapsed_ms, in_time, taking
):
  answer = ready(margin=1).answer(ONE, deadline_ms)
  assert answer.exit == number and answer.in_time == in_time
  assert answer.elapsed_ms == pytest.approx(elapsed_ms)
  assert (answer.logits == number).all()


def test_a_first_call_that_compiles_is_late_and_says_so(taking):
  network = Anytime(build(), QUIET, margin=1)
  first = network.answer(ONE, 100)
  assert first.exit == 0 and not first.in_time
  assert first.elapsed_ms == pytest.approx(anytime.WARM_UP * sum(QUIET) + QUIET[0])
  assert network.slowdown == 1  # compiling is no segment
  assert network.answer(ONE, 100).exit == 2


def test_the_margin_is_kept_in_hand(taking):
  network = ready(margin=1.5)
  assert network.answer(ONE, 39).exit == 0
  assert network.answer(ONE, 41).exit == 1


def test_a_machine_that_slowed_down_is_expected_to_stay_slow_for_a_while(taking):
  network = ready(margin=1, forget=0.5)
  assert network.answer(ONE, 74).exit == 2 and network.slowdown == pytest.approx(1)
  taking[:] = [3 * ms for ms in QUIET]
  first = network.answer(ONE, 74)  # 30 ms are over, and the next 20 are expected to be 60
  assert first.exit == 0 and first.in_time and network.slowdown == pytest.approx(3)
  taking[:] = QUIET
  assert network.answer(ONE, 74).exit == 1 and network.slowdown == pytest.approx(1.5)
  assert network.answer(ONE, 74).exit == 2 and network.slowdown == pytest.approx(1.0625)


def test_without_a_slowdown_nothing_is_learnt(taking):
  network = ready(margin=1, forget=None)
  taking[:] = [3 * ms for ms in QUIET]
  late = network.answer(ONE, 65)
  assert late.exit == 1 and not late.in_time and network.slowdown == pytest.approx(1)


def test_a_faster_machine_is_no_reason_to_hope(taking):
  network = ready(margin=1)
  taking[:] = [1, 1, 1]
  network.answer(ONE, 1000)
  assert network.slowdown == 1


def test_the_answer_is_that_of_the_network():
  model = build()
  network = Anytime(model, [1.0, 1.0, 1.0])
  for deadline_ms, number in ((0, 0), (1e6, 2)):
    answer = network.answer(ONE, deadline_ms)
    assert answer.exit == number
    np.testing.assert_allclose(answer.logits, predict(model, ONE)[:, number], atol=2e-6)


@pytest.mark.parametrize('times', [[1.0, 1.0], [1.0, 0.0, 1.0], [1.0, float('nan'), 1.0]])
def test_times_that_were_never_measured_are_refused(times):
  with pytest.raises(UserError, match='measure them again'):
    Anytime(build(), times)
