"""What the text on the results may quote from the studies' tables: numbers, tables, pictures."""

from collections.abc import Callable, Mapping, Sequence
import functools
import re
from typing import Any

from matplotlib.figure import Figure

from experiments import published, wording
from experiments.paired import analysis, figures
from experiments.paired.study import BASELINE
from experiments.paired.table import (
  TRIAL,
  Row,
  Rows,
  accuracy_columns,
  csv_text,
  exits_of,
  fields_of,
  places,
)
from mecl_jax.errors import UserError, choose
from mecl_jax.models import FINAL

AT = r' at [\d.e-]+$'  # the end of a setting's name that is a rate
ANALYSES = {
  'differences': analysis.differences,
  'steps': analysis.steps_to_reach,
  'tries': lambda rows, baseline: analysis.tries(rows),
}


class Results:
  """What the template can ask for: its public names are the template's functions.

  Arguments are names and numbers as in the tables, or a list of them where they narrow down what
  is meant (`which`); None stands for all. `against` is the arm to compare with. What is not there
  is a UserError that says what is.

  Attributes:
    studies: their names.
    pictures: file below docs/ -> what draws it; filled as the template asks.
    files: file below docs/ -> its text, likewise.
  """

  def __init__(self, tables: Mapping[str, Rows]):
    self._tables = tables
    self.studies = tuple(tables)
    self.pictures: dict[str, functools.partial[Figure]] = {}
    self.files: dict[str, str] = {}
    self._analysed = functools.cache(self._analyse)

  def command(self, study: str) -> str:
    """What makes the study's table."""
    self._rows(study)
    return f'python -m experiments.paired --config=experiments/configs/{study}.py'

  def values(self, study: str, column: str, **which: Any) -> list:
    """The different values of a column among the runs compared, in the order of the table."""
    runs = _needed(analysis.final_runs(self._rows(study)), study, **which)
    return list(dict.fromkeys(row[column] for row in runs))

  def rates(self, study: str) -> list[str]:
    """The different X of settings 'NAME at X', in the order of the table."""
    names = self.values(study, 'setting')
    return list(dict.fromkeys(name.rpartition(' at ')[2] for name in names if re.search(AT, name)))

  def at(self, study: str, rate: str) -> list[str]:
    """The settings 'NAME at X' of this X."""
    return [name for name in self.values(study, 'setting') if name.endswith(f' at {rate}')]

  def runs(self, study: str, kind: str = 'run') -> int:
    """How many runs of a kind, 'run' or 'trial', have ended."""
    rows = self._rows(study)
    return sum(row['kind'] == kind and row['error'] is None for row in rows)

  def failures(self, study: str) -> Rows:
    """The runs that did not end."""
    return analysis.failures(self._rows(study))

  def seeds(self, study: str, against: str = BASELINE, **which: Any) -> str:
    """How many seeds the differences have, as '8' or '7 to 8'; `which` as `arm=`, `budget=`."""
    numbers = [row['seeds'] for row in self._differences(study, against, **which)]
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f'{low} to {high}'

  def accuracy(self, study: str, setting: str, budget: int, arm: str, measure: str) -> str:
    """Mean over all seeds of an arm in percent, as '58.70'."""
    which = {'setting': setting, 'budget': budget, 'arm': arm}
    runs = _needed(analysis.final_runs(self._rows(study)), study, **which)
    return wording.percent([analysis.measured(row, measure) for row in runs])

  def validated(self, study: str, arm: str, **which: Any) -> str:
    """Mean accuracy on validation of an arm's early exits, in percent; for choices, as '58.70'."""
    runs = _needed(analysis.final_runs(self._rows(study)), study, arm=arm, **which)
    columns = accuracy_columns(runs[0], 'validation')[:-1]
    return wording.percent([row[column] for row in runs for column in columns])

  def mean_effect(
    self, study: str, arm: str, measure: str, *, against: str = BASELINE, **which: Any
  ) -> wording.Quoted:
    """The difference of each seed's mean over settings and budgets; see `analysis.pooled`.

    `which` narrows them down, as `budget=300`, `noise=0.2`, `dataset='cifar10'`.
    """
    rows = _needed(self._rows(study), study, **which)
    return wording.quoted(analysis.pooled(rows, arm, measure, against))

  def span(self, study: str, against: str = BASELINE, **which: Any) -> str:
    """The least and the greatest difference, as '+0.42 to +1.83'."""
    found = [row['difference'] for row in self._differences(study, against, **which)]
    return f'{wording.signed(min(found))} to {wording.signed(max(found))}'

  def gains(self, study: str, against: str = BASELINE, **which: Any) -> str:
    """How many intervals are above zero, as '11 of 12'."""
    return wording.counted(self._differences(study, against, **which), lambda row: row['low'] > 0)

  def losses(self, study: str, against: str = BASELINE, **which: Any) -> str:
    """How many intervals are below zero, as '0 of 12'."""
    return wording.counted(self._differences(study, against, **which), lambda row: row['high'] < 0)

  def network_table(self, study: str) -> str:
    """A line per setting: what its early exits cost, and how accurate the final one is."""
    runs, lines = analysis.final_runs(self._rows(study)), []
    for setting in self.values(study, 'setting'):
      of_setting = _chosen(runs, setting=setting)
      macs = _macs(of_setting[0])
      exits = [
        f'`{name}` {cost / macs[-1]:.0%}'
        for name, cost in zip(exits_of(of_setting[0])[:-1], macs, strict=False)
      ]
      final = wording.percent([analysis.measured(row, FINAL) for row in of_setting])
      lines.append([setting, ', '.join(exits), f'{macs[-1] / 1e6:.2f} M', f'{final} %'])
    return wording.markdown(
      ['setting', 'early exits and their share of the MACs', 'MACs', 'final'], lines
    )

  def published_table(self, study: str) -> str:
    """Of a study with one setting: what others have published of its network, and its arms."""
    runs = analysis.final_runs(self._rows(study))
    theirs, exits = published.of_network(published.read(), runs[0]), _early_and_final(runs[0])
    first = next(iter(theirs.values()))
    macs = {'published': [first[place]['macs'] for place in exits], 'ours': _macs(runs[0])}
    lines = [
      [f'MACs, {whose}', *(f'{round(cost / 1e6)} M' for cost in costs)]
      for whose, costs in macs.items()
    ]
    for method, of_exit in theirs.items():
      lines.append([method, *(f'{100 * of_exit[place]["accuracy"]:.2f} %' for place in exits)])
    for arm in self.values(study, 'arm'):
      told = [published.above(_chosen(runs, arm=arm), name, 0) for name in exits.values()]
      lines.append([f'`{arm}`, here', *map(wording.level, told)])
    return wording.markdown(['', *exits.values()], lines)

  def above_published(self, study: str, arm: str, method: str, measure: str) -> wording.Quoted:
    """By how many points an arm is above what is published of a method, as '-2.01 [-2.9, -1.1]'."""
    runs = _needed(analysis.final_runs(self._rows(study)), study, arm=arm)
    theirs = published.of_network(published.read(), runs[0])
    accuracy = theirs[choose('method', method, theirs)][measure.replace(' ', '')]['accuracy']
    return wording.quoted(published.above(runs, measure, accuracy))

  def difference_table(
    self, study: str, setting: str, against: str = BASELINE, **which: Any
  ) -> str:
    """A setting: a line per budget and arm, a column per measure; the baseline's accuracy first."""
    found = self._differences(study, against, setting=setting, **which)
    lines, measures = [], list(dict.fromkeys(row['measure'] for row in found))
    for budget in dict.fromkeys(row['budget'] for row in found):
      values = [self.accuracy(study, setting, budget, against, measure) for measure in measures]
      lines.append([f'{budget:,}', f'`{against}`', '', *(f'{value} %' for value in values)])
      lines += wording.lines_of(_chosen(found, budget=budget), measures, wording.strong)
    return wording.markdown(['steps', 'arm', 'seeds', *measures], lines)

  def rate_table(self, study: str, arm: str, against: str = BASELINE) -> str:
    """A line per setting 'NAME at X', a column per measure: the baseline, the difference."""
    found = self._of_rates(study, arm, against)
    measures = list(dict.fromkeys(row['measure'] for row in found))
    lines: dict[tuple[str, int], dict[str, str]] = {}
    for row in found:
      told = f'{wording.percent([row["baseline_accuracy"]])} %, {wording.strong(row)}'
      lines.setdefault((row['setting'], row['budget']), {})[row['measure']] = told
    return wording.markdown(
      ['setting', 'learning rate', 'steps', *measures],
      [
        [*setting.rsplit(' at ', 1), f'{budget:,}', *(cells.get(name, '') for name in measures)]
        for (setting, budget), cells in lines.items()
      ],
    )

  def mean_table(self, study: str, pairs: Sequence[tuple[str, str]], **which: Any) -> str:
    """A line per pair of an arm and another, a column per measure: see `mean_effect`."""
    found = self._means(study, pairs, **which)
    measures = list(dict.fromkeys(row['measure'] for row in found))
    lines: dict[tuple[str, str], list[str]] = {
      pair: [f'`{name}`' for name in pair] for pair in pairs
    }
    for row in found:
      lines[row['arm'], row['against']].append(wording.quoted(row))
    return wording.markdown(['arm', 'against', *measures], [*lines.values()])

  def steps_table(self, study: str, setting: str, against: str = BASELINE) -> str:
    """A setting: the steps that an arm needs, as a multiple of the baseline's budget."""
    found = _needed(self._analysed(study, 'steps', against), study, setting=setting)
    measures = list(dict.fromkeys(row['measure'] for row in found))
    return wording.markdown(
      ['steps', 'arm', 'seeds', *measures], wording.lines_of(found, measures, wording.multiple)
    )

  def search_table(self, study: str) -> str:
    """The best trial of every search, for each exit that has one of its own."""
    lines = [
      [
        *(row['setting'], f'{row["budget"]:,}', f'`{row["arm"]}`', row['exit']),
        str(row['trials']),
        *(f'`{row["tuned"]}`' if row['tuned'] else '', str(row['seeds'])),
        wording.percent([row['validation_accuracy']]),
      ]
      for row in analysis.searches(self._rows(study))
    ]
    headings = 'setting, steps, arm, exit, trials, best, seeds, validation accuracy (%)'
    return wording.markdown(headings.split(', '), lines)

  def failure_table(self, study: str) -> str:
    """The runs that did not end, and why."""
    lines = [[wording.cell(value) for value in row.values()] for row in self.failures(study)]
    return wording.markdown(list(self.failures(study)[0]), lines) if lines else ''

  def ends(self, study: str, arm: str, field: str) -> str:
    """How many searches of an arm took the lowest or the highest value tried, as '5 of 48'."""
    trials = _chosen(self._rows(study), kind=TRIAL, arm=arm)
    tried = [fields_of(row)[field] for row in trials]
    best = [fields_of(row)[field] for row in analysis.searches(trials)]
    return f'{sum(value in (min(tried), max(tried)) for value in best)} of {len(best)}'

  def csv(self, study: str, kind: str, against: str = BASELINE, arm: str | None = None) -> str:
    """Writes an analysis whole, 'differences', 'steps' or 'tries'; its address for a link.

    Args:
      study: whose.
      kind: of analysis.
      against: the arm to compare with.
      arm: that alone is compared.
    """
    rows = self._analysed(study, kind, against, *([arm] if arm else []))
    if not rows:
      raise UserError(f'{study} has no {kind}; leave them out of the template')
    name = f'results/{_name(study, f"{arm}-{kind}" if arm else kind, against)}.csv'
    self.files[name] = csv_text(rows, rows[0])
    return name

  def budget_figure(
    self, study: str, *, noise: float | None = None, against: str = BASELINE
  ) -> str:
    """Draws the differences of all arms against the budget; its address for a picture."""
    rows = self._differences(study, against, noise=noise)
    level = '' if noise is None else f'-noise{round(100 * noise)}'
    return self._picture(_name(study, 'budgets', against) + level, figures.budget_figure, rows)

  def forest_figure(self, study: str, arm: str, against: str = BASELINE, **which: Any) -> str:
    """Draws the differences of an arm with their intervals; its address for a picture."""
    rows = self._differences(study, against, arm=arm, **which)
    name = _name(study, arm, against) + _details(which)
    return self._picture(name, figures.forest_figure, rows)

  def mean_figure(self, study: str, pairs: Sequence[tuple[str, str]], **which: Any) -> str:
    """Draws the numbers of `mean_table`; its address for a picture."""
    name = f'{study}-means{_details(which)}'
    return self._picture(name, figures.mean_figure, self._means(study, pairs, **which))

  def rate_figure(self, study: str, arm: str, against: str = BASELINE) -> str:
    """Draws the differences of an arm in settings 'NAME at X' against X; its address."""
    rows = self._of_rates(study, arm, against)
    return self._picture(_name(study, f'{arm}-rates', against), figures.rate_figure, rows)

  def _picture(self, name: str, draw: Callable[[Rows], Figure], rows: Rows) -> str:
    path = f'images/results-{name}.png'
    known = self.pictures.setdefault(path, functools.partial(draw, rows))
    if (known.func, known.args) != (draw, (rows,)):
      raise UserError(f'two pictures of the results would be {path}; narrow one down')
    return path

  def _rows(self, study: str) -> Rows:
    if study not in self._tables:
      raise UserError(
        f'there is no table of a study {study!r}; there are: {", ".join(self.studies)}'
      )
    return self._tables[study]

  def _analyse(self, study: str, kind: str, against: str, *arms: str) -> Rows:
    """Of these arms alone; of all if none is named."""
    rows = self._rows(study)
    return ANALYSES[kind](_chosen(rows, arm=[*arms, against]) if arms else rows, against)

  def _means(self, study: str, pairs: Sequence[tuple[str, str]], **which: Any) -> Rows:
    return analysis.means(_needed(self._rows(study), study, **which), pairs)

  def _of_rates(self, study: str, arm: str, against: str) -> Rows:
    rows = self._differences(study, against, arm=arm)
    if unnamed := [row['setting'] for row in rows if not re.search(AT, row['setting'])]:
      raise UserError(f"{study} has a setting {unnamed[0]!r} that is not named 'NAME at RATE'")
    return rows

  def _differences(self, study: str, against: str, **which: Any) -> Rows:
    """Holm's family is all arms against the standard; else the arms that are asked for alone."""
    asked = which.get('arm')
    alone = [] if asked is None or against == BASELINE else _listed(asked)
    return _needed(self._analysed(study, 'differences', against, *alone), study, **which)


