"""Draws the pictures of README and documents that come from single runs.

  python -m experiments.pictures [--runs=runs/pictures] [--data_dir=DIR] [--images=docs/images]

Trains `configs/cifar10.py:smoke`, `configs/digits.py` with a tenth of its labels changed, and
`configs/digits.py` with linear heads, whose page docs/report.md explains: ten minutes on two CPU
cores. Runs that have ended are evaluated again, and not trained. The picture of a page needs
Chromium.
`python -m experiments.results` draws the pictures of the studies.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
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

# The run of docs/report.md; linear heads make the first exit so weak that early exit has a use.
REPORT = Source('digits', {'model.head': 'linear'}, 'index.html', run='digits-report')
REPORT_FIGURES = {
  'digits-report-accuracy.svg': 'figures/accuracy_against_macs.svg',
  'digits-report-leaving.svg': 'figures/leaving.svg',
  'digits-report-savings.svg': 'figures/savings.svg',
  'digits-report-reliability.svg': 'figures/reliability.svg',
  'digits-report-overthinking.svg': 'figures/overthinking.svg',
  'digits-report-training.svg': 'figures/training.svg',
  'digits-report-images.png': 'figures/examples.png',
}
REPORT_TOP = 'digits-report.png'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


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
  if source.picture in ('energy.png', 'index.html') and not (workdir / 'latency.json').exists():
    latency(workdir, config)
  if source.picture == 'energy.png':
    found = energy(workdir, config)
    save_png(draw_energy(found.rows, found.trace), workdir / 'report' / source.picture)
  return workdir / 'report' / source.picture


def draw_report(workdir: pathlib.Path, images: pathlib.Path, data_dir: str) -> list[pathlib.Path]:
  """Makes the run of `REPORT`; returns the pictures of its page that were written to `images`."""
  page = draw(REPORT, workdir, data_dir)
  figures = {name: page.parent / figure for name, figure in REPORT_FIGURES.items()}
  contents = {name: path.read_bytes() for name, path in figures.items()}
  contents[REPORT_TOP] = screenshot(page)
  for name, content in contents.items():
    with atomic(images / name) as file:
      file.write(content)
  return [images / name for name in contents]


def screenshot(page: pathlib.Path, width: int = 960, height: int = 985) -> bytes:
  """Returns the top of an HTML file as a PNG of 1.5 times this size in pixels.

  Raises:
    UserError: there is no Chromium.
  """
  browser = next(filter(None, map(shutil.which, BROWSERS)), None)
  if not browser:
    raise UserError(f'the picture of {page} needs a browser; install one of: {", ".join(BROWSERS)}')
  with tempfile.TemporaryDirectory() as folder:
    picture = pathlib.Path(folder, 'page.png')
    command = [
      *(browser, '--headless', '--no-sandbox', '--no-first-run', '--disable-gpu'),
      *('--hide-scrollbars', '--force-device-scale-factor=1.5', f'--window-size={width},{height}'),
      *(f'--user-data-dir={folder}/profile', f'--screenshot={picture}', page.resolve().as_uri()),
    ]
    subprocess.run(command, capture_output=True, timeout=240, check=True)
    return picture.read_bytes()


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
    for path in draw_report(flags.runs / REPORT.run, flags.images, flags.data_dir):
      print(path)
  except (UserError, RunError) as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  return 0


if __name__ == '__main__':
  sys.exit(main())
