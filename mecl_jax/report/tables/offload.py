"""Tables of a split between device and server, for a terminal."""

from collections.abc import Mapping
from typing import Any

from mecl_jax.report.cells import milliseconds, percent
from mecl_jax.report.rows import Rows
from mecl_jax.terminal import FittedTable

ENERGY = 'energy (mJ)'


def policy_table(fields: Mapping[str, Any]) -> FittedTable:
  """Returns a table with a row per policy.

  Args:
    fields: of offload.json.
  """
  settings = fields['settings']
  numbers = ('accuracy (%)', 'mean (ms)', 'p95 (ms)', 'bytes', ENERGY, 'sent (%)', 'in time (%)')
  rows = [
    (
      str(row['policy']) + (' *' if row['chosen'] else ''),
      str(row['setting']),
      percent(row['accuracy']),
      milliseconds(row['mean_ms']),
      milliseconds(row['p95_ms']),
      f'{row["bytes"]:,.0f}',
      milliseconds(row['energy_mj']),
      f'{100 * row["sent"]:.0f}',
      f'{100 * row["in_time"]:.0f}',
    )
    for row in fields['policies']
  ]
  title = (
    f'split between device and server, simulated: {settings["bandwidth"]:g} Mbit/s, round trip'
    f' {settings["round_trip"]:g} ms, features as {settings["send_as"]}'
  )
  caption = (
    f'test images; chosen on validation for {settings["target"]} (*: the best of all); the deadline'
    f' is {settings["deadline"]:g} ms'
  )
  optional = ('in time (%)', 'sent (%)', ENERGY)
  return FittedTable(
    title, ('policy', 'setting', *numbers), rows, numbers, optional, caption=caption
  )


def real_table(rows: Rows) -> FittedTable:
  """Returns a table of what two processes measured beside the simulation of the same images.

  Args:
    rows: the table `real`.
  """
  times = ('mean (ms)', 'simulated', 'difference (%)', 'p95 (ms)', 'p95 simulated')
  numbers = (*times, 'bytes', 'bytes simulated', 'same class (%)')
  cells = [
    (
      str(row['policy']),
      *(milliseconds(_number(row[name])) for name in ('mean_ms_real', 'mean_ms_simulated')),
      f'{100 * _number(row["real_difference"]):+.1f}',
      *(milliseconds(_number(row[name])) for name in ('p95_ms_real', 'p95_ms_simulated')),
      *(f'{_number(row[name]):,.0f}' for name in ('bytes_real', 'bytes_simulated')),
      f'{100 * _number(row["same_class"]):.0f}',
    )
    for row in rows
  ]
  title = f'two processes with a throttled link, {rows[0]["images"]} test images'
  optional = ('bytes simulated', 'bytes', 'p95 simulated', 'p95 (ms)')
  return FittedTable(title, ('policy', *numbers), cells, numbers, optional)


def _number(cell: Any) -> float:
  return float('nan') if cell is None else float(cell)
