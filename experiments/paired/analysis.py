"""What follows from the table of a study: paired differences, steps to an accuracy, searches.

Pure functions from the table of `table.read_table` to tidy tables. Runs that failed are left out.
Runs of equal study, setting, budget and seed form a pair. A measure is 'exit 1', 'exit 2', .. (test
accuracy, earliest first), 'final', or 'area' (mean test accuracy over the mean multiply-accumulates
between those of the first exit and those of the final exit).
"""

from collections.abc import Iterable, Iterator
import math
from typing import Any

import numpy as np
import pandas as pd

from experiments.paired.search import best_trials, judged
from experiments.paired.study import BASELINE
from experiments.paired.table import RUN, TRIAL, Row, fields_of, records
from mecl_jax.errors import UserError
from mecl_jax.evaluation.paired import SAME, holm, over_seeds
from mecl_jax.models import FINAL

AREA = 'area'
RESAMPLES = 2000
AT_MOST, AT_LEAST, MIXED = 'at most', 'at least', 'mixed'
CELL = ['study', 'setting', 'budget']
PLACE = ['study', 'setting', 'noise', 'budget', 'arm']


def column_of(measure: str) -> str:
  """Returns the column of a table that holds a measure."""
  return AREA if measure == AREA else f'test_{measure.replace(" ", "")}'


