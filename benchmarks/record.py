"""Trains a configuration by the program, and records accuracy, seconds and hardware for the README.

  python -m benchmarks.record --config=configs/digits.py [--data_dir=DIR | --arrays=FILE.npz]
                              [--results=benchmarks/results]

Writes NAME.DEVICE.json, for example cifar10-smoke.cpu.json. Programs are compiled anew; the seconds
of the compilation are recorded too. Nothing else should run on the machine. `python -m
benchmarks.table` then writes the table of the README.
"""

import argparse
import pathlib
import sys

from benchmarks import facts, jax_side, recipes
from mecl_jax.errors import RunError, UserError
from mecl_jax.files import write_json

FORMAT, VERSION = 'mecl_jax recorded run', 1


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='record'
  )
  parser.add_argument('--config', required=True, help='configs/NAME.py or configs/NAME.py:VARIANT')
  parser.add_argument('--data_dir', default='', help='folder with data that TFDS has prepared')
  parser.add_argument('--arrays', default='', help='.npz file, as of the field data.arrays')
  parser.add_argument('--results', type=pathlib.Path, default=pathlib.Path('benchmarks/results'))
  parser.add_argument('--commit', default='', help='of the code, without its repository')
  flags = parser.parse_args(argv)
  data = {'data.data_dir': flags.data_dir, 'data.arrays': flags.arrays}
  found = facts.of_this_process(flags.commit) | {'driver': facts.driver()}
  try:
    found |= jax_side.facts()
    result = recipes.whole(flags.config, {name: value for name, value in data.items() if value})
  except (UserError, RunError) as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  device = 'cpu' if found['platform'] == 'cpu' else facts.slug(found['device'])
  path = flags.results / f'{name_of(flags.config)}.{device}.json'
  write_json(path, {'format': FORMAT, 'version': VERSION, 'facts': found, 'result': result})
  print(path)
  return 0


def name_of(config: str) -> str:
  """Returns 'cifar10-smoke' for 'configs/cifar10.py:smoke'."""
  file, _, variant = config.partition(':')
  return '-'.join(filter(None, (pathlib.Path(file).stem, variant)))


if __name__ == '__main__':
  sys.exit(main())
