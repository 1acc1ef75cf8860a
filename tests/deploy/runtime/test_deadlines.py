"""Deadlines and streams, with a clock that only the segments advance."""

import copy
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from mecl_jax.deploy.runtime import network as runtime
from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.network import MARGIN, Network
from mecl_jax.inference import Anytime, anytime
from tests.deploy.bundles import make_images, make_policy, on_run, random_tables, write_bundle

pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')

QUIET = [10.0, 20.0, 30.0]  # ms per segment on an idle machine
TABLES = random_tables()
IMAGES = make_images(range(256))
CAT = IMAGES[0]


@pytest.fixture(scope='module')
def opened(tmp_path_factory):
  chosen = {'first': make_policy('fixed', ['-inf', 'inf']), 'last': make_policy()}
  return Network(write_bundle(tmp_path_factory.mktemp('toy'), TABLES, policies=chosen), threads=1)


@pytest.fixture
def network(opened, monkeypatch):
  """A network whose segments take `times`, in milliseconds; tests may change them."""
  network, now = copy.copy(opened), [0.0]
  network.times = list(QUIET)

  def advance(number, images):
    now[0] += network.times[number] / 1000

  on_run(network, advance)
  monkeypatch.setattr(runtime, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
  return network


@pytest.mark.parametrize(
  ('deadline_ms', 'number', 'elapsed_ms', 'in_time'),
  [
    (-1, 0, 10, False),
    (0, 0, 10, False),
    (9.9, 0, 10, False),
    (10 + MARGIN * 20 - 0.1, 0, 10, True),
    (10 + MARGIN * 20 + 0.1, 1, 30, True),
    (30 + MARGIN * 30 - 0.1, 1, 30, True),
    (30 + MARGIN * 30 + 0.1, 2, 60, True),
    (math.inf, 2, 60, True),
  ],
)
def test_deepest_exit_with_enough_time_answers(network, deadline_ms, number, elapsed_ms, in_time):
  network.measure()
  answer = network.answer(CAT, deadline_ms)
  assert (answer.exit, answer.in_time) == (number, in_time)
  assert answer.elapsed_ms == pytest.approx(elapsed_ms)
  assert (answer.logits == TABLES[number][0]).all()


def test_deadline_that_is_not_a_number_is_rejected(network):
  with pytest.raises(BundleError, match='the deadline is not a number'):
    network.answer(CAT, math.nan)


def test_deadlines_are_those_of_the_program(network, monkeypatch):
  now = [0.0]

  def chain(images):
    for number, ms in enumerate(network.times):
      now[0] += ms / 1000
      yield np.full((1, 4), number)

  monkeypatch.setattr(anytime, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
  monkeypatch.setattr(anytime, 'Chain', lambda segments, shape: chain)
  monkeypatch.setattr(anytime, 'cut', lambda model: ())
  monkeypatch.setattr(anytime, 'WARM_UP', 0)
  theirs = Anytime(SimpleNamespace(exit_names=('a', 'b', 'c')), QUIET)
  theirs.compile((1, 2, 2, 3))
  network.segment_ms = list(QUIET)
  draw, seen = np.random.default_rng(0), set()
  for image in IMAGES:
    network.times = (QUIET * draw.lognormal(0, 0.6, 3)).tolist()
    deadline_ms = draw.uniform(0, 150)
    ours, expected = network.answer(image, deadline_ms), theirs.answer(image[None], deadline_ms)
    assert (ours.exit, ours.in_time) == (expected.exit, expected.in_time)
    assert ours.elapsed_ms == pytest.approx(expected.elapsed_ms)
    assert network.slowdown == pytest.approx(theirs.slowdown)
    seen.add((ours.exit, ours.in_time))
  assert len(seen) == 6 and network.slowdown > 1


def test_policy_and_deadline_both_stop(network):
  network.measure()
  assert network.answer(CAT, 1000).exit == 2
  assert network.answer(CAT, 1000, policy='first').exit == 0
  assert network.answer(CAT, 40, policy='last').exit == 1


def test_measured_times_are_medians(network):
  network.slowdown = 3.0
  factors = itertools.chain([5.0], itertools.repeat(1.0))  # the first round is slow

  def first_round(number, images):
    if number == 0:
      network.times = (next(factors) * np.array(QUIET)).tolist()

  on_run(network, first_round)
  rounds = network.measure(seconds=0.5)
  assert rounds.shape == (5, 3)  # 300 ms, and 60 ms for each other round
  np.testing.assert_allclose(rounds[[0, 1, -1]], np.outer([5, 1, 1], QUIET))
  assert network.segment_ms == pytest.approx(QUIET) and network.slowdown == 1
  assert len(network.measure(seconds=1.3)) == 22
  assert len(network.measure(seconds=0)) == 5


def test_first_call_measures_and_is_late(network):
  first, second = network.answer(CAT, 100), network.answer(CAT, 100)
  assert (first.exit, first.in_time, second.exit, second.in_time) == (0, False, 2, True)
  assert first.elapsed_ms > 500 and network.slowdown == pytest.approx(1)


def test_stream_measures_before_the_first_image(network):
  answers = list(network.stream(IMAGES[:4], deadline_ms=100))
  assert [each.exit for each in answers] == [2] * 4
  assert (np.stack([each.logits for each in answers]) == TABLES[2][:4]).all()


def test_stream_answers_as_images_come(network):
  taken = []
  endless = (taken.append(number) or IMAGES[number % 256] for number in itertools.count())
  for number, answer in enumerate(network.stream(endless, policy='last')):
    assert (answer.logits == TABLES[2][number]).all() and len(taken) == number + 1
    if number == 5:
      break
  assert network.segment_ms == []  # nothing is measured without a deadline


def test_stream_rejects_a_policy_at_once_and_an_image_when_it_comes(network):
  with pytest.raises(BundleError, match="policy 'best' is not one of first, last"):
    network.stream([], policy='best')
  answers = network.stream([CAT, CAT[0]])
  assert next(answers).exit == 0
  with pytest.raises(BundleError, match='it must be a NumPy array'):
    next(answers)


def test_times_of_this_machine_are_measured(opened):
  network = copy.copy(opened)
  times = network.measure(seconds=0)
  assert times.shape == (5, 3) and (times > 0).all()
  assert network.segment_ms == np.median(times, axis=0).tolist()
