"""Where and with what something was measured: machine, versions, commit, date."""

import datetime
import hashlib
import os
import pathlib
import platform
import re
import subprocess
from typing import Any

from benchmarks.turns import ROOT

SOURCES = ('mecl_jax', 'benchmarks', 'configs')  # folders whose code decides a result


def of_this_process(commit: str = '') -> dict[str, Any]:
  """Returns Python, operating system, cores, commit, a digest of the sources, and the date.

  `changed` is whether files differ from the commit, None if there is no repository.

  Args:
    commit: of the sources, where they are a copy without a repository; empty: that of Git.
  """
  changes = _git('status', '--porcelain', '--untracked-files=no')
  return {
    'python': platform.python_version(),
    'system': platform.platform(),
    'cores': len(os.sched_getaffinity(0)),
    'commit': commit or _git('rev-parse', 'HEAD') or 'unknown',
    'changed': None if changes is None else bool(changes),
    'sources': digest(ROOT),
    'date': datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
  }


def driver() -> str | None:
  """Returns the version of NVIDIA's driver; None if there is none."""
  try:
    text = pathlib.Path('/proc/driver/nvidia/version').read_text()
  except OSError:
    return None
  found = re.search(r'\b\d{3}\.\d+(\.\d+)?\b', text)
  return found.group() if found else None


def digest(root: pathlib.Path) -> str:
  """Returns a digest of all Python files in `SOURCES`, 16 hexadecimal digits."""
  found = hashlib.sha256()
  for folder in SOURCES:
    for path in sorted(root.joinpath(folder).rglob('*.py')):
      found.update(f'{path.relative_to(root)}\0'.encode() + path.read_bytes() + b'\0')
  return found.hexdigest()[:16]


def slug(text: str) -> str:
  """Returns text as a part of a file name: 'NVIDIA H200' is 'nvidia-h200'."""
  return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')


def _git(*arguments: str) -> str | None:
  """Returns what Git prints; None without Git or without a repository."""
  try:
    done = subprocess.run(
      ['git', '-C', str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()
