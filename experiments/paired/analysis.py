"""What the table of a study says: paired differences, steps to reach an accuracy, searches.

Pure functions of the rows of `table.read_table`, with tidy rows as results. Runs that failed are
left out everywhere; `failures` names them. Runs of equal study, setting, budget and seed are pairs.
A measure is 'exit 1', 'exit 2', .. (test accuracy, earliest first), 'final', or 'area' (mean test
accuracy over the mean multiply-accumulates between the first exit's and the final one's).
"""

from collections.abc import Iterable, Iterator
import itertools
import math
from typing import Any

import numpy as np

from experiments.paired.search import best_trials, judged
from experiments.paired.study import BASELINE
from experiments.paired.table import RUN, TRIAL, Row, Rows, exits_of, fields_of
from mecl_jax.errors import UserError
from mecl_jax.evaluation.paired import SAME, Effect, holm, over_seeds
from mecl_jax.models import FINAL
from mecl_jax.report.rows import groups

AREA = 'area'
RESAMPLES = 2000
AT_MOST, AT_LEAST, MIXED = 'at most', 'at least', 'mixed'


def failures(rows: Rows) -> Rows:
  """The runs that did not end, with what went wrong; they are left out of all else."""
  columns = ('study', 'setting', 'budget', 'arm', 'kind', 'trial', 'seed', 'error')
  return [{name: row[name] for name in columns} for row in rows if row['error'] is not None]


def final_runs(rows: Rows) -> Rows:
  """The runs of the comparison itself that ended."""
  return [row for row in rows if row['kind'] == RUN and row['error'] is None]


def measured(row: Row, measure: str) -> float | None:
  """A measure of a run, from 0 to 1; None where it has no such exit."""
  return row.get(measure if measure == AREA else f'test_{measure.replace(" ", "")}')


def differences(rows: Rows, baseline: str = BASELINE) -> Rows:
  """What every arm has above the baseline, paired by seed.

  Args:
    rows: of one study or more.
    baseline: the arm that the others are compared with.

  Returns:
    A row per study, setting, budget, arm and measure that has a pair. The final exit is a measure
    only where it moves: where all arms share a frozen one there is nothing to compare.
    - `seeds`: the complete pairs; a run without its partner does not count;
    - `accuracy`, `baseline_accuracy`: means over the pairs, 0 to 1 (also of the area);
    - `difference`: in points, and `low`, `high`: 95 % interval of the paired t-test;
    - `boot_low`, `boot_high`: 95 % BCa bootstrap interval over the seeds, 2,000 resamples, always
      the same ones. With few seeds it is too narrow: the other one decides;
    - `p`: of the paired t-test, two-sided; `p_holm`: corrected by Holm's method for a family that
      is all tests of the study against this baseline.
    Intervals and p are None with a single pair, and where all pairs differ by the same.

  Raises:
    UserError: a study has no such arm.

  References:
    Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical Association
    82(397), 1987.
  """
  found = Rows()
  for of_study in _by(final_runs(rows), 'study'):
    _check_baseline(of_study, baseline)
    tests = [test for runs in _by(of_study, 'setting') for test in _tests(runs, baseline)]
    effects = _effects([pairs for _, pairs in tests])
    found += [place | row for (place, _), row in zip(tests, effects, strict=True)]
  return found


def pooled(rows: Rows, arm: str, measure: str, baseline: str = BASELINE) -> Row:
  """One difference for all settings and budgets in `rows`: each seed's mean over them, paired.

  Returns:
    the columns of `differences` from `seeds` on, and `cells`: in how many settings and budgets.
    Settings and budgets without a run of both arms do not count, nor do seeds that lack a pair in
    one of the others.

  Raises:
    UserError: there is no seed with all pairs.
  """
  of_seed: dict[int, list[tuple[float, float]]] = {}
  every = _by(final_runs(rows), 'study', 'setting', 'budget')
  both = [(_of_arm(runs, arm), _of_arm(runs, baseline)) for runs in every]
  cells = [(ours, theirs) for ours, theirs in both if ours and theirs]
  for ours, theirs in cells:
    for seed, one, other in _pairs(ours, theirs, measure):
      of_seed.setdefault(seed, []).append((one, other))
  complete = [np.mean(pairs, axis=0) for pairs in of_seed.values() if len(pairs) == len(cells)]
  if not complete:
    raise UserError(f'no seed has {measure} of both {arm!r} and {baseline!r} everywhere')
  return {'cells': len(cells)} | _effects([np.transpose(complete)])[0]


