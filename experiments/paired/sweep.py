"""Makes the missing runs of a study, or one shard of them, and then its table."""

from collections.abc import Iterable, Mapping
import functools
import json
import pathlib
import time
import traceback
from typing import Any, NoReturn

import jax
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from experiments.paired import jobs
from experiments.paired.heads import SharedBackbone
from experiments.paired.images import Key, key_of, over_seeds_and_images
from experiments.paired.jobs import Cell, Job
from experiments.paired.measures import FOUND, RIGHT
from experiments.paired.rows import Ended
from experiments.paired.study import Pairs, Study
from experiments.paired.table import Row, csv_text, read_table, write_table
from experiments.paired.whole import WholeNetworks
import mecl_jax
from mecl_jax import data
from mecl_jax.data import Dataset
from mecl_jax.disk import one_line_errors
from mecl_jax.errors import RunError
from mecl_jax.files import write_text
from mecl_jax.training.interruption import Interrupted, Interruption
from mecl_jax.training.log import Bar, make_console
from mecl_jax.training.workdir import claim


def sweep(
  study: Study,
  name: str,
  folder: pathlib.Path,
  shard: int = 0,
  shards: int = 1,
  *,
  data_dir: str = '',
  pairs: Pairs = (),
  console: Console | None = None,
) -> int:
  """Makes the runs of a study that have not succeeded yet, and writes the tables of all that ended.

  Trials of searched arms come first, then the runs of the comparison.

  Args:
    study: the study.
    name: of the study, for the table.
    folder: of the study; machines that share it share the runs. Backbones are in a folder beside
      it, which several studies share.
    shard, shards: the part of the settings and seeds that this process makes.
    data_dir: folder of prepared TFDS sets; '' for the default of TFDS.
    pairs: arms that are compared, besides every arm with the baseline.
    console: to print to.

  Returns:
    the number of runs that failed; each is printed, and its row has the error.

  Raises:
    UserError: another process makes the same shard, or the data cannot be loaded.
    Interrupted: on SIGTERM or Ctrl-C; the same call resumes.
  """
  console = console or make_console()
  folder = folder.absolute()  # runs on a backbone keep its path, and go on under no other
  held = folder / f'shard-{shard}-of-{shards}'
  with claim(held), one_line_errors(held), Interruption() as interruption:
    interruption.wait_for_safe_points()  # raised anywhere it might be lost, as in a callback of JAX
    maker = _Maker(study, name, folder, data_dir, console, interruption)
    mine, all_cells = jobs.cells(study, shard, shards), jobs.cells(study)
    tried = [job.digest(study) for cell in all_cells for job in jobs.trials(study, cell)]
    failed = sum(maker.make(cell, jobs.trials(study, cell)) for cell in mine)
    waiting = 0
    for cell in mine:
      found = list(jobs.runs(study, cell, maker.ended.of(tried)))
      waiting += found.count(None)
      failed += maker.make(cell, (job for job in found if job is not None))
    rows = maker.ended.of(tried)
    wanted = [job for cell in all_cells for job in jobs.runs(study, cell, rows) if job is not None]
    rows += maker.ended.of(job.digest(study) for job in wanted)
    write_table(folder / 'runs.csv', rows)
    _write_images(folder, {key_of(vars(job)): maker.ended.right(job) for job in wanted}, pairs)
  console.print(f'{len(rows):,} runs: {folder / "runs.csv"}', soft_wrap=True)
  if waiting:
    console.print(
      f'{waiting:,} runs wait for trials that have not succeeded; run this again when they have'
    )
  if failed:
    console.print(
      f'{failed:,} runs failed, see `error` in the table; run the same command to try again'
    )
  return failed


def _write_images(
  folder: pathlib.Path, found: Mapping[Key, np.ndarray | None], pairs: Pairs
) -> None:
  """Writes images.csv, the differences with intervals over test images, if there are any."""
  right = {key: of_run for key, of_run in found.items() if of_run is not None}
  differences = over_seeds_and_images(read_table(folder / 'runs.csv'), right, pairs)
  if len(differences):
    write_text(folder / 'images.csv', csv_text(differences))


