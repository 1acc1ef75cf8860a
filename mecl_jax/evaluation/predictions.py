"""What a network said of a split, with the answers: it knows which split it is, and its file."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.files import write_npz

VALIDATION, TEST = 'validation', 'test'


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
  """Predictions of all exits on a split that is called by its name.

  The name is what keeps thresholds honest: whatever chooses them asks for `VALIDATION`.

  Attributes:
    name: 'validation' or 'test'.
    logits: [N, exits, classes], earliest exit first.
    labels: int [N].

  Raises:
    UserError: the split is empty, or logits and labels do not belong together.
  """

  name: str
  logits: np.ndarray
  labels: np.ndarray

  def __post_init__(self):
    if self.logits.ndim != 3 or self.labels.shape != self.logits.shape[:1]:
      raise UserError(
        f'the {self.name} split has logits {list(self.logits.shape)} and labels'
        f' {list(self.labels.shape)}; they are [N, exits, classes] and [N]'
      )
    if not self.logits.size:
      raise UserError(f'the {self.name} split is empty: there is nothing to evaluate')

  @property
  def exits(self) -> int:
    """How many there are."""
    return self.logits.shape[1]

  def right(self) -> np.ndarray:
    """Whether an exit's largest logit is the label's, bool [N, exits]."""
    return metrics.correct(self.logits, self.labels)


def save_predictions(
  path: str | os.PathLike,
  exits: Sequence[str],
  splits: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Writes predictions.npz: `exits`, and {split}_{logits,labels,ids} of every split."""
  arrays = {f'{split}_{key}': value for split, v in splits.items() for key, value in v.items()}
  write_npz(path, {'exits': np.array(exits, np.str_), **arrays})


def load_predictions(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads what `save_predictions` wrote.

  Raises:
    UserError: there is no such file, or it is damaged.
  """
  try:
    with np.load(pathlib.Path(path), allow_pickle=False) as file:
      return dict(file)
  except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f'{path} cannot be read: {error}; --mode=evaluate writes it anew') from None


def predicted(predictions: Mapping[str, np.ndarray], name: str) -> Predicted:
  """Takes a split out of what `load_predictions` returns.

  Raises:
    UserError: there is no such split.
  """
  try:
    return Predicted(name, predictions[f'{name}_logits'], predictions[f'{name}_labels'])
  except KeyError:
    raise UserError(f'these predictions hold no {name} split; --mode=evaluate makes one') from None


def check_validation(split: Predicted) -> None:
  """Raises UserError for any other split: what is chosen on it could not be reported on it."""
  if split.name != VALIDATION:
    raise UserError(f'thresholds come from the validation split, not from the {split.name} split')


def check_same_exits(what: str, exits: int, expected: int) -> None:
  """Raises UserError if `what`, which has `exits`, meets predictions of another number."""
  if exits != expected:
    raise UserError(
      f'{what} of {exits} exits for predictions of {expected}; both have to be of one network'
    )