def means(rows: Rows, pairs: Iterable[tuple[str, str]]) -> Rows:
  """`pooled` for each pair of an arm and a baseline, and each measure.

  Returns:
    its columns after `arm`, `against` and `measure`.

  Raises:
    UserError: as `pooled`.
  """
  of_settings = _by(final_runs(rows), 'study', 'setting')
  measures = dict.fromkeys(measure for runs in of_settings for measure in _measures(runs))
  return [
    {'arm': arm, 'against': against, 'measure': measure} | pooled(rows, arm, measure, against)
    for arm, against in pairs
    for measure in measures
  ]


def steps_to_reach(rows: Rows, baseline: str = BASELINE) -> Rows:
  """How many steps an arm needs for what the baseline reaches in its budget.

  Every budget is a run of its own, with a schedule for just as many steps. For each seed the arm's
  test accuracy is taken as linear in the logarithm of the steps between its budgets, and the first
  crossing counts. Where its smallest budget is above already, or its largest still below, all that
  is known is a bound, which is that budget: such a seed is censored.

  Returns:
    A row per study, setting, budget, arm and exit, of arms with two budgets or more.
    - `seeds`: those with the baseline's run and a run of the arm at every one of its budgets;
    - `ratio`: geometric mean over the seeds of steps by budget, below 1 where the arm is faster;
      `low`, `high`: its 95 % t interval in logarithms, None where a seed is censored;
    - `steps`: the ratio times the budget;
    - `bound`: '' for a number; 'at most' or 'at least' where some seeds are censored, all from that
      side; 'mixed' where they are from both, and there is neither ratio nor steps;
    - `censored`: their share.

  Raises:
    UserError: a study has no such arm.
  """
  found = Rows()
  for of_study in _by(final_runs(rows), 'study'):
    _check_baseline(of_study, baseline)
    for runs in _by(of_study, 'setting'):
      exits = [measure for measure in _measures(runs) if measure != AREA]
      reference = _of_arm(runs, baseline)
      for arm, measure in itertools.product(_other_arms(runs, baseline), exits):
        found += _reached(reference, _of_arm(runs, arm), measure)
  return found


def tries(rows: Rows) -> Rows:
  """Every trial of every search, a row for each exit that it was tried for.

  Returns:
    rows with `study`, `setting`, `noise`, `budget`, `arm`, `trial`, `exit` ('exit1', .. where each
    has a search of its own, else 'all exits'), `seeds` (of its runs that ended),
    `validation_accuracy` (mean over the seeds, 0 to 1; None if a run failed), `tuned` (the fields
    that differ between the arm's trials, as text) and `fields` (all, as JSON).
  """
  found = Rows()
  for of_arm in _searches(rows):
    tuned = _differing(of_arm)
    judges = dict.fromkeys(judge for row in of_arm for judge in judged(row))
    for of_trial, judge in itertools.product(_by(of_arm, 'trial'), judges):
      first, fields = of_trial[0], fields_of(of_trial[0])
      ended = [judged(row)[judge] for row in of_trial if row['error'] is None]
      whole = len(ended) == len(of_trial)
      found.append(
        _place(first)
        | {
          'trial': first['trial'],
          'exit': judge,
          'seeds': len(ended),
          'validation_accuracy': round(float(np.mean(ended)), 8) if whole else None,
          'tuned': ', '.join(f'{name}={fields[name]}' for name in tuned if name in fields),
          'fields': first['fields'],
        }
      )
  return found


def searches(rows: Rows) -> Rows:
  """The best of `tries` for each study, setting, budget, arm and exit.

  Returns:
    the rows of the trials that were taken, and `trials`, the number of all. Trials with a failed
    run are counted, and never the best.
  """
  found = Rows()
  for of_arm in _searches(rows):
    tried = {(row['exit'], row['trial']): row for row in tries(of_arm)}
    trials = {'trials': len(_by(of_arm, 'trial'))}
    found += [tried[best] | trials for best in best_trials(of_arm).items()]
  return found


