"""Processes that were stopped at any moment end bit-identical to a run that was not."""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.train import train
from mecl_jax.evaluation.predictions import load_predictions
from mecl_jax.training.workdir import read_summary
from tests.toys import make_config, write_config_file

pytestmark = pytest.mark.stacks

ROOT = pathlib.Path(__file__).parent.parent.parent


def start(config_file, workdir):
  command = [sys.executable, '-m', 'mecl_jax.main', f'--config={config_file}']
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'], cwd=ROOT, text=True,
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
  )  # fmt: skip


@pytest.fixture(scope='module')
def config_file(toy_file, tmp_path_factory):
  """The configuration of a run of some seconds that saves after every step."""
  folder = tmp_path_factory.mktemp('resume')
  c = make_config(toy_file)
  c.checkpoints.every_seconds = 0.0
  c.phases.backbone.duration, c.phases.heads.duration = '10 steps', '8 steps'
  c.curriculum.teacher = 'learning_speed'
  c.model.head, c.model.head_width = 'cascade_mlp', 8  # with dropout
  return write_config_file(c, folder / 'resumed.py')


@pytest.fixture(scope='module')
def whole(config_file, tmp_path_factory):
  """The result of a run that was not stopped."""
  workdir = tmp_path_factory.mktemp('whole')
  train_here(config_file, workdir)
  return result(workdir)


def train_here(config_file, workdir):
  """Trains to the end in this process, which saves the start of another."""
  c = config.read(config_file.with_suffix('.json'))
  train(c, workdir, console=Console(quiet=True))


def finish(config_file, workdir):
  """Trains to the end in a process; returns its output."""
  process = start(config_file, workdir)
  output, _ = process.communicate(timeout=200)
  assert process.returncode == 0, output
  return output


def interrupt(config_file, workdir, step, number, exit_code):
  """Trains in a process until a checkpoint, and sends it a signal."""
  process = start(config_file, workdir)
  wait_for_step(workdir, step, process)
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == exit_code
  assert f'stopped by {number.name}; run the same command again to resume' in output
  assert 'Traceback' not in output


def wait_for_step(workdir, step, process):
  """Waits until the checkpoint of `step` is there; fails if the process ends before."""
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    saved = [int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit()]
    if saved and max(saved) >= step:
      return
    time.sleep(0.002)
  assert process.poll() is None, process.communicate()[0]


def result(workdir):
  """Returns the last step, its parameters, all predictions, and the summary without its time."""
  last = max(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
  read = ocp.StandardCheckpointer().restore(workdir / 'checkpoints' / str(last) / 'model')
  logits = load_predictions(workdir / 'predictions.npz')
  summary = read_summary(workdir)
  summary.pop('wall_seconds')
  return last, [np.asarray(x) for x in jax.tree.leaves(read)], logits, summary


def assert_same(a, b):
  assert a[0] == b[0] and a[3] == b[3]
  for mine, other in zip(a[1], b[1], strict=True):
    assert np.array_equal(mine, other)
  for key in a[2]:
    assert np.array_equal(a[2][key], b[2][key]), key


@pytest.mark.slow
def test_resumes_after_sigkill_at_random_moments(config_file, whole, tmp_path):
  """Every step saves, so that kills come before, during and after saves; Ctrl-C comes last."""
  chance = random.Random(0)
  for step in (2, 5, 9, 11):
    process = start(config_file, tmp_path)
    wait_for_step(tmp_path, step, process)
    time.sleep(chance.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'summary.json').exists()
  interrupt(config_file, tmp_path, 12, signal.SIGINT, exit_code=130)
  output = finish(config_file, tmp_path)
  assert 'resuming at step' in output
  assert_same(whole, result(tmp_path))
  steps = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').open()]
  assert steps == sorted(steps)


@pytest.mark.slow
def test_joint_run_and_teacher_resume_after_sigkill(toy_file, tmp_path):
  c = make_config(toy_file)
  c.strategy, c.data.placement, c.steps_per_dispatch = 'joint', 'host', 2
  c.checkpoints.every_seconds = 0.0
  c.phases.joint.duration = '16 steps'
  c.distillation.weight, c.curriculum.sample_weights = 0.5, 'survivors'
  c.curriculum.per_exit, c.curriculum.exit_factors = 'scaled', (0.5, 1.0, 2.0)
  config_file = write_config_file(c, tmp_path / 'joint.py')
  train_here(config_file, tmp_path / 'whole')
  killed = tmp_path / 'killed'
  for workdir, step in ((killed / 'teacher', 6), (killed, 6)):
    process = start(config_file, killed)
    wait_for_step(workdir, step, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
  finish(config_file, killed)
  assert_same(result(tmp_path / 'whole'), result(killed))


def test_resumes_after_sigint(config_file, whole, tmp_path):
  interrupt(config_file, tmp_path, 12, signal.SIGINT, exit_code=130)
  train_here(config_file, tmp_path)
  assert_same(whole, result(tmp_path))
  steps = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').open()]
  assert steps == sorted(steps)


@pytest.mark.slow
def test_resumes_after_sigterm(config_file, whole, tmp_path):
  interrupt(config_file, tmp_path, 5, signal.SIGTERM, exit_code=0)
  assert 'resuming at step' in finish(config_file, tmp_path)
  assert_same(whole, result(tmp_path))
