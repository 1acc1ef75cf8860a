import contextlib
import os
import pathlib
import shutil

import pytest

from mecl_jax.commands import replacement
from mecl_jax.commands.replacement import recover, replacing

OLD = {
  'report/index.html': 'old page',
  'report/tables/exits.csv': 'old table',
  'report/tables/gone.csv': 'old table',
  'report/mine/notes.txt': 'written by a user',
  'summary.json': 'old summary',
  'policy.json': 'old policy',
}
NEW = {
  'report/index.html': 'new page',
  'report/tables/exits.csv': 'new table',
  'report/mine/notes.txt': 'written by a user',
  'summary.json': 'new summary',
}
OWN = ('report/index.html', 'report/tables/exits.csv', 'report/tables/gone.csv')


class Killed(BaseException):
  """Stands in for SIGKILL: nothing may handle it."""


def write(folder, files):
  for name, text in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def read(folder):
  files = (path for path in folder.rglob('*') if path.is_file())
  return {
    str(path.relative_to(folder)): path.read_text()
    for path in files
    if path.name != replacement.OWN_FILES
  }


@pytest.fixture
def workdir(tmp_path):
  write(tmp_path, OLD)
  own = ''.join(f'{name.removeprefix("report/")}\n' for name in OWN)
  (tmp_path / 'report' / replacement.OWN_FILES).write_text(own)
  return tmp_path


def replace(workdir):
  with replacing(workdir, removed=['policy.json']) as folder:
    write(folder, {name: text for name, text in NEW.items() if 'mine' not in name})


def test_all_files_are_replaced_and_those_of_users_kept(workdir):
  replace(workdir)
  assert read(workdir) == NEW
  replace(workdir)
  assert read(workdir) == NEW


def test_links_of_users_are_kept(workdir):
  (workdir / 'report/mine/link').symlink_to('notes.txt')
  (workdir / 'report/folder').symlink_to(workdir.parent)
  (workdir / 'report/broken').symlink_to('nothing')
  replace(workdir)
  links = {
    name: os.readlink(workdir / 'report' / name) for name in ('mine/link', 'folder', 'broken')
  }
  assert links == {'mine/link': 'notes.txt', 'folder': str(workdir.parent), 'broken': 'nothing'}


def test_error_keeps_all_files(workdir):
  with pytest.raises(OSError, match='no space'), replacing(workdir) as folder:
    write(folder, NEW)
    raise OSError('no space')
  assert read(workdir) == OLD


def test_folder_need_not_exist_before(tmp_path):
  with replacing(tmp_path, removed=['policy.json']) as folder:
    write(folder, NEW)
  assert read(tmp_path) == NEW


def kill_at(monkeypatch, number):
  """Ends the process before its call number `number` that changes a folder."""
  calls = iter(range(1000))

  def counted(call):
    def with_kill(*args, **more):
      if next(calls) >= number:
        raise Killed
      return call(*args, **more)

    return with_kill

  for name in ('mkdir', 'rename', 'replace', 'unlink'):
    monkeypatch.setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
  for name in ('rmtree', 'copy2'):
    monkeypatch.setattr(shutil, name, counted(getattr(shutil, name)))


@pytest.mark.parametrize('exists', [True, False])
def test_kill_at_any_moment_leaves_the_old_or_the_new(exists, tmp_path):
  """Also a second kill, at any moment of the recovery."""
  seen = []
  for first in range(100):
    for second in (*range(8), None):
      folder = tmp_path / f'{first}-{second}'
      old = OLD if exists else {}
      folder.mkdir()
      write(folder, old)
      if exists:
        own = ''.join(f'{name.removeprefix("report/")}\n' for name in OWN)
        (folder / 'report' / replacement.OWN_FILES).write_text(own)
      new = NEW if exists else {name: text for name, text in NEW.items() if 'mine' not in name}
      with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, first)
        try:
          replace(folder)
          return_now = second is None
        except Killed:
          return_now = False
      if second is not None:
        with pytest.MonkeyPatch.context() as patch:
          kill_at(patch, second)
          with contextlib.suppress(Killed):
            recover(folder)
      recover(folder)
      found = read(folder)
      assert found in (old, new), (first, second)
      seen.append(found == new)
      assert not list(folder.glob('.outcome*'))
    if return_now:
      break
  assert any(seen) and not all(seen)
  assert first > 5
