"""How the tables of a page are shown: headings with units, and numbers with few digits."""

from collections.abc import Callable, Sequence
import math
from typing import NamedTuple

from mecl_jax.models.macs import quantity
from mecl_jax.report.rows import Cell, Row

MISSING = '–'


def percent(share: float) -> str:
  """Formats a share of 1 in per cent, without the sign: 0.61494 as '61.49'."""
  return f'{100 * share:.2f}'


def three_decimals(number: float) -> str:
  """Formats 0.12345 as '0.123'."""
  return f'{number:.3f}'


def milliseconds(number: float) -> str:
  """Formats a time with three digits: '0.123', '12.3', '1,234'."""
  return f'{number:,.0f}' if number >= 99.95 else f'{number:#.3g}'.rstrip('.')


def four_digits(number: float) -> str:
  """Formats a number in the unit of the targets with four digits: '0.8123', '1,234'."""
  return f'{number:,.0f}' if abs(number) >= 9999.5 else f'{number:#.4g}'.rstrip('.')


def signed(number: float) -> str:
  """Formats a change in the unit of the targets: '+0.0123'."""
  return f'{number:+.3g}'


def plain(number: float) -> str:
  """Formats a whole number with separators, any other number with four digits."""
  return f'{number:,.0f}' if number == round(number) else f'{number:,.4g}'


def identifier(number: float) -> str:
  """Formats a number that identifies something, as a seed does: without separators."""
  return str(number)


def less_or_more(saved: float) -> str:
  """Formats a saving as '35.0 % less', and a negative one as '35.0 % more'."""
  return f'{100 * abs(saved):.1f} % {"less" if saved >= 0 else "more"}'


def below_or_above(drop: float) -> str:
  """Formats a drop in accuracy as '0.56 points below', and a gain as '0.56 points above'."""
  return f'{percent(abs(drop))} points {"below" if drop >= 0 else "above"}'


def gain(drop: float) -> str:
  """Formats a drop in accuracy as the change that it is: 0.0056 as '-0.56', -0.004 as '+0.40'."""
  return f'{0.0 - 100 * drop:+.2f}'


def curriculum_name(order: str, sample_weights: str, contradicted: str = 'keep') -> str:
  """Returns the short name of a curriculum from its `curriculum` fields, or 'none'."""
  dropped = 'contradicted dropped' if contradicted == 'drop' else 'none'
  return ', '.join(part for part in (order, sample_weights, dropped) if part != 'none') or 'none'


class _Column(NamedTuple):
  heading: str
  format: Callable[[float], str] = plain
  is_negated: bool = False  # in its cells, so that the ends of an interval change places


