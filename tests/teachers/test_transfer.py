import numpy as np

from mecl_jax.curriculum import scores
from mecl_jax.teachers import transfer


def test_classifiers_find_wrong_labels():
  """Two clusters of points, and ten points with the label of the other cluster."""
  rng = np.random.default_rng(0)
  labels = np.arange(200) % 2
  features = rng.normal(size=(200, 3)) + 4 * labels[:, None]
  labels[:10] = 1 - labels[:10]
  for classifier in ('svc', 'logistic_regression', 'auto'):
    logits = transfer.log_probabilities(features, labels, classifier, seed=0)
    hardest = np.argsort(-scores.confidence(logits, labels))[:10]
    assert set(hardest) == set(range(10))
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1)


def test_classes_of_one_or_no_example():
  labels = np.array([0] * 8 + [2] * 7 + [3])  # none of class 1
  for classifier in ('svc', 'logistic_regression'):
    logits = transfer.log_probabilities(np.eye(16), labels, classifier, seed=0)
    assert logits.shape == (16, 4) and np.isfinite(logits).all()
