"""Named operating points of a bundle, chosen on the validation split of what is deployed."""

from collections.abc import Mapping
import math
from typing import Any

import numpy as np

from mecl_jax.durations import listed
from mecl_jax.errors import UserError
from mecl_jax.evaluation.choice import choose_policy
from mecl_jax.evaluation.costs import Costs, UnitCosts
from mecl_jax.evaluation.operating_points import MAX_ACCURACY_DROP, TARGET_MACS, Target
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted

MACS = 'MACs'  # unit of a limit of the mean cost


def parse(points: str) -> dict[str, Target]:
  """Returns the targets of named operating points.

  Args:
    points: a list of 'NAME=LOSS', the share of images by which validation accuracy may be lower
      than that of the final exit, and 'NAME=COST MACs', the mean cost of an image.

  Raises:
    UserError: there is no point, one is neither, a name is not made of lower-case letters, digits
      and underscores, or two names are equal.

  Examples:
    >>> {name: str(target) for name, target in parse('fast=0.02, tiny=1e6 MACs').items()}
    {'fast': 'max_accuracy_drop=0.02', 'tiny': 'target_macs=1000000'}
  """
  targets = dict[str, Target]()
  for point in listed(points):
    name, _, limit = point.partition('=')
    if not name.isidentifier() or name.lower() != name or not name.isascii() or name in targets:
      raise UserError(
        f'export.points has {point!r}; every name must be of lower-case letters, digits and'
        ' underscores, and occur once, as in fast=0.02'
      )
    targets[name] = _target(point, limit)
  if not targets:
    raise UserError('export.points is empty; name one operating point at least, as balanced=0.005')
  return targets


def _target(point: str, limit: str) -> Target:
  number, _, unit = limit.strip().partition(' ')
  try:
    value = float(number)
  except ValueError:
    value = math.nan
  if unit == MACS and 0 < value < math.inf:
    return Target(TARGET_MACS, value)
  if not unit and 0 <= value <= 1:
    return Target(MAX_ACCURACY_DROP, value)
  raise UserError(
    f'export.points has {point!r}; write NAME=LOSS with a loss of accuracy from 0 to 1, as'
    ' fast=0.02, or NAME=COST MACs, as tiny=2e6 MACs'
  )


def choose(
  targets: Mapping[str, Target], validation: Predicted, test: Predicted, costs: Costs
) -> dict[str, Policy]:
  """Returns the policy of every operating point, chosen on validation.

  Args:
    targets: by name.
    validation, test: predictions of what is deployed.
    costs: of the exits.

  Raises:
    UserError: no policy meets a target; the message names the point and the nearest.
  """
  found = dict[str, Policy]()
  for name, target in targets.items():
    try:
      found[name] = choose_policy(validation, test, costs, target).chosen.point.policy
    except UserError as error:
      raise UserError(f'export.points, {name}: {error}') from None
  return found


def meaning(target: Target) -> str:
  """Returns what a target means, as a sentence without its full stop.

  >>> meaning(Target('max_accuracy_drop', 0.005))
  'the cheapest that loses at most 0.5 points of accuracy on validation'
  """
  if target.name == MAX_ACCURACY_DROP:
    return (
      f'the cheapest that loses at most {100 * target.value:g} points of accuracy on validation'
    )
  return f'the most accurate that takes at most {target.value:,.0f} MACs per image on validation'


def effect(policy: Policy, split: Predicted, costs: UnitCosts) -> dict[str, Any]:
  """Returns what a policy does on a split: accuracy, share of the images per exit, mean MACs."""
  exits = policy.leaves_at(split.logits)
  right = split.right()[np.arange(len(exits)), exits]
  return {
    'accuracy': float(right.mean()),
    'share': (np.bincount(exits, minlength=split.exits) / len(exits)).tolist(),
    'macs': float(costs.of(policy.rule.name)[exits].mean()),
  }
