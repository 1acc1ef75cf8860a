"""The functions that the template of docs/results.md takes its numbers from."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments import published, wording
from experiments.paired import analysis
from experiments.paired.study import BASELINE
from experiments.paired.table import RUN, TRIAL, Row, records
from experiments.studies import StudyResults
from mecl_jax.errors import UserError

FIRST = 'exit 1'  # the measure of tables with a column per setting or budget


class Quotes:
  """Numbers from the results of studies, as text; public methods are functions of the template.

  `where` selects runs by columns of the table, one value or a list of them: `budget=[300, 1000]`,
  `noise=0.2`, `dataset='cifar10'`, `rate='0.03'`. What a study does not have is a UserError.
  """

  def __init__(self, studies: Mapping[str, StudyResults], pictures: set[str]):
    self._studies, self._pictures = studies, pictures

  def functions(self) -> dict[str, Any]:
    """Returns the functions of the template by their names."""
    return {name: getattr(self, name) for name in dir(self) if not name.startswith('_')}

  def measured(self, study: str) -> bool:
    """Returns whether a study has a table."""
    return study in self._studies

  def studies(self) -> list[str]:
    """Returns the names of all studies with a table."""
    return [*self._studies]

  def pairs(self, study: str) -> list[tuple[str, str]]:
    """Returns the pairs of arms that a study compares, besides each arm with the baseline."""
    return [*self._of(study).pairs]

  def budgets(self, study: str) -> list[int]:
    """Returns the budgets of a study, in rising order; [] without a table."""
    return sorted(self.values(study, 'budget')) if self.measured(study) else []

  def effect(
    self,
    study: str,
    arm: str,
    measure: str = FIRST,
    against: str = BASELINE,
    unit: str = 'seed',
    **where: Any,
  ) -> str:
    """Returns the mean difference over settings and budgets, with its interval over the units."""
    return wording.points(self._effect(study, arm, measure, against, unit, where))

  def _effect(
    self, study: str, arm: str, measure: str, against: str, unit: str, where: Mapping[str, Any]
  ) -> Row:
    pooled = self._of(study).pooled(arm, against, unit, **where)
    found = records(pooled[pooled['measure'] == measure])
    if not found:
      raise UserError(f'{study} has no {measure!r}; valid: {", ".join(pooled["measure"])}')
    return found[0]

  def table(
    self,
    study: str,
    by: str = 'measure',
    arms: Sequence[str] | None = None,
    against: str = BASELINE,
    seconds: bool = False,
    pairs: bool = False,
    **where: Any,
  ) -> str:
    """Returns a table of means with intervals over the seeds, a line per arm.

    The first line has the accuracies of `against`, the last ones are those of the study's pairs.
    Accuracies and times are means over the settings, budgets and seeds that all arms of the table
    have.

    Args:
      study: its name.
      by: what has a column each: 'measure', or the values of this column of the table, for exit 1.
      arms: to show; None for all, and the pairs.
      against: the arm that `arms` are compared with.
      seconds: whether to add the mean time of a run.
      pairs: whether to show the pairs besides `arms`.
      **where: of the runs, as everywhere.
    """
    of = self._of(study)
    compared = [(arm, against) for arm in (of.arms if arms is None else arms)]
    compared += of.pairs if arms is None or pairs else ()
    rows = {pair: self._differences(of, *pair, by, where) for pair in compared}
    runs = of.select(**where, arm=list({against, *(arm for pair in compared for arm in pair)}))
    shared = _shared(runs)
    line: Row = {'arm': f'`{against}`'}
    for name in dict.fromkeys(name for cells in rows.values() for name in cells):
      base = shared if by == 'measure' else _shared(runs[runs[by] == name])
      column = analysis.column_of(name if by == 'measure' else FIRST)
      shares = base.loc[base['arm'] == against, column]
      line[_heading(name)] = wording.percent(shares) if len(shares) else ''
    lines = [line]
    for (arm, other), cells in rows.items():
      line = {'arm': f'`{arm}`' + (f' less `{other}`' if other != against else '')}
      line |= {_heading(name): cell for name, cell in cells.items()}
      if by == 'measure' and where.keys() <= {'setting', 'budget'}:
        images = {row['measure']: row for row in of.over_images(arm, other, **where)}
        line |= {'exit 1, and new images': wording.points(images[FIRST])} if FIRST in images else {}
      lines.append(line)
    if seconds:
      times = shared.groupby('arm')['seconds'].mean()
      for line, arm in zip(lines, [against, *(arm for arm, _ in compared)], strict=True):
        line['seconds a run'] = f'{times[arm]:.0f}' if arm in times else ''
    return wording.table(lines)

  def best_arm(self, study: str, **where: Any) -> str:
    """Returns the arm whose early exits are best on validation.

    Arms are compared by their means over the settings, budgets and seeds that all of them have.
    """
    runs = _shared(self._of(study).select(**where))
    if runs.empty:
      raise UserError(f'{study} has no setting, budget and seed with runs of all arms there')
    judged = runs.filter(regex='^validation_exit').mean(axis=1)
    return str(judged.groupby(runs['arm']).mean().idxmax())

  def advice(self, study: str, **where: Any) -> str:
    """Returns the best arm on validation, and what it changes at the first exit on test."""
    if (arm := self.best_arm(study, **where)) == BASELINE:
      return 'standard training: no arm is better on validation'
    row = self._effect(study, arm, FIRST, BASELINE, 'seed', where)
    unclear = row['low'] is not None and row['low'] <= 0 <= row['high']
    end = ', which may be no change' if unclear else ''
    return f'`{arm}`, {wording.points(row)} at the first exit{end}'

  def whole_point(self, study: str, arm: str, against: str) -> str:
    """Returns in how many settings the first exit surely gains, by a point or more: '1 of 4'."""
    of = self._of(study)
    arms = of.runs.groupby('setting', sort=False)['arm'].agg(set)
    settings = [setting for setting, there in arms.items() if {arm, against} <= there]
    means = [of.pooled(arm, against, setting=s).set_index('measure').loc[FIRST] for s in settings]
    return f'{sum(m["difference"] >= 1 and m["low"] > 0 for m in means)} of {len(settings)}'

  def above_zero(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns how many intervals of early exits are above zero, as '11 of 12'."""
    return wording.above(self._of(study).intervals(arm, against, **where))

  def below_zero(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns how many intervals of early exits are below zero, as '0 of 12'."""
    return wording.below(self._of(study).intervals(arm, against, **where))

  def accuracy(self, study: str, arm: str, measure: str, **where: Any) -> str:
    """Returns a mean test accuracy over the selected runs, as '58.70 %'."""
    runs = self._of(study).select(arm=arm, **where)
    return wording.percent(runs[analysis.column_of(measure)])

  def values(self, study: str, column: str, **where: Any) -> list:
    """Returns the different values of a column, in the order of the table."""
    return self._of(study).select(**where)[column].drop_duplicates().tolist()

  def seeds(self, study: str) -> str:
    """Returns the number of paired seeds, as '8' or '7 to 8'."""
    return self._of(study).seeds

  def best_rate(self, study: str) -> str:
    """Returns the learning rate at which standard training is best on validation."""
    of, rates = self._of(study), self.values(study, 'rate')
    return max(rates, key=lambda rate: of.validated(of.select(arm=BASELINE, rate=rate)))

  def published_table(self, study: str) -> str:
    """Returns a table of published accuracies and our own."""
    return wording.table(published.levels(self._of(study).runs))

  def picture(self, name: str) -> str:
    """Returns the address of a picture that a page of a study has."""
    if (path := f'images/results-{name}.png') not in self._pictures:
      raise UserError(f'no page has the picture {path}; there are: {", ".join(self._pictures)}')
    return path

  def seconds(self, study: str, arm: str, trials: bool = False) -> str:
    """Returns the time of a run, or of all trials in a setting, a mean over the settings: '7 s'."""
    table = self._of(study).table
    mine = table[(table['arm'] == arm) & (table['kind'] == (TRIAL if trials else RUN))]
    of_settings = mine.groupby('setting')['seconds'].agg('sum' if trials else 'mean')
    return f'{of_settings.mean():.0f} s'

  def made(self, *names: str) -> str:
    """Returns the commands, durations and pages of studies, as a sentence each."""
    found = map(self._of, names)
    return ' '.join(
      f'[All tables of `{of.name}`](results/{of.name}.md): `{of.command}`, {of.duration} on'
      f' {" and ".join(of.runs["device"].unique())}.'
      for of in found
    )

  def studies_table(self) -> str:
    """Returns a table of all studies."""
    return wording.table([
      {
        'study': f'[`{of.name}`](results/{of.name}.md)',
        'about': of.title,
        'runs': of.counted,
        'seeds': of.seeds,
        'time': of.duration,
        'search': of.search,
      }
      for of in self._studies.values()
    ])  # fmt: skip

  @staticmethod
  def _differences(
    of: StudyResults, arm: str, against: str, by: str, where: Mapping[str, Any]
  ) -> dict[Any, str]:
    """Returns the cells of a line, by measure or by the value of the column `by`."""
    if by == 'measure':
      means = records(of.pooled(arm, against, **where))
      return {mean['measure']: wording.points(mean) for mean in means}
    cells: dict[Any, str] = {}
    both = of.select(**where, arm=[arm, against])
    for value, runs in both.groupby(by, sort=False):
      if runs['arm'].nunique() == 2:
        means = of.pooled(arm, against, **{**where, by: value}).set_index('measure')
        cells[value] = wording.points(means.loc[FIRST])
    return cells

  def _of(self, study: str) -> StudyResults:
    if study not in self._studies:
      raise UserError(f'there is no table of {study!r}; there are: {", ".join(self._studies)}')
    return self._studies[study]


def _shared(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the runs of settings, budgets and seeds that all arms of `runs` have."""
  arms = runs.groupby([*analysis.CELL, 'seed'])['arm'].transform('nunique')
  return runs[arms == runs['arm'].nunique()]


def _heading(name: object) -> str:
  if isinstance(name, float):
    return f'{100 * name:.0f} % wrong'
  return f'{name:,} steps' if isinstance(name, int) else str(name)
