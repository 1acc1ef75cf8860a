import io
import json
import logging

import pytest
from rich.console import Console

from mecl_jax.errors import UserError
from mecl_jax.training import log


@pytest.fixture
def clock(monkeypatch):
  """A list with the seconds that `time.monotonic` returns in log.py."""
  now = [0.0]
  monkeypatch.setattr(log.time, 'monotonic', lambda: now[0])
  return now


def test_plain_lines_show_the_time_left(clock):
  console = Console(file=io.StringIO(), width=120)
  with log.Bar(console, 'heads', total=100, done=20) as bar:
    for seconds, done in ((50, 21), (60, 31), (90, 41), (95, 42), (100, 100)):
      clock[0] = seconds
      bar.update(done, f'at {seconds}')
  assert console.file.getvalue().splitlines() == [
    'heads 21/100  at 50',  # its time was mostly that of compilation
    'heads 31/100  0:01:09 left  at 60',  # a step per second since then
    'heads 41/100  0:01:58 left  at 90',  # 2 seconds per step
    'heads 100/100  at 100',
    'heads 100/100  at 100',
  ]


RECORDS = [
  {'step': 5, 'phase': 'heads', 'loss': 0.5, 'accuracy': {'final': 1.0}},
  {'step': 10, 'phase': 'heads', 'validation': {'final': 0.75}},
]
FIRST, SECOND = (json.dumps(record).encode() + b'\n' for record in RECORDS)


@pytest.mark.parametrize(
  'line',
  [
    *(
      b'{"step": 7, "phase": "he',
      b'\0\0\0\0',
      b'\xff\xfe\x00',
      b'',
      b'[]',
      b'null',
      b'7',
      b'[' * 9999,
    ),
    *(b'{"phase": "heads"}', b'{"step": 7}', b'{"step": "7", "phase": "heads"}'),
    *(b'{"step": 7.5, "phase": "heads"}', b'{"step": true, "phase": "heads"}'),
    b'{"step": 7, "phase": 3}',
    *(b'{"step": 7, "phase": "heads", "loss": %s}' % v for v in (b'NaN', b'"a"', b'[1]', b'null')),
    b'{"step": 7, "phase": "heads", "loss": 1' + b'0' * 400 + b'}',
    b'{"step": 7, "phase": "heads", "validation": {"final": {"x": 1}}}',
    b'{"step": 7, "phase": "heads", "validation": {"final": "good"}}',
    b'{"step": 7' + b'0' * 5000 + b', "phase": "heads"}',
  ],
)
def test_damaged_lines_are_skipped_and_counted(line, tmp_path, caplog):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(FIRST + line + b'\n' + SECOND + b'{"step": 11, "pha')
  with caplog.at_level(logging.WARNING):
    assert log.read_metrics(path) == RECORDS == log.read_metrics(path)
  assert [record.getMessage() for record in caplog.records] == [
    f'1 of 3 lines of {path} are damaged and were skipped'
  ]
  with log.MetricsLog(tmp_path, 8) as resumed:
    resumed.write(RECORDS[1])
  assert path.read_bytes() == FIRST + SECOND
  assert log.read_metrics(path) == RECORDS


def test_log_without_damage_gives_no_warning(tmp_path, caplog):
  assert log.read_metrics(tmp_path / 'metrics.jsonl') == []
  (tmp_path / 'metrics.jsonl').write_bytes(FIRST + SECOND[:-5])  # of a process that was killed
  assert log.read_metrics(tmp_path / 'metrics.jsonl') == RECORDS[:1]
  assert not caplog.records


def test_log_that_cannot_be_opened_is_one_line(tmp_path):
  (tmp_path / 'tensorboard').write_text('')
  with pytest.raises(UserError, match=r'tensorboard/.* cannot be written: Not a directory'):
    log.MetricsLog(tmp_path, 0)
  (tmp_path / 'metrics.jsonl').unlink()
  (tmp_path / 'metrics.jsonl').mkdir()
  with pytest.raises(UserError, match=r'metrics\.jsonl cannot be read: Is a directory'):
    log.MetricsLog(tmp_path, 0)
