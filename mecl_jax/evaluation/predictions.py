"""Predictions of a split, and predictions.npz."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib

import numpy as np

from mecl_jax.errors import DamagedFile, UserError
from mecl_jax.evaluation import metrics
from mecl_jax.files import read_npz, write_npz

VALIDATION, TEST = 'validation', 'test'


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
  """Predictions of all exits on a named split.

  Whatever is fitted or chosen accepts only the split named `VALIDATION`; see `check_validation`.

  Attributes:
    name: 'validation' or 'test'.
    logits: float [N, exits, classes], earliest exit first.
    labels: int [N].

  Raises:
    UserError: the split is empty, or the shapes of logits and labels do not fit.
  """

  name: str
  logits: np.ndarray
  labels: np.ndarray

  def __post_init__(self):
    if self.logits.ndim != 3 or self.labels.shape != self.logits.shape[:1]:
      raise UserError(
        f'the {self.name} split has logits {list(self.logits.shape)} and labels'
        f' {list(self.labels.shape)}; they must be [N, exits, classes] and [N]'
      )
    if not self.logits.size:
      raise UserError(f'the {self.name} split is empty: there is nothing to evaluate')

  @property
  def exits(self) -> int:
    """Number of exits."""
    return self.logits.shape[1]

  def right(self) -> np.ndarray:
    """Returns whether the largest logit of each exit is the label's, bool [N, exits]."""
    return metrics.correct(self.logits, self.labels)


def save_predictions(
  path: str | os.PathLike,
  exits: Sequence[str],
  splits: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Writes predictions.npz.

  Args:
    path: file to write.
    exits: names of the exits, stored as `exits`.
    splits: by name of the split, arrays by key ('logits', 'labels', 'ids'), stored as
      `{split}_{key}`.
  """
  arrays = {f'{split}_{key}': value for split, v in splits.items() for key, value in v.items()}
  write_npz(path, {'exits': np.array(exits, np.str_), **arrays})


def load_predictions(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads all arrays of a file that `save_predictions` wrote.

  Raises:
    DamagedFile: the file is not what was written.
    UserError: it does not exist or cannot be read.
  """
  again = f'--mode=evaluate --workdir={pathlib.Path(path).parent} writes it again'
  arrays = read_npz(path, again=again)
  if 'exits' not in arrays:
    raise DamagedFile(f'{path} does not hold predictions: it lacks exits; {again}')
  return arrays


def predicted(predictions: Mapping[str, np.ndarray], name: str) -> Predicted:
  """Returns a split of predictions.

  Args:
    predictions: as from `load_predictions`.
    name: 'validation' or 'test'.

  Raises:
    UserError: the predictions have no such split.
  """
  try:
    return Predicted(name, predictions[f'{name}_logits'], predictions[f'{name}_labels'])
  except KeyError:
    raise UserError(
      f'these predictions have no {name} split; --mode=evaluate predicts it'
    ) from None


def check_validation(split: Predicted) -> None:
  """Raises UserError for another split: a choice made on a split must not be reported on it."""
  if split.name != VALIDATION:
    raise UserError(f'thresholds come from the validation split, not from the {split.name} split')


def check_same_exits(what: str, exits: int, expected: int) -> None:
  """Raises UserError if `what` is for another number of exits than expected."""
  if exits != expected:
    raise UserError(
      f'{what} of {exits} exits for predictions of {expected}; both must be of the same network'
    )
