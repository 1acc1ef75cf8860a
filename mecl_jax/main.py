"""The program: flags, and dispatch on --mode.

mecl-jax --config=cifar10 [--workdir=DIR] [--config.any.field=value] [--profile]
mecl-jax --mode=evaluate --workdir=DIR [--config.evaluation.field=value]
mecl-jax --mode=latency --workdir=DIR
mecl-jax --mode=export --workdir=DIR [--config.export.field=value]
mecl-jax --mode=energy --workdir=DIR [--config.energy.field=value]
mecl-jax --mode=offload --workdir=DIR [--config.offload.field=value]
mecl-jax --mode=compare --runs=DIR,DIR,.. [--workdir=DIR]
mecl-jax --mode=difficulty --config=cifar10
mecl-jax --mode=describe --config=cifar10 [--images=224x224x3 --classes=1000]

--config is the name of a configuration that comes with mecl_jax, or a file, as configs/cifar10.py;
cifar10:smoke is a variant of it. Without --config the configuration is that of the run in
--workdir. `python -m mecl_jax.main` is the same program as `mecl-jax`.
"""

import pathlib
import sys

from mecl_jax.training import interruption

if __name__ == '__main__':
  interruption.watch()  # before the imports below, which take a moment

from absl import flags
from ml_collections import config_flags

from mecl_jax import config as config_lib
from mecl_jax.commands import program
from mecl_jax.config.valid import is_path, shown
from mecl_jax.deploy.installed import check_can_run, check_installed
from mecl_jax.durations import listed
from mecl_jax.errors import UserError

MODES = (
  *('train', 'evaluate', 'latency', 'export', 'energy', 'offload'),  # of one run
  *('compare', 'difficulty', 'describe'),
)
GIVE_CONFIG = (
  f'give --config=NAME (one of: {", ".join(config_lib.config_names())}), --config=FILE.py,'
  ' or the --workdir=DIR of an existing run'
)
OF_RUN = pathlib.Path(__file__).parent / 'commands' / 'config_of_run.py'
OF_FILE = pathlib.Path(__file__).parent / 'commands' / 'config_of_file.py'

_ARGV: list[str] = []  # set before flags are parsed; the fields that are set are found in it
_CONFIG = config_flags.DEFINE_config_file(
  'config', help_string='Name or file of a configuration.', sys_argv=_ARGV
)
_WORKDIR = flags.DEFINE_string('workdir', '', 'Work directory; default: runs/<config name>.')
_MODE = flags.DEFINE_enum('mode', 'train', MODES, 'What to do with the work directory.')
_PROFILE = flags.DEFINE_bool(
  'profile', False, 'Trace a few training steps of each phase into WORKDIR/profile.'
)
_IMAGES = flags.DEFINE_string('images', '', 'Shape of the images that are described: 224x224x3.')
_CLASSES = flags.DEFINE_integer('classes', 0, 'Number of classes that are described.')
_RUNS = flags.DEFINE_string('runs', '', "Work directories to compare: 'DIR,DIR,..'.")


def _workdir() -> pathlib.Path:
  """Returns --workdir, or runs/cifar10-smoke for --config=cifar10:smoke."""
  if _MODE.value == 'compare':
    return pathlib.Path(_WORKDIR.value or 'runs/compare')
  if _CONFIG.value is None:
    if _MODE.value != 'train' and _WORKDIR.value:
      return pathlib.Path(_WORKDIR.value)  # the command reports what is missing there
    raise UserError(GIVE_CONFIG)
  source = config_flags.get_config_filename(flags.FLAGS['config']).removeprefix(f'{OF_FILE}:')
  file, _, variant = source.partition(':')
  name = '-'.join(filter(None, (pathlib.Path(file).stem, variant)))
  return pathlib.Path(_WORKDIR.value or f'runs/{name}')


def _shape() -> tuple[int, ...] | None:
  """Returns --images as numbers, or None."""
  try:
    return tuple(int(side) for side in _IMAGES.value.split('x')) if _IMAGES.value else None
  except ValueError:
    raise UserError(
      f'--images is {_IMAGES.value}; it must be height x width x channels, as 32x32x3'
    ) from None


