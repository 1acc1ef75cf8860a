"""The simulation of a split, against cases that are computed by hand."""

import math

import numpy as np
import pytest

from mecl_jax.deploy.link import Link
from mecl_jax.deploy.offload import (
  ANSWER_HEAD,
  REQUEST_HEAD,
  Plan,
  Side,
  Watts,
  Way,
  World,
  simulate,
)
from mecl_jax.deploy.offload import summary as summarise
from mecl_jax.deploy.offload_choice import (
  BOTTLENECK,
  DEADLINE,
  EARLY,
  KINDS,
  SERVER,
  THRESHOLD,
  Found,
  Target,
  best,
  candidates,
  choose,
  parse_target,
  setting,
)
from mecl_jax.errors import UserError

# Four images and three exits; the device is right at exit 1 for image 0, and at exit 3 for 0 to 2.
LABELS = np.array([0, 1, 2, 3])
CONFIDENCE = np.array([[0.9, 0.9, 1], [0.6, 0.8, 1], [0.5, 0.5, 1], [0.7, 0.6, 1]])
CLASSES = np.array([[0, 0, 0], [9, 1, 1], [9, 9, 2], [9, 9, 9]])
IMAGE, FIRST, SECOND = WAYS = [Way(start, 'int8') for start in range(3)]
CODES = Way(1, 'bottleneck4')
BY_CODES = np.array([[9, 0, 0], [9, 1, 1], [9, 2, 2], [9, 9, 9]])
SERVER_CLASSES = {
  IMAGE: CLASSES,
  FIRST: np.array([[9, 0, 0], [9, 1, 1], [9, 2, 2], [9, 3, 9]]),
  SECOND: CLASSES,
  CODES: BY_CODES,
}
TEST = Side('test', LABELS, CONFIDENCE, CLASSES, SERVER_CLASSES)
FEW = Side('validation', LABELS, CONFIDENCE, CLASSES, SERVER_CLASSES)
VALIDATION = FEW.only(np.arange(4).repeat(100))  # so that differences are beyond chance
# At 8 Mbit/s, 1,000 bytes take 1 ms: requests take 1, 0.5 and 0.3 ms, answers 0.1 ms.
WORLD = World(
  device_ms=np.array([[1.0, 2, 4]]),
  server_ms=np.array([[0.1, 0.2, 0.4]]),
  request_ms=np.array([0.5]),
  link=Link(bandwidth=8, round_trip=10),
  sizes={
    way: size - REQUEST_HEAD
    for way, size in zip([*WAYS, CODES], (1000, 500, 300, 200), strict=True)
  },
  coding_ms={CODES: (0.5, 0.25)},
  answer_size=100 - ANSWER_HEAD,
  watts=Watts(compute=5, send=2, wait=1),
  deadline_ms=15,
)


def world(**changes):
  return World(**(vars(WORLD) | changes))


def check(outcome, *, exits, asked, ms, right, sent, energy_mj):
  assert outcome.exits.tolist() == exits and outcome.asked.tolist() == asked
  assert outcome.ms.tolist() == pytest.approx(ms) and outcome.sent.tolist() == pytest.approx(sent)
  assert (outcome.classes == LABELS).tolist() == right
  assert outcome.energy_mj.tolist() == pytest.approx(energy_mj)


def test_device_only():
  check(
    simulate(Plan('device only'), TEST, WORLD),
    exits=[2] * 4, asked=[False] * 4, ms=[7] * 4, right=[True, True, True, False],
    sent=[0] * 4, energy_mj=[35] * 4,
  )  # fmt: skip


def test_early_exit_on_the_device():
  check(
    simulate(Plan(EARLY, threshold=0.7), TEST, WORLD),
    exits=[0, 1, 2, 0], asked=[False] * 4, ms=[1, 3, 7, 1], right=[True, True, True, False],
    sent=[0] * 4, energy_mj=[5, 15, 35, 5],
  )  # fmt: skip


