"""The results of a study: its table, its description in experiments/configs/, its comparisons."""

from collections.abc import Mapping
import dataclasses
import functools
import inspect
import pathlib
import runpy
from typing import Any

import pandas as pd

from experiments import wording
from experiments.paired import analysis
from experiments.paired.study import BASELINE
from experiments.paired.table import TRIAL, read_table
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
  """

  name: str
  table: pd.DataFrame
  title: str
  introduction: str = ''
  pairs: tuple[tuple[str, str], ...] = ()
  compare_steps: bool = True
  _pooled: dict[tuple[str, ...], pd.DataFrame] = dataclasses.field(default_factory=dict)

  @property
  def command(self) -> str:
    return f'python -m experiments.paired --config=experiments/configs/{self.name}.py'

  @property
  def searched(self) -> bool:
    return bool((self.table['kind'] == TRIAL).any())

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

  def pooled(self, arm: str, against: str = BASELINE, **where: Any) -> pd.DataFrame:
    """Returns `analysis.pooled` over the selected runs, with the columns `arm` and `against`."""
    key = arm, against, repr(sorted(where.items()))
    if key not in self._pooled:
      found = analysis.pooled(self.select(**where), arm, against)
      self._pooled[key] = found.assign(arm=arm, against=against)
    return self._pooled[key]

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
    tables: folder of NAME.csv.
    configs: folder of NAME.py.

  Raises:
    UserError: there are no tables, one of them is not named after its study, or has no file.
  """
  found = {}
  for path in sorted(tables.glob('*.csv')):
    table = read_table(path)
    if others := set(table['study']) - {path.stem}:
      raise UserError(f'{path} has runs of {min(others)!r}; name the file after its study')
    found[path.stem] = _described(path.stem, table, configs / f'{path.stem}.py')
  if not found:
    raise UserError(f'{tables} has no tables; python -m experiments.paired writes them')
  return found


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
