"""Predictions of a split, and predictions.npz."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib

import numpy as np

from mecl_jax.errors import DamagedFile, UserError
from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
from mecl_jax.files import read_npz, write_npz

VALIDATION, TEST = 'validation', 'test'


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
  """Predictions of all exits on a named split.

  Whatever is fitted or chosen accepts only the split named `VALIDATION`; see `check_validation`.

  Attributes:
    name: 'validation' or 'test'.
    logits: float [N, exits, classes], earliest exit first; outputs of another task.
    labels: int [N]; [N, outputs] of another task.
    task: name of the task, which judges the predictions.

  Raises:
    UserError: the split is empty, or the shapes of logits and labels do not fit.
  """

  name: str
  logits: np.ndarray
  labels: np.ndarray
  task: str = CLASSIFICATION.name

  def __post_init__(self):
    has_classes = self.task == CLASSIFICATION.name
    wanted = '[N]' if has_classes else '[N, outputs]'
    shape = self.logits.shape[:1] if has_classes else self.logits.shape[::2]
    if self.logits.ndim != 3 or self.labels.shape != shape:
      raise UserError(
        f'the {self.name} split has logits {list(self.logits.shape)} and labels'
        f' {list(self.labels.shape)}; they must be [N, exits, classes] and {wanted}'
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

  def quality(self) -> np.ndarray:
    """Returns the quality of each prediction, see `Task.quality`.

    Returns:
      [N, exits], larger is better: bool as `right` for classification, else float64.
    """
    found = TASKS[self.task].quality(metrics.checked(self.logits), self.labels)
    return found if found.dtype == bool else found.astype(np.float64)


def save_predictions(
  path: str | os.PathLike,
  exits: Sequence[str],
  splits: Mapping[str, Mapping[str, np.ndarray]],
  checkpoint: str = '',
  task: str = CLASSIFICATION.name,
) -> None:
  """Writes predictions.npz.

  Args:
    path: file to write.
    exits: names of the exits, stored as `exits`.
    splits: by name of the split, arrays by key ('logits', 'labels', 'ids'), stored as
      `{split}_{key}`.
    checkpoint: identifies the parameters that predicted, stored as `checkpoint`.
    task: name of the task, stored as `task` if it is not classification.
  """
  arrays = {f'{split}_{key}': value for split, v in splits.items() for key, value in v.items()}
  facts = {'exits': np.array(exits, np.str_), 'checkpoint': np.array(checkpoint)}
  if task != CLASSIFICATION.name:
    facts['task'] = np.array(task)
  write_npz(path, facts | arrays)


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
  task = str(predictions.get('task', CLASSIFICATION.name))
  try:
    return Predicted(name, predictions[f'{name}_logits'], predictions[f'{name}_labels'], task)
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
