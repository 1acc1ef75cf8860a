import errno
import os
import shutil

import pytest

from mecl_jax.disk import LOCK, check_there, one_line_errors
from mecl_jax.errors import RunError, UserError


@pytest.fixture
def workdir(tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / LOCK).touch()
  return tmp_path / 'run'


def raised(workdir, error, cause=None):
  with pytest.raises(Exception) as found, one_line_errors(workdir):
    raise error from cause
  assert '\n' not in str(found.value)
  return found.value


@pytest.mark.parametrize(
  'number', [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG]
)
def test_error_of_the_disk_names_the_work_directory(workdir, number):
  for path in (None, str(workdir / 'checkpoints/.x.tmp')):
    found = raised(workdir, OSError(number, os.strerror(number), path))
    assert isinstance(found, RunError)
    assert str(found).startswith(f'{workdir} cannot be read or written: ')
    assert 'run the same command again to resume' in str(found)


def test_error_of_another_disk_names_its_file(workdir):
  found = raised(workdir, OSError(errno.ENOSPC, 'No space left on device', '/cache/mnist.npz'))
  assert str(found).startswith('/cache/mnist.npz cannot be read or written: no space')


def test_error_of_tensorstore_is_read_from_its_message(workdir):
  text = 'RESOURCE_EXHAUSTED: Failed writing: "/x/d": No space [os_error_code=\'28\'] [spec={}]'
  found = raised(workdir, RunError('checkpoints cannot be saved'), ValueError(text))
  assert str(found).startswith('/x/d cannot be read or written: no space')


@pytest.mark.parametrize(
  ('number', 'words'),
  [(errno.EACCES, 'permission denied'), (errno.ENOENT, 'a file or folder is missing')],
)
def test_error_of_a_file_of_the_run_is_one_line(workdir, number, words):
  found = raised(workdir, OSError(number, 'x', str(workdir / 'metrics.jsonl')))
  assert isinstance(found, RunError)
  assert str(found).startswith(f'{workdir / "metrics.jsonl"} cannot be read or written: {words}')


@pytest.mark.parametrize(
  'error',
  [
    KeyError('a'),
    TypeError('a'),
    ValueError('a'),
    FileNotFoundError(errno.ENOENT, 'x', '/of/the/program'),
    OSError('without a number'),
    UserError('names its own file'),
    RunError('the loss is nan'),
  ],
)
def test_other_errors_stay_as_they_are(workdir, error):
  assert raised(workdir, error) is error


def test_full_disk_behind_an_error_of_the_user_is_named(workdir):
  cause = OSError(errno.ENOSPC, 'No space left on device')
  found = raised(workdir, UserError('metrics.jsonl cannot be written'), cause)
  assert isinstance(found, RunError) and 'no space or no inodes' in str(found)


def test_bug_in_the_treatment_of_a_full_disk_stays_a_bug(workdir):
  error = KeyError('a')
  assert raised(workdir, error, OSError(errno.ENOSPC, 'No space left on device')) is error


@pytest.mark.parametrize('change', [shutil.rmtree, lambda path: path.rename(f'{path}-moved')])
def test_vanished_work_directory_is_named(workdir, change):
  check_there(workdir)
  change(workdir)
  with pytest.raises(RunError, match='was removed or renamed') as found:
    check_there(workdir)
  assert str(workdir) in str(found.value)
  for error in (FileNotFoundError(2, 'x', str(workdir / 'a')), UserError('b'), ValueError('c')):
    assert 'was removed or renamed' in str(raised(workdir, error))
