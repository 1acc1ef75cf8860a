"""The short form of `python -m tests.sweep`, and its parts."""

import collections
import signal

import pytest

from mecl_jax.files import read_json, write_checked_json
from tests import sweep
from tests.sweep import Found, make_stops


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stopped_runs_end_like_others(tmp_path):
  stops = make_stops(kills=3, terms=1, interrupts=1, seed=0)
  found = sweep.sweep(tmp_path, stops, ('classifier_wise', 'joint'))
  assert sum(found.stops.values()) == len(stops) and found.runs >= 2
  assert not found.failures


def test_stops_depend_on_the_seed_only():
  stops = make_stops(5, 2, 1, seed=3)
  assert stops == make_stops(5, 2, 1, seed=3) != make_stops(5, 2, 1, seed=4)
  sent = collections.Counter(stop.signal for stop in stops)
  assert sent == {signal.SIGKILL: 5, signal.SIGTERM: 2, signal.SIGINT: 1}
  assert all(0 <= stop.moment < 1 for stop in stops)


def test_file_left_behind_is_found(own, ended):
  assert sweep._difference(ended(), own) is None
  (own / 'report/.exits.png.abc.tmp').touch()
  assert '.exits.png.abc.tmp' in sweep._difference(ended(), own)


def test_other_result_is_found(own, ended):
  summary = read_json(own / 'summary.json')
  write_checked_json(own / 'summary.json', summary | {'steps': summary['steps'] + 1})
  assert sweep._difference(ended(), own).startswith('the results differ')


@pytest.mark.parametrize(
  ('code', 'printed', 'sent', 'phase', 'expected'),
  [
    (130, 'stopped by SIGINT; run\n', signal.SIGINT, 'training', True),
    (143, 'stopped by SIGTERM; run\n', signal.SIGTERM, 'start', True),
    (0, 'stopped by SIGTERM; run\n', signal.SIGTERM, 'training', True),
    (0, 'stopped by SIGINT; run\n', signal.SIGINT, 'training', False),
    (130, 'Traceback\nstopped by SIGINT; run\n', signal.SIGINT, 'training', False),
    (-15, '', signal.SIGTERM, 'training', False),
    (-2, '', signal.SIGINT, 'end', True),
    (-2, '', signal.SIGINT, 'report', False),
    (-2, 'Traceback\n', signal.SIGINT, 'end', False),
    (-15, '', signal.SIGINT, 'end', False),
  ],
)
def test_one_line_and_the_exit_code_are_a_stop(code, printed, sent, phase, expected):
  assert sweep._is_stop(code, printed, sent, phase) == expected


def test_table_counts_stops_by_phase():
  found = Found()
  found.stops['SIGKILL', 'start'] += 2
  found.stops['SIGINT', 'report'] += 1
  lines = [line.split() for line in sweep.table(found).splitlines()]
  assert lines == [
    ['report', 'start', 'all'],
    ['SIGINT', '1', '0', '1'],
    ['SIGKILL', '0', '2', '2'],
  ]


def test_phase_follows_from_the_files(tmp_path):
  output = tmp_path / 'out.txt'
  workdir = tmp_path / 'run'
  workdir.mkdir()
  output.touch()
  assert sweep._phase(workdir, output) == 'start'
  output.write_text('work directory')
  assert sweep._phase(workdir, output) == 'opening'
  for made, phase in (
    ('teacher', 'teacher'),
    ('difficulty.npz', 'opening'),
    ('checkpoints/3', 'training'),
    ('checkpoints/4.orbax-checkpoint-tmp', 'saving'),
    ('predictions.npz', 'report'),
    ('summary.json', 'end'),
  ):
    (workdir / made).mkdir(parents=True)
    assert sweep._phase(workdir, output) == phase