def test_server_only():
  ms = 0.5 + 1 + 10 + 0.1 + (0.1 + 0.2)
  check(
    simulate(Plan(SERVER, IMAGE, 1), TEST, WORLD),
    exits=[1] * 4, asked=[True] * 4, ms=[ms] * 4, right=[True, True, False, False],
    sent=[1100] * 4, energy_mj=[2 * 1 + 1 * (ms - 1)] * 4,
  )  # fmt: skip


def test_threshold_sends_unsure_images():
  asked = 1 + 0.5 + 0.5 + 10 + 0.1 + 0.2  # device, request, up, round trip, down, one segment
  energy = 5 * 1 + 2 * 0.5 + 1 * (asked - 1 - 0.5)
  check(
    simulate(Plan(THRESHOLD, FIRST, 1, 0.7), TEST, WORLD),
    exits=[0, 1, 1, 0], asked=[False, True, True, False], ms=[1, asked, asked, 1],
    right=[True, True, True, False], sent=[0, 600, 600, 0], energy_mj=[5, energy, energy, 5],
  )  # fmt: skip
  of_all = summarise(simulate(Plan('static split', FIRST, 1), TEST, WORLD), LABELS, deadline_ms=12)
  assert of_all == pytest.approx(
    {
      **{'accuracy': 1.0, 'mean_ms': asked, 'p95_ms': asked, 'bytes': 600.0},
      **{'energy_mj': energy, 'sent': 1.0, 'in_time': 0.0},
    }
  )


def test_codes_take_time_on_both_sides():
  # Device, encoding, request, up, round trip, down, decoding, one segment.
  ms = 1 + 0.5 + 0.5 + 0.2 + 10 + 0.1 + 0.25 + 0.2
  energy = 5 * 1.5 + 2 * 0.2 + 1 * (ms - 1.5 - 0.2)
  check(
    simulate(Plan(BOTTLENECK, CODES, 1), TEST, WORLD),
    exits=[1] * 4, asked=[True] * 4, ms=[ms] * 4, right=[True, True, True, False],
    sent=[300] * 4, energy_mj=[energy] * 4,
  )  # fmt: skip
  # Also an image that is not sent after all has been encoded.
  plan = Plan(DEADLINE, CODES, 1, in_time=True)
  assert simulate(plan, TEST, world(deadline_ms=1.5 + 1.2 * 11.26)).asked.all()
  late = simulate(plan, TEST, world(deadline_ms=1.5 + 1.2 * 11.24))
  assert not late.asked.any() and late.ms.tolist() == [7.5] * 4


def test_deadline_sends_only_what_is_expected_in_time():
  plan = Plan(DEADLINE, FIRST, 1, 0.7, in_time=True)
  sent = simulate(plan, TEST, WORLD)  # 1 + 1.2 * 11.3 is within 15
  assert sent.asked.tolist() == [False, True, True, False]
  device = simulate(plan, TEST, world(deadline_ms=14.5))
  assert not device.asked.any() and device.exits.tolist() == [0, 1, 2, 0]
  assert device.ms.tolist() == [1, 3, 7, 1] and device.energy_mj.tolist() == [5, 15, 35, 5]
  # After 3 ms, 1.2 * 4 ms more are not within 7 ms; the device answers by its exit.
  short = simulate(plan, TEST, world(deadline_ms=7))
  assert short.exits.tolist() == [0, 1, 1, 0] and short.ms.tolist() == [1, 3, 3, 1]


def test_late_answers_leave_the_device_with_its_own():
  rounds = np.array([[0.1, 0.2, 0.4]] * 60 + [[0.1, 60.0, 0.4]] * 40)  # two of five are slow
  side = Side(
    'test', *(np.repeat(each, 50, axis=0) for each in (LABELS, CONFIDENCE, CLASSES)),
    {way: np.repeat(classes, 50, axis=0) for way, classes in SERVER_CLASSES.items()},
  )  # fmt: skip
  found = simulate(Plan(DEADLINE, FIRST, 1, in_time=True), side, world(server_ms=rounds))
  late = ~found.answered
  assert found.asked.all() and 40 < late.sum() < 120
  assert (found.ms[late] == 15).all() and (found.exits[late] == 0).all()
  assert (found.classes[late] == side.classes[late, 0]).all()
  assert (found.ms[~late] < 15).all() and (found.exits[~late] == 1).all()


