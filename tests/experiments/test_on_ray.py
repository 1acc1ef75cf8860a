import pathlib
import signal
import subprocess
import sys
import types

import pytest

from experiments.paired import on_ray
from mecl_jax import compiler
from mecl_jax.errors import RunError, UserError
from mecl_jax.training.interruption import Interrupted
from tests.experiments.studies import make_study

ROOT = pathlib.Path(__file__).parents[2]


class TaskError(Exception):
  """Stands in for Ray's error; the exception of the task is its cause."""

  def __init__(self, cause):
    super().__init__('a traceback of many lines')
    self.cause = cause


class Task:
  """Stands in for a task of Ray; runs when its result is requested."""

  def __init__(self, make, *args):
    self._make, self._args = make, args

  def result(self):
    try:
      return self._make(*self._args)
    except Exception as error:
      raise TaskError(error) from None


@pytest.fixture
def ray(monkeypatch):
  """Stands in for Ray without a GPU; `reserved` collects the resources of each task."""
  ray = types.SimpleNamespace(reserved=[], resources={'CPU': 2.0})
  ray.init = lambda **_: None
  ray.cluster_resources = lambda: ray.resources
  ray.get = lambda tasks, timeout: [task.result() for task in tasks]
  ray.exceptions = types.SimpleNamespace(RayTaskError=TaskError, GetTimeoutError=TimeoutError)

  def remote(**options):
    def task(make, *args):
      ray.reserved.append(options)
      return Task(make, *args)

    return lambda make: types.SimpleNamespace(remote=lambda *args: task(make, *args))

  ray.remote = remote
  monkeypatch.setitem(sys.modules, 'ray', ray)
  return ray


@pytest.fixture
def swept(monkeypatch):
  """Collects the arguments of `sweep`, which returns its shard, or a value set here."""
  calls = []

  def sweep(*args, **more):
    calls.append((*args, more))
    return sweep.answer(*args, **more)

  sweep.answer = lambda study, name, folder, shard, shards, *, data_dir, pairs: shard
  monkeypatch.setattr(on_ray, 'sweep', sweep)
  monkeypatch.setattr(compiler, 'use_cache', lambda: None)
  return calls, sweep


def test_all_shards_run_twice(toy_file, ray, swept, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  study = make_study(toy_file)
  more = {'data_dir': 'sets', 'pairs': [('easy_first', 'standard')]}
  failed = on_ray.sweep_on_ray(study, 'tiny', pathlib.Path('tiny'), 3, **more)
  expected = [(study, 'tiny', tmp_path / 'tiny', k, 3, more) for k in (0, 1, 2)]
  assert swept[0] == expected * 2
  assert failed == 0 + 1 + 2, 'of the second pass, which tries again what failed in the first'


def test_second_pass_finds_the_trials_of_all_shards(toy_file, ray, swept, tmp_path):
  _, sweep = swept
  ended = set()

  def answer(study, name, folder, shard, shards, **_):
    waits = len(ended) < shards
    ended.add(shard)
    return int(waits)

  sweep.answer = answer
  assert on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 4) == 0


@pytest.mark.parametrize(('resources', 'gpus'), [({'CPU': 8.0}, 0), ({'CPU': 8.0, 'GPU': 2.0}, 1)])
def test_shard_reserves_a_gpu_if_there_is_one(toy_file, ray, swept, tmp_path, resources, gpus):
  ray.resources = resources
  on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 2)
  assert [(task['num_cpus'], task['num_gpus']) for task in ray.reserved] == [(1, gpus)] * 4


def test_user_error_of_a_shard_is_raised(toy_file, ray, swept, tmp_path):
  def answer(*args, **more):
    raise UserError('another process is at work')

  swept[1].answer = answer
  with pytest.raises(UserError, match=r'^another process is at work$'):
    on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 2)


def test_other_errors_of_a_task_are_those_of_ray(toy_file, ray, swept, tmp_path):
  def answer(*args, **more):
    raise RunError('broken')

  swept[1].answer = answer
  with pytest.raises(TaskError):
    on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 2)


def test_signal_ends_the_wait(toy_file, ray, swept, tmp_path):
  def get(tasks, timeout):
    signal.raise_signal(signal.SIGTERM)
    raise TimeoutError

  ray.get = get
  with pytest.raises(Interrupted):
    on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 2)


def test_missing_ray_is_one_line(toy_file, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(UserError, match=r"pip install -e '\.\[ray\]'$"):
    on_ray.sweep_on_ray(make_study(toy_file), 'tiny', tmp_path, 2)


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--ray=2', '--shard=0/2'], 'leave out --shard'),
    (['--ray=0'], '--ray is 0; give a number of shards'),
  ],
)
def test_conflicting_flags_are_rejected(flags, message):
  command = [sys.executable, '-m', 'experiments.paired', '--config=none.py', *flags]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  (line,) = done.stderr.splitlines()
  assert done.returncode == 2 and line.startswith('error: ') and message in line
