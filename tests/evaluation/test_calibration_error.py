import numpy as np
import pytest
from scipy import stats

from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.calibration_error import ece, ece_interval, gaps

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(500, 10)).astype(np.float32) * 3
LABELS = np.where(RNG.random(500) < 0.6, LOGITS.argmax(1), RNG.integers(0, 10, 500))


def gaps_by_hand(logits, labels):
  """Returns gap and standard error of each bin that holds examples."""
  confidence, right, n = metrics.confidence(logits), logits.argmax(1) == labels, len(labels)
  found = []
  for low in np.arange(15) / 15:
    inside = (confidence > low) & (confidence <= low + 1 / 15)
    if inside.any():
      share, gap = inside.mean(), abs(right[inside].mean() - confidence[inside].mean())
      a = (right[inside].sum() + 0.5) / (inside.sum() + 1)
      error = np.sqrt(share * (a * (1 - a) + (1 - share) * gap**2) / n)
      found.append((share * gap, error))
  return np.array(found).T


def calibrated(examples, seed=0, gap=0.0):
  """Returns logits of two classes and labels; the accuracy is the confidence minus the gap."""
  rng = np.random.default_rng(seed)
  confidence = rng.uniform(0.6, 1, examples)
  logits = np.stack([np.log(confidence), np.log(1 - confidence)], axis=1)
  return logits, (rng.random(examples) > confidence - gap).astype(int)


def test_gaps_agree_with_their_definition():
  size, error, *_ = gaps(LOGITS[:, None], LABELS)
  expected = gaps_by_hand(LOGITS, LABELS)
  np.testing.assert_allclose([size[0][error[0] > 0], error[0][error[0] > 0]], expected)
  assert (size[0][error[0] == 0] == 0).all()


def test_ece_is_debiased_as_by_resampling():
  size, error = gaps_by_hand(LOGITS, LABELS)
  noise = np.random.default_rng(1).normal(size=(200_000, len(size))) * error
  bias = np.abs(size + noise).sum(axis=1).mean() - size.sum()
  assert ece(LOGITS, LABELS) == pytest.approx(size.sum() - bias, abs=2e-4)
  assert bias > 0.005


@pytest.mark.filterwarnings('error')
def test_ece_of_confident_predictions():
  logits = np.array([[50.0, 0.0]] * 4)
  assert ece(logits, np.zeros(4, int)) == pytest.approx(0, abs=1e-12)
  assert ece(logits, np.ones(4, int)) == pytest.approx(1, abs=1e-9)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('examples', [4, 359])
def test_exit_without_errors_may_be_overconfident(examples):
  logits = np.tile([[50.0, 0.0]], (examples, 1))[:, None]
  found = ece_interval(logits, np.zeros(examples, int))
  assert found.low[0] == 0 and found.estimate[0] < 1e-12
  # An exit that is wrong on this share would be right on all of these in 2.5 % of the cases.
  assert found.high[0] == pytest.approx(1 - 0.025 ** (1 / examples), rel=0.35)


def test_bias_of_the_estimate_is_smaller():
  plug_in, debiased = [], []
  for seed in range(200):
    logits, labels = calibrated(500, seed)
    plug_in.append(gaps(logits[:, None], labels).size.sum())
    debiased.append(ece(logits, labels))
  assert np.mean(plug_in) > 0.03
  assert np.mean(debiased) < 0.7 * np.mean(plug_in)


@pytest.mark.parametrize('gap', [0.0, 0.05])
def test_interval_holds_the_estimate_and_narrows(gap):
  widths = []
  for examples in (300, 3000, 30_000):
    logits, labels = calibrated(examples, gap=gap)
    (estimate, low, high) = (part[0] for part in ece_interval(logits[:, None], labels))
    assert 0 <= low <= estimate <= high and low <= gap <= high
    widths.append(high - low)
  assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_interval_of_clear_gaps_is_the_normal_one():
  logits, labels = calibrated(30_000, gap=0.1)
  size, error, *_ = gaps(logits[:, None], labels)
  half = stats.norm.ppf(0.975) * np.sqrt((error**2).sum())
  found = ece_interval(logits[:, None], labels)
  assert found.low[0] == pytest.approx(size.sum() - half, abs=0.15 * half)
  assert found.high[0] == pytest.approx(size.sum() + half, abs=0.15 * half)


def test_exits_have_intervals_of_their_own():
  both = np.stack([LOGITS, 0.2 * LOGITS], axis=1)
  found = ece_interval(both, LABELS)
  for k in range(2):
    alone = ece_interval(both[:, k : k + 1], LABELS)
    assert [part[k] for part in found] == [part[0] for part in alone]
