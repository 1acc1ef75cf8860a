"""The transfer teacher: a classifier on the features of a frozen network."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mecl_jax.errors import UserError

CLASSIFIERS = ('auto', 'svc', 'logistic_regression')
SVC_UP_TO = 10_000  # examples; its time grows with their square and more

_FOLDS = 5  # of the probabilities of the SVC


def log_probabilities(
  features: np.ndarray, labels: np.ndarray, classifier: str, seed: int
) -> np.ndarray:
  """Fits a classifier to the training set and asks it about the same examples.

  Args:
    features: float [N, features], of the network's last stage, averaged over the image.
    labels: int [N].
    classifier: 'svc', a support vector machine with a Gaussian kernel whose scores become
      probabilities by Platt's method, as in the original; 'logistic_regression' on standardised
      features; 'auto', the first for up to 10,000 examples.
    seed: of the folds that Platt's method needs.

  Returns:
    float64 [N, classes].

  Raises:
    UserError: a class has fewer examples than the folds.

  References:
    Hacohen and Weinshall, ICML 2019, arXiv 1904.03626.
  """
  if classifier == 'auto':
    classifier = 'svc' if len(labels) <= SVC_UP_TO else 'logistic_regression'
  if classifier == 'svc':
    smallest = np.bincount(labels)[np.unique(labels)].min()
    if smallest < _FOLDS:
      raise UserError(
        f'curriculum.classifier=svc needs {_FOLDS} training examples of every class; one has'
        f' {smallest}; logistic_regression does not'
      )
    model = CalibratedClassifierCV(SVC(random_state=seed), ensemble=False, cv=_FOLDS)
  else:
    model = LogisticRegression(max_iter=1000)
  probabilities = (
    make_pipeline(StandardScaler(), model).fit(features, labels).predict_proba(features)
  )
  # Every class is among the labels' columns, also one that has no example.
  result = np.full((len(labels), labels.max() + 1), np.finfo(np.float64).tiny)
  result[:, np.unique(labels)] = np.maximum(probabilities, np.finfo(np.float64).tiny)
  return np.log(result)