def _searches(rows: Rows) -> list[Rows]:
  """The trials of each arm, setting and budget."""
  return _by([r for r in rows if r['kind'] == TRIAL], 'study', 'setting', 'budget', 'arm')


def _tests(runs: Rows, baseline: str) -> Iterator[tuple[Row, np.ndarray]]:
  """Of the runs of one setting: what is compared, and the accuracies of the pairs, [2, S]."""
  measures = _measures(runs)
  for of_budget in _by(runs, 'budget'):
    reference = _of_arm(of_budget, baseline)
    for arm, measure in itertools.product(_other_arms(of_budget, baseline), measures):
      ours = _of_arm(of_budget, arm)
      if pairs := _pairs(ours, reference, measure):
        yield _place(ours[0]) | {'measure': measure}, np.transpose(pairs)[1:]


def _effects(family: list[np.ndarray]) -> Rows:
  """The columns from `seeds` to `p_holm` of each test of a family, ours and theirs [2, S].

  Values are rounded to far more digits than are shown, so that another machine's last bit cannot
  turn a half the other way.
  """
  effects = [
    over_seeds(*pairs)
    if pairs.shape[1] > 1
    else Effect(1, float(pairs[0, 0] - pairs[1, 0]), None, None, 'one seed', None)
    for pairs in family
  ]
  boots = _bootstrap([ours - theirs for ours, theirs in family])
  corrected = holm([effect.p for effect in effects])
  return [
    {
      'seeds': effect.pairs,
      'accuracy': round(float(pairs[0].mean()), 8),
      'baseline_accuracy': round(float(pairs[1].mean()), 8),
      'difference': _points(effect.difference),
      'low': _points(effect.difference_low),
      'high': _points(effect.difference_high),
      'boot_low': _points(boot[0]),
      'boot_high': _points(boot[1]),
      'p': _digits(effect.p),
      'p_holm': _digits(p_holm),
    }
    for pairs, effect, boot, p_holm in zip(family, effects, boots, corrected, strict=True)
  ]


def _bootstrap(changes: list[np.ndarray]) -> list[tuple[float | None, float | None]]:
  """Intervals of means, float [S] each; None for one seed, and where all seeds are the same.

  Drawn in whole millionths, whose sums are exact: resamples tie alike on every machine.
  """
  from scipy.stats import bootstrap  # a second of start-up, only here

  settings: dict[str, Any] = {'n_resamples': RESAMPLES, 'method': 'BCa', 'random_state': 0}
  varied: dict[int, list[int]] = {}
  for place, change in enumerate(changes):
    if np.ptp(change) >= SAME:
      varied.setdefault(len(change), []).append(place)
  found: list[tuple[float | None, float | None]] = [(None, None)] * len(changes)
  for places in varied.values():  # at once, as most of a call's time goes by before it draws
    of_size = np.rint(1e6 * np.stack([changes[place] for place in places]))
    ends = bootstrap((of_size,), np.mean, axis=-1, batch=100, **settings).confidence_interval
    for place, low, high in zip(places, ends.low.tolist(), ends.high.tolist(), strict=True):
      found[place] = (1e-6 * low, 1e-6 * high)
  return found


def _points(share: float | None) -> float | None:
  return None if share is None else round(100 * share, 6) + 0.0  # + 0.0 makes -0.0 positive


def _digits(p: float | None) -> float | None:
  return None if p is None else float(f'{p:.6g}')


def _pairs(ours: Rows, theirs: Rows, measure: str) -> list[tuple[int, float, float]]:
  """Seed, our value and theirs, for every seed that both have, rising."""
  of_seed = {row['seed']: measured(row, measure) for row in theirs}
  pairs = [(row['seed'], measured(row, measure), of_seed.get(row['seed'])) for row in ours]
  return sorted(
    (seed, one, other) for seed, one, other in pairs if one is not None and other is not None
  )


