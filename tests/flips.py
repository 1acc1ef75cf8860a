"""Flips single bits in the files of a run, and counts the changes that are read without a word.

python -m tests.flips [--count=600] [--seed=0]

So many bits are flipped in a checkpoint, and as many in the other files that a run trusts: one at
a time, then the file is read, and the bit is flipped back. `same`: what was written is read, as
after a flip in a date. `found`: an error of one line, or a warning and the checkpoint before. All
else fails, with exit code 1. `silent`: other values are read. `stuck`: a damaged checkpoint is not
set aside, so that every start fails. `traceback`: an error of several lines.
"""

import argparse
import collections
from collections.abc import Callable, Iterator
import contextlib
import io
import logging
import pathlib
import random
import sys
import tempfile
from typing import Any

from flax import nnx
import jax
import numpy as np
import optax
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.train import train
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation.policies import load_policy
from mecl_jax.evaluation.predictions import load_predictions
from mecl_jax.inference import load_latency, save_latency
from mecl_jax.training import checkpoints, devices, learning_speed
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.workdir import read_identity, read_summary
from tests.inference import test_latency
from tests.toys import make_arrays, make_config
from tests.training.test_step import make_model

Outcomes = collections.Counter[str]
FAILURES = ('silent', 'stuck', 'traceback')
IN_EVERY_FILE = 5  # flips, at least
NEWEST = 2  # step of the checkpoint that is damaged; the one of step 1 stays whole


def flips(files: list[pathlib.Path], count: int, seed: int) -> list[tuple[pathlib.Path, int]]:
  """Draws files and bits: some in every file, the others anywhere in all bytes."""
  chance, sizes = random.Random(seed), [path.stat().st_size for path in files]
  chosen = [path for path, size in zip(files, sizes, strict=True) if size] * IN_EVERY_FILE
  chosen = chosen[:count] + chance.choices(files, sizes, k=max(0, count - len(chosen)))
  return [(path, chance.randrange(8 * path.stat().st_size)) for path in chosen]


@contextlib.contextmanager
def flipped(path: pathlib.Path, bit: int) -> Iterator[None]:
  """Flips a bit of a file, and flips it back at the end."""
  before = path.read_bytes()
  data = bytearray(before)
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  yield
  path.write_bytes(before)


def checkpoint_flips(folder: pathlib.Path, count: int, seed: int) -> Outcomes:
  """Flips bits in the newest of two checkpoints of an unfinished phase."""
  folder, models = folder / 'checkpoints', [make_model(seed=seed, width=16) for seed in (1, NEWEST)]
  with Checkpoints(folder, keep=2) as saved:
    for step, model in enumerate(models, 1):
      saved.save(_position(step), model, _unfinished(model))
  written = {
    step: (vars(Position(0, step, step, step * 1.5, 'r')), _state(m), _unfinished(m))
    for step, m in enumerate(models, 1)
  }
  newest, warnings, counts = folder / str(NEWEST), io.StringIO(), collections.Counter()
  files = sorted(path for path in newest.rglob('*') if path.is_file())
  logging.getLogger().addHandler(handler := logging.StreamHandler(warnings))
  for path, bit in flips(files, count, seed):
    warnings.seek(0), warnings.truncate()
    with flipped(path, bit):
      kind = _restored(folder, written, warnings)
      aside = folder.parent / 'damaged_checkpoints' / str(NEWEST)
      if aside.exists():
        aside.rename(newest)
    _count(counts, kind, path.relative_to(newest), bit)
  logging.getLogger().removeHandler(handler)
  return counts


def _restored(folder: pathlib.Path, written: dict[int, tuple], warnings: io.StringIO) -> str:
  """Restores the newest intact checkpoint into another network; returns the kind of outcome."""
  model, everywhere = make_model(seed=99, width=16), devices.replicated(devices.make_mesh(8))
  try:
    with Checkpoints(folder, keep=2) as saved:
      found = saved.restore(model, everywhere, lambda _: _unfinished(model))
  except RunError:
    return 'stuck'
  except Exception:
    return 'traceback'
  if found is None:
    return 'silent'  # the checkpoint before, which is whole, must be taken
  position, unfinished = found
  same = _same((vars(position), _state(model), unfinished), written[position.step])
  if position.step == NEWEST:
    return 'same' if same else 'silent'
  return 'found' if same and f'checkpoint {NEWEST} ' in warnings.getvalue() else 'silent'