def _run() -> None:
  """Runs the command that --mode names."""
  workdir, config = _workdir(), _CONFIG.value
  if _PROFILE.value and _MODE.value != 'train':
    raise UserError(f'--profile traces training steps; it has no effect with --mode={_MODE.value}')
  if (_IMAGES.value or _CLASSES.value) and _MODE.value != 'describe':
    raise UserError('--images and --classes have an effect with --mode=describe only')
  # Imported here, so that a misspelt flag is reported before JAX starts.
  from mecl_jax import compiler
  from mecl_jax.commands import compare, describe, difficulty, energy, evaluate, latency, train

  compiler.use_cache()
  match _MODE.value:
    case 'train':
      train.train(config, workdir, profile=_PROFILE.value)
    case 'evaluate':
      evaluate.evaluate(workdir, config, keep_target=not _sets_target())
    case 'latency':
      latency.latency(workdir, config, keep_target=not _sets_target())
    case 'export':
      check_installed()
      from mecl_jax.commands import export

      export.export(workdir, config, keep_target=not _sets_target())
    case 'energy':
      energy.energy(workdir, config, keep_target=not _sets_target())
    case 'offload':
      check_can_run('--mode=offload')
      from mecl_jax.commands import offload

      offload.offload(workdir, config, keep_target=not _sets_target())
    case 'compare':
      compare.compare([pathlib.Path(run) for run in listed(_RUNS.value)], workdir)
    case 'difficulty':
      difficulty.score_difficulty(workdir, config)
    case 'describe':
      describe.describe(workdir, config, images=_shape(), classes=_CLASSES.value or None)


def _sets_target() -> bool:
  """Returns whether a flag sets a field of `evaluation`."""
  if _CONFIG.value is None:
    return False
  changed = config_flags.get_override_values(flags.FLAGS['config'])
  return any(name.startswith('evaluation.') for name in changed)


def _find(argv: list[str], name: str) -> tuple[slice, str | None]:
  """Returns where a flag is before flags are parsed, and its value; None if it is not given."""
  for place, argument in enumerate(argv):
    flag, equals, value = argument.partition('=')
    if flag in (f'-{name}', f'--{name}'):
      end = place + 1 if equals else place + 2
      return slice(place, end), value if equals else ''.join(argv[place + 1 : end])
  return slice(1, 1), None


def _parse(argv: list[str]) -> list[str]:
  """Parses flags, after the files of flags are read and --config is replaced by its loader.

  The loader comes first, so that fields may be set before --config too.
  """
  try:
    argv = [argv[0], *flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]
  except (flags.Error, OSError, ValueError) as error:
    reason = ' '.join(str(error).removeprefix('ERROR:: ').split())
    raise UserError(f'--flagfile cannot be read: {reason}') from None
  name = None
  while (found := _find(argv, 'config'))[1] is not None:  # the last one holds
    place, name = found
    argv = [*argv[: place.start], *argv[place.stop :]]
  _, workdir = _find(argv, 'workdir')
  for flag in ('workdir', 'runs'):
    for path in listed(_find(argv, flag)[1] or ''):
      if not is_path(path):
        raise UserError(f'--{flag} is {shown(path)}; it must be the path of a folder')
  if name == '':
    raise UserError(GIVE_CONFIG)
  if name:
    argv = [argv[0], f'--config={OF_FILE}:{config_lib.find_config(name)}', *argv[1:]]
  elif workdir and pathlib.Path(workdir, 'config.json').exists():
    argv = [argv[0], f'--config={OF_RUN}:{workdir}', *argv[1:]]
  _ARGV[:] = argv
  return program.parse(argv, explain=_explain)


def _explain(argv: list[str]) -> str | None:
  """Returns a message for flags that cannot be parsed; None: the parser's own is used."""
  if unknown := config_lib.unknown_field(argv):
    return unknown
  fields = [argument for argument in argv if argument.lstrip('-').startswith('config.')]
  if fields and _find(argv, 'config')[1] is None:
    return f'{fields[0]} sets a field, but there is no configuration; {GIVE_CONFIG}'
  return None


def run() -> None:
  """Runs the program as the command `mecl-jax`."""
  # --help shows the text and the flags of the module that was started, here that of the command.
  sys.modules['__main__'].__doc__ = __doc__
  for flag in (_CONFIG, _WORKDIR, _MODE, _PROFILE, _IMAGES, _CLASSES, _RUNS):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
  program.start(_run, _parse)


if __name__ == '__main__':
  program.start(_run, _parse)
