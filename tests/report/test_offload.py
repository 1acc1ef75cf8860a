"""Tables, figure and page of a split between device and server."""

import io

import pytest
from rich.console import Console

from mecl_jax.report.figures.offload import draw_offload
from mecl_jax.report.pages.offload import facts, sections, verdict
from mecl_jax.report.pages.page import write_page
from mecl_jax.report.tables.offload import policy_table, real_table


def policy(name, accuracy, ms, sent_bytes, chosen=False):
  return {
    **{'policy': name, 'setting': f'how {name} works', 'chosen': chosen, 'meets_target': True},
    **{'validation_accuracy': accuracy, 'accuracy': accuracy, 'mean_ms': ms, 'p95_ms': 2 * ms},
    **{'bytes': sent_bytes, 'energy_mj': 1.25, 'sent': 0.5, 'in_time': 0.75},
  }


def measured(name, real, simulated):
  row = {'policy': name, 'images': 10}
  for what, of_real, of_simulation in (
    ('accuracy', 0.9, 0.9),
    ('mean_ms', real, simulated),
    ('p95_ms', 2 * real, 2 * simulated),
    ('bytes', 1999.0, 2001.0),
  ):
    row |= {f'{what}_simulated': of_simulation, f'{what}_real': of_real}
  difference = real / simulated - 1
  return row | {
    'real_difference': difference,
    'same_class': 1.0,
    'same_side': 0.9,
    'in_time_real': 1.0,
  }


POLICIES = [policy('device only', 0.8, 40.0, 0.0), policy('threshold', 0.91, 10.0, 2001.0, True)]
REAL = [measured('device only', 41.0, 40.0), measured('threshold', 9.0, 10.0)]
SIZES = [
  {'after': 'image', 'send_as': 'uint8', 'bytes': 64},
  {'after': 'a', 'send_as': 'bottleneck4', 'bytes': 2000},
]
FIELDS = {
  'settings': {
    **{'bandwidth': 5.0, 'round_trip': 10.0, 'device_slowdown': 20.0, 'send_as': 'int8'},
    **{'deadline': 30.0, 'compute_watts': 5.0, 'send_watts': 1.5, 'wait_watts': 0.5},
    'target': 'accuracy',
  },
  **{'exits': ['a', 'b'], 'device_ms': [20.0, 20.0], 'server_ms': [1.0, 1.0], 'request_ms': 0.8},
  **{'sizes': SIZES, 'policies': POLICIES, 'real': REAL},
}


def printed(table):
  console = Console(file=io.StringIO(), width=160)
  console.print(table)
  return console.file.getvalue()


def test_tables_have_the_numbers_of_the_rows():
  text = printed(policy_table(FIELDS))
  assert '5 Mbit/s, round trip 10 ms, features as int8' in text
  line = next(line for line in text.splitlines() if 'threshold *' in line)
  assert [cell.strip() for cell in line.split('│')[1:-1]] == [
    *('threshold *', 'how threshold works', '91.00', '10.0', '20.0', '2,001', '1.25', '50', '75'),
  ]
  line = next(line for line in printed(real_table(REAL)).splitlines() if 'threshold' in line)
  assert [cell.strip() for cell in line.split('│')[1:-1]] == [
    *('threshold', '9.00', '10.0', '-10.0', '18.0', '20.0', '1,999', '2,001', '100'),
  ]


def test_best_policy_is_named():
  assert verdict(FIELDS) == (
    'best for accuracy: threshold (how threshold works), 91.00 % of the test images right,'
    ' 10.0 ms, 2,001 bytes, 1.25 mJ'
  )
  none = [{**row, 'chosen': False} for row in POLICIES]
  assert verdict({**FIELDS, 'policies': none}).startswith('no policy meets accuracy on validation')


@pytest.mark.parametrize('real', [REAL, []])
def test_figure_has_a_mark_per_policy(real):
  times, sizes = draw_offload(POLICIES, real).axes
  marks = [line for line in times.lines if line.get_marker() not in ('None', None, '')]
  assert len(marks) == 2 + len(real)
  found = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in marks)
  assert found == sorted([(40, 80), (10, 91), *([(41, 80), (9, 91)] if real else [])])
  assert [line.get_xdata()[0] for line in sizes.lines] == [0, 2001]


def test_page(tmp_path):
  tables = {'policies': POLICIES, 'real': REAL}
  shown = sections(draw_offload(POLICIES, REAL), has_real=True)
  text = write_page(tmp_path, 'Split', facts(FIELDS), [], shown, tables).read_text()
  assert '20.0 + 20.0 ms per segment' in text and 'image 64 (uint8); a 2,000 (bottleneck4)' in text
  assert 'Two processes' in text and (tmp_path / 'figures/offload.svg').exists()
  text = write_page(
    tmp_path, 'Split', {}, [], sections(draw_offload(POLICIES, []), has_real=False),
    {'policies': POLICIES},
  ).read_text()  # fmt: skip
  assert 'Two processes' not in text and 'Hollow marks' not in text