# A column that is not listed has its own name as its heading.
_COLUMNS = {
  'accuracy': _Column('accuracy (%)', percent),
  'top_5': _Column('top-5 accuracy (%)', percent),
  'nll': _Column('NLL (nats)', three_decimals),
  'brier': _Column('Brier score', three_decimals),
  'ece': _Column('ECE (debiased)', three_decimals),
  'auroc': _Column('AUROC', three_decimals),
  'label_accuracy': _Column('label accuracy (%)', percent),
  'map': _Column('mAP (%)', percent),
  'f1': _Column('F1 (%)', percent),
  'exact_match': _Column('exact match (%)', percent),
  'mae': _Column('MAE', four_digits),
  'rmse': _Column('RMSE', four_digits),
  'r2': _Column('R2', three_decimals),
  'macs': _Column('MACs', quantity),
  'dynamic_macs': _Column('MACs of an image that leaves here', quantity),
  'head_macs': _Column('MACs of the head', quantity),
  'parameters': _Column('parameters', quantity),
  'temperature': _Column('temperature', three_decimals),
  'at_bound': _Column('at a bound of the search'),
  'nll_before': _Column('NLL before', three_decimals),
  'nll_after': _Column('NLL after', three_decimals),
  'ece_before': _Column('ECE before', three_decimals),
  'ece_after': _Column('ECE after', three_decimals),
  'brier_before': _Column('Brier before', three_decimals),
  'brier_after': _Column('Brier after', three_decimals),
  'auroc_before': _Column('AUROC before', three_decimals),
  'auroc_after': _Column('AUROC after', three_decimals),
  'bin_low': _Column('confidence from', three_decimals),
  'bin_high': _Column('confidence to', three_decimals),
  'validation_accuracy': _Column('validation accuracy (%)', percent),
  'validation_macs': _Column('validation MACs', quantity),
  'validation_ms': _Column('validation time (ms)', milliseconds),
  'test_accuracy': _Column('test accuracy (%)', percent),
  'test_macs': _Column('test MACs', quantity),
  'test_ms': _Column('test time (ms)', milliseconds),
  'test_drop': _Column('accuracy against the final exit (points)', gain, is_negated=True),
  'validation_label_accuracy': _Column('validation label accuracy (%)', percent),
  'test_label_accuracy': _Column('test label accuracy (%)', percent),
  'validation_mae': _Column('validation MAE', four_digits),
  'test_mae': _Column('test MAE', four_digits),
  'test_rise': _Column('MAE against the final exit', signed),
  'macs_saved': _Column('MACs against the final exit', less_or_more),
  'ms_saved': _Column('time against the final exit', less_or_more),
  'area': _Column('mean accuracy (%)', percent),
  'area_sd': _Column('mean accuracy, sd (points)', percent),
  'low_macs': _Column('from MACs', quantity),
  'high_macs': _Column('to MACs', quantity),
  'target_value': _Column('target value'),
  'share': _Column('share (%)', percent),
  'other': _Column('other exit'),
  'same_class': _Column('same class (%)', percent),
  'both_wrong': _Column('both wrong (%)', percent),
  'ratio': _Column('errors in common (times chance)', three_decimals),
  'single': _Column('accuracy, exit alone (%)', percent),
  'arithmetic': _Column('accuracy, arithmetic mean (%)', percent),
  'geometric': _Column('accuracy, geometric mean (%)', percent),
  'nll_single': _Column('NLL, exit alone', three_decimals),
  'nll_arithmetic': _Column('NLL, arithmetic mean', three_decimals),
  'nll_geometric': _Column('NLL, geometric mean', three_decimals),
  'deadline_ms': _Column('deadline (ms)', milliseconds),
  'deepest_exit': _Column('deepest exit in time'),
  'deepest_accuracy': _Column('accuracy, deepest exit in time (%)', percent),
  'best_exit': _Column('most accurate exit in time'),
  'best_accuracy': _Column('accuracy, most accurate exit in time (%)', percent),
  'distribution': _Column('distribution of deadlines'),
  'batch': _Column('batch size'),
  'calls': _Column('calls'),
  'p50_ms': _Column('median (ms)', milliseconds),
  'p99_ms': _Column('99th percentile (ms)', milliseconds),
  'images_per_second': _Column('images per second'),
  'compile_seconds': _Column('compile time (s)'),
  'static_ms': _Column('final exit (ms)', milliseconds),
  'allowed_ms': _Column('early exit, expected (ms)', milliseconds),
  'dynamic_ms': _Column('early exit, measured (ms)', milliseconds),
  'allowed_saving': _Column('expected time against the final exit', less_or_more),
  'measured_saving': _Column('measured time against the final exit', less_or_more),
  'share_reached': _Column('measured / expected saving (%)', percent),
  'macs_saving': _Column('MACs against the final exit', less_or_more),
  'supply': _Column('paid by'),
  'by_rule': _Column('leaves by the rule'),
  'reserve': _Column('reserve (% of the capacity)', percent),
  'right_share': _Column('right answers (% of all images)', percent),
  'right_drop': _Column('against greedy (points)', gain, is_negated=True),
  'answered_accuracy': _Column('accuracy of the answers (%)', percent),
  'missed_share': _Column('missed (% of all images)', percent),
  'easiest': _Column('weight of the easiest image', three_decimals),
  'hardest': _Column('weight of the hardest image', three_decimals),
  'easiest_at_end': _Column('of the easiest, at the last step', three_decimals),
  'hardest_at_end': _Column('of the hardest, at the last step', three_decimals),
  'mean_ms': _Column('mean time (ms)', milliseconds),
  'p95_ms': _Column('95th percentile (ms)', milliseconds),
  'energy_mj': _Column('energy (mJ)', milliseconds),
  'sent': _Column('sent (%)', percent),
  'in_time': _Column('in time (%)', percent),
  'accuracy_simulated': _Column('accuracy, simulated (%)', percent),
  'accuracy_real': _Column('accuracy, measured (%)', percent),
  'mean_ms_simulated': _Column('mean time, simulated (ms)', milliseconds),
  'mean_ms_real': _Column('mean time, measured (ms)', milliseconds),
  'p95_ms_simulated': _Column('95th percentile, simulated (ms)', milliseconds),
  'p95_ms_real': _Column('95th percentile, measured (ms)', milliseconds),
  'bytes_real': _Column('bytes, measured'),
  'bytes_simulated': _Column('bytes, simulated'),
  'real_difference': _Column('difference of the mean time (%)', percent),
  'same_side': _Column('same side (%)', percent),
  'in_time_real': _Column('in time, measured (%)', percent),
  'seed': _Column('seed', identifier),
  'accuracy_sd': _Column('accuracy, sd (points)', percent),
  'nll_sd': _Column('NLL, sd', three_decimals),
  'p_holm': _Column('p (Holm)'),
  'loss': _Column('training loss', three_decimals),
  'visible': _Column('visible share (%)', percent),
  'index': _Column('policy number', identifier),
  'rank': _Column('rank', identifier),
  'id': _Column('id', identifier),
  'label': _Column('label', identifier),
  'predicted': _Column('predicted', identifier),
}
# Columns that belong to an exit are called `kind:exit`, with one of these kinds.
_OF_EXITS = {
  'accuracy': _Column('accuracy of {} (%)', percent),
  'leave': _Column('leave at {} (%)', percent),
  'threshold': _Column('threshold of {}'),
  'validation': _Column('validation accuracy of {} (%)', percent),
}
# Columns of amounts are called `kind:unit`, with one of these kinds.
_OF_UNITS = {
  'used': _Column('used per image ({})', milliseconds),
  'lost': _Column('lost per image ({})', milliseconds),
}


