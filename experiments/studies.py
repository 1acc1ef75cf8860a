"""The results of a study: its table, its description in experiments/configs/, its comparisons."""

from collections.abc import Mapping
import dataclasses
import functools
import inspect
import pathlib
import runpy
from typing import Any

import numpy as np
import pandas as pd

from experiments import wording
from experiments.paired import analysis
from experiments.paired.images import ALL, COLUMNS
from experiments.paired.search import is_rate
from experiments.paired.study import BASELINE
from experiments.paired.table import TRIAL, Row, fields_of, read_table, records
from mecl_jax.errors import UserError

RATE = r' at ([\d.e-]+)$'  # the end of the name of a setting that has a learning rate of its own


@dataclasses.dataclass(frozen=True, eq=False)
class StudyResults:
  """The results of one study.

  Attributes:
    name: of the study.
    table: its rows, with the additional column `rate`: X of settings 'NAME at X', as text.
    title: first sentence of the docstring of its file.
    introduction: the rest of it, as Markdown.
    pairs: arms with the arm that they are compared with, besides the baseline: `PAIRS` of the file.
    compare_steps: whether steps to reach an accuracy are computed: `COMPARE_STEPS` of the file.
    images: of `images.over_seeds_and_images`; None for tables made before runs kept which test
      images they had right.
  """

  name: str
  table: pd.DataFrame
  title: str
  introduction: str = ''
  pairs: tuple[tuple[str, str], ...] = ()
  compare_steps: bool = True
  images: pd.DataFrame | None = None
  _pooled: dict[tuple[str, ...], pd.DataFrame] = dataclasses.field(default_factory=dict)

  @property
  def command(self) -> str:
    return f'python -m experiments.paired --config=experiments/configs/{self.name}.py'

  @property
  def searched(self) -> bool:
    return bool((self.table['kind'] == TRIAL).any())

  @functools.cached_property
  def older_search(self) -> str:
    """What the search of an older table had wrong, as a clause; '' for none."""
    tried = self.table[self.table['kind'] == TRIAL]
    both = sorted(set(tried['seed']) & set(self.runs['seed']))
    rates: dict[str, set] = {}
    for row in records(tried):
      found = {repr(value) for name, value in fields_of(row).items() if is_rate(name)}
      rates[row['arm']] = rates.get(row['arm'], set()) | found
    searched = [values for values in rates.values() if len(values) > 1]
    wrong = []
    if any(values != searched[0] for values in searched):
      wrong.append('its arms tried different learning rates')
    if both:
      wrong.append(
        f'the seeds of its search ({", ".join(map(str, both))}) are among those compared'
      )
    return ', and '.join(wrong)

  @property
  def search(self) -> str:
    """How values were found: 'older', 'grid', 'auto' for learning rates of each run, or 'none'."""
    if self.searched:
      return 'older' if self.older_search else 'grid'
    for row in records(self.runs):
      if any(is_rate(name) and isinstance(v, list) for name, v in fields_of(row).items()):
        return 'auto'  # a run adds the rate that it found for each exit
    return 'none'

  @property
  def duration(self) -> str:
    """The time of all runs and trials together, without backbones, as '2.4 h'."""
    seconds = self.table['seconds'].sum()
    return f'{seconds / 3600:.1f} h' if seconds >= 3600 else f'{max(seconds / 60, 1):.0f} min'

  @functools.cached_property
  def seeds(self) -> str:
    """The number of paired seeds of the differences, as '8' or '7 to 8'."""
    return ' to '.join(map(str, sorted(self.differences()['seeds'].unique())))

  @property
  def counted(self) -> str:
    """The number of runs that ended, as '640' or '640 and 768 trials'."""
    trials = (self.table['error'].isna() & (self.table['kind'] == TRIAL)).sum()
    return f'{len(self.runs):,}' + (f' and {trials:,} trials' if trials else '')

  @functools.cached_property
  def runs(self) -> pd.DataFrame:
    """The runs of the comparison that ended."""
    return analysis.final_runs(self.table)

  @functools.cached_property
  def arms(self) -> list[str]:
    """All arms but the baseline."""
    return [arm for arm in self.runs['arm'].unique() if arm != BASELINE]

  def select(self, **where: Any) -> pd.DataFrame:
    """Returns the runs with these values in these columns; a list allows several values.

    Raises:
      UserError: there is no such column, or no such run.
    """
    runs = self.runs
    for name, value in where.items():
      if name not in runs:
        raise UserError(f'no column {name!r} to select by; valid: {", ".join(runs)}')
      valid = ', '.join(map(str, runs[name].unique()))
      runs = runs[runs[name].isin(value if isinstance(value, list) else [value])]
      if runs.empty:
        raise UserError(f'{self.name} has no runs with {name} {value!r}; valid: {valid}')
    return runs

  @staticmethod
  def validated(runs: pd.DataFrame) -> str:
    """Returns the mean accuracy of the early exits on validation, in percent."""
    return wording.percent(runs.filter(regex='^validation_exit').stack().dropna())

  def differences(self, against: str = BASELINE, arm: str | None = None) -> pd.DataFrame:
    """Returns `analysis.differences`.

    Holm's family is all arms against the baseline, or else the one `arm` against another.
    """
    return self._differences(against, None if against == BASELINE else arm)

  @functools.cache  # noqa: B019 (the few studies live as long as the program)
  def _differences(self, against: str, arm: str | None) -> pd.DataFrame:
    table = self.table
    if arm is not None:
      table = table[table['arm'].isin([arm, against])]
    return analysis.differences(table, against)

  def pooled(
    self, arm: str, against: str = BASELINE, unit: str = 'seed', **where: Any
  ) -> pd.DataFrame:
    """Returns `analysis.pooled` over the selected runs, with the columns `arm` and `against`."""
    key = arm, against, unit, repr(sorted(where.items()))
    if key not in self._pooled:
      found = analysis.pooled(self.select(**where), arm, against, unit)
      self._pooled[key] = found.assign(arm=arm, against=against)
    return self._pooled[key]

  def over_images(
    self, arm: str, against: str = BASELINE, setting: str = ALL, budget: int | str = ALL
  ) -> list[Row]:
    """Returns differences with intervals over seeds and test images, a row for each exit."""
    if self.images is None:
      return []
    wanted = {'arm': arm, 'against': against, 'setting': setting, 'budget': str(budget)}
    found = self.images
    return records(found[np.all([found[n].astype(str) == v for n, v in wanted.items()], axis=0)])

  def intervals(self, arm: str, against: str = BASELINE, **where: Any) -> pd.DataFrame:
    """Returns the differences of an arm at the early exits, a row per selected setting and budget.

    `measure` in `where` selects exits.
    """
    measures = where.pop('measure', None)
    cells = self.select(**where)[['setting', 'budget']].drop_duplicates()
    rows = self.differences(against, arm).merge(cells)
    rows = rows[rows['arm'] == arm]
    wanted = rows['measure'].str.startswith('exit')
    if measures is not None:
      wanted = rows['measure'].isin([measures] if isinstance(measures, str) else measures)
    if not wanted.any():
      raise UserError(f'{self.name} has no difference of {arm!r} from {against!r} there')
    return rows[wanted]


