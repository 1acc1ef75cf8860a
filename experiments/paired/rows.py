"""The rows of runs that have ended, and what they had right, in files of each run.

So machines can share a study.
"""

from collections.abc import Iterable
import json
import pathlib

import numpy as np

from experiments.paired.jobs import Job
from experiments.paired.study import Study
from experiments.paired.table import Row
from mecl_jax.errors import UserError
from mecl_jax.files import read_npz, write_json, write_npz


class Ended:
  """The rows of a study in a folder, each in a file named after the digest of its job."""

  def __init__(self, study: Study, folder: pathlib.Path):
    self._study, self._folder = study, folder / 'rows'

  def __contains__(self, job: Job) -> bool:
    """Returns whether a job has succeeded; a job that failed is tried again."""
    return any(not row['error'] for row in self.of([job.digest(self._study)]))

  def add(self, job: Job, row: Row, right: np.ndarray | None = None) -> None:
    """Writes the row of a job.

    Args:
      job: of the row.
      row: of the table.
      right: which test images each exit has right, bool [images, exits]; None for a trial.
    """
    path = self._path(job.digest(self._study))
    if right is not None:  # before the row, which says that the job has ended
      packed = np.packbits(right.T, axis=1)
      write_npz(path.with_suffix('.npz'), {'right': packed, 'images': np.array(len(right))})
    write_json(path, row)

  def of(self, digests: Iterable[str]) -> list[Row]:
    """Returns the rows of the jobs that have ended on any machine, failed ones included."""
    return [_read(path) for path in map(self._path, digests) if path.exists()]

  def right(self, job: Job) -> np.ndarray | None:
    """Returns which test images a run has right, bool [exits, images]; None if it has no file."""
    path = self._path(job.digest(self._study)).with_suffix('.npz')
    if not path.exists():
      return None
    arrays = read_npz(path, again='delete it and the .json file beside it to repeat its run')
    return np.unpackbits(arrays['right'], axis=1, count=int(arrays['images'])).astype(bool)

  def _path(self, digest: str) -> pathlib.Path:
    return self._folder / f'{digest}.json'


def _read(path: pathlib.Path) -> Row:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); delete it to repeat its run') from None
