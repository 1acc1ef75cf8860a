"""The table of measured latencies, for a terminal."""

from rich.table import Table

from mecl_jax.inference import Latency


def latency_table(latency: Latency) -> Table:
  """A row per exit and batch size; below, what early exit saved."""
  caption = '\n'.join(
    f'early exit, batch {row["batch"]}: {row["dynamic_ms"]:.2f} ms of {row["static_ms"]:.2f} ms,'
    f' {row["measured_saving"]:.1%} saved where stage times allow {row["allowed_saving"]:.1%}'
    f' and MACs {row["macs_saving"]:.1%}'
    for row in latency.savings
  )
  table = Table(title=latency.device, title_justify='left', caption=caption, caption_justify='left')
  table.add_column('exit')
  for column in ('batch', 'median ms', '99 of 100 ms', 'images/s', 'compiled in s'):
    table.add_column(column, justify='right')
  for row in latency.rows:
    times = (f'{row["p50_ms"]:.2f}', f'{row["p99_ms"]:.2f}', f'{row["images_per_second"]:,.0f}')
    table.add_row(str(row['exit']), str(row['batch']), *times, f'{row["compile_seconds"]:.1f}')
  return table
