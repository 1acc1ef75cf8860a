"""A full, read-only or vanished disk ends a run with one line, and the run can be resumed."""

import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import pytest

from tests.commands.test_resume import ROOT, assert_same, result, start, train_here, wait_for_step
from tests.toys import make_config, write_config_file


def slow(name):
  return pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope='module')
def config_file(toy_file, tmp_path_factory):
  """The configuration of a run of some seconds that saves after every step."""
  c = make_config(toy_file)
  c.checkpoints.every_seconds = 0.0
  c.report.page = True
  return write_config_file(c, tmp_path_factory.mktemp('disk') / 'disk.py')


@pytest.fixture(scope='module')
def whole(config_file, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  train_here(config_file, workdir)
  return result(workdir)


def fails(config_file, workdir, **options):
  """Trains in a process, which must end with one line; returns the line."""
  done = subprocess.run(
    [sys.executable, '-m', 'mecl_jax.main', f'--config={config_file}', f'--workdir={workdir}'],
    cwd=ROOT, text=True, capture_output=True, timeout=250, **options,
  )  # fmt: skip
  assert done.returncode in (1, 2), (done.returncode, done.stderr)
  assert done.stderr.count('\n') == 1 and done.stderr.startswith('error: '), done.stderr
  assert 'Traceback' not in done.stdout
  assert str(workdir) in done.stderr
  return done.stderr


# Of the largest file, in bytes: the toy run ends at its description, a checkpoint, the report.
@pytest.mark.slow
@pytest.mark.parametrize('limit', [1000, 4000, 40_000])
def test_limit_of_the_file_size_is_one_line(config_file, whole, tmp_path, limit):
  """Stands in for a full disk, which needs a file system of its own."""
  environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': ''}  # its files have no limit

  def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

  line = fails(config_file, tmp_path / 'run', preexec_fn=limit_files, env=environment)
  assert 'a file would be larger than is allowed' in line
  train_here(config_file, tmp_path / 'run')
  assert_same(whole, result(tmp_path / 'run'))


@contextlib.contextmanager
def mounted(folder, options):
  """Mounts a file system in memory; skips the test where that is not allowed."""
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
  if shutil.which('mount') is None or subprocess.run(command, capture_output=True).returncode:
    pytest.skip('this user cannot mount a file system')
  try:
    yield
  finally:
    subprocess.run(['umount', '--lazy', folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize('options', ['size=20k', 'size=200k', 'size=700k', 'nr_inodes=60'])
def test_full_disk_is_one_line(config_file, whole, tmp_path, options):
  folder = tmp_path / 'disk'
  with mounted(folder, options):
    assert 'no space or no inodes are left' in fails(config_file, folder / 'run')
    larger = 'remount,size=100m,nr_inodes=9999'
    subprocess.run(['mount', '-o', larger, folder], check=True)
    train_here(config_file, folder / 'run')
    assert_same(whole, result(folder / 'run'))


@pytest.mark.slow
def test_read_only_disk_is_one_line(config_file, whole, tmp_path):
  folder = tmp_path / 'disk'
  with mounted(folder, 'size=100m'):
    process = start(config_file, folder / 'run')
    wait_for_step(folder / 'run', 3, process)
    process.kill()
    process.wait()
    subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)
    assert 'ead-only file system' in fails(config_file, folder / 'run')
    subprocess.run(['mount', '-o', 'remount,rw', folder], check=True)
    train_here(config_file, folder / 'run')
    assert_same(whole, result(folder / 'run'))


def train_until_gone(config_file, workdir, remove):
  """Trains in a process until a checkpoint, removes the work directory, and checks the error."""
  process = start(config_file, workdir)
  wait_for_step(workdir, 3, process)
  remove(workdir)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 1
  assert output.splitlines()[-1].startswith(f'error: the work directory {workdir} was removed or')
  assert 'Traceback' not in output and output.count('error') == 1


def test_removed_work_directory_is_one_line(config_file, tmp_path):
  def remove(workdir):
    workdir.rename(tmp_path / 'moved')  # at once, before the run writes the next file
    shutil.rmtree(tmp_path / 'moved')

  train_until_gone(config_file, tmp_path / 'run', remove)


@pytest.mark.slow
def test_renamed_work_directory_is_one_line(config_file, whole, tmp_path):
  train_until_gone(config_file, tmp_path / 'run', lambda path: path.rename(tmp_path / 'moved'))
  train_here(config_file, tmp_path / 'moved')
  assert_same(whole, result(tmp_path / 'moved'))


# Where a file cannot be opened, whoever runs the test: root may open files without permissions.
@pytest.mark.parametrize(
  'name', ['checkpoints', *(slow(name) for name in ('metrics.jsonl', 'tensorboard', 'report'))]
)
def test_file_that_cannot_be_opened_is_one_line(config_file, tmp_path, name):
  if '.' in name:
    (tmp_path / name).mkdir()
  else:
    (tmp_path / name).touch()
  line = fails(config_file, tmp_path)
  assert str(tmp_path / name) in line


@pytest.mark.slow
def test_second_process_is_one_line(config_file, tmp_path):
  process = start(config_file, tmp_path)
  try:
    wait_for_step(tmp_path, 1, process)
    assert 'another process uses the work directory' in fails(config_file, tmp_path)
  finally:
    process.kill()
    process.wait()


def test_error_of_a_thread_is_shown_with_a_bug_only(tmp_path):
  """A bug still shows its traceback, with the errors of threads."""
  script = pathlib.Path(tmp_path / 'program.py')
  script.write_text(
    'import sys, threading\n'
    'from mecl_jax.commands import program\nfrom mecl_jax.errors import RunError\n'
    'def run():\n'
    '  thread = threading.Thread(target=lambda: 1 / 0)\n  thread.start()\n  thread.join()\n'
    '  raise {"bug": KeyError, "known": RunError}[sys.argv.pop()]("the cause")\n'
    'program.start(run, lambda argv: program.parse(argv[:1]))\n'
  )

  def run(kind):
    return subprocess.run(
      [sys.executable, script, kind], cwd=ROOT, text=True, capture_output=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )  # fmt: skip

  known, bug = run('known'), run('bug')
  assert (known.returncode, known.stderr) == (1, 'error: the cause\n')
  assert bug.returncode == 1
  assert 'ZeroDivisionError' in bug.stderr and "KeyError: 'the cause'" in bug.stderr
