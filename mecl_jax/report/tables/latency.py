"""The table of measured latencies, for a terminal."""

from rich.table import Table

from mecl_jax.inference import Latency
from mecl_jax.report.cells import less_or_more
from mecl_jax.report.rows import Row, values


def latency_table(latency: Latency) -> Table:
  """Returns a table with a row per exit and batch size, and the savings of early exit below it."""
  caption = '\n'.join(
    f'batch size {row["batch"]}: early exit takes {row["dynamic_ms"]:.2f} ms, the final exit'
    f' {row["static_ms"]:.2f} ms: {_saving(row, "measured_saving")}'
    f' (expected from stage times {_saving(row, "allowed_saving")},'
    f' from MACs {_saving(row, "macs_saving")})'
    for row in latency.savings
  )
  table = Table(title=latency.device, title_justify='left', caption=caption, caption_justify='left')
  table.add_column('exit')
  for column in (
    'batch size',
    'median (ms)',
    '99th percentile (ms)',
    'images/s',
    'compile time (s)',
  ):
    table.add_column(column, justify='right')
  for row in latency.rows:
    times = (f'{row["p50_ms"]:.2f}', f'{row["p99_ms"]:.2f}', f'{row["images_per_second"]:,.0f}')
    table.add_row(str(row['exit']), str(row['batch']), *times, f'{row["compile_seconds"]:.1f}')
  return table


def _saving(row: Row, column: str) -> str:
  return less_or_more(values([row], column)[0])
