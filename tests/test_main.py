"""The program as people start it."""

import pathlib
import subprocess
import sys

import pytest

from tests.toys import write_config_file

ROOT = pathlib.Path(__file__).parent.parent
DIGITS = '--config=configs/digits.py'


def main(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'mecl_jax.main', *arguments], cwd=ROOT, text=True, capture_output=True,
  )  # fmt: skip


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'give --config=configs/NAME.py'),
    (['--config=configs/nothing.py'], 'configs/nothing.py'),
    ([DIGITS + ':tiny'], 'choose one of: paper'),
    (
      [DIGITS, '--config.batchsize=3'],
      'there is no field config.batchsize; config has: augment, batch_size, ',
    ),
    ([DIGITS, '--config.batch_size=many'], 'batch_size'),
    ([DIGITS, '--mode=test'], 'train|evaluate|'),
    ([DIGITS, '--wrkdir=x'], 'wrkdir'),
    (
      ['--mode=evaluate', '--config.evaluation.target_macs=1e6'],
      'there is no configuration whose field --config.evaluation.target_macs=1e6 could be; give',
    ),
    ([DIGITS, 'stray'], "'stray' is no flag"),
    ([DIGITS, '--config.curriculum.order=easy'], 'easy_first, anti, random, none'),
    (
      [DIGITS, '--config.curriculum.per_exit=own', '--config.curriculum.exit_pacings=root, linaer'],
      "'linaer'; choose one of: constant",
    ),
  ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(tmp_path, arguments, message):
  workdir = [] if not arguments else [f'--workdir={tmp_path / "w"}']
  done = main(*arguments, *workdir)
  assert done.returncode == 2, done.stderr
  assert message in done.stderr and 'Traceback' not in done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not (tmp_path / 'w').exists()


def test_trains_and_evaluates(toy_config, tmp_path):
  config_file = write_config_file(toy_config, tmp_path / 'toy.py')
  command = [f'--config={config_file}', f'--workdir={tmp_path / "w"}']
  first = main(*command, "--config.model.exits=('stage1',)")
  assert first.returncode == 0, first.stderr
  assert first.stderr == ''
  assert 'stage1 │' in first.stdout and 'stage2 │' not in first.stdout
  again = main(*command, '--config.model.exits=stage1')
  assert again.returncode == 0 and 'holds a run that has ended' in again.stdout
  evaluated = main('--mode=evaluate', f'--workdir={tmp_path / "w"}')
  assert evaluated.returncode == 0 and 'accuracy' in evaluated.stdout
  scored = main('--mode=difficulty', f'--workdir={tmp_path / "w"}')
  assert scored.returncode == 0 and 'scores and pictures' in scored.stdout
  assert (tmp_path / 'w/report/easy_and_hard.png').exists()
