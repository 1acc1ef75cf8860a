"""Replaces files and folders of a work directory all together, or none of them."""

from collections.abc import Iterator, Sequence
import contextlib
import json
import os
import pathlib
import shutil

from mecl_jax.files import write_json, write_text

NEW = '.outcome.new'  # folder that is being written, or can be deleted
READY = '.outcome'  # the same folder once it is whole and replaces the old files
REMOVED = '.removed.json'  # in it: names of the files that have no successor
OWN_FILES = '.files'  # in a replaced folder: the paths of its files that mecl_jax wrote


@contextlib.contextmanager
def replacing(workdir: pathlib.Path, removed: Sequence[str] = ()) -> Iterator[pathlib.Path]:
  """Yields an empty folder, whose files and folders replace those of the work directory.

  They do so when the block ends; after an error the work directory is as before. If the process is
  killed while it renames the folders, the next start does the rest, see `recover`. Files in
  a replaced folder that mecl_jax did not write are kept.

  Args:
    workdir: locked by this process.
    removed: names of files of the work directory that are removed.
  """
  new = workdir / NEW
  shutil.rmtree(new, ignore_errors=True)
  new.mkdir()
  try:
    yield new
    for folder in filter(pathlib.Path.is_dir, list(new.iterdir())):
      written = _files(folder)
      _keep_other_files(workdir / folder.name, folder)
      write_text(folder / OWN_FILES, ''.join(f'{path}\n' for path in sorted(written)))
    write_json(new / REMOVED, list(removed))
    new.rename(workdir / READY)
  except BaseException:
    shutil.rmtree(new, ignore_errors=True)
    raise
  _apply(workdir)


def recover(workdir: pathlib.Path) -> None:
  """Does the rest of a replacement whose process was killed, or undoes one that was not whole."""
  shutil.rmtree(workdir / NEW, ignore_errors=True)
  if (workdir / READY).exists():
    _apply(workdir)


def _apply(workdir: pathlib.Path) -> None:
  """Renames what lies in READY; can be repeated from any moment at which it was stopped."""
  ready = workdir / READY
  for name in json.loads((ready / REMOVED).read_text()):
    (workdir / name).unlink(missing_ok=True)
  for path in list(ready.iterdir()):
    if path.name.startswith('.'):
      continue  # not one of the new files
    target = workdir / path.name
    if path.is_dir() and target.exists():
      target.rename(path.with_name(f'.old-{path.name}'))
    path.replace(target)
  ready.rename(workdir / NEW)  # from now on it can be deleted
  shutil.rmtree(workdir / NEW, ignore_errors=True)


def _files(folder: pathlib.Path) -> set[str]:
  return {str(path.relative_to(folder)) for path in folder.rglob('*') if _is_file(path)}


def _is_file(path: pathlib.Path) -> bool:
  return path.is_symlink() or path.is_file()


def _keep_other_files(old: pathlib.Path, new: pathlib.Path) -> None:
  """Links the files of a folder that mecl_jax did not write into its successor."""
  own = {OWN_FILES}
  if (old / OWN_FILES).exists():
    own |= set((old / OWN_FILES).read_text().splitlines())
  for path in _files(old) - own - _files(new):
    (new / path).parent.mkdir(parents=True, exist_ok=True)
    if (old / path).is_symlink():
      os.symlink(os.readlink(old / path), new / path)
      continue
    try:
      os.link(old / path, new / path)
    except OSError:  # not all file systems have hard links
      shutil.copy2(old / path, new / path)
