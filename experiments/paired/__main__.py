"""Runs a study: arms x budgets x seeds, paired, on backbones that the arms share.

python -m experiments.paired --config=experiments/configs/NAME.py [--workdir=DIR]
                             [--shard=i/n | --ray=n]

Every run becomes a row of DIR/runs.csv, and differences with intervals over test images go to
DIR/images.csv. Run the same command again to resume: it makes the runs
that are missing or failed. `--shard=0/4` makes a quarter of them; four such processes, on one
machine or on four that share DIR, fill one table. `--ray=4` starts four shards with Ray.
"""

import pathlib

from absl import flags

from mecl_jax.commands import program
from mecl_jax.errors import UserError

_CONFIG = flags.DEFINE_string('config', '', 'A file in experiments/configs/.')
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Work directory; default: runs/studies/<config name>.'
)
_SHARD = flags.DEFINE_string('shard', '0/1', "Which part of the runs: 'i/n', i from 0 to n - 1.")
_RAY = flags.DEFINE_integer('ray', None, 'Number of parts that Ray runs.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of prepared TFDS data; default: its own.')


def _shard(text: str) -> tuple[int, int]:
  """Returns '1/4' as (1, 4)."""
  part, _, parts = text.partition('/')
  if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
    raise UserError(f'--shard is {text!r}; write i/n, with i from 0 to n - 1: --shard=0/4')
  return int(part), int(parts)


def _check_ray() -> None:
  if _RAY.value is not None and _SHARD.present:
    raise UserError('--ray runs all shards; leave out --shard')
  if _RAY.value is not None and _RAY.value < 1:
    raise UserError(f'--ray is {_RAY.value}; give a number of shards from 1 on, as --ray=8')


def _run() -> int:
  if not _CONFIG.value:
    raise UserError('give --config=experiments/configs/NAME.py')
  path, part = pathlib.Path(_CONFIG.value), _shard(_SHARD.value)
  folder = pathlib.Path(_WORKDIR.value or f'runs/studies/{path.stem}')
  _check_ray()
  # Imported here, so that errors in flags are reported before JAX starts.
  try:
    import pandas  # noqa: F401
  except ImportError:
    raise UserError("studies need pandas; pip install -e '.[experiments]'") from None
  from experiments.paired import on_ray, study
  from experiments.paired.sweep import sweep
  from mecl_jax import compiler

  found, data_dir = study.load(path), _DATA_DIR.value
  pairs = study.load_pairs(path, found)
  if _RAY.value is not None:
    failed = on_ray.sweep_on_ray(
      found, path.stem, folder, _RAY.value, data_dir=data_dir, pairs=pairs
    )
  else:
    compiler.use_cache()
    failed = sweep(found, path.stem, folder, *part, data_dir=data_dir, pairs=pairs)
  return 1 if failed else 0


if __name__ == '__main__':
  program.start(_run)