class _Broken:
  """A stand-in for the trainer of a cell that could not be made: all of its runs fail."""

  digest = ''

  def __init__(self, problem: Exception):
    self._problem = problem

  def run(self, job: Job) -> NoReturn:
    raise RunError(f'the backbone of its runs cannot be made: {self._problem}') from self._problem


class _Maker:
  """A maker of runs, which keeps what the runs of a setting and a seed share."""

  def __init__(
    self,
    study: Study,
    name: str,
    folder: pathlib.Path,
    data_dir: str,
    console: Console,
    interruption: Interruption,
  ):
    self._study, self._name, self._folder, self._data_dir = study, name, folder, data_dir
    self._console, self._interruption = console, interruption
    self.ended = Ended(study, folder)
    self._opened: tuple[str, Any] | None = None  # the last trainer, after the digest of its network

  def make(self, cell: Cell, wanted: Iterable[Job]) -> int:
    """Makes the jobs of a cell that have not succeeded yet; returns how many failed."""
    missing = [job for job in wanted if job not in self.ended]
    if not missing:
      return 0
    config = self._study.config(cell[0], seed=cell[1])
    dataset = _load(self._data_dir, config)
    trainer = self._trainer(cell, dataset)
    failed = 0
    with Bar(self._console, f'{cell[0]}, seed {cell[1]}', len(missing)) as bar:
      for done, job in enumerate(missing, start=1):
        self._interruption.check()
        row = self._row(trainer, job, dataset)
        self.ended.add(job, row, row.pop(RIGHT, None))
        failed += bool(row['error'])
        bar.update(done, [f'{job.arm}, {job.budget:,} steps'])
    return failed

  def _trainer(self, cell: Cell, dataset: Dataset) -> Any:
    """Returns the trainer of a cell; the last one again if both begin with the same network."""
    network = self._study.network_digest(*cell)
    if self._opened is None or self._opened[0] != network:
      self._opened = None  # frees memory before the next one is made
      try:
        opened: Any = self._open(cell, dataset)
      except Interrupted:
        raise
      except Exception as problem:  # as of a backbone that another process is making
        opened = _Broken(problem)
      self._opened = network, opened
    return self._opened[1]

  def _open(self, cell: Cell, dataset: Dataset) -> SharedBackbone | WholeNetworks:
    of_cell = self._study, cell, self._folder, self._folder.parent / 'backbones', dataset
    if self._study.trains_heads:
      return SharedBackbone(*of_cell, self._console, self._interruption)
    return WholeNetworks(*of_cell, self._console)

  def _row(self, trainer: Any, job: Job, dataset: Dataset) -> Row:
    """Runs a job; an error is printed and put into its row, and other jobs go on."""
    began, measures, error = time.monotonic(), dict[str, Any](), ''
    try:
      measures = trainer.run(job)
    except Interrupted:
      raise
    except Exception as problem:
      error = f'{type(problem).__name__}: {" ".join(str(problem).split())}'
      place = self._folder / 'errors' / f'{job.digest(self._study)}.txt'
      write_text(place, traceback.format_exc())
      self._console.print(f'failed: {job.arm}, {job.budget:,} steps: {error}', soft_wrap=True)
    config, *_ = job.configs(self._study)
    return {
      'study': self._name,
      'setting': job.setting,
      'dataset': config.data.name,
      'backbone': config.model.backbone,
      'noise': config.data.label_noise,
      'strategy': config.strategy,
      'arm': job.arm,
      'kind': job.kind,
      'trial': job.trial,
      'budget': job.budget,
      'seed': job.seed,
      'fields': json.dumps({**job.fields, **measures.pop(FOUND, {})}),
      **measures,
      'seconds': round(time.monotonic() - began, 1),
      'backbone_run': trainer.digest,
      'fingerprint': dataset.fingerprint,
      'version': mecl_jax.__version__,
      'device': jax.devices()[0].device_kind,
      'error': error,
    }


def _load(data_dir: str, config: ConfigDict) -> Dataset:
  """Returns the data set of a configuration; the last ones stay loaded for the next cells."""
  later = ('placement', 'image_size')  # these apply after loading
  wanted = {key: value for key, value in config.data.items() if key not in later}
  return _loaded(**wanted | ({'data_dir': data_dir} if data_dir else {}))


@functools.lru_cache(maxsize=2)
def _loaded(**wanted: Any) -> Dataset:
  return data.load(**wanted)