def file_flips(folder: pathlib.Path, count: int, seed: int) -> Outcomes:
  """Flips bits in the files beside the checkpoints of a run that has ended."""
  np.savez(folder / 'toy.npz', **make_arrays())
  c, run = make_config(folder / 'toy.npz'), folder / 'run'
  c.curriculum.teacher, c.report.page = 'learning_speed', True
  train(c, run, console=Console(quiet=True))
  measured = test_latency.make()
  save_latency(run / 'latency.json', measured)
  ids = Difficulty.load(run / 'difficulty.npz').ids
  readers: dict[str, Callable[[], Any]] = {
    'config.json': lambda: config.read(run / 'config.json').to_dict(),
    'identity.json': lambda: read_identity(run),
    'summary.json': lambda: read_summary(run),
    'policy.json': lambda: vars(load_policy(run / 'policy.json', 'toy')),
    'latency.json': lambda: vars(load_latency(run / 'latency.json', measured.exits)),
    'difficulty.npz': lambda: vars(Difficulty.load(run / 'difficulty.npz')),
    'predictions.npz': lambda: load_predictions(run / 'predictions.npz'),
    'learning_speed.npz': lambda: dict(enumerate(learning_speed.load(run, ids))),
  }
  written = {name: read() for name, read in readers.items()}
  counts: Outcomes = collections.Counter()
  for path, bit in flips([run / name for name in readers], count, seed):
    with flipped(path, bit):
      try:
        found = readers[path.name]()
        kind = 'same' if found and _holds(found, written[path.name]) else 'silent'
      except UserError as error:
        kind = 'traceback' if '\n' in str(error) else 'found'
      except Exception:
        kind = 'traceback'
    _count(counts, kind, pathlib.Path(path.name), bit)
  return counts


def _holds(found: dict, written: dict) -> bool:
  """Returns whether all that was written is read; a field beside it harms nobody."""
  return set(written) <= set(found) and _same({name: found[name] for name in written}, written)


def _same(found: Any, written: Any) -> bool:
  """Returns whether two trees have the same structure and the same values, bit for bit."""
  ours, theirs = jax.tree.leaves(found), jax.tree.leaves(written)
  if jax.tree.structure(found) != jax.tree.structure(written):
    return False
  return all(_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
  return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _position(step: int) -> Position:
  return Position(0, step, step, step * 1.5, 'r')


def _state(model: nnx.Module) -> dict:
  return nnx.to_pure_dict(nnx.state(model))


def _unfinished(model: nnx.Module) -> dict:
  """Returns an optimiser state and a temperature, which differ from network to network."""
  parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  return {
    'opt_state': optax.trace(0.9).init(parameters)._replace(trace=parameters),
    'extra': {'temperature': np.float32(model.mean[0])},
  }


def _count(counts: Outcomes, kind: str, place: pathlib.Path, bit: int) -> None:
  counts[kind] += 1
  if kind in FAILURES:
    print(f'{kind}: bit {bit} of {place}')


def main() -> int:
  """Runs both sweeps; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--count', type=int, default=600, help='flips in each of the two')
  parser.add_argument('--seed', type=int, default=0)
  flags = parser.parse_args()
  logging.basicConfig(handlers=[logging.NullHandler()], force=True)  # no warning of each flip
  checkpoints._LATE_SECONDS = 0.0  # what Orbax prints after an error has no effect here
  failed = 0
  for name, sweep in (('a checkpoint', checkpoint_flips), ('other files', file_flips)):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
      counts = sweep(pathlib.Path(folder), flags.count, flags.seed)
    print(f'{flags.count} flips in {name}: {dict(counts)}', flush=True)
    failed += sum(counts[kind] for kind in FAILURES)
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main())
