"""What has ended: a file per run, so that nothing is run twice and many machines can share."""

import json
import pathlib
from typing import Any

from experiments.paired.jobs import Job, Row
from experiments.paired.study import Study
from mecl_jax.errors import UserError
from mecl_jax.files import write_json


class Rows:
  """The rows of a study's runs in a folder, each in a file that is named by its job's digest."""

  def __init__(self, study: Study, folder: pathlib.Path):
    self._study, self._folder = study, folder / 'rows'

  def __contains__(self, job: Job) -> bool:
    """Whether a job has ended well: one that failed is tried again."""
    path = self._path(job)
    return path.exists() and not _read(path)['error']

  def add(self, job: Job, row: Row) -> None:
    """Keeps the row of a job."""
    write_json(self._path(job), row)

  def all(self) -> list[Row]:
    """Of every job that has ended, well or not, on whatever machine."""
    return [_read(path) for path in sorted(self._folder.glob('*.json'))]

  def _path(self, job: Job) -> pathlib.Path:
    return self._folder / f'{job.digest(self._study)}.json'


def _read(path: pathlib.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); delete it, and its run is made again') from None
