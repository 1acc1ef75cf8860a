"""The difficulty of the training examples, and its files."""

import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np

from mecl_jax.errors import DamagedFile, MissingFile, UserError, first_line
from mecl_jax.files import read_npz, write_npz


@dataclasses.dataclass(frozen=True, eq=False)
class Difficulty:
  """The difficulty score of every training example.

  Examples:
    >>> ids, score = np.array(['a', 'b']), np.array([0.9, 0.1])
    >>> difficulty = Difficulty(ids, score, 'file', 'score', '', '')
    >>> difficulty.align(np.array(['b', 'a']), 'scores.csv').tolist()
    [0.1, 0.9]

  Attributes:
    ids: str [N], ids of the examples in the data set.
    score: float64 [N], larger is harder.
    teacher: name of the teacher that scored the examples.
    measure: name of the measure, for example 'confidence'; see `scores`.
    dataset: name of the data set, or '' if unknown.
    fingerprint: `Dataset.fingerprint` of the scored training split, or '' if unknown.
    contradicted: bool [N], whether the teacher predicts another class than the label; None if
      unknown, as in tables and in files of mecl_jax 0.4.
    drops: whether a run never shows the contradicted examples; `digest` then covers which they are.
      Not part of a file.
  """

  ids: np.ndarray
  score: np.ndarray
  teacher: str
  measure: str
  dataset: str
  fingerprint: str
  contradicted: np.ndarray | None = None
  drops: bool = False

  def save(self, path: str | os.PathLike) -> None:
    """Writes an .npz file: `id`, `score`, `rank` (0: easiest), `contradicted`, a JSON `header`."""
    rank = np.empty(len(self.score), np.int64)
    rank[np.argsort(self.score, kind='stable')] = np.arange(len(rank))
    known = {} if self.contradicted is None else {'contradicted': self.contradicted}
    header = {key: getattr(self, key) for key in ('teacher', 'measure', 'dataset', 'fingerprint')}
    write_npz(
      path,
      {
        'id': np.asarray(self.ids, np.str_),
        'score': np.asarray(self.score, np.float64),
        'rank': rank,
        'header': np.array(json.dumps(header)),
        **known,
      },
    )

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Difficulty':
    """Reads a file that `save` wrote, or any table with the columns `id` and `score`.

    Args:
      path: of a .csv or .parquet file; any other ending is read as .npz.

    Raises:
      DamagedFile: the file is invalid, or not what `save` wrote.
      UserError: it does not exist or cannot be read.
    """
    path = pathlib.Path(path)
    columns = {'.csv': _read_csv, '.parquet': _read_parquet}.get(path.suffix, _read_npz)
    try:
      ids, score, header, contradicted = columns(path)
      facts = {'teacher': path.name, 'measure': 'score', 'dataset': '', 'fingerprint': ''} | header
      if ids.shape != score.shape or ids.ndim != 1 or score.dtype.kind not in 'fiub':
        raise ValueError(f'ids of shape {ids.shape}, {score.dtype} scores of shape {score.shape}')
      if contradicted is not None and (contradicted.shape, contradicted.dtype) != (ids.shape, bool):
        raise ValueError(f'{contradicted.dtype} `contradicted` of shape {contradicted.shape}')
      score = score.astype(np.float64)
      return cls(ids, score, **facts, contradicted=contradicted, drops=False)
    except UserError:
      raise
    except FileNotFoundError:
      raise MissingFile(f'{path} does not exist') from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
      if getattr(error, 'errno', None):  # PyArrow raises an OSError without a number for damage
        raise UserError(f'{path} cannot be read: {first_line(error)}') from None
      raise DamagedFile(f'{path} is not a valid difficulty file: {first_line(error)}') from None

  @property
  def digest(self) -> str:
    """Digest of what a run trains with: ids, scores, and the examples that it drops.

    It has 16 hexadecimal digits. Another order of examples has another digest.
    """
    digest = hashlib.sha256('\n'.join(self.ids.tolist()).encode())
    digest.update(self.score.astype('<f8').tobytes())
    if self.drops and self.contradicted is not None:
      digest.update(self.contradicted.tobytes())
    return digest.hexdigest()[:16]

  def align(self, ids: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Returns the scores in the order of `ids`; examples are matched by id, not by position.

    Args:
      ids: str [N], ids of the training split.
      path: of the difficulty file, for error messages.

    Returns:
      float64 [N].

    Raises:
      UserError: as `aligned`.
    """
    return self.aligned(ids, path).score

  def aligned(self, ids: np.ndarray, path: str | os.PathLike) -> 'Difficulty':
    """Returns the difficulty in the order of `ids`, with the arguments of `align`.

    Raises:
      UserError: ids are missing, unknown or duplicate, or scores are not finite.
    """
    known = set(self.ids.tolist())
    wanted = set(ids.tolist())
    faults = {
      'missing': len(wanted - known),
      'unknown': len(known - wanted),
      'duplicate': len(self.ids) - len(known),
      'not finite': int((~np.isfinite(self.score)).sum()),
    }
    if any(faults.values()):
      counts = ', '.join(f'{count} {fault}' for fault, count in faults.items() if count)
      made_for = f' (it has scores of {self.teacher} for {self.dataset})' if self.dataset else ''
      raise UserError(
        f'{path} does not match the training split of {len(ids)} examples: {counts}{made_for}'
      )
    by_id = np.argsort(self.ids)
    rows = by_id[np.searchsorted(self.ids[by_id], ids)]
    contradicted = None if self.contradicted is None else self.contradicted[rows]
    return dataclasses.replace(self, ids=ids, score=self.score[rows], contradicted=contradicted)


# Ids, score, header, contradicted.
Columns = tuple[np.ndarray, np.ndarray, dict[str, str], np.ndarray | None]


def _read_npz(path: pathlib.Path) -> Columns:
  file = read_npz(path)
  header = json.loads(str(file['header'])) if 'header' in file else {}
  return file['id'].astype(np.str_), file['score'], header, file.get('contradicted')


def _read_csv(path: pathlib.Path) -> Columns:
  import pyarrow
  from pyarrow import csv

  # Read as text, because an id like 00042 must not become the number 42.
  types = {'id': pyarrow.string(), 'score': pyarrow.float64()}
  options = csv.ConvertOptions(column_types=types, include_columns=['id', 'score'])
  return _from_table(csv.read_csv(path, convert_options=options))


def _read_parquet(path: pathlib.Path) -> Columns:
  from pyarrow import parquet

  return _from_table(parquet.read_table(path, columns=['id', 'score']))


def _from_table(table) -> Columns:
  ids = np.array(table['id'].cast('string').to_pylist(), np.str_)
  return ids, table['score'].cast('float64').to_numpy(), {}, None
