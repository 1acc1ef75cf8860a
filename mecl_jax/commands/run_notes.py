"""The caveats on the page of a run."""

from collections.abc import Mapping
from typing import Any

from mecl_jax.evaluation.costs import Costs
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.inference import Latency
from mecl_jax.inference.latency import device_name
from mecl_jax.report.rows import Rows
from mecl_jax.training.run import Run


def notes(
  run: Run,
  summary: Mapping[str, Any],
  tables: Mapping[str, Rows],
  latency: Latency | None,
  costs: Costs,
) -> list[str]:
  """Returns the caveats that a reader must know.

  Args:
    run: the run.
    summary: of the run.
    tables: of the page.
    latency: measured times; None if there are none.
    costs: of its exits.
  """
  found = []
  if not summary['complete']:
    found.append(f'Training has not ended: these are the results at step {summary["steps"]:,}.')
  if latency and latency.device != device_name():
    found.append(
      f'Latencies were measured on another device than this page was made on: {latency.device},'
      f' not {device_name()}.'
    )
  ends = [str(row['exit']) for row in tables.get('calibration', []) if row['at_bound']]
  if ends:
    found.append(
      f'The temperature of {", ".join(ends)} is at an end of the searched range, as where'
      ' the exit makes no error on validation; do not use it.'
    )
  if 'operating_points' not in tables:  # there is one exit
    return found
  chosen: dict[str, Any] = next(row for row in tables['operating_points'] if row['chosen'])
  shown = TASKS[run.config.task].shown
  if chosen[shown.loss] >= 0 and _takes_more(chosen):
    found.append(
      'Early exit does not pay here: it takes more than the final exit, and is not more accurate on'
      ' the test split, so that the final exit alone is better.'
    )
  if latency and costs.ms is None:
    found.append(
      'The latencies were measured by an earlier version, without the time of early exit;'
      ' --mode=latency measures it.'
    )
  if chosen['target'] == 'max_accuracy_drop' and chosen['test_drop_low'] > chosen['target_value']:
    lost, most = 100 * chosen['test_drop'], 100 * chosen['target_value']
    found.append(
      f'The target of losing at most {most:.2f} points is met on validation, but missed on test by'
      f' more than chance: {lost:.2f} points are lost.'
    )
  if chosen['target'] == 'max_error_rise':
    final = chosen[f'test_{shown.column}'] - chosen[shown.loss]
    if final and chosen[f'{shown.loss}_low'] > chosen['target_value'] * final:
      found.append(
        f'The target of an error at most {chosen["target_value"]:.1%} above that of the final exit'
        f' is met on validation, but missed on test by more than chance: it is'
        f' {chosen[shown.loss] / final:.1%} above.'
      )
  if latency and latency.savings and 'savings' not in tables:
    found.append(
      'The time that early exit saves was measured with other thresholds and is left out;'
      ' --mode=latency measures it again.'
    )
  if (run.workdir / 'energy.json').exists() and 'energy' not in tables:
    found.append(
      'Energy was simulated with another checkpoint or with other thresholds and is left out;'
      ' --mode=energy simulates it again.'
    )
  if run.config.evaluation.policy_file:
    found.append(f'The thresholds are those of {run.config.evaluation.policy_file}.')
  return found


def _takes_more(point: Mapping[str, Any]) -> bool:
  """Returns whether a point saves neither MACs nor, where it is measured, time."""
  saved = [point[name] for name in ('macs_saved', 'ms_saved') if point.get(name) is not None]
  return max(saved) <= 0 and min(saved) < 0