def heading(column: str) -> str:
  """Returns the heading of a column, with its unit."""
  known, exit_name = _find(column)
  return known.heading.replace('{}', exit_name)


def show(row: Row, column: str) -> tuple[str, str]:
  """Formats a cell, and the interval around it: 'low to high', '' if the row has none."""
  bounds = [_format(row.get(bound), column) for bound in _bounds(column)]
  if _find(column)[0].is_negated:
    bounds.reverse()
  return _format(row[column], column), '' if MISSING in bounds else ' to '.join(bounds)


def estimates(columns: Sequence[str]) -> list[str]:
  """Returns the columns that are not the bound of another column's interval."""
  bounds = {bound for column in columns for bound in _bounds(column)}
  return [column for column in columns if column not in bounds]


def is_number(cell: Cell) -> bool:
  """Returns whether a cell is a number; True and False are not."""
  return isinstance(cell, int | float) and not isinstance(cell, bool)


def _bounds(column: str) -> tuple[str, str]:
  return f'{column}_low', f'{column}_high'


def _find(column: str) -> tuple[_Column, str]:
  """Returns the heading and format of a column, and its exit or unit, or ''."""
  kind, colon, exit_name = column.partition(':')
  for known in (_OF_EXITS, _OF_UNITS):
    if colon and kind in known:
      return known[kind], exit_name
  return _COLUMNS.get(column, _Column(column.replace('_', ' '))), ''


def _format(cell: Cell, column: str) -> str:
  if cell is None:
    return MISSING
  if isinstance(cell, bool):
    return 'yes' if cell else 'no'
  if isinstance(cell, str):
    return cell
  if math.isnan(cell):
    return MISSING
  if math.isinf(cell):
    return '∞' if cell > 0 else '−∞'
  return _find(column)[0].format(cell)