def read_studies(tables: pathlib.Path, configs: pathlib.Path) -> dict[str, StudyResults]:
  """Reads all tables of a folder, and the files that describe their studies.

  Args:
    tables: folder of NAME.csv, and of images/NAME.csv where a study has them.
    configs: folder of NAME.py.

  Raises:
    UserError: there are no tables, one of them is not named after its study or has no file, or one
      in images/ has other columns.
  """
  found = {}
  for path in sorted(tables.glob('*.csv')):
    table = read_table(path)
    if others := set(table['study']) - {path.stem}:
      raise UserError(f'{path} has runs of {min(others)!r}; name the file after its study')
    described = _described(path.stem, table, configs / f'{path.stem}.py')
    found[path.stem] = dataclasses.replace(described, images=_images(tables / 'images' / path.name))
  if not found:
    raise UserError(f'{tables} has no tables; python -m experiments.paired writes them')
  return found


def _images(path: pathlib.Path) -> pd.DataFrame | None:
  if not path.exists():
    return None
  table = pd.read_csv(path)
  if [*table] != COLUMNS:
    raise UserError(f'{path} is no images.csv of a study: its columns are {", ".join(table)}')
  return table


def _described(name: str, table: pd.DataFrame, path: pathlib.Path) -> StudyResults:
  if not path.exists():
    raise UserError(f'there is no {path} that describes the study {name!r}')
  module: Mapping[str, Any] = runpy.run_path(str(path))
  title, _, introduction = inspect.cleandoc(module['__doc__'] or name).partition('\n')
  return StudyResults(
    name,
    table.assign(rate=table['setting'].str.extract(RATE, expand=False)),
    title.rstrip('.'),
    introduction.strip(),
    tuple(module.get('PAIRS', ())),
    module.get('COMPARE_STEPS', True),
  )
