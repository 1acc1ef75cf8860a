"""Values by hand and against SciPy; tests/experiments/test_coverage.py simulates the coverage."""

import numpy as np
import pytest
from scipy import stats

from mecl_jax.errors import UserError
from mecl_jax.evaluation import calibration_error, intervals, metrics

RNG = np.random.default_rng(0)
EXAMPLES = 300
LOGITS = RNG.normal(size=(EXAMPLES, 3, 10)) * np.array([1, 2, 3])[:, None]
LABELS = np.where(RNG.random(EXAMPLES) < 0.6, LOGITS[:, 2].argmax(1), RNG.integers(0, 10, EXAMPLES))


def counts(resamples, seed=0):
  return np.concatenate(list(intervals._resamples(EXAMPLES, resamples, seed)))


def test_intervals_of_proportions_agree_with_scipy():
  right = metrics.correct(LOGITS, LABELS)
  found = intervals.proportion_interval(right)
  np.testing.assert_array_equal(found.estimate, right.mean(axis=0))
  for k in range(3):
    expected = stats.binomtest(int(right[:, k].sum()), EXAMPLES).proportion_ci(0.95)
    assert (found.low[k], found.high[k]) == pytest.approx(expected)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('examples', [1, 359, 10_000])
def test_all_right_and_all_wrong_have_an_interval(examples):
  right = np.tile([True, False], (examples, 1))
  found = intervals.proportion_interval(right)
  edge = 0.025 ** (1 / examples)  # (share)^N of all right is 2.5 %
  assert found.estimate.tolist() == [1, 0]
  assert found.low == pytest.approx([edge, 0]) and found.high == pytest.approx([1, 1 - edge])


def test_paired_interval_of_proportions_by_hand():
  # 100 examples: 7 are right only in the first, 2 only in the second; each count grows by one.
  right, others = np.zeros((2, 100), bool)
  right[:7], others[98:] = True, True
  found = intervals.proportion_difference_interval(right, others)
  p, q = 8 / 102, 3 / 102
  half = stats.norm.ppf(0.975) * np.sqrt((p + q - (p - q) ** 2) / 102)
  assert found == pytest.approx((0.05, p - q - half, p - q + half))


def test_equal_answers_have_an_interval_of_some_width():
  right = metrics.correct(LOGITS, LABELS)
  found = intervals.proportion_difference_interval(right, right)
  np.testing.assert_array_equal(found.estimate, 0)
  np.testing.assert_allclose(found.high, 1.96 * np.sqrt(2) / 302, rtol=1e-3)
  np.testing.assert_allclose(found.low, -found.high)


@pytest.mark.parametrize('measure', [metrics.losses, metrics.squared_errors])
def test_intervals_of_means_are_studentised(measure):
  values = measure(LOGITS, LABELS)
  found = intervals.mean_interval(values, resamples=400, seed=3)
  mean, spread = values.mean(axis=0), values.std(axis=0)
  ratios = []
  for row in counts(400, seed=3):
    again = values[np.repeat(np.arange(EXAMPLES), row.astype(int))]
    ratios.append((again.mean(axis=0) - mean) / again.std(axis=0))
  low, high = np.quantile(ratios, (0.025, 0.975), axis=0)
  np.testing.assert_allclose(found.estimate, mean)
  np.testing.assert_allclose((found.low, found.high), (mean - spread * high, mean - spread * low))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [0.0, 0.1, -1e9])
def test_equal_values_have_no_width(value):
  for part in intervals.mean_interval(np.full((50, 2), value)):
    np.testing.assert_allclose(part, value, rtol=1e-12)


def test_difference_from_itself_is_exactly_zero():
  values = metrics.losses(LOGITS, LABELS)
  for part in intervals.difference_interval(values, values):
    np.testing.assert_array_equal(part, np.zeros(3))


def test_difference_interval_is_paired():
  values = metrics.losses(LOGITS, LABELS)
  found = intervals.difference_interval(values[:, 0], values[:, 1])
  expected = intervals.mean_interval(values[:, 0] - values[:, 1])
  assert found == pytest.approx(expected)


