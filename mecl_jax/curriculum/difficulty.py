"""Difficulty scores of the training examples, and the file that keeps them."""

import dataclasses
import json
import os
import pathlib
import zipfile

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.files import write_npz


def from_confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """One minus a teacher's confidence in the true class (the transfer teacher's score).

  Args:
    logits: [N, classes], in evaluation mode on images that are not augmented.
    labels: int [N].

  Returns:
    float64 [N] in [0, 1], larger is harder: the probability of the other classes, which tells very
    sure predictions apart where `1 - p` would be 0 for all.

  References:
    Hacohen and Weinshall, ICML 2019, arXiv 1904.03626.
  """
  logits = logits.astype(np.float64)
  odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
  total = odds.sum(axis=-1)
  odds[np.arange(len(labels)), labels] = 0
  return odds.sum(axis=-1) / total


@dataclasses.dataclass(frozen=True, eq=False)
class Difficulty:
  """What a teacher thinks of every training example.

  Attributes:
    ids: str [N], the examples' ids in the data set.
    score: float64 [N], larger is harder.
    teacher: who scored.
    dataset: name of the data set.
    fingerprint: of the training split that was scored (`Dataset.fingerprint`).
  """

  ids: np.ndarray
  score: np.ndarray
  teacher: str
  dataset: str
  fingerprint: str

  def save(self, path: str | os.PathLike) -> None:
    """Writes `id`, `score`, `rank` (0 is easiest) and a JSON `header`; see `load`."""
    rank = np.empty(len(self.score), np.int64)
    rank[np.argsort(self.score, kind='stable')] = np.arange(len(rank))
    header = {key: getattr(self, key) for key in ('teacher', 'dataset', 'fingerprint')}
    write_npz(
      path,
      {
        'id': np.asarray(self.ids, np.str_),
        'score': np.asarray(self.score, np.float64),
        'rank': rank,
        'header': np.array(json.dumps({**header, 'measure': 'confidence'})),
      },
    )

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Difficulty':
    """Reads a file that `save` wrote.

    Raises:
      UserError: there is none, or it is no such file.
    """
    try:
      with np.load(pathlib.Path(path), allow_pickle=False) as file:
        header = json.loads(str(file['header']))
        facts = {key: header[key] for key in ('teacher', 'dataset', 'fingerprint')}
        return cls(ids=file['id'], score=file['score'], **facts)
    except FileNotFoundError:
      raise UserError(f'there is no difficulty file {path}') from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
      raise UserError(f'{path} is no difficulty file: {error}') from None

  def align(self, ids: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Scores in the order of `ids`, joined by id and never by position.

    Args:
      ids: str [N] of the training split.
      path: where this came from, for the message.

    Raises:
      UserError: ids are missing, unknown or double, or scores are not finite; counts each.
    """
    known = set(self.ids.tolist())
    wanted = set(ids.tolist())
    faults = {
      'missing': len(wanted - known),
      'unknown': len(known - wanted),
      'double': len(self.ids) - len(known),
      'not finite': int((~np.isfinite(self.score)).sum()),
    }
    if any(faults.values()):
      counts = ', '.join(f'{count} {fault}' for fault, count in faults.items() if count)
      raise UserError(
        f'{path} does not fit the training split of {len(ids)} examples: {counts}'
        f' (it was made by {self.teacher} for {self.dataset})'
      )
    by_id = np.argsort(self.ids)
    return self.score[by_id[np.searchsorted(self.ids[by_id], ids)]]
