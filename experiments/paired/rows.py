"""The rows of runs that have ended, a file per run, so that machines can share a study."""

from collections.abc import Iterable
import json
import pathlib

from experiments.paired.jobs import Job
from experiments.paired.study import Study
from experiments.paired.table import Row
from mecl_jax.errors import UserError
from mecl_jax.files import write_json


class Ended:
  """The rows of a study in a folder, each in a file named after the digest of its job."""

  def __init__(self, study: Study, folder: pathlib.Path):
    self._study, self._folder = study, folder / 'rows'

  def __contains__(self, job: Job) -> bool:
    """Returns whether a job has succeeded; a job that failed is tried again."""
    return any(not row['error'] for row in self.of([job.digest(self._study)]))

  def add(self, job: Job, row: Row) -> None:
    """Writes the row of a job."""
    write_json(self._path(job.digest(self._study)), row)

  def of(self, digests: Iterable[str]) -> list[Row]:
    """Returns the rows of the jobs that have ended on any machine, failed ones included."""
    return [_read(path) for path in map(self._path, digests) if path.exists()]

  def _path(self, digest: str) -> pathlib.Path:
    return self._folder / f'{digest}.json'


def _read(path: pathlib.Path) -> Row:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); delete it to repeat its run') from None
