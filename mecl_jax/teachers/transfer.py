"""The transfer teacher: a classifier on the features of a frozen network."""

import warnings

import numpy as np

CLASSIFIERS = ('auto', 'svc', 'logistic_regression')
SVC_UP_TO = 10_000  # examples; its time grows with their square and more


def log_probabilities(
  features: np.ndarray, labels: np.ndarray, classifier: str, seed: int
) -> np.ndarray:
  """Fits a classifier to the training set and asks it about the same examples.

  Args:
    features: float [N, features], of the network's last stage, averaged over the image.
    labels: int [N].
    classifier: 'svc', a support vector machine with a Gaussian kernel whose scores become
      probabilities by Platt's method, as in the original; 'logistic_regression'; 'auto', the first
      for up to 10,000 examples. Both on standardised features.
    seed: of the folds that Platt's method needs.

  Returns:
    float64 [N, classes].

  References:
    Hacohen and Weinshall, ICML 2019, arXiv 1904.03626.
  """
  # Here: a second of start-up that only this teacher needs.
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler
  from sklearn.svm import SVC

  if classifier == 'auto':
    classifier = 'svc' if len(labels) <= SVC_UP_TO else 'logistic_regression'
  # CalibratedClassifierCV(SVC()), which scikit-learn would have instead, calibrates rounded votes:
  # on CIFAR-10 features its ranking agrees with this one's by 0.75 only (Spearman).
  model = SVC(probability=True, random_state=seed)
  if classifier == 'logistic_regression':
    model = LogisticRegression(max_iter=1000)
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'The `probability` parameter', FutureWarning)
    fitted = make_pipeline(StandardScaler(), model).fit(features, labels)
  probabilities = fitted.predict_proba(features)
  # Every class is among the labels' columns, also one that has no example.
  result = np.full((len(labels), labels.max() + 1), np.finfo(np.float64).tiny)
  result[:, np.unique(labels)] = np.maximum(probabilities, np.finfo(np.float64).tiny)
  return np.log(result)
