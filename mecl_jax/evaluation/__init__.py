"""From a trained network to numbers: predict once, then pure functions of the logits."""

from mecl_jax.evaluation.metrics import accuracy, ece, nll, top_k_accuracy
from mecl_jax.evaluation.predict import images_per_call, penultimate_features, predict
from mecl_jax.evaluation.predictions import load_predictions

__all__ = [
  'accuracy',
  'ece',
  'images_per_call',
  'load_predictions',
  'nll',
  'penultimate_features',
  'predict',
  'top_k_accuracy',
]