def failures(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the runs that failed, with their errors."""
  columns = ['study', 'setting', 'budget', 'arm', 'kind', 'trial', 'seed', 'error']
  return table.loc[table['error'].notna(), columns]


def final_runs(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the runs of the comparison, without trials and failed runs."""
  return table[(table['kind'] == RUN) & table['error'].isna()]


def differences(table: pd.DataFrame, baseline: str = BASELINE) -> pd.DataFrame:
  """Compares every arm with a baseline, paired by seed.

  Args:
    table: of one study or several.
    baseline: the arm that the others are compared with.

  Returns:
    A row per study, setting, budget, arm and measure that has a pair. The final exit is a measure
    only where it changes: where all arms share a frozen one there is nothing to compare.
    - `seeds`: number of complete pairs; a run without its partner does not count;
    - `accuracy`, `baseline_accuracy`: means over the pairs, 0 to 1 (also of the area);
    - `difference`: in points; `low`, `high`: 95 % interval of the paired t-test;
    - `boot_low`, `boot_high`: 95 % BCa bootstrap interval over the seeds, 2,000 resamples from a
      fixed random state. It is too narrow with few seeds, where the t-test is the one to use;
    - `p`: of the paired t-test, two-sided; `p_holm`: corrected by Holm's method, where the family
      is all tests of the study against this baseline.
    Intervals and p are missing for a single pair, and where all pairs differ by the same amount.

  Raises:
    UserError: a study has no such arm.

  References:
    Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical Association
    82(397), 1987.
  """
  found = []
  for _, of_study in _paired(table, baseline).groupby('study', sort=False):
    names = [*PLACE, 'measure']
    tests = [(place, pairs) for place, pairs in of_study.groupby(names, sort=False)]
    rows = [dict(zip(names, place, strict=True)) | _effect(pairs) for place, pairs in tests]
    boots = _bootstrap([(pairs['value'] - pairs['other']).to_numpy() for _, pairs in tests])
    corrected = holm([None if math.isnan(row['p']) else row['p'] for row in rows])
    for row, (low, high), p_holm in zip(rows, boots, corrected, strict=True):
      p = _digits(row.pop('p'))
      row |= {'boot_low': low, 'boot_high': high, 'p': p, 'p_holm': _digits(p_holm)}
    found += rows
  return pd.DataFrame(found)


def pooled(
  table: pd.DataFrame, arm: str, baseline: str = BASELINE, unit: str = 'seed'
) -> pd.DataFrame:
  """Compares means over all settings and budgets of a table, paired by seed or by setting.

  Settings and budgets that lack runs of one of the two arms are left out.

  Args:
    table: of one study or several.
    arm, baseline: the arms.
    unit: what the interval is over. 'seed': the mean of each seed over settings and budgets, if it
      has a pair in each of them; the interval covers new seeds in the same settings. 'setting': the
      mean of each setting over its budgets and seeds; the interval covers new settings like these.

  Returns:
    A row per `measure` that has such a unit: `cells` (number of settings and budgets), `unit`, and
    the columns of `differences` from `seeds` (number of units) to `p`, without the bootstrap.

  Raises:
    UserError: there is no such unit for any measure.
  """
  runs = final_runs(table[table['arm'].isin([arm, baseline])])
  runs = runs[runs.groupby(CELL)['arm'].transform('nunique') == 2]
  found = []
  if len(runs):
    cells = runs.groupby(CELL).ngroups
    paired = _paired(runs, baseline)
    if unit == 'setting':
      keys = ['measure', *CELL[:2]]
      complete = paired.groupby([*keys, 'budget'], sort=False)[['value', 'other']].mean()
      complete = complete.groupby(keys, sort=False).mean()
    else:
      of_seed = paired.groupby(['measure', 'seed'], sort=False)[['value', 'other']]
      complete = of_seed.mean()[of_seed.size() == cells]
    for measure, pairs in complete.groupby('measure', sort=False):
      found.append({'measure': measure, 'cells': cells, 'unit': unit} | _effect(pairs))
  if not found:
    raise UserError(f'no {unit} has runs of both {arm!r} and {baseline!r} in every setting')
  return pd.DataFrame(found)


def steps_to_reach(table: pd.DataFrame, baseline: str = BASELINE) -> pd.DataFrame:
  """Computes how many steps an arm needs for the accuracy that the baseline has after its budget.

  Each budget is a separate run with a schedule of that length. For each seed the test accuracy of
  an arm is taken as linear in the logarithm of the steps between its budgets, and the first
  crossing counts. If its smallest budget is above the target already, or its largest still below,
  that budget is only a bound: such a seed is censored.

  Returns:
    A row per study, setting, budget, arm and exit, of arms with two budgets or more.
    - `seeds`: those with the baseline's run and a run of the arm at every one of its budgets;
    - `ratio`: geometric mean over the seeds of steps by budget, below 1 where the arm is faster;
      `low`, `high`: its 95 % t interval in logarithms, missing where a seed is censored;
    - `steps`: the ratio times the budget;
    - `bound`: '' for a number; 'at most' or 'at least' where some seeds are censored, all from that
      side; 'mixed' where they are from both sides, with neither ratio nor steps;
    - `censored`: share of such seeds.

  Raises:
    UserError: a study has no such arm.
  """
  values = _measured(table)
  values = values[values['measure'] != AREA]
  _check_baseline(values, baseline)
  found = []
  for (study, setting), of_setting in values.groupby(['study', 'setting'], sort=False):
    reference = of_setting[of_setting['arm'] == baseline]
    others = of_setting[of_setting['arm'] != baseline].groupby(['arm', 'measure'], sort=False)
    for (arm, measure), ours in others:
      curves = ours.pivot(index='seed', columns='budget', values='value').dropna()
      targets = reference[(reference['measure'] == measure) & reference['seed'].isin(curves.index)]
      if curves.shape[1] > 1:
        for budget, of_budget in targets.groupby('budget', sort=False):
          reached = [
            first_reached([*curves], curves.loc[seed].to_numpy(), target)
            for seed, target in zip(of_budget['seed'], of_budget['value'], strict=True)
          ]
          place = (study, setting, ours['noise'].iloc[0], budget, arm, measure)
          row = dict(zip((*PLACE, 'measure'), place, strict=True))
          found.append(row | _ratio(budget, *zip(*reached, strict=True)))
  return pd.DataFrame(found)


def tries(table: pd.DataFrame) -> pd.DataFrame:
  """Returns every trial of every search, a row for each exit that it was tried for.

  Returns:
    columns `study`, `setting`, `noise`, `budget`, `arm`, `trial`, `exit` ('exit1', .. where each
    has a search of its own, else 'all exits'), `seeds` (of its runs that ended),
    `validation_accuracy` (mean over the seeds, 0 to 1; missing if a run failed), `tuned` (the
    fields that differ between the arm's trials, as text) and `fields` (all, as JSON).
  """
  found = []
  for runs in _searches(table):
    tuned = _differing(runs)
    exits = dict.fromkeys(exit_ for row in runs for exit_ in judged(row))
    for trial in dict.fromkeys(row['trial'] for row in runs):
      of_trial = [row for row in runs if row['trial'] == trial]
      ended = [judged(row) for row in of_trial if row['error'] is None]
      fields = fields_of(of_trial[0])
      for exit_ in exits:
        found.append(
          {name: of_trial[0][name] for name in (*PLACE, 'trial')}
          | {
            'exit': exit_,
            'seeds': len(ended),
            'validation_accuracy': round(float(np.mean([row[exit_] for row in ended])), 8)
            if len(ended) == len(of_trial)
            else math.nan,
            'tuned': ', '.join(f'{name}={fields[name]}' for name in tuned if name in fields),
            'fields': of_trial[0]['fields'],
          }
        )
  return pd.DataFrame(found)


def searches(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the best of `tries` for each study, setting, budget, arm and exit.

  Returns:
    the rows of the chosen trials, and `trials`, the number of all. Trials with a failed run are
    counted and never the best.
  """
  tried = tries(table)
  found = []
  for runs in _searches(table):
    place = [runs[0][name] for name in PLACE]
    of_arm = tried[(tried[PLACE] == place).all(axis=1)]
    for exit_, trial in best_trials(runs).items():
      best = of_arm[(of_arm['exit'] == exit_) & (of_arm['trial'] == trial)]
      found.append(best.assign(trials=of_arm['trial'].nunique()))
  return pd.concat(found) if found else tried


def _searches(table: pd.DataFrame) -> Iterator[list[Row]]:
  """Yields the trials of each arm, setting and budget."""
  trials = table[table['kind'] == TRIAL]
  for _, of_arm in trials.groupby([*CELL, 'arm'], sort=False):
    yield records(of_arm)


def _measured(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the runs of the comparison with a row for each `measure` and its `value`, 0 to 1."""
  runs = final_runs(table)
  values = runs.filter(regex='^test_exit').rename(columns=lambda n: n.replace('test_exit', 'exit '))
  moves = runs.groupby([*CELL, 'seed'])['test_final'].transform('nunique') > 1
  moves = moves.groupby([runs['study'], runs['setting']]).transform('any')
  values = values.assign(**{FINAL: runs['test_final'].where(moves), AREA: runs[AREA]})
  long = values.stack().dropna().rename('value').rename_axis([None, 'measure'])
  return runs[[*PLACE, 'seed']].join(long.reset_index('measure'), how='inner')


def _paired(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
  """Returns the values of all other arms with `other`, that of the baseline with equal seed."""
  values = _measured(table)
  _check_baseline(values, baseline)
  keys = [*CELL, 'seed', 'measure']
  other = values[values['arm'] == baseline].set_index(keys)['value'].rename('other')
  return values[values['arm'] != baseline].join(other, on=keys, how='inner')


def _effect(pairs: pd.DataFrame) -> Row:
  """Returns the columns from `seeds` to `p` of a test, from `value` and `other` of its pairs.

  Values are rounded to far more digits than are shown, so that the last bit of another machine
  cannot change the rounding of what is shown.
  """
  ours, theirs = (pairs[name].to_numpy(float) for name in ('value', 'other'))
  low = high = p = None
  if len(pairs) > 1:
    effect = over_seeds(ours, theirs)
    low, high, p = effect.difference_low, effect.difference_high, effect.p
  return {
    'seeds': len(pairs),
    'accuracy': round(float(ours.mean()), 8),
    'baseline_accuracy': round(float(theirs.mean()), 8),
    'difference': _points(float((ours - theirs).mean())),
    'low': _points(low),
    'high': _points(high),
    'p': math.nan if p is None else p,
  }


def _bootstrap(changes: list[np.ndarray]) -> list[tuple[float, float]]:
  """Computes intervals in points of means, float [S] each; NaN where no two seeds differ.

  Drawn in whole millionths, whose sums are exact: resamples are equal on every machine.
  """
  from scipy.stats import bootstrap  # a second of start-up, only here

  settings: dict[str, Any] = {'n_resamples': RESAMPLES, 'method': 'BCa', 'random_state': 0}
  varied: dict[int, list[int]] = {}
  for place, change in enumerate(changes):
    if np.ptp(change) >= SAME:
      varied.setdefault(len(change), []).append(place)
  found = [(math.nan, math.nan)] * len(changes)
  for places in varied.values():  # at once, as most of a call's time goes by before it draws
    of_size = np.rint(1e6 * np.stack([changes[place] for place in places]))
    ends = bootstrap((of_size,), np.mean, axis=-1, batch=100, **settings).confidence_interval
    for place, low, high in zip(places, ends.low.tolist(), ends.high.tolist(), strict=True):
      found[place] = (_points(1e-6 * low), _points(1e-6 * high))
  return found


def _points(share: float | None) -> float:
  return math.nan if share is None else round(100 * share, 6) + 0.0  # + 0.0 makes -0.0 positive


def _digits(p: float | None) -> float:
  return math.nan if p is None else float(f'{p:.6g}')


def first_reached(budgets: list[int], accuracies: np.ndarray, target: float) -> tuple[float, str]:
  """Finds the number of steps after which a curve first reaches a target.

  Args:
    budgets: rising, in steps.
    accuracies: float [budgets], linear in the logarithm of the steps between them.
    target: an accuracy.

  Returns:
    steps, and the kind of bound: 'at most' where the smallest budget is above the target already,
    'at least' where none reaches it, else ''.
  """
  if accuracies[0] > target:
    return budgets[0], AT_MOST
  reaching = np.flatnonzero(accuracies >= target)
  if not len(reaching):
    return budgets[-1], AT_LEAST
  around = slice(max(reaching[0] - 1, 0), reaching[0] + 1)
  return float(np.exp(np.interp(target, accuracies[around], np.log(budgets[around])))), ''


def _ratio(budget: int, steps: tuple[float, ...], bounds: tuple[str, ...]) -> Row:
  """Returns the columns of `steps_to_reach` from `seeds` to `censored`."""
  logs, sides = np.log(np.array(steps) / budget), set(bounds) - {''}
  bound = MIXED if len(sides) > 1 else next(iter(sides), '')
  low = high = None
  if not bound and len(logs) > 1:
    effect = over_seeds(logs, np.zeros_like(logs))
    low, high = effect.difference_low, effect.difference_high
  ratio = math.nan if bound == MIXED else round(math.exp(logs.mean()), 8)
  return {
    'seeds': len(steps),
    'steps': round(ratio * budget, 4),
    'ratio': ratio,
    'low': math.nan if low is None else round(math.exp(low), 8),
    'high': math.nan if high is None else round(math.exp(high), 8),
    'bound': bound,
    'censored': sum(map(bool, bounds)) / len(bounds),
  }


def _differing(trials: Iterable[Row]) -> list[str]:
  """Returns the names of the fields that are not the same in all of an arm's trials."""
  found = [fields_of(row) for row in trials]
  names = dict.fromkeys(name for fields in found for name in fields)
  return [name for name in names if any(f.get(name) != found[0].get(name) for f in found)]


def _check_baseline(values: pd.DataFrame, baseline: str) -> None:
  for study, runs in values.groupby('study'):
    if baseline not in (arms := sorted(runs['arm'].unique())):
      raise UserError(f'{study} has no runs of {baseline!r}; valid arms: {", ".join(arms)}')
