"""Deadlines, with a clock that only the segments advance."""

import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import predict
from mecl_jax.inference import Anytime, anytime
from tests.inference.networks import IMAGES, build

ONE = IMAGES[:1]
QUIET = [10.0, 20.0, 30.0]  # ms per segment on an idle machine


@pytest.fixture
def taking(monkeypatch):
  """Milliseconds that the segments take from now on; tests may change them."""
  now, times = [0.0], list(QUIET)

  def chain(images):
    for number, ms in enumerate(times):
      now[0] += ms / 1000
      yield jnp.full((1, 5), number)

  monkeypatch.setattr(anytime.time, 'perf_counter', lambda: now[0])
  monkeypatch.setattr(anytime, 'Chain', lambda segments, shape: chain)
  return times


def ready(**settings):
  """A network that is already compiled."""
  network = Anytime(build(), QUIET, **settings)
  network.compile(ONE.shape)
  return network


@pytest.mark.parametrize(
  ('deadline_ms', 'number', 'elapsed_ms', 'in_time'),
  [(5, 0, 10, False), (29, 0, 10, True), (31, 1, 30, True), (59, 1, 30, True), (61, 2, 60, True)],
)
def test_deepest_exit_with_enough_time_answers(deadline_ms, number, elapsed_ms, in_time, taking):
  answer = ready(margin=1).answer(ONE, deadline_ms)
  assert answer.exit == number and answer.in_time == in_time
  assert answer.elapsed_ms == pytest.approx(elapsed_ms)
  assert (answer.logits == number).all()


def test_first_call_that_compiles_is_late(taking):
  network = Anytime(build(), QUIET, margin=1)
  first = network.answer(ONE, 100)
  assert first.exit == 0 and not first.in_time
  assert first.elapsed_ms == pytest.approx(anytime.WARM_UP * sum(QUIET) + QUIET[0])
  assert network.slowdown == 1  # compiling does not count
  assert network.answer(ONE, 100).exit == 2


def test_margin_multiplies_expected_times(taking):
  network = ready(margin=1.5)
  assert network.answer(ONE, 39).exit == 0
  assert network.answer(ONE, 41).exit == 1


def test_slowdown_falls_gradually(taking):
  network = ready(margin=1, forget=0.5)
  assert network.answer(ONE, 74).exit == 2 and network.slowdown == pytest.approx(1)
  taking[:] = [3 * ms for ms in QUIET]
  first = network.answer(ONE, 74)  # 30 ms have passed, and the next segment should take 60
  assert first.exit == 0 and first.in_time and network.slowdown == pytest.approx(3)
  taking[:] = QUIET
  assert network.answer(ONE, 74).exit == 1 and network.slowdown == pytest.approx(1.5)
  assert network.answer(ONE, 74).exit == 2 and network.slowdown == pytest.approx(1.0625)


def test_slowdown_can_be_switched_off(taking):
  network = ready(margin=1, forget=None)
  taking[:] = [3 * ms for ms in QUIET]
  late = network.answer(ONE, 65)
  assert late.exit == 1 and not late.in_time and network.slowdown == pytest.approx(1)


def test_faster_segments_do_not_lower_expected_times(taking):
  network = ready(margin=1)
  taking[:] = [1, 1, 1]
  network.answer(ONE, 1000)
  assert network.slowdown == 1


def test_answer_agrees_with_the_network():
  model = build()
  network = Anytime(model, [1.0, 1.0, 1.0])
  for deadline_ms, number in ((0, 0), (1e6, 2)):
    answer = network.answer(ONE, deadline_ms)
    assert answer.exit == number
    np.testing.assert_allclose(answer.logits, predict(model, ONE)[:, number], atol=2e-6)


@pytest.mark.parametrize('times', [[1.0, 1.0], [1.0, 0.0, 1.0], [1.0, float('nan'), 1.0]])
def test_impossible_times_are_rejected(times):
  with pytest.raises(UserError, match='measure them again'):
    Anytime(build(), times)
