"""What has ended: a file per run, so that nothing is run twice and many machines can share."""

from collections.abc import Iterable
import json
import pathlib

from experiments.paired.jobs import Job
from experiments.paired.study import Study
from experiments.paired.table import Row
from mecl_jax.errors import UserError
from mecl_jax.files import write_json


class Ended:
  """The rows of a study's runs in a folder, each in a file that is named by its job's digest."""

  def __init__(self, study: Study, folder: pathlib.Path):
    self._study, self._folder = study, folder / 'rows'

  def __contains__(self, job: Job) -> bool:
    """Whether a job has ended well: one that failed is tried again."""
    return any(not row['error'] for row in self.of([job.digest(self._study)]))

  def add(self, job: Job, row: Row) -> None:
    """Keeps the row of a job."""
    write_json(self._path(job.digest(self._study)), row)

  def of(self, digests: Iterable[str]) -> list[Row]:
    """The rows of those jobs that have ended, well or not, on whatever machine."""
    return [_read(path) for path in map(self._path, digests) if path.exists()]

  def _path(self, digest: str) -> pathlib.Path:
    return self._folder / f'{digest}.json'


def _read(path: pathlib.Path) -> Row:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); delete it, and its run is made again') from None