def _chosen(rows: Rows, **which: Any) -> Rows:
  """The rows with these values in these columns, or with one of those in a list; None: with any."""
  wanted = {name: _listed(value) for name, value in which.items() if value is not None}
  return [row for row in rows if all(row[name] in values for name, values in wanted.items())]


def _early_and_final(row: Row) -> dict[str, str]:
  """The exits of a run: place -> measure, as 'exit1' -> 'exit 1'."""
  return {place: place.replace('exit', 'exit ') for place in places(len(exits_of(row)) - 1)}


def _macs(row: Row) -> list[int]:
  return [int(word) for word in row['macs'].split()]


def _listed(value: Any) -> list:
  return value if isinstance(value, list) else [value]


def _details(which: Mapping[str, Any]) -> str:
  """What narrows a picture down, for its file's name."""
  chosen = [v for values in which.values() if values is not None for v in _listed(values)]
  return ''.join(f'-{value}'.replace(' ', '') for value in chosen)


def _needed(rows: Rows, study: str, **which: Any) -> Rows:
  """The rows that are so; UserError where there is none, for the first wish that nothing meets."""
  if not rows:
    raise UserError(f'{study} has nothing to choose from; leave it out of the template')
  for name, value in which.items():
    if name not in rows[0]:
      raise UserError(f'{name} cannot be chosen; choose by: {", ".join(rows[0])}')
    there = dict.fromkeys(str(row[name]) for row in rows)
    rows = _chosen(rows, **{name: value})
    if not rows:
      raise UserError(f'{study} has nothing with {name} {value!r}; there is: {", ".join(there)}')
  return rows


def _name(study: str, kind: str, against: str) -> str:
  return f'{study}-{kind}' + (f'-against-{against}' if against != BASELINE else '')
