"""A policy: an exit rule with its thresholds; it says where an example leaves."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.evaluation.rules import GATE, MEASURES, Rule
from mecl_jax.files import write_json

FORMAT, VERSION = 'mecl_jax exit policy', 1


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
  """Leave at the first exit that is sure enough, else at the last.

  Attributes:
    rule: that says how sure an exit is.
    thresholds: float64 [exits - 1], the least confidence with which an example leaves at every
      exit but the last; infinity: nobody does.
  """

  rule: Rule
  thresholds: np.ndarray

  @property
  def exits(self) -> int:
    """How many there are, the last one included."""
    return len(self.thresholds) + 1

  @property
  def digest(self) -> str:
    """16 hex digits that tell it from other policies."""
    parts = (self.rule.name, self.rule.learnt, self.thresholds.tolist())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

  def leaves_at(self, logits: np.ndarray) -> np.ndarray:
    """Where every example leaves.

    Args:
      logits: [N, exits, classes].

    Returns:
      int [N], the number of the exit, from 0.

    Raises:
      UserError: another number of exits, or a logit that is not a finite number.
    """
    check_same_exits('a policy', self.exits, logits.shape[1])
    return first_reached(self.rule.confidence(logits), self.thresholds)


def first_reached(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """The first exit whose confidence is at least its threshold, else the last; int [N].

  Args:
    confidence: [N, exits].
    thresholds: [exits - 1].
  """
  at = np.full(len(confidence), len(thresholds))
  for k in reversed(range(len(thresholds))):  # much faster than to look along the examples
    np.copyto(at, k, where=confidence[:, k] >= thresholds[k])
  return at


def save_policy(path: str | os.PathLike, policy: Policy, dataset: str) -> None:
  """Writes a policy as JSON; numbers come back bit for bit.

  Args:
    path: of the file.
    policy: to write.
    dataset: name of the data set whose validation split it is of.
  """
  header = {'format': FORMAT, 'version': VERSION, 'dataset': dataset, 'exits': policy.exits}
  # JSON has no infinity; as text it is read back by `float` like any other.
  thresholds = [t if math.isfinite(t) else str(t) for t in policy.thresholds.tolist()]
  rule = {'rule': policy.rule.name, 'learnt': policy.rule.learnt}
  write_json(path, header | rule | {'thresholds': thresholds})


def load_policy(path: str | os.PathLike, dataset: str) -> Policy:
  """Reads what `save_policy` wrote.

  Args:
    path: of the file.
    dataset: name of the data set that it is wanted for.

  Raises:
    UserError: there is no such file, it is damaged, of another version or of another data set.
  """
  try:
    read = json.loads(pathlib.Path(path).read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read: {error}') from None
  if not isinstance(read, Mapping) or read.get('format') != FORMAT:
    raise UserError(f'{path} is no exit policy')
  if read.get('version') != VERSION:
    raise UserError(f'{path} is of version {read.get("version")}; this program reads {VERSION}')
  if read.get('dataset') != dataset:
    raise UserError(f'{path} holds thresholds for {read.get("dataset")}, not for {dataset}')
  try:
    return _policy(read)
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f'{path} is damaged: {error}') from None


def _policy(read: Mapping[str, Any]) -> Policy:
  """Raises KeyError, TypeError or ValueError for what no policy is made of."""
  rule = Rule(read['rule'], tuple(tuple(map(float, exit_)) for exit_ in read['learnt']))
  thresholds = np.array([float(t) for t in read['thresholds']])
  if len(thresholds) != read['exits'] - 1 or np.isnan(thresholds).any():
    raise ValueError(f'{read["exits"]} exits take {read["exits"] - 1} thresholds, all numbers')
  expected = [len(MEASURES) + 1] * read['exits'] if rule.name == GATE else []
  if [len(weights) for weights in rule.learnt] != expected:
    raise ValueError(f'rule {rule.name} has not learnt what it takes for {read["exits"]} exits')
  return Policy(rule, thresholds)
