import io
import json
import logging
import re
import time

import pytest
from rich.console import Console

from mecl_jax.errors import UserError
from mecl_jax.training import log

FACTS = ('loss 1.234', '1,346 images/s', 'visible 45%', 'final 64.4%', 'stage2 64%', 'stage1 45%')


@pytest.fixture
def clock(monkeypatch):
  """A list with the seconds that `time.monotonic` returns in log.py."""
  now = [0.0]
  monkeypatch.setattr(log.time, 'monotonic', lambda: now[0])
  return now


def plain() -> Console:
  return Console(file=io.StringIO(), width=120)


def terminal(width: int) -> Console:
  return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def printed(console: Console) -> list[str]:
  """Returns the lines, and the states of a live line, without control codes."""
  text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', console.file.getvalue())
  return [line.rstrip() for line in re.split('[\r\n]+', text) if line.strip()]


def test_plain_lines_show_the_time_left(clock):
  console = plain()
  with log.Bar(console, 'heads', total=100, done=20) as bar:
    for seconds, done in ((50, 21), (60, 31), (90, 41), (95, 42), (100, 100)):
      clock[0] = seconds
      bar.update(done, [f'at {seconds}'])
  assert printed(console) == [
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
  with pytest.raises(UserError, match=r'tensorboard cannot be written: File exists'):
    log.MetricsLog(tmp_path, 0)
  (tmp_path / 'metrics.jsonl').unlink()
  (tmp_path / 'metrics.jsonl').mkdir()
  with pytest.raises(UserError, match=r'metrics\.jsonl cannot be read: Is a directory'):
    log.MetricsLog(tmp_path, 0)


@pytest.mark.parametrize(
  ('width', 'facts'),
  [
    (60, 'loss 1.234  ..'),
    (80, 'loss 1.234  1,346 images/s  ..'),
    (120, 'loss 1.234  1,346 images/s  visible 45%  final 64.4%  ..'),
    (200, '  '.join(FACTS)),
  ],
)
def test_live_bar_leaves_out_facts_and_not_time(clock, width, facts):
  console = terminal(width)
  with log.Bar(console, 'backbone', total=18000) as bar:
    for seconds, done in ((0, 1000), (60, 1600)):
      clock[0] = seconds
      bar.update(done, FACTS)
  line = printed(console)[-1]
  assert line.split()[0] == 'backbone' and len(line) <= width
  assert line.endswith(f' 1600/18000 0:27:20 left {facts}')  # 10 steps per second


def test_live_bar_has_no_time_left_at_its_end():
  console = terminal(80)
  with log.Bar(console, 'test', total=2) as bar:
    bar.update(0)
    bar.update(2)
  shown = printed(console)
  assert shown[0].endswith('0/2 -:--:-- left') and shown[-1].endswith('2/2 0:00:00 left')


@pytest.mark.parametrize('console', [plain(), terminal(80)], ids=['plain', 'live'])
def test_time_left_leaves_out_pauses_and_waiting_steps(clock, console):
  """A device computes steps that were handed to it at once; a validation takes two minutes."""
  with log.Bar(console, 'backbone', total=1000) as bar:
    left = []
    for interval in range(1, 5):
      for step in range(100):  # the host is ahead of the device, by all steps of the interval
        clock[0] += 0.001
        bar.update(100 * interval - 99 + step, ahead=True)
      clock[0] = clock[0] - 0.1 + 50
      bar.update(100 * interval, FACTS)
      with bar.doing('validating'):
        clock[0] += 120
      bar.update(100 * interval + 1, ahead=True)
      left.append(bar._time_left())
  minutes = [int(text.split(':')[1]) + int(text.split(':')[2]) / 60 for text in left]
  assert minutes == pytest.approx([7.5, 6.7, 5.8, 5.0], abs=0.1)  # half a second per step


def test_long_work_is_named_in_other_output(monkeypatch):
  monkeypatch.setattr(log, 'SHORT_SECONDS', 0.3)
  console = plain()

  def wait_for_lines(number):  # on a busy machine the thread that prints them may be late
    end = time.monotonic() + 60
    while len(printed(console)) < number and time.monotonic() < end:
      time.sleep(0.02)

  with log.doing(console, 'loading [/red]'):
    wait_for_lines(1)
  with log.doing(console, 'quick'):
    pass
  with log.Bar(console, 'backbone', total=10, first='compiling') as bar:
    wait_for_lines(2)
    bar.update(1, ['loss 2'])
    with bar.doing('validating'):  # within ten seconds of the line before
      time.sleep(0.4)
  assert printed(console) == [
    'loading [/red] ..',
    'backbone 0/10  compiling',
    'backbone 1/10  loss 2',
  ]


def test_live_bar_names_what_it_waits_for():
  console = terminal(80)
  with log.Bar(console, 'backbone', total=10, first='compiling') as bar:
    time.sleep(0.3)
    bar.update(1, ['loss 2'])
    with bar.doing('validating'):
      time.sleep(0.3)
    bar.update(2, ['loss 1'])
  text = '\n'.join(printed(console))
  places = [text.index(word) for word in ('compiling', 'validating', 'loss 1')]
  assert places == sorted(places)
