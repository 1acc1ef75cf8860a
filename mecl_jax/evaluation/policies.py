"""Policies: an exit rule with its thresholds, and policy.json."""

from collections.abc import Mapping
import dataclasses
import hashlib
import itertools
import math
import os
from typing import Any

import numpy as np

from mecl_jax.errors import DamagedFile, UserError, first_line
from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.evaluation.rules import FIXED, GATE, LEARNED, Rule, is_confidence
from mecl_jax.files import read_json, write_checked_json

FORMAT, VERSION = 'mecl_jax exit policy', 2
FEATURES_1 = ('max_probability', 'entropy', 'margin', 'patience')  # of every gate of version 1


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
  """An exit rule and its thresholds: an example leaves at the first exit that reaches its own.

  Attributes:
    rule: computes the confidence of every exit.
    thresholds: float64 [exits - 1], the least confidence with which an example leaves, for every
      exit but the last; with infinity, no example leaves there.

  Examples:
    >>> policy = Policy(Rule('max_probability'), np.array([0.7]))
    >>> policy.leaves_at(np.log([[[0.9, 0.1], [0.8, 0.2]], [[0.6, 0.4], [0.7, 0.3]]])).tolist()
    [0, 1]
  """

  rule: Rule
  thresholds: np.ndarray

  @property
  def exits(self) -> int:
    """Number of exits, the last one included."""
    return len(self.thresholds) + 1

  @property
  def fixed_exit(self) -> int | None:
    """Number of the exit at which all images stop, from 0; None if images leave early.

    At a fixed exit no other head runs, and nothing is decided. A policy whose rule is not `FIXED`
    runs all heads on the way, even if all images leave at one exit.
    """
    if self.rule.name != FIXED:
      return None
    return int(first_reached(np.zeros((1, self.exits)), self.thresholds)[0])

  @property
  def digest(self) -> str:
    """Digest of rule and thresholds, 16 hexadecimal digits."""
    parts = (self.rule.name, self.rule.coefficients, self.thresholds.tolist())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

  def leaves_at(self, logits: np.ndarray) -> np.ndarray:
    """Finds the exit at which every example leaves.

    Args:
      logits: float [N, exits, classes].

    Returns:
      int [N], the number of the exit, from 0.

    Raises:
      UserError: the policy is for another number of exits, or a logit is not a finite number.
    """
    check_same_exits('a policy', self.exits, logits.shape[1])
    return first_reached(self.rule.confidence(logits), self.thresholds)


def fixed(number: int, exits: int) -> Policy:
  """Makes the policy that stops all images at one exit.

  Args:
    number: of that exit, from 0.
    exits: number of exits.

  Examples:
    >>> fixed(1, 3).thresholds.tolist(), fixed(2, 3).thresholds.tolist()
    ([inf, -inf], [inf, inf])
  """
  at = np.arange(exits - 1) == number
  return Policy(Rule(FIXED), np.where(at, -np.inf, np.inf))


def first_reached(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """Finds the first exit whose confidence is at least its threshold, else the last.

  Args:
    confidence: float [N, exits].
    thresholds: float [exits - 1].

  Returns:
    int [N], the number of the exit, from 0.
  """
  at = np.full(len(confidence), len(thresholds))
  for k in reversed(range(len(thresholds))):  # much faster than a search along each example
    np.copyto(at, k, where=confidence[:, k] >= thresholds[k])
  return at


def save_policy(path: str | os.PathLike, policy: Policy, dataset: str) -> None:
  """Writes a policy as JSON, from which all numbers are read back bit for bit.

  Args:
    path: file to write.
    policy: the policy.
    dataset: name of the data set whose validation split the thresholds come from.
  """
  header = {'format': FORMAT, 'version': VERSION, 'dataset': dataset, 'exits': policy.exits}
  # JSON has no infinity; `float` reads it back from text.
  thresholds = [t if math.isfinite(t) else str(t) for t in policy.thresholds.tolist()]
  rule = {
    'rule': policy.rule.name,
    'features': policy.rule.features,
    'coefficients': policy.rule.coefficients,
  }
  write_checked_json(path, header | rule | {'thresholds': thresholds})


def load_policy(path: str | os.PathLike, dataset: str) -> Policy:
  """Reads a file that `save_policy` wrote, of this version or of version 1.

  Args:
    path: file to read.
    dataset: name of the data set that the policy will be used for.

  Returns:
    the policy.

  Raises:
    DamagedFile: the file is not what was written.
    UserError: it does not exist, or is of another version or of another data set.
  """
  read = read_json(path)
  if read.get('format') != FORMAT:
    raise UserError(f'{path} is not an exit policy; --mode=evaluate writes policy.json')
  if read.get('version') not in (1, VERSION):
    raise UserError(
      f'{path} has version {read.get("version")!s:.80}; this program reads versions 1 and {VERSION}'
    )
  if read.get('dataset') != dataset:
    raise UserError(f'{path} has thresholds for {read.get("dataset")!s:.80}, not for {dataset}')
  try:
    return _policy(read)
  except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
    raise DamagedFile(f'{path} is damaged: {first_line(error)}') from None


def _policy(read: Mapping[str, Any]) -> Policy:
  """Returns the policy of a file; raises KeyError, TypeError or ValueError if it is damaged."""
  if read['version'] == 1:
    features = FEATURES_1 if read['rule'] == GATE else ()
    read = {**read, 'features': features, 'coefficients': read['learnt']}
  coefficients = tuple(tuple(map(float, of_exit)) for of_exit in read['coefficients'])
  rule = Rule(read['rule'], tuple(read['features']), coefficients)
  thresholds = np.array([float(t) for t in read['thresholds']])
  if len(thresholds) != read['exits'] - 1 or np.isnan(thresholds).any():
    raise ValueError(f'{read["exits"]} exits need {read["exits"] - 1} thresholds, all numbers')
  if rule.name == FIXED and (np.isfinite(thresholds).any() or (thresholds < 0).sum() > 1):
    raise ValueError('a fixed exit has the threshold -inf, and all others inf')
  unknown = [name for name in rule.features if not is_confidence(name)]
  if unknown:
    raise ValueError(f'unknown features {unknown}; another version of mecl_jax wrote them')
  expected = [len(rule.features) + 1] * read['exits'] if rule.name in LEARNED else []
  if [len(of_exit) for of_exit in rule.coefficients] != expected:
    raise ValueError(f'the coefficients do not fit rule {rule.name} with {read["exits"]} exits')
  if not all(map(math.isfinite, itertools.chain(*rule.coefficients))):
    raise ValueError('a coefficient is not a finite number')
  return Policy(rule, thresholds)
