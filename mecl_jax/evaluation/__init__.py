"""Evaluation: the logits of all exits are predicted once, and all else is a function of them."""

from mecl_jax.evaluation.calibration_error import ece
from mecl_jax.evaluation.choice import Choice, choose_policy, given_policy
from mecl_jax.evaluation.costs import Costs, UnitCosts, dynamic_macs, make_costs
from mecl_jax.evaluation.curves import curve
from mecl_jax.evaluation.metrics import accuracy, auroc, brier, nll, top_k_accuracy
from mecl_jax.evaluation.operating_points import TARGETS, Target, check_reachable, operating_point
from mecl_jax.evaluation.policies import Policy, fixed, load_policy, save_policy
from mecl_jax.evaluation.predict import images_per_call, penultimate_features, predict
from mecl_jax.evaluation.predictions import Predicted, load_predictions, predicted
from mecl_jax.evaluation.rules import RULES, Rule, fit_rule
from mecl_jax.evaluation.thresholds import budgeted, per_exit, per_exit_sweep, shared

__all__ = [
  'RULES',
  'TARGETS',
  'Choice',
  'Costs',
  'Policy',
  'Predicted',
  'Rule',
  'Target',
  'UnitCosts',
  'accuracy',
  'auroc',
  'brier',
  'budgeted',
  'check_reachable',
  'choose_policy',
  'curve',
  'dynamic_macs',
  'ece',
  'fit_rule',
  'fixed',
  'given_policy',
  'images_per_call',
  'load_policy',
  'load_predictions',
  'make_costs',
  'nll',
  'operating_point',
  'penultimate_features',
  'per_exit',
  'per_exit_sweep',
  'predict',
  'predicted',
  'save_policy',
  'shared',
  'top_k_accuracy',
]
