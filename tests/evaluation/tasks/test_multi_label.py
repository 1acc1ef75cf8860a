import numpy as np
import pytest
from sklearn import metrics as sk

from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import Rule
from mecl_jax.evaluation.tasks import TASKS, LossSettings, multi_label

RNG = np.random.default_rng(0)
LABELS = (RNG.random((60, 4)) < (0.5, 0.3, 0.1, 0.0)).astype(np.uint8)  # the last never occurs
OUTPUTS = (RNG.normal(size=(60, 2, 4)) + LABELS[:, None] * (0.5, 1.0, 1.5, 2.0)).round(1)


def test_loss_equals_that_by_hand():
  outputs = np.log([[[3.0, 1.0]]]).astype(np.float32)  # probabilities 3/4 and 1/2
  losses = multi_label.losses(outputs, np.array([[0, 1]]), LossSettings())
  np.testing.assert_allclose(losses, [[-(np.log(1 / 4) + np.log(1 / 2)) / 2]], rtol=1e-6)
  assert multi_label.loss(outputs[:, 0], np.array([[0, 1]])) == pytest.approx(float(losses[0, 0]))


def test_difficulty_is_one_minus_the_probability_of_the_right_values():
  outputs = np.log([[3.0, 1.0], [1 / 3, 9.0]])
  found = multi_label.confidence(outputs, np.array([[1, 0], [1, 1]]))
  np.testing.assert_allclose(found, [1 - (0.75 + 0.5) / 2, 1 - (0.25 + 0.9) / 2])


def test_metrics_equal_those_of_scikit_learn():
  found = multi_label.metrics(OUTPUTS, LABELS)
  for k in range(2):
    predicted, occurring = OUTPUTS[:, k] > 0, LABELS.any(axis=0)
    expected = {
      'map': sk.average_precision_score(LABELS[:, occurring], OUTPUTS[:, k, occurring]),
      'f1': sk.f1_score(LABELS, predicted, average='micro'),
      'exact_match': sk.accuracy_score(LABELS, predicted),
      'label_accuracy': 1 - sk.hamming_loss(LABELS, predicted),
    }
    for name, value in expected.items():
      assert found[name].estimate[k] == pytest.approx(value, abs=1e-12), name
      assert found[name].low[k] < value < found[name].high[k]


def test_average_precision_of_a_resample_counts_its_copies():
  counts = RNG.integers(0, 3, (5, 60)).astype(float)
  scores, positive = OUTPUTS[:, 0, 1], LABELS[:, 1] > 0
  for row, found in zip(
    counts, multi_label.average_precision(scores, positive, counts), strict=True
  ):
    copies = np.repeat(np.arange(60), row.astype(int))
    assert found == pytest.approx(sk.average_precision_score(positive[copies], scores[copies]))


def test_only_wanted_metrics_have_an_interval():
  found = multi_label.metrics(OUTPUTS, LABELS, ('label_accuracy',))
  assert np.isfinite(found['label_accuracy'].low).all() and np.isnan(found['map'].low).all()
  assert found['map'].estimate[0] == multi_label.metrics(OUTPUTS, LABELS)['map'].estimate[0]


def test_certainty_is_the_expected_share_of_right_labels():
  p = 1 / (1 + np.exp(-OUTPUTS))
  expected = 2 * np.maximum(p, 1 - p).mean(axis=-1) - 1
  np.testing.assert_allclose(Rule('certainty').confidence(OUTPUTS), expected, rtol=1e-12)


def test_quality_is_the_share_of_right_labels():
  split = Predicted('test', OUTPUTS, LABELS, 'multi_label')
  expected = ((OUTPUTS > 0) == LABELS[:, None]).mean(axis=-1)
  np.testing.assert_array_equal(split.quality(), expected)


def test_labels_of_another_shape_are_rejected():
  with pytest.raises(UserError, match=r'labels \[60\]; they must be .* \[N, outputs\]'):
    Predicted('test', OUTPUTS, LABELS[:, 0], 'multi_label')


def test_classifiers_of_features_find_labels_that_depend_on_them():
  features = RNG.normal(size=(200, 3))
  labels = np.stack([features[:, 0] > 0, features[:, 1] > 1, np.ones(200)], axis=1)
  outputs = TASKS['multi_label'].from_features(features, labels)
  assert ((outputs > 0) == labels).mean() > 0.97 and np.isfinite(outputs).all()


def test_words_are_the_names_of_the_labels():
  words = TASKS['multi_label'].words
  assert words(np.array([-1.0, 2.0, 0.1]), ('sky', 'sea', 'sun')) == 'sea, sun'
  assert words(np.array([0, 0, 0]), ('sky', 'sea', 'sun')) == 'none'
