"""The measures of a run that has ended: columns of its row."""

from typing import Any

import numpy as np

from experiments.paired.table import places
from mecl_jax.evaluation import budgeted, curve, dynamic_macs
from mecl_jax.evaluation.costs import unit_costs
from mecl_jax.evaluation.curves import areas
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import Rule
from mecl_jax.models import MultiExit, exit_costs

Measures = dict[str, Any]
FOUND = 'found'  # the measure that is part of `fields`
RIGHT = 'right'  # the measure that is no column of the row, but a file beside it


def measure(
  model: MultiExit,
  image_shape: tuple[int, int, int],
  validation: Predicted,
  test: Predicted | None = None,
) -> Measures:
  """Computes accuracies of every exit on both splits, and the area under accuracy against MACs.

  Args:
    model: the network, for the MACs of its exits.
    image_shape: (height, width, channels) of the images.
    validation: predictions that thresholds are chosen from.
    test: predictions that are reported; None for a trial, which only validation judges.

  Returns:
    `exits` and `macs`, joined by spaces; `validation_exit1`, .., `validation_final` and the same of
    test, shares of the images; `area`, the mean test accuracy between the mean MACs of the first
    exit and those of the last under MSDNet's budgeted batch (highest probability); `right`, which
    test images each exit has right, bool [images, exits]. A trial has nothing of test.
  """
  costs = dynamic_macs(exit_costs(model, image_shape))
  measures: Measures = {'exits': ' '.join(model.exit_names), 'macs': ' '.join(map(str, costs))}
  for split in filter(None, (validation, test)):
    values = split.right().mean(axis=0).tolist()
    named = zip(places(len(values) - 1), values, strict=True)
    measures |= {f'{split.name}_{place}': value for place, value in named}
  if test is not None:
    measures |= {'area': _area(costs, validation, test), RIGHT: test.right()}
  return measures


def _area(costs: np.ndarray, validation: Predicted, test: Predicted) -> float:
  """Returns the area over the whole range of costs; beyond its ends the curve is level."""
  policies = budgeted(Rule('max_probability'), validation)
  points = curve(policies, validation, test).test
  macs = np.append(points.mean(unit_costs(costs, costs)), (costs[0], costs[-1]))
  ends = points.accuracy[[macs[:-2].argmin(), macs[:-2].argmax()]]
  found, _ = areas({'curve': (macs, np.append(points.accuracy, ends))})
  return found['curve']
