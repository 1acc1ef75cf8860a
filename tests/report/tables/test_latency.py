import io
import types

from rich.console import Console

from mecl_jax.report.tables.latency import latency_table
from tests.report import run_rows


def test_table_has_times_and_savings_of_early_exit():
  tables = run_rows.make(2)
  slower = tables['savings'][1] | {'dynamic_ms': 270.0, 'measured_saving': -0.35}
  latency = types.SimpleNamespace(
    device='a device', rows=tables['latency'], savings=[tables['savings'][0], slower]
  )
  console = Console(width=80, record=True, file=io.StringIO())
  console.print(latency_table(latency))
  text = ' '.join(console.export_text().split())
  assert 'early exit takes 130.00 ms, the final exit 200.00 ms: 35.0 % less' in text
  assert '(expected from stage times 40.0 % less, from MACs 45.0 % less)' in text
  assert 'the final exit 200.00 ms: 35.0 % more' in text
  assert 'final │ 16 │ 36.76 │ 45.95 │ 435 │ 1.5' in text
