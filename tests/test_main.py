"""The program, started as a process."""

import os
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from mecl_jax import main as program
from mecl_jax.errors import UserError
from tests.toys import write_config_file

pytestmark = pytest.mark.stacks

ROOT = pathlib.Path(__file__).parent.parent
DIGITS = '--config=configs/digits.py'


def main(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'mecl_jax.main', *arguments], cwd=ROOT, text=True, capture_output=True,
  )  # fmt: skip


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'give --config=NAME (one of: cifar10, '),
    (['--config=configs/nothing.py'], 'configs/nothing.py'),
    (['--config', 'cifr10'], "no configuration 'cifr10'; configurations that come with"),
    (['--config=nothing.py', '--config.batch_size=3'], 'no configuration file nothing.py'),
    ([DIGITS + ':tiny'], 'choose one of: short, paper'),
    (
      [DIGITS, '--config.batchsize=3'],
      'there is no field config.batchsize; config has: augment, batch_size, ',
    ),
    ([DIGITS, '--config.batch_size=many'], 'batch_size'),
    ([DIGITS, '--mode=test'], 'train|evaluate|'),
    ([DIGITS, '--mode=describe', '--profile'], '--profile traces training steps'),
    ([DIGITS, '--images=8x8x1', '--classes=10'], 'with --mode=describe only'),
    ([DIGITS, '--mode=describe', '--images=8x8x1'], 'both --images and --classes'),
    (['--config='], 'give --config=NAME'),
    ([DIGITS, '--wrkdir=x'], 'wrkdir'),
    (
      ['--mode=evaluate', '--config.evaluation.target_macs=1e6'],
      '--config.evaluation.target_macs=1e6 sets a field, but there is no configuration; give',
    ),
    (['--flagfile=/nothing'], '--flagfile cannot be read: Unable to open flagfile'),
    (['--flagfile=/', DIGITS], '--flagfile cannot be read: Unable to open flagfile'),
    ([DIGITS, '--runs=' + 'x' * 300], 'it must be the path of a folder'),
    (['--config.seed=1', DIGITS, '--config=nothing.py'], 'no configuration file nothing.py'),
    ([DIGITS, 'stray'], "'stray' is not a flag"),
    (['--mode=evaluate'], 'is not the work directory of a run: it has no config.json'),
    pytest.param(
      [DIGITS, '--config.curriculum.per_exit=own', '--config.curriculum.exit_pacings=root, linaer'],
      "'linaer'; choose one of: constant",
      marks=pytest.mark.slow,
    ),
  ],
)
def test_wrong_flag_is_one_line_and_exit_code_2(tmp_path, arguments, message):
  workdir = [] if not arguments else [f'--workdir={tmp_path / "w"}']
  done = main(*arguments, *workdir)
  assert done.returncode == 2, done.stderr
  assert message in done.stderr and 'Traceback' not in done.stderr
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not (tmp_path / 'w').exists()


def test_flags_may_come_from_a_file_and_in_any_order(tmp_path):
  """Their errors are those of the command line."""
  for text, message in (
    ('--config.seed=x\n--config=digits\n', 'flag --config.seed=x: invalid literal for int()'),
    ('--config.seed=1\n--config=nothing.py\n', 'no configuration file nothing.py'),
  ):
    (tmp_path / 'flags').write_text(text)
    done = main(f'--flagfile={tmp_path / "flags"}')
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and message in done.stderr


def test_images_are_a_shape(monkeypatch):
  flag = types.SimpleNamespace(value='8,8')
  monkeypatch.setattr(program, '_IMAGES', flag)
  with pytest.raises(UserError, match=r'--images is 8,8; it must be .* as 32x32x3'):
    program._shape()
  flag.value = '8x8x1'
  assert program._shape() == (8, 8, 1)


def test_named_configuration_is_found_from_any_folder(tmp_path):
  """Also shows the default work directory."""
  done = subprocess.run(
    [sys.executable, '-m', 'mecl_jax.main', '--mode=describe', '--config', 'digits:paper',
     '--config.model.width=4'],
    cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True, capture_output=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert (tmp_path / 'runs/digits-paper/report/network.png').exists()


def test_command_shows_the_same_help_as_the_module():
  command = [sys.executable, '-c', 'from mecl_jax.main import run; run()', '--help']
  done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
  shown = done.stdout
  assert done.returncode == 0
  assert 'mecl-jax --config=cifar10' in shown and '--workdir: Work directory' in shown
  assert shown.replace('-c:', f'{ROOT}/mecl_jax/main.py:') == main('--help').stdout


def test_trains(toy_config, tmp_path):
  config_file = write_config_file(toy_config, tmp_path / 'toy.py')
  command = [f'--config={config_file}', f'--workdir={tmp_path / "w"}']
  none = '--config.curriculum.order=none'
  trained = main(*command, none, "--config.model.exits=('stage1',)")
  assert trained.returncode == 0, trained.stderr
  assert trained.stderr == ''
  assert 'stage1 │' in trained.stdout and 'stage2 │' not in trained.stdout


@pytest.mark.slow
def test_every_mode(ended, toy_config, tmp_path):
  backbone = {'model.backbone': 'resnet8'}  # other networks are known where the file is read only
  own = shutil.copytree(ended(**backbone), tmp_path / 'own')
  toy_config.update_from_flattened_dict(backbone)
  config_file = write_config_file(toy_config, tmp_path / 'toy.py')
  workdir = f'--workdir={own}'
  again = main(f'--config={config_file}', workdir, '--config.model.exits=stage1,stage2')
  assert again.returncode == 0 and 'holds a run that has ended' in again.stdout
  evaluated = main('--mode=evaluate', workdir)
  assert evaluated.returncode == 0 and 'accuracy' in evaluated.stdout
  scored = main('--mode=difficulty', workdir)
  assert scored.returncode == 0 and 'scores and pictures' in scored.stdout
  assert (own / 'report/easy_and_hard.png').exists()
  described = main('--mode=describe', workdir)
  assert described.returncode == 0 and 'network.png' in described.stdout
  timed = main('--mode=latency', workdir, '--config.evaluation.batch_sizes=(1,)')
  assert timed.returncode == 0 and (own / 'latency.json').exists()
  compared = main('--mode=compare', f'--runs={own}', f'--workdir={tmp_path / "page"}')
  assert compared.returncode == 2 and 'at least two: --runs=DIR,DIR' in compared.stderr