def _measures(runs: Rows) -> list[str]:
  """What is compared between the runs of a setting."""
  early = max(len(exits_of(row)) - 1 for row in runs)
  found = [f'exit {number}' for number in range(1, early + 1)]
  of_pairs = ({measured(row, FINAL) for row in pair} for pair in _by(runs, 'budget', 'seed'))
  if any(len(values) > 1 for values in of_pairs):
    found.append(FINAL)
  return found + [AREA] * any(row[AREA] is not None for row in runs)


def _reached(reference: Rows, ours: Rows, measure: str) -> Iterator[Row]:
  """The rows of `steps_to_reach` for one arm and exit of a setting."""
  budgets = sorted({row['budget'] for row in ours})
  if len(budgets) < 2:
    return
  curves = {}
  for of_seed in _by(ours, 'seed'):
    at = {row['budget']: measured(row, measure) for row in of_seed}
    if len(at) == len(budgets) and None not in at.values():
      curves[of_seed[0]['seed']] = np.array([at[budget] for budget in budgets], float)
  for of_budget in _by(reference, 'budget'):
    targets = {row['seed']: measured(row, measure) for row in of_budget}
    found = [
      first_reached(budgets, curves[seed], target)
      for seed, target in sorted(targets.items())
      if target is not None and seed in curves
    ]
    if found:
      budget = of_budget[0]['budget']
      place = _place(ours[0]) | {'budget': budget, 'measure': measure}
      yield place | _ratio(budget, *zip(*found, strict=True))


def first_reached(budgets: list[int], accuracies: np.ndarray, target: float) -> tuple[float, str]:
  """The steps after which a curve first reaches a target, and '', or a bound and of which kind.

  Args:
    budgets: rising, in steps.
    accuracies: float [budgets], linear in the logarithm of the steps between them.
    target: an accuracy.

  Returns:
    steps, and 'at most' where the smallest budget is above the target already, 'at least' where
    none reaches it, else ''.
  """
  if accuracies[0] > target:
    return budgets[0], AT_MOST
  reaching = np.flatnonzero(accuracies >= target)
  if not len(reaching):
    return budgets[-1], AT_LEAST
  around = slice(max(reaching[0] - 1, 0), reaching[0] + 1)
  return float(np.exp(np.interp(target, accuracies[around], np.log(budgets[around])))), ''


def _ratio(budget: int, steps: tuple[float, ...], bounds: tuple[str, ...]) -> Row:
  logs, sides = np.log(np.array(steps) / budget), set(bounds) - {''}
  bound = MIXED if len(sides) > 1 else next(iter(sides), '')
  low = high = ratio = None
  if not bound and len(logs) > 1:
    effect = over_seeds(logs, np.zeros_like(logs))
    low, high = effect.difference_low, effect.difference_high
  if bound != MIXED:
    ratio = round(math.exp(logs.mean()), 8)
  return {
    'seeds': len(steps),
    'steps': None if ratio is None else round(ratio * budget, 4),
    'ratio': ratio,
    'low': None if low is None else round(math.exp(low), 8),
    'high': None if high is None else round(math.exp(high), 8),
    'bound': bound,
    'censored': sum(map(bool, bounds)) / len(bounds),
  }


def _differing(trials: Rows) -> list[str]:
  """Names of the fields that are not the same in all of an arm's trials."""
  found = [fields_of(row) for row in trials]
  names = dict.fromkeys(name for fields in found for name in fields)
  return [name for name in names if any(f.get(name) != found[0].get(name) for f in found)]


def _place(row: Row) -> Row:
  return {name: row[name] for name in ('study', 'setting', 'noise', 'budget', 'arm')}


def _of_arm(runs: Rows, arm: str) -> Rows:
  return [row for row in runs if row['arm'] == arm]


def _other_arms(runs: Rows, baseline: str) -> list[str]:
  return list(dict.fromkeys(row['arm'] for row in runs if row['arm'] != baseline))


def _by(rows: Rows, *columns: str) -> list[Rows]:
  """The rows in groups that are equal in these columns."""
  return [*groups(rows, *columns).values()]


def _check_baseline(runs: Rows, baseline: str) -> None:
  arms = sorted({row['arm'] for row in runs})
  if baseline not in arms:
    raise UserError(
      f'{runs[0]["study"]} has no runs of {baseline!r}; choose a baseline of: {", ".join(arms)}'
    )
