"""The table of measured latencies, for a terminal."""

from mecl_jax.inference import Latency
from mecl_jax.report.cells import less_or_more
from mecl_jax.report.rows import Row, values
from mecl_jax.terminal import FittedTable


def latency_table(latency: Latency) -> FittedTable:
  """Returns a table with a row per exit and batch size, and the savings of early exit below it."""
  caption = '\n'.join(
    f'batch size {row["batch"]}: early exit takes {row["dynamic_ms"]:.2f} ms, the final exit'
    f' {row["static_ms"]:.2f} ms: {_saving(row, "measured_saving")}'
    f' (expected from stage times {_saving(row, "allowed_saving")},'
    f' from MACs {_saving(row, "macs_saving")})'
    for row in latency.savings
  )
  numbers = ('batch size', 'median (ms)', '99th percentile (ms)', 'images/s', 'compile time (s)')
  rows = []
  for row in latency.rows:
    times = (f'{row["p50_ms"]:.2f}', f'{row["p99_ms"]:.2f}', f'{row["images_per_second"]:,.0f}')
    rows.append((str(row['exit']), str(row['batch']), *times, f'{row["compile_seconds"]:.1f}'))
  optional = ('compile time (s)', 'images/s')
  columns = ('exit', *numbers)
  return FittedTable(latency.device, columns, rows, numbers, optional, caption=caption)


def _saving(row: Row, column: str) -> str:
  return less_or_more(values([row], column)[0])
