"""Draws the pictures of README and documents that come from single runs.

  python -m experiments.pictures [--runs=runs/pictures] [--data_dir=DIR] [--images=docs/images]

Trains `configs/cifar10.py:smoke`, and `configs/digits.py` with a tenth of its labels changed: eight
minutes on two CPU cores. Runs that have ended are evaluated again, and not trained.
`python -m experiments.results` draws the pictures of the studies.
"""

import argparse
import pathlib
import sys
from typing import Any, NamedTuple

from mecl_jax import describe, energy, evaluate, latency, load_config, train
from mecl_jax.errors import RunError, UserError
from mecl_jax.files import atomic
from mecl_jax.report.figures.energy import energy as draw_energy
from mecl_jax.report.style import save_png
from mecl_jax.training.workdir import read_summary


class Source(NamedTuple):
  """The run that a picture is of, and the name of the picture in its report.

  `run` is the name of the run's folder; by default, that of the picture.
  """

  config: str
  fields: dict[str, Any]
  picture: str
  run: str = ''


SOURCES = {
  'cifar10-smoke-exits.png': Source('cifar10:smoke', {}, 'exits.png'),
  'cifar10-smoke-energy.png': Source(
    'cifar10:smoke',
    {'evaluation.target_macs': 9e6, 'energy.intervals': 192},
    'energy.png',
    run='cifar10-smoke-exits',
  ),
  'digits-easy-and-hard.png': Source('digits', {'data.label_noise': 0.1}, 'easy_and_hard.png'),
  'resnet50-network.png': Source(
    'cifar10',
    {
      'model.backbone': 'resnet50',
      'model.exits': ('groups', 0.35),
      'model.head': 'mlp',
      'data.image_size': 224,
    },
    'network.png',
  ),
}


def draw(source: Source, workdir: pathlib.Path, data_dir: str) -> pathlib.Path:
  """Makes a run, as far as its picture needs it; returns the path of the picture."""
  config = load_config(source.config)
  config.update_from_flattened_dict({**source.fields, 'data.data_dir': data_dir})
  if source.picture == 'network.png':
    return describe(workdir, config)
  summary = read_summary(workdir)
  if summary and summary['complete']:
    evaluate(workdir, config)
  else:
    train(config, workdir)
  if source.picture == 'energy.png':
    if not (workdir / 'latency.json').exists():
      latency(workdir, config)
    found = energy(workdir, config)
    save_png(draw_energy(found.rows, found.trace), workdir / 'report' / source.picture)
  return workdir / 'report' / source.picture


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='pictures'
  )
  parser.add_argument('--runs', type=pathlib.Path, default=pathlib.Path('runs/pictures'))
  parser.add_argument('--images', type=pathlib.Path, default=pathlib.Path('docs/images'))
  parser.add_argument('--data_dir', default='', help='folder with data that TFDS has prepared')
  flags = parser.parse_args(argv)
  try:
    for name, source in SOURCES.items():
      drawn = draw(source, flags.runs / (source.run or name.removesuffix('.png')), flags.data_dir)
      with atomic(flags.images / name) as file:
        file.write(drawn.read_bytes())
      print(flags.images / name)
  except (UserError, RunError) as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  return 0


if __name__ == '__main__':
  sys.exit(main())
