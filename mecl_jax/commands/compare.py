"""The command `compare`: reads runs from their work directories, and writes one page."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np
from rich.console import Console

from mecl_jax.commands import arms
from mecl_jax.disk import one_line_errors
from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import TEST, VALIDATION, load_predictions, predicted
from mecl_jax.report.comparison import page as compare_page
from mecl_jax.report.comparison.curves import area_rows, curve_rows, curves_of
from mecl_jax.report.comparison.tables import ComparedRun, arm_rows, difference_rows, run_rows
from mecl_jax.report.pages.page import write_page
from mecl_jax.report.rows import Rows
from mecl_jax.training.log import make_console
from mecl_jax.training.task_fields import check_command
from mecl_jax.training.workdir import claim, read_run, read_summary

FACTS = ('dataset', 'backbone', 'strategy', 'steps', 'complete')  # keys of a summary


def compare(
  runs: Sequence[pathlib.Path], workdir: pathlib.Path, *, console: Console | None = None
) -> pathlib.Path:
  """Writes a page that compares runs, and prints their differences.

  Args:
    runs: work directories, two or more. Runs that differ only in their seeds form an arm; the arm
      of the first run is the baseline.
    workdir: its report/ holds the page; it must not be that of a run.
    console: to print to; None: standard output.

  Returns:
    the path of the page.

  Raises:
    UserError: there are fewer than two runs, one is named twice or has no summary, two have the
      same configuration and seed, or other test images; or `workdir` holds a run.
  """
  console = console or make_console()
  _check(runs, workdir)
  found = [_read(path) for path in runs]
  for run in found[1:]:
    _check_same_images(found[0], run)
  of_run = arms.arms_of({run.workdir: run.fields for run in found}, [run.seed for run in found])
  names, settings = arms.names_of(of_run)
  compared = [_compared(run, name) for run, name in zip(found, names, strict=True)]
  tables = _tables(compared, dict(zip(names, settings, strict=True)))
  facts = compare_page.facts(tables, len(compared[0].test.labels))
  notes, sections = compare_page.notes(tables), compare_page.sections(tables)
  with claim(workdir), one_line_errors(workdir):
    title = f'Comparison of {len(runs)} runs'
    page = write_page(workdir / 'report', title, facts, notes, sections, tables)
  if tables['differences']:
    console.print(compare_page.difference_table(tables))
  for note in notes:
    console.print(note, soft_wrap=True, markup=False)
  console.print(f'page: {page}', soft_wrap=True)
  return page


@dataclasses.dataclass(frozen=True)
class _Found:
  """The contents of a work directory; `fields` determine the result, apart from the seed."""

  workdir: pathlib.Path
  seed: int
  fields: arms.Fields
  summary: dict[str, Any]
  predictions: dict[str, np.ndarray]


def _check(runs: Sequence[pathlib.Path], workdir: pathlib.Path) -> None:
  """Raises UserError for runs that cannot be compared, before anything is read."""
  if len(runs) < 2:
    raise UserError(
      f'--runs names {len(runs)} run(s); a comparison needs at least two: --runs=DIR,DIR'
    )
  seen: dict[pathlib.Path, pathlib.Path] = {}
  for path in runs:
    other = seen.setdefault(path.resolve(), path)
    if other is not path:
      raise UserError(f'--runs names {path} twice; name each run once')
  if (workdir / 'config.json').exists():
    raise UserError(
      f'{workdir} holds a run, whose report would be overwritten; choose another --workdir'
    )


def _read(workdir: pathlib.Path) -> _Found:
  """Reads a run; raises UserError if there is none, or it has not been evaluated."""
  config, identity = read_run(workdir)
  check_command(config, 'compare')
  summary = read_summary(workdir)
  if summary is None:
    raise UserError(
      f'{workdir} holds no summary.json; --mode=evaluate --workdir={workdir} writes it'
    )
  predictions = load_predictions(workdir / 'predictions.npz')
  if [row['name'] for row in summary['exits']] != predictions['exits'].tolist():
    raise UserError(
      f'summary.json and predictions.npz in {workdir} have different exits;'
      f' --mode=evaluate --workdir={workdir} writes both again'
    )
  fields = arms.fields_of(config, identity)
  return _Found(workdir, config.seed, fields, summary, predictions)


def _check_same_images(one: _Found, other: _Found) -> None:
  for key in ('test_ids', 'test_labels'):
    if not np.array_equal(one.predictions[key], other.predictions[key]):
      raise UserError(
        f'{one.workdir} and {other.workdir} were not tested on the same images'
        f' ({key} in predictions.npz differ); compare runs of one test split'
      )


def _compared(run: _Found, arm: str) -> ComparedRun:
  predictions, summary = run.predictions, run.summary
  return ComparedRun(
    arm=arm,
    seed=run.seed,
    directory=str(run.workdir),
    facts={name: summary[name] for name in FACTS},
    exits=tuple(predictions['exits'].tolist()),
    macs=np.array([row['macs'] for row in summary['exits']]),
    dynamic_macs=np.array([row['dynamic_macs'] for row in summary['exits']]),
    validation=predicted(predictions, VALIDATION) if len(predictions['validation_ids']) else None,
    test=predicted(predictions, TEST),
  )


def _tables(runs: Sequence[ComparedRun], settings: dict[str, str]) -> dict[str, Rows]:
  """Returns all tables of the page; `settings` holds the fields of each arm that differ."""
  curves = curves_of(runs)
  return {
    'runs': run_rows(runs),
    'settings': [{'arm': arm, 'settings': text} for arm, text in settings.items()],
    'arms': arm_rows(runs),
    'differences': difference_rows(runs),
    'curves': curve_rows(curves),
    'areas': area_rows(runs, curves),
  }
