"""The verdict: which exit or policy to use, in one sentence, for the page and the terminal."""

from mecl_jax.evaluation.rules import FIXED
from mecl_jax.evaluation.tasks import CLASSIFICATION, Shown
from mecl_jax.models import FINAL
from mecl_jax.report.cells import (
  below_or_above,
  four_digits,
  less_or_more,
  milliseconds,
  percent,
)
from mecl_jax.report.rows import Row, Rows, values

ENDS = ('_low', '_high')
UNTIMED = 'its time is not measured yet (--mode=latency measures it)'


def verdict(points: Rows, exits: Rows, shown: Shown = CLASSIFICATION.shown) -> str:
  """Returns which exit or policy to use, what it saves, and what it loses or gains.

  Args:
    points: the table `operating_points`, with the chosen one.
    exits: the table `exits`, for the interval of the final exit.
    shown: the quality of the task, in place of the accuracy.
  """
  chosen = next(row for row in points if row['chosen'])
  target = f'{chosen["target"]}={chosen["target_value"]:.10g}' if chosen['target'] else ''
  if chosen['rule'] == FIXED and chosen['thresholds'] == FINAL:
    better = f': no other exit and no exit rule is better for {target}' if target else ''
    low, value, high = (
      _number(values(exits, f'{shown.column}{end}')[-1], shown) for end in ('_low', '', '_high')
    )
    return (
      f'Use the final exit alone{better}. Its test {shown.label} is {value}{_unit(shown)} (95 %'
      f' interval {low} to {high}{_unit(shown)}).'
    )
  if chosen['rule'] == FIXED:
    policy = f'exit {chosen["thresholds"]} alone for all images'
  else:
    rule = str(chosen['rule']).replace('_', ' ')
    thresholds = str(chosen['thresholds']).replace('_', ' ')
    policy = f'early exit by {rule} with {thresholds} thresholds'
  wanted = f' for {target}' if target else ''
  return f'Use {policy}{wanted}: {_quality(chosen, shown)}, and it takes {_costs(chosen)}.'


def _number(value: float, shown: Shown) -> str:
  return percent(value) if shown.is_share else four_digits(value)


def _unit(shown: Shown) -> str:
  """Returns ' %', or the unit of the targets after a space, or nothing if it is unknown."""
  unit = '%' if shown.is_share else shown.units
  return f' {unit}' if unit else ''


def _quality(point: Row, shown: Shown) -> str:
  """Describes the quality of a point against that of the final exit."""
  return _accuracy(point, shown) if shown.is_share else _error(point, shown)


def _error(point: Row, shown: Shown) -> str:
  """Describes the error of a point against that of the final exit."""
  rise, low, high = (f'{values([point], f"{shown.loss}{end}")[0]:+.3g}' for end in ('', *ENDS))
  error = four_digits(values([point], f'test_{shown.column}')[0])
  return (
    f'its test {shown.label} is {error}{_unit(shown)}, {rise} against the final exit (95 % interval'
    f' {low} to {high})'
  )


def _accuracy(point: Row, shown: Shown) -> str:
  """Describes the accuracy of a point against that of the final exit."""
  drop, low, high = (values([point], f'{shown.loss}{end}')[0] for end in ('', *ENDS))
  if low >= 0 or high <= 0:  # the interval is on one side: both ends have the sign of the change
    near, far = sorted((abs(low), abs(high)))
    interval = f'{percent(near)} to {percent(far)}'
  else:
    interval = f'{below_or_above(high)} to {below_or_above(low)}'.replace(' points', '')
  accuracy = percent(float(point[f'test_{shown.column}'] or 0))
  is_same = percent(abs(drop)) == percent(0)
  against = 'as that of the final exit' if is_same else f'{below_or_above(drop)} the final exit'
  return f'its test {shown.label} is {accuracy} %, {against} (95 % interval {interval})'


def _costs(point: Row) -> str:
  """Describes MACs and time of a point against those of the final exit."""
  macs = f'{less_or_more(values([point], "macs_saved")[0])} MACs'.replace('less', 'fewer')
  if point.get('test_ms') is None:
    return f'{macs} than the final exit; {UNTIMED}'
  ms, saved = (values([point], column)[0] for column in ('test_ms', 'ms_saved'))
  of_final = milliseconds(ms / (1 - saved))
  return (
    f'{macs} and {less_or_more(saved)} measured mean time per image than the final'
    f' exit'
    f' ({milliseconds(ms)} instead of {of_final} ms)'
  )
