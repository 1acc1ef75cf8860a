import pytest

from mecl_jax.curriculum import constant, fixed_exponential


def test_published_values_at_every_step():
  """The shipped constants of Hacohen and Weinshall: start 0.04, factor 1.9, every 100 steps."""
  published = [0.04, 0.076, 0.1444, 0.27436, 0.521284, 0.9904396, 1.0]
  pacing = fixed_exponential(start=0.04, increase=1.9, step_length=100)
  for step in range(700):
    assert pacing(step) == pytest.approx(published[step // 100], rel=1e-12)


def test_never_falls_and_stays_at_one():
  pacing = fixed_exponential(0.1, 1.5, 7)
  shares = [pacing(step) for step in range(200)]
  assert shares == sorted(shares) and shares[-1] == 1.0
  assert pacing(10**9) == 1.0


def test_constant():
  assert constant()(0) == constant()(10**6) == 1.0