def test_choice_is_made_on_validation_alone():
  with pytest.raises(UserError, match='chosen on the validation split, not on test'):
    choose(TEST, WORLD, Target())
  found = choose(VALIDATION, WORLD, Target())
  assert tuple(found) == KINDS
  assert found[SERVER].plan.stop == 2  # right for three images; exit 2 for two
  # Only features sent after exit 1, and answered by exit 2, are right for all images.
  assert (found[THRESHOLD].plan.way, found[THRESHOLD].plan.stop) == (FIRST, 1)
  assert found[THRESHOLD].validation['accuracy'] == 1 and best(found, Target()).validation == (
    found[THRESHOLD].validation
  )


@pytest.mark.parametrize(('gains', 'losses', 'chosen'), [(6, 4, 'fast'), (6, 0, 'slow')])
def test_faster_policy_is_chosen_within_one_standard_error(gains, losses, chosen):
  slow, fast = np.zeros(100, bool), np.zeros(100, bool)
  slow[:gains] = fast[gains : gains + losses] = True
  found = {
    name: Found(Plan(name), {'accuracy': right.mean(), 'mean_ms': ms, 'bytes': 0}, True, right)
    for name, right, ms in (('slow', slow, 2), ('fast', fast, 1))
  }
  assert best(found, Target()).plan.kind == chosen


def test_best_policy_meets_the_target():
  found = choose(VALIDATION, WORLD, parse_target('bytes<=0'))
  chosen = best(found, parse_target('bytes<=0'))
  assert chosen.plan.kind == EARLY and chosen.validation['accuracy'] == 0.75
  assert chosen.validation['mean_ms'] == 3  # with threshold 0.7
  assert not found[SERVER].meets
  target = parse_target('latency<=0.5ms')
  found = choose(VALIDATION, WORLD, target)
  assert best(found, target) is None
  assert found[EARLY].validation['mean_ms'] == 1  # the nearest


def test_networks_of_one_exit_have_no_inner_split():
  one = Side('validation', LABELS, *(each[:, :1] for each in (CONFIDENCE, CLASSES)),
             {IMAGE: CLASSES[:, :1]})  # fmt: skip
  assert set(candidates(one)) == {'device only', SERVER}


def test_thresholds_are_quantiles_of_the_exits_on_the_device():
  found = {p.threshold for p in candidates(FEW)[THRESHOLD] if p.way.start == 1}
  assert min(found) == 0.5 and max(found) < 0.9


@pytest.mark.parametrize(
  ('text', 'column', 'limit'),
  [
    ('accuracy', '', math.inf),
    ('latency<=20ms', 'mean_ms', 20),
    (' p95 <= 2.5e1 ms ', 'p95_ms', 25),
    ('energy<=5mJ', 'energy_mj', 5),
    ('bytes<=1000', 'bytes', 1000),
  ],
)
def test_targets(text, column, limit):
  assert parse_target(text) == Target(column, limit)


@pytest.mark.parametrize(
  'text', ['', 'fast', 'latency<=20', 'latency<=20s', 'latency<=-1ms', 'bytes<=e', 'accuracy<=1']
)
def test_bad_targets_are_one_line(text):
  with pytest.raises(UserError, match=r'offload\.target is .* write accuracy, or a limit'):
    parse_target(text)


def test_settings_in_words():
  names = ['a', 'b', 'c']
  words = 'sends after a as bottleneck4, c answers'
  assert setting(Plan(BOTTLENECK, CODES, 2), names) == words
  assert setting(Plan(EARLY, threshold=0.75), names) == 'leaves at 0.75; at most to c'
  assert setting(Plan(SERVER, IMAGE, 1), names) == 'sends the image, b answers'
  assert (
    setting(Plan(THRESHOLD, SECOND, 2, 0.5), names) == 'leaves at 0.5; sends after b, c answers'
  )
