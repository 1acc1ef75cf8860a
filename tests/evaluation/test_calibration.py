import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mecl_jax.errors import UserError
from mecl_jax.evaluation import calibration, metrics
from mecl_jax.evaluation.calibration_error import ece

RNG = np.random.default_rng(0)
TRUE = np.array([0.5, 1.0, 3.0])


def draw(examples):
  """Logits of three exits whose labels follow them at the temperatures TRUE."""
  base = RNG.normal(size=(examples, 5)) * 2
  labels = (base + RNG.gumbel(size=base.shape)).argmax(axis=1)
  return (base[:, None] * TRUE[:, None]).astype(np.float32), labels


LOGITS, LABELS = draw(2000)


def test_fit_finds_the_true_temperatures():
  np.testing.assert_allclose(calibration.fit(LOGITS, LABELS), TRUE, rtol=0.1)


def test_fit_is_the_best_of_a_fine_grid():
  best = calibration.effect(calibration.fit(LOGITS, LABELS), LOGITS, LABELS).nll_after
  for temperature in np.geomspace(calibration.LOWEST, calibration.HIGHEST, 60):
    tried = calibration.effect(np.full(3, temperature), LOGITS, LABELS).nll_after
    assert (best <= tried + 1e-12).all()


def test_fit_of_two_classes_agrees_with_scikit_learn():
  gap = RNG.normal(size=500) * 3
  labels = (gap / 2 + RNG.logistic(size=500) > 0).astype(int)
  logits = np.stack([np.zeros(500), gap], axis=1)[:, None]
  model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(gap[:, None], labels)
  assert calibration.fit(logits, labels)[0] == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)


def test_effect_is_nll_and_ece_before_and_after():
  temperatures = calibration.fit(LOGITS, LABELS)
  effect = calibration.effect(temperatures, LOGITS, LABELS)
  for k, temperature in enumerate(temperatures):
    after = LOGITS[:, k].astype(float) / temperature
    assert effect.nll_before[k] == metrics.nll(LOGITS[:, k], LABELS)
    assert effect.ece_before[k] == ece(LOGITS[:, k], LABELS)
    assert effect.nll_after[k] == metrics.nll(after, LABELS)
    assert effect.ece_after[k] == ece(after, LABELS)
  assert (effect.nll_after <= effect.nll_before).all()
  assert effect.ece_after[2] < effect.ece_before[2] / 3


def test_predicted_classes_are_unchanged():
  applied = calibration.apply(calibration.fit(LOGITS, LABELS), LOGITS)
  assert applied.dtype == np.float64
  np.testing.assert_array_equal(applied.argmax(axis=-1), LOGITS.argmax(axis=-1))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('scale', [0.01, 1, 10])
def test_always_right_or_wrong_ends_at_a_bound(scale):
  labels = RNG.integers(0, 5, 50)
  confident = np.eye(5)[labels][:, None] * scale
  assert calibration.fit(confident, labels)[0] == calibration.LOWEST
  assert calibration.fit(confident, (labels + 1) % 5)[0] == calibration.HIGHEST


@pytest.mark.parametrize('scale', [0, 1e5], ids=['all equal', 'loss rounds to 0'])
def test_temperature_is_one_where_none_is_better(scale):
  labels = RNG.integers(0, 5, 50)
  assert calibration.fit(np.eye(5)[labels][:, None] * scale, labels)[0] == 1


def test_bad_input():
  with pytest.raises(UserError, match='2 temperatures and 3 exits'):
    calibration.apply(np.ones(2), LOGITS)
  with pytest.raises(UserError, match='need validation examples'):
    calibration.fit(LOGITS[:0], LABELS[:0])
  with pytest.raises(UserError, match='not finite'):
    calibration.fit(np.full((4, 1, 3), np.nan), np.zeros(4, int))
