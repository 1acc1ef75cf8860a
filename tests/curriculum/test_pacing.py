import math

import numpy as np
import pytest

from mecl_jax.curriculum import pacing
from mecl_jax.errors import UserError

SHARES_OF_WDN = (0.0025, 0.1, 0.2, 0.4, 0.8)  # b
FULL_AFTER_OF_WDN = (0.01, 0.1, 0.2, 0.4, 0.8, 1.6)  # a
STEPS = 391  # their shortest budget


def every(function, steps):
  return [function(step) for step in range(steps)]


def test_fixed_exponential_has_the_published_values():
  """Uses the constants of Hacohen and Weinshall: start 0.04, factor 1.9, every 100 steps."""
  published = [0.04, 0.076, 0.1444, 0.27436, 0.521284, 0.9904396, 1.0]
  expected = np.repeat(published, 100)
  np.testing.assert_allclose(every(pacing.fixed_exponential(), 700), expected, rtol=1e-12)


def test_fixed_exponential_stays_at_one():
  assert pacing.fixed_exponential(0.1, 1.5, 7)(10**9) == 1.0


def test_varied_exponential_grows_at_its_boundaries():
  shares = every(pacing.varied_exponential(0.04, 1.9, (300, 50, 60)), 400)
  assert shares == [0.04] * 50 + [0.076] * 10 + [0.04 * 1.9**2] * 240 + [0.04 * 1.9**3] * 100


def test_even_boundaries_give_fixed_exponential():
  varied = pacing.varied_exponential(0.04, 1.9, range(100, 2000, 100))
  assert every(varied, 900) == every(pacing.fixed_exponential(), 900)


def test_single_step():
  assert every(pacing.single_step(0.25, 30), 60) == [0.25] * 30 + [1.0] * 30


def published_by_wu(name, x, b):
  """Returns the share of the paper's table for x = t / (a T), clipped at 1."""
  shape = {
    'log': 1 + 0.1 * math.log(x + math.e**-10),
    'exp': (math.e ** (10 * x) - 1) / (math.e**10 - 1) if x <= 1 else 1,
    'root': math.sqrt(x),
    'linear': x,
    'quadratic': x * x,
  }
  if name == 'step':
    return min(b + math.floor(x), 1)
  return min(b + (1 - b) * shape[name], 1)


@pytest.mark.parametrize('name', ['log', 'exp', 'step', 'root', 'linear', 'quadratic'])
def test_pacings_of_wu_are_exact_for_all_constants(name):
  for b in SHARES_OF_WDN:
    for a in FULL_AFTER_OF_WDN:
      made = pacing.make(name, start=b, full_after=a * STEPS)
      expected = [published_by_wu(name, t / (a * STEPS), b) for t in range(STEPS)]
      np.testing.assert_allclose(every(made, STEPS), expected, rtol=1e-9)


def test_pacings_of_wu_computed_by_hand():
  """Checks values that were computed without code: a T = 100, b = 0.1."""
  at = {name: pacing.make(name, start=0.1, full_after=100) for name in pacing.PACINGS[4:]}
  assert at['root'](25) == pytest.approx(0.55)  # 0.1 + 0.9 / 2
  assert at['linear'](25) == pytest.approx(0.325)
  assert at['quadratic'](50) == pytest.approx(0.325)
  assert at['log'](0) == pytest.approx(0.1)
  assert at['log'](50) == pytest.approx(0.9376249, abs=1e-6)  # 0.1 + 0.9 (1 - 0.0693056)
  assert at['exp'](50) == pytest.approx(0.1060236, abs=1e-6)  # 0.1 + 0.9 / (e^5 + 1)
  assert (at['step'](99), at['step'](100)) == (0.1, 1.0)


def test_root_is_not_always_the_square_root():
  """Checks a mistake of a public implementation, whose root-p pacing ignores p."""
  cube = pacing.polynomial(0.1, 1000, 1 / 3)
  assert cube(125) == pytest.approx(0.1 + 0.9 * 0.5)


SETTINGS = {
  'start': 0.04,
  'increase': 1.9,
  'step_length': 40,
  'boundaries': (30, 90),
  'full_after': 250,
}


@pytest.mark.parametrize('name', pacing.PACINGS)
def test_every_pacing_is_a_share_that_never_falls(name):
  made = pacing.make(name, **{key: SETTINGS[key] for key in pacing.arguments(name)})
  shares = every(made, 1000)
  assert shares[0] == pytest.approx(0.04)
  assert all(0 < share <= 1 for share in shares)
  assert shares == sorted(shares)
  assert made(10**12) >= shares[-1]
  pacing.check(made, steps=1000, size=45_000, batch_size=128, name=name)


def test_unknown_pacing_is_rejected():
  with pytest.raises(UserError, match='fixed_exponental.*' + '.*'.join(pacing.PACINGS)):
    pacing.make('fixed_exponental')


def test_pacings_combine():
  linear = pacing.linear(0.1, 100)
  assert every(pacing.capped(linear, 0.5), 200)[-1] == 0.5
  assert pacing.scaled(linear, 0.5)(50) == pytest.approx(0.275)
  assert pacing.scaled(linear, 4.0)(50) == 1.0
  both = pacing.largest((linear, pacing.constant(0.3)))
  assert (both(0), both(100)) == (0.3, 1.0)


@pytest.mark.parametrize(
  ('bad', 'message'),
  [
    (lambda t: 0.5 - t / 1000, r'falls from 0.5 to 0.499 at step 1;'),
    (lambda t: t / 1000, r'is 0 at step 0; a share must be above 0'),
    (lambda t: 0.5 + t / 100, r'is 1.01 at step 51'),
    (lambda t: float('nan'), r'is nan at step 0'),
    (pacing.constant(0.001), r'never shows one whole batch: .* 0.001 of 50,000 .* a batch has 100'),
  ],
)
def test_invalid_pacing_is_rejected(bad, message):
  with pytest.raises(UserError, match=message):
    pacing.check(bad, steps=100, size=50_000, batch_size=100, name='mine')


def test_long_phase_is_checked_to_its_last_step():
  pacing.check(pacing.linear(0.01, 10**8), steps=10**8, size=10**9, batch_size=128, name='linear')
  with pytest.raises(UserError, match='falls'):
    late = lambda t: 1.0 if t < 10**8 - 1 else 0.5  # noqa: E731
    pacing.check(late, steps=10**8, size=10**9, batch_size=128, name='late')
