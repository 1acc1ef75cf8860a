import numpy as np
import pytest
from scipy import stats

from mecl_jax.errors import UserError
from mecl_jax.evaluation import intervals, metrics

RNG = np.random.default_rng(0)
EXAMPLES = 300
LOGITS = RNG.normal(size=(EXAMPLES, 3, 10)) * np.array([1, 2, 3])[:, None]
LABELS = np.where(RNG.random(EXAMPLES) < 0.6, LOGITS[:, 2].argmax(1), RNG.integers(0, 10, EXAMPLES))
ROUNDED = np.round(LOGITS)  # confidences with many ties


def counts(resamples, seed=0):
  return np.concatenate(list(intervals._resamples(EXAMPLES, resamples, seed)))


def by_scipy(data, statistic, **settings):
  result = stats.bootstrap(
    data,
    statistic,
    n_resamples=4000,
    method='percentile',
    vectorized=True,
    rng=np.random.default_rng(1),
    **settings,
  )
  return result.confidence_interval


def mean(x, axis):
  return x.mean(axis=axis)


@pytest.mark.parametrize('level', [0.95, 0.8])
@pytest.mark.parametrize('measure', [metrics.correct, metrics.losses, metrics.squared_errors])
def test_intervals_of_means_agree_with_scipy(measure, level):
  values = measure(LOGITS, LABELS)
  found = intervals.mean_interval(values, resamples=4000, level=level)
  np.testing.assert_allclose(found.estimate, values.mean(axis=0))
  expected = by_scipy((values.astype(float),), mean, confidence_level=level)
  # Quantiles of 4,000 draws are good to some hundredths of a standard deviation.
  near = 0.15 * values.std(axis=0) / np.sqrt(EXAMPLES)
  assert (np.abs(found.low - expected.low) < near).all()
  assert (np.abs(found.high - expected.high) < near).all()


def test_paired_intervals_agree_with_scipy():
  values, others = (metrics.correct(LOGITS[:, k], LABELS) for k in (1, 0))
  found = intervals.difference_interval(values, others, resamples=4000)
  assert found.estimate == pytest.approx(values.mean() - others.mean())
  expected = by_scipy(
    (values.astype(float), others.astype(float)),
    lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
    paired=True,
  )
  assert (found.low, found.high) == pytest.approx(expected, abs=0.006)


def test_difference_from_itself_is_exactly_zero():
  values = metrics.losses(LOGITS, LABELS)
  for part in intervals.difference_interval(values, values):
    np.testing.assert_array_equal(part, np.zeros(3))


@pytest.mark.parametrize(
  ('interval', 'measure'),
  [(intervals.ece_interval, metrics.ece), (intervals.auroc_interval, metrics.auroc)],
)
@pytest.mark.parametrize('logits', [LOGITS, ROUNDED], ids=['', 'with ties'])
def test_resampled_metrics_agree_with_gathered_examples(interval, measure, logits, monkeypatch):
  monkeypatch.setattr(intervals, 'AT_ONCE', 7 * EXAMPLES)  # resamples come in several parts
  found = interval(logits, LABELS, resamples=20, level=0.9, seed=3)
  gathered = np.array(
    [
      [measure(logits[i, k], LABELS[i]) for k in range(3)]
      for i in (np.repeat(np.arange(EXAMPLES), row.astype(int)) for row in counts(20, seed=3))
    ]
  )
  low, high = np.quantile(gathered, (0.05, 0.95), axis=0)
  np.testing.assert_allclose(found.estimate, [measure(logits[:, k], LABELS) for k in range(3)])
  np.testing.assert_allclose((found.low, found.high), (low, high), atol=1e-12)


@pytest.mark.filterwarnings('error')
def test_auroc_ignores_resamples_without_errors():
  labels = LOGITS[:, 2].argmax(axis=1)
  labels[0] = (labels[0] + 1) % 10  # the last exit's only error, in 63 % of the resamples
  found = intervals.auroc_interval(LOGITS, labels, resamples=50)
  assert np.isfinite(found).all()
  labels = LOGITS[:, 2].argmax(axis=1)
  found = intervals.auroc_interval(LOGITS, labels, resamples=50)
  assert np.isnan(np.array(found)[:, 2]).all() and np.isfinite(np.array(found)[:, :2]).all()


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
  with pytest.raises(UserError, match='no examples'):
    intervals.mean_interval(np.zeros((0, 3)))
  for interval in (intervals.ece_interval, intervals.auroc_interval):
    with pytest.raises(UserError, match='no examples'):
      interval(LOGITS[:0], LABELS[:0])
