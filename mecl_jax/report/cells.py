"""What people read in the tables of the page: headings with units, numbers of few digits."""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import NamedTuple

from mecl_jax.models.macs import quantity

Cell = str | int | float | bool | None
NOTHING = '–'


def percent(share: float) -> str:
  """0.61494 as '61.49'; the heading has the unit."""
  return f'{100 * share:.2f}'


def three_decimals(number: float) -> str:
  """0.12345 as '0.123'."""
  return f'{number:.3f}'


def milliseconds(number: float) -> str:
  """Three digits: 0.123, 12.3, 1,234."""
  return f'{number:,.0f}' if number >= 99.95 else f'{number:#.3g}'.rstrip('.')


def plain(number: float) -> str:
  """Four digits, or a whole number with separators."""
  return f'{number:,.0f}' if number == round(number) else f'{number:,.4g}'


def name(number: float) -> str:
  """A number that only tells things apart, like an id: as it is."""
  return str(number)


class _Column(NamedTuple):
  heading: str
  format: Callable[[float], str] = plain


# Whatever is not here is headed by its name.
_COLUMNS = {
  'accuracy': _Column('accuracy (%)', percent),
  'top_5': _Column('top-5 accuracy (%)', percent),
  'nll': _Column('NLL (nats)', three_decimals),
  'brier': _Column('Brier score', three_decimals),
  'ece': _Column('ECE', three_decimals),
  'auroc': _Column('AUROC', three_decimals),
  'macs': _Column('MACs', quantity),
  'dynamic_macs': _Column('MACs when asked on the way', quantity),
  'head_macs': _Column('MACs of heads', quantity),
  'parameters': _Column('parameters', quantity),
  'temperature': _Column('temperature', three_decimals),
  'at_bound': _Column('at the end of the search'),
  'nll_before': _Column('NLL before', three_decimals),
  'nll_after': _Column('NLL after', three_decimals),
  'ece_before': _Column('ECE before', three_decimals),
  'ece_after': _Column('ECE after', three_decimals),
  'brier_before': _Column('Brier before', three_decimals),
  'brier_after': _Column('Brier after', three_decimals),
  'auroc_before': _Column('AUROC before', three_decimals),
  'auroc_after': _Column('AUROC after', three_decimals),
  'bin_low': _Column('bin from', three_decimals),
  'bin_high': _Column('bin to', three_decimals),
  'validation_accuracy': _Column('validation accuracy (%)', percent),
  'validation_macs': _Column('validation MACs', quantity),
  'validation_ms': _Column('validation time (ms)', milliseconds),
  'test_accuracy': _Column('test accuracy (%)', percent),
  'test_macs': _Column('test MACs', quantity),
  'test_ms': _Column('test time (ms)', milliseconds),
  'test_drop': _Column('below the final exit (points)', percent),
  'macs_saved': _Column('MACs saved (%)', percent),
  'ms_saved': _Column('time saved (%)', percent),
  'area': _Column('mean accuracy (%)', percent),
  'low_macs': _Column('from MACs', quantity),
  'high_macs': _Column('to MACs', quantity),
  'wish_value': _Column('of'),
  'share': _Column('share (%)', percent),
  'other': _Column('other exit'),
  'same_class': _Column('same class (%)', percent),
  'both_wrong': _Column('both wrong (%)', percent),
  'ratio': _Column('times chance', three_decimals),
  'single': _Column('exit alone (%)', percent),
  'arithmetic': _Column('arithmetic mean (%)', percent),
  'geometric': _Column('geometric mean (%)', percent),
  'nll_single': _Column('NLL alone', three_decimals),
  'nll_arithmetic': _Column('NLL, arithmetic', three_decimals),
  'nll_geometric': _Column('NLL, geometric', three_decimals),
  'deadline_ms': _Column('deadline (ms)', milliseconds),
  'deepest_exit': _Column('deepest in time'),
  'deepest_accuracy': _Column('accuracy, deepest (%)', percent),
  'best_exit': _Column('most accurate in time'),
  'best_accuracy': _Column('accuracy, best (%)', percent),
  'distribution': _Column('deadlines'),
  'batch': _Column('batch size'),
  'calls': _Column('calls'),
  'p50_ms': _Column('median (ms)', milliseconds),
  'p99_ms': _Column('99th percentile (ms)', milliseconds),
  'images_per_second': _Column('images per second'),
  'compile_seconds': _Column('compile time (s)'),
  'static_ms': _Column('final exit (ms)', milliseconds),
  'allowed_ms': _Column('allowed by the stages (ms)', milliseconds),
  'dynamic_ms': _Column('early exit (ms)', milliseconds),
  'allowed_saving': _Column('allowed saving (%)', percent),
  'measured_saving': _Column('measured saving (%)', percent),
  'share_reached': _Column('of it reached (%)', percent),
  'macs_saving': _Column('MACs saved (%)', percent),
  'easiest': _Column('weight of the easiest', three_decimals),
  'hardest': _Column('weight of the hardest', three_decimals),
  'seed': _Column('seed', name),
  'accuracy_sd': _Column('accuracy, sd (%)', percent),
  'nll_sd': _Column('NLL, sd', three_decimals),
  'p_holm': _Column('p (Holm)'),
  'loss': _Column('training loss', three_decimals),
  'visible': _Column('visible share (%)', percent),
  'index': _Column('number', name),
  'rank': _Column('rank', name),
  'id': _Column('id', name),
  'label': _Column('label', name),
  'predicted': _Column('predicted', name),
}
# Columns of an exit each are called by one of these and its name.
_OF_EXITS = {
  'accuracy': _Column('accuracy of {} (%)', percent),
  'leave': _Column('leave at {} (%)', percent),
  'threshold': _Column('threshold of {}'),
  'validation': _Column('validation accuracy of {} (%)', percent),
}


def heading(column: str) -> str:
  """The heading of a column, with its unit."""
  known, exit_name = _find(column)
  return known.heading.replace('{}', exit_name)


def show(row: Mapping[str, Cell], column: str) -> tuple[str, str]:
  """A cell as people read it, and the interval around it, '' where the row has none."""
  bounds = [_format(row.get(bound), column) for bound in _bounds(column)]
  return _format(row[column], column), '' if NOTHING in bounds else ' to '.join(bounds)


def estimates(columns: Sequence[str]) -> list[str]:
  """The columns without those that hold a bound of another's interval."""
  bounds = {bound for column in columns for bound in _bounds(column)}
  return [column for column in columns if column not in bounds]


def is_number(cell: Cell) -> bool:
  """Whether it is one; truth values are none."""
  return isinstance(cell, int | float) and not isinstance(cell, bool)


def _bounds(column: str) -> tuple[str, str]:
  return f'{column}_low', f'{column}_high'


def _find(column: str) -> tuple[_Column, str]:
  """What is known of a column, and the exit that it belongs to, if to one."""
  kind, colon, exit_name = column.partition(':')
  if colon and kind in _OF_EXITS:
    return _OF_EXITS[kind], exit_name
  return _COLUMNS.get(column, _Column(column.replace('_', ' '))), ''


def _format(cell: Cell, column: str) -> str:
  if cell is None:
    return NOTHING
  if isinstance(cell, bool):
    return 'yes' if cell else 'no'
  if isinstance(cell, str):
    return cell
  if math.isnan(cell):
    return NOTHING
  if math.isinf(cell):
    return '∞' if cell > 0 else '−∞'
  return _find(column)[0].format(cell)
