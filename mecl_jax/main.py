"""The program: flags, and dispatch on --mode.

python -m mecl_jax.main --config=configs/cifar10.py [--workdir=DIR] [--config.any.field=value]
python -m mecl_jax.main --mode=evaluate --workdir=DIR [--config.evaluation.field=value]
python -m mecl_jax.main --mode=latency --workdir=DIR
python -m mecl_jax.main --mode=compare --runs=DIR,DIR,.. [--workdir=DIR]
python -m mecl_jax.main --mode=difficulty --config=configs/cifar10.py
python -m mecl_jax.main --mode=describe --config=configs/cifar10.py

Without --config the configuration is that of the run in --workdir.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from mecl_jax import config as config_lib
from mecl_jax.commands import program
from mecl_jax.durations import listed
from mecl_jax.errors import UserError

MODES = ('train', 'evaluate', 'latency', 'compare', 'difficulty', 'describe')
GIVE_CONFIG = 'give --config=configs/NAME.py, or the --workdir=DIR of an existing run'
OF_RUN = pathlib.Path(__file__).parent / 'commands' / 'config_of_run.py'

_CONFIG = config_flags.DEFINE_config_file('config', help_string='A file in configs/.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'Work directory; default: runs/<config name>.')
_MODE = flags.DEFINE_enum('mode', 'train', MODES, 'What to do with the work directory.')
_PROFILE = flags.DEFINE_bool(
  'profile', False, 'Trace a few training steps of each phase into WORKDIR/profile.'
)
_RUNS = flags.DEFINE_string('runs', '', "Work directories to compare: 'DIR,DIR,..'.")


def _workdir() -> pathlib.Path:
  """Returns --workdir, or runs/cifar10-smoke for --config=configs/cifar10.py:smoke."""
  if _MODE.value == 'compare':
    return pathlib.Path(_WORKDIR.value or 'runs/compare')
  if _CONFIG.value is None:
    if _MODE.value != 'train' and _WORKDIR.value:
      return pathlib.Path(_WORKDIR.value)  # the command reports what is missing there
    raise UserError(GIVE_CONFIG)
  name, _, variant = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')
  file = pathlib.Path(name)
  if not file.is_file():
    there = ', '.join(sorted(map(str, pathlib.Path('configs').glob('*.py'))))
    raise UserError(f'there is no config file {file}{there and f"; there are: {there}"}')
  return pathlib.Path(_WORKDIR.value or f'runs/{"-".join(filter(None, (file.stem, variant)))}')


def _run() -> None:
  """Runs the command that --mode names."""
  workdir, config = _workdir(), _CONFIG.value
  # Imported here, so that a misspelt flag is reported before JAX starts.
  from mecl_jax import compiler
  from mecl_jax.commands import compare, describe, difficulty, evaluate, latency, train

  compiler.use_cache()
  match _MODE.value:
    case 'train':
      train.train(config, workdir, profile=_PROFILE.value)
    case 'evaluate':
      evaluate.evaluate(workdir, config)
    case 'latency':
      latency.latency(workdir, config)
    case 'compare':
      compare.compare([pathlib.Path(run) for run in listed(_RUNS.value)], workdir)
    case 'difficulty':
      difficulty.score_difficulty(workdir, config)
    case 'describe':
      describe.describe(workdir, config)


def _given(argv: list[str], name: str) -> str | None:
  """Returns the value of a flag before flags are parsed; None if it is not given."""
  for place, argument in enumerate(argv):
    flag, equals, value = argument.partition('=')
    if flag in (f'-{name}', f'--{name}'):
      return value if equals else ''.join(argv[place + 1 : place + 2])
  return None


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; an invalid one ends the program with one line."""
  workdir = _given(argv, 'workdir')
  if _given(argv, 'config') is None and workdir and pathlib.Path(workdir, 'config.json').exists():
    argv = [argv[0], f'--config={OF_RUN}:{workdir}', *argv[1:]]  # before the flags of its fields
  return program.parse(argv, explain=_explain)


def _explain(argv: list[str]) -> str | None:
  """Returns a message for flags that cannot be parsed; None: the parser's own is used."""
  if unknown := config_lib.unknown_field(argv):
    return unknown
  fields = [argument for argument in argv if argument.lstrip('-').startswith('config.')]
  if fields and _given(argv, 'config') is None:
    return f'{fields[0]} sets a field, but there is no configuration; {GIVE_CONFIG}'
  return None


if __name__ == '__main__':
  program.start(_run, _parse)