@pytest.mark.parametrize('digits', [6, 0], ids=['', 'with ties'])
def test_auroc_interval_agrees_with_a_loop_over_pairs(digits):
  logits = np.round(LOGITS, digits)
  found = intervals.auroc_interval(logits, LABELS)
  scores, right = metrics.negated_odds(logits), metrics.correct(logits, LABELS)
  for k in range(3):
    x, y = scores[right[:, k], k], scores[~right[:, k], k]
    above = (x[:, None] > y) + (x[:, None] == y) / 2
    auroc = above.mean()
    variance = above.mean(axis=1).var(ddof=1) / len(x) + above.mean(axis=0).var(ddof=1) / len(y)
    half = stats.norm.ppf(0.975) * np.sqrt(variance) / (auroc * (1 - auroc))
    ends = 1 / (1 + np.exp(-(np.log(auroc / (1 - auroc)) + np.array([-half, half]))))
    assert (found.estimate[k], found.low[k], found.high[k]) == pytest.approx((auroc, *ends))


@pytest.mark.filterwarnings('error')
def test_auroc_of_a_single_error_has_a_wide_interval():
  labels = LOGITS[:, 2].argmax(axis=1)
  found = intervals.auroc_interval(LOGITS, labels)
  assert np.isnan(np.array(found)[:, 2]).all() and np.isfinite(np.array(found)[:, :2]).all()
  weakest = np.argmin(metrics.confidence(LOGITS)[:, 2])
  labels[weakest] = (labels[weakest] + 1) % 10  # the only error has the lowest confidence
  found = intervals.auroc_interval(LOGITS, labels)
  assert found.estimate[2] == found.high[2] == 1 and 0.1 < found.low[2] < 0.6


def test_percentile_intervals_agree_with_scipy():
  values = metrics.losses(LOGITS, LABELS)
  found = intervals.bootstrap(lambda c: c @ values / EXAMPLES, EXAMPLES, resamples=4000)
  result = stats.bootstrap(
    (values,), np.mean, n_resamples=4000, method='percentile', rng=np.random.default_rng(1)
  )
  # Quantiles of 4,000 draws are good to some hundredths of a standard deviation.
  near = 0.15 * values.std(axis=0) / np.sqrt(EXAMPLES)
  assert (np.abs(found.low - result.confidence_interval.low) < near).all()
  assert (np.abs(found.high - result.confidence_interval.high) < near).all()


def test_resamples_come_in_several_parts(monkeypatch):
  values = metrics.losses(LOGITS, LABELS)
  whole = intervals.mean_interval(values, resamples=20)
  monkeypatch.setattr(intervals, 'AT_ONCE', 7 * EXAMPLES)
  np.testing.assert_allclose(intervals.mean_interval(values, resamples=20), whole)


def test_resamples_are_multinomial():
  drawn = counts(3000)
  assert drawn.shape == (3000, EXAMPLES) and (drawn.sum(axis=1) == EXAMPLES).all()
  frequencies = np.bincount(drawn.ravel().astype(int), minlength=6)[:6] / drawn.size
  np.testing.assert_allclose(
    frequencies, stats.binom.pmf(np.arange(6), EXAMPLES, 1 / EXAMPLES), atol=2e-3
  )
  assert np.corrcoef(drawn[:, :2].T)[0, 1] == pytest.approx(0, abs=0.06)


def test_resamples_depend_on_the_seed():
  values = metrics.losses(LOGITS, LABELS)
  alone = intervals.mean_interval(values[:, 0]).low
  assert alone == pytest.approx(intervals.mean_interval(values).low[0])
  one, same, other = (intervals.mean_interval(values, seed=s) for s in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert (one.low != other.low).all()


def test_any_statistic_of_counts_has_an_interval():
  right = metrics.correct(LOGITS, LABELS).astype(float)
  found = intervals.bootstrap(lambda w: w @ right[:, 0] / (w @ right[:, 2]), EXAMPLES)
  assert found.low < found.estimate < found.high
  assert found.estimate == pytest.approx(right[:, 0].mean() / right[:, 2].mean())


def test_empty_split_is_rejected():
  for interval in (intervals.mean_interval, intervals.proportion_interval):
    with pytest.raises(UserError, match='no examples'):
      interval(np.zeros((0, 3), bool))
  for interval in (calibration_error.ece_interval, intervals.auroc_interval):
    with pytest.raises(UserError, match='no examples'):
      interval(LOGITS[:0], LABELS[:0])
