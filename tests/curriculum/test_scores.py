import numpy as np
import pytest
from scipy import special, stats

from mecl_jax.curriculum import scores

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (500, 7)).astype(np.float32)
LABELS = RNG.integers(0, 7, 500)
PROBABILITIES = special.softmax(LOGITS.astype(np.float64), axis=1)
TRUE = PROBABILITIES[np.arange(500), LABELS]
OTHERS = np.where(np.arange(7) == LABELS[:, None], 0, PROBABILITIES)


@pytest.mark.parametrize(
  ('measure', 'expected'),
  [
    ('confidence', 1 - TRUE),
    ('loss', -np.log(TRUE)),
    ('margin', 1 - (TRUE - OTHERS.max(axis=1))),
    ('entropy', stats.entropy(PROBABILITIES, axis=1)),
  ],
)
def test_measures_equal_their_definitions(measure, expected):
  np.testing.assert_allclose(scores.MEASURES[measure](LOGITS, LABELS), expected, rtol=1e-9)


@pytest.mark.parametrize('measure', scores.MEASURES)
def test_measures_distinguish_confident_predictions(measure):
  logits = np.array([[40.0, 0.0], [60.0, 0.0], [0.0, 80.0], [700.0, 0.0]], np.float32)
  sure, surer, sure_of_another, surest = scores.MEASURES[measure](logits, np.array([0, 0, 1, 0]))
  assert 0 < surest < sure_of_another < surer < sure < 1e-14


@pytest.mark.parametrize('measure', scores.MEASURES)
def test_measures_are_finite_for_extreme_logits(measure):
  logits = np.array([[3e38, -3e38, 0], [0, 0, 0], [-1e5, 1e5, 1e5]], np.float32)
  assert np.isfinite(scores.MEASURES[measure](logits, np.array([1, 2, 0]))).all()


def test_prediction_depth_equals_hand_counts():
  predicted = np.array(
    [
      [1, 1, 1, 1],  # always the same class: 0
      [0, 1, 1, 1],  # from exit 1 on
      [1, 0, 1, 1],  # right at exit 0, but constant from exit 2 on only
      [1, 1, 1, 0],  # the last exit only
      [0, 1, 0, 0],  # from exit 2 on
    ]
  )
  logits = 4.0 * (predicted[..., None] == np.arange(2))
  depth = scores.prediction_depth(logits, np.ones(5, int))
  assert np.floor(depth).tolist() == [0, 1, 2, 3, 2]


def test_prediction_depth_breaks_ties_by_confidence():
  logits = np.zeros((3, 2, 2))
  logits[:, :, 1] = np.array([3.0, 1.0, 2.0])[:, None]
  depth = scores.prediction_depth(logits, np.array([1, 1, 1]))
  np.testing.assert_allclose(depth, [0, 2 / 3, 1 / 3])


def test_learning_speed_equals_hand_counts():
  # Right (1) or wrong (0) predictions in four epochs.
  history = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0]])
  wrong = 1 - history
  learned = (wrong * np.arange(1, 5)).max(axis=1)
  errors = wrong.sum(axis=1)
  epochs = scores.learned_epoch(learned, errors, 4)
  assert np.floor(epochs).tolist() == [0, 1, 3, 3, 4]
  assert epochs[2] < epochs[3]  # the same epoch, but an earlier right prediction
  assert scores.cumulative_errors(learned, errors, 4).tolist() == [0, 0.25, 0.5, 0.75, 0.25]
