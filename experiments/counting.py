"""Counting: the error of every exit, with and without a curriculum.

  python -m experiments.counting [--workdir=runs/studies/counting]

trains all missing runs and writes experiments/results/regression/counting.csv, a row per run. The
page docs/results/counting.md is made from it by `python -m experiments.results`.

Every image is a canvas with 0 to 8 digits at random places, saved as JPEG with a random quality;
the task is to count the digits. All arms of a seed train heads on the same frozen backbone, in
equal numbers of steps. Every exit chooses its learning rate by the validation error of the search
seeds.
"""

import argparse
import io
import pathlib
import sys
from typing import Any

from ml_collections import ConfigDict
import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from experiments import wording
import mecl_jax
from mecl_jax.commands.train import train
from mecl_jax.evaluation.paired import holm, over_seeds

RESULTS = pathlib.Path(__file__).with_name('results')
TABLE = 'regression/counting.csv'  # in `RESULTS`, apart from the tables of studies of accuracy
SIDE, MOST = 32, 8  # pixels of a canvas, and digits on it
QUALITIES = (5, 95)  # of JPEG, drawn uniformly
TRAIN, TEST = 3000, 2000  # images
SEEDS, SEARCH_SEEDS = range(8), (100, 101)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
BACKBONE_STEPS, STEPS = 400, 300
BASELINE = 'standard'
EXITS = ('stage1', 'stage2')
Rates = float | tuple[float, ...]

INTRODUCTION = """Every image is a canvas of 32x32 pixels with 0 to 8 digits at random places, saved
as JPEG with a quality from 5 to 95; [the task](../tasks.md) is to count the digits. Does a
curriculum lower the error of early exits, by the scores of a teacher, or by the quality of the
images?

The network is a ResNet-8 of half the usual width, with {train:,} images for training and
validation. The heads of its two early exits train for {steps} steps of 64 images on a frozen
backbone, which an arm cannot change; the final exit has an error of {final:.3f}. `easy_first` and
`easy_weighted` rank images by the error of the final exit, `quality` by the compression, the best
images first; `easy_first` and `quality` begin with a tenth of the images and show all of them from
half of the steps on. There are {runs} runs with equal numbers of steps, {seeds} seeds of each arm,
after {trials} trials of the same learning rates for every arm. Repeat it with
`python -m experiments.counting`.

The mean absolute test error in digits, its mean and deviation over the seeds; lower is better:"""
DIFFERENCES = """Paired differences from `standard`, with 95 % intervals over the seeds; below 0 is
better. Of these {tests} differences, {significant} have a p-value below 0.05 after Holm's
correction (bold)."""

_PACED = {
  'curriculum.order': 'easy_first',
  'curriculum.pacing': 'linear',
  'curriculum.start': 0.1,
  'curriculum.full_after': '50%',
}
ARMS = {
  BASELINE: {'curriculum.order': 'none'},
  'easy_first': _PACED,
  'easy_weighted': {
    'curriculum.order': 'none',
    'curriculum.sample_weights': 'easy_weighted',
    'curriculum.easy_strength': 0.4,
  },
  'quality': {**_PACED, 'curriculum.teacher': 'file'},
}


def make_canvases(
  digits: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws canvases with digits at random places, and compresses them as JPEG.

  Args:
    digits: uint8 [D, 8, 8], to choose from.
    count: number of canvases, N.
    rng: source of all choices.

  Returns:
    the images, uint8 [N, 32, 32, 1]; the number of digits on each, int [N], from 0 to 8; and the
    quality of its compression, int [N]. Digits may overlap; the brighter pixel is seen.
  """
  counts = rng.integers(0, MOST + 1, count)
  qualities = rng.integers(QUALITIES[0], QUALITIES[1] + 1, count)
  images = np.empty((count, SIDE, SIDE, 1), np.uint8)
  for image, number, quality in zip(images, counts, qualities, strict=True):
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for digit in digits[rng.integers(len(digits), size=number)]:
      top, left = rng.integers(0, SIDE - 8 + 1, 2)
      place = canvas[top : top + 8, left : left + 8]
      np.maximum(place, digit, out=place)
    image[..., 0] = compressed(canvas, int(quality))
  return images, counts, qualities


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
  """Returns a gray image, uint8 [H, W], after compression as JPEG."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'JPEG', quality=quality)
  return np.asarray(Image.open(file))


def write_data(
  folder: pathlib.Path, train_size: int = TRAIN, test_size: int = TEST
) -> pathlib.Path:
  """Writes counting.npz; its `train_quality` is the quality of the compression.

  Training and test have different digits.

  Returns:
    the path of the file.
  """
  digits = (load_digits().images * (255 / 16)).astype(np.uint8)
  rng = np.random.default_rng(0)
  arrays: dict[str, Any] = {'units': np.array('digits')}
  for role, size, chosen in (
    ('train', train_size, digits[:1400]),
    ('test', test_size, digits[1400:]),
  ):
    images, counts, qualities = make_canvases(chosen, size, rng)
    arrays |= {f'{role}_images': images, f'{role}_labels': counts, f'{role}_quality': qualities}
  folder.mkdir(parents=True, exist_ok=True)
  np.savez(folder / 'counting.npz', **arrays)
  return folder / 'counting.npz'


def write_difficulty(arrays: pathlib.Path, path: pathlib.Path, validation_size: float) -> None:
  """Writes a difficulty file of the training images: the stronger the compression, the harder.

  Args:
    arrays: of `write_data`.
    path: of the file, .csv.
    validation_size: as of the runs; validation images have no difficulty.
  """
  data = mecl_jax.load_data(
    name='counting', arrays=arrays, validation_size=validation_size, kind='numbers'
  )
  qualities = np.load(arrays)['train_quality']
  positions = [int(name.removeprefix('train_')) for name in data.train.ids]
  scores = QUALITIES[1] - qualities[positions]
  pd.DataFrame({'id': data.train.ids, 'score': scores}).to_csv(path, index=False)


def make_config(arrays: pathlib.Path, seed: int) -> ConfigDict:
  """Returns the configuration of a plain run, whose backbone all arms of a seed share."""
  c = mecl_jax.default_config()
  c.seed, c.task, c.batch_size = seed, 'regression', 64
  c.data.name, c.data.arrays, c.data.validation_size = 'counting', str(arrays), 500
  c.augment.crop = 0  # a crop could cut off a digit
  c.model.backbone, c.model.width = 'resnet8', 8
  c.model.exits = ()
  c.strategy, c.curriculum.order = 'joint', 'none'
  c.phases.joint.duration = f'{BACKBONE_STEPS} steps'
  c.phases.joint.learning_rate, c.phases.joint.optimizer = 0.003, 'adam'
  c.logging.validate_every, c.report.page = '0 steps', False
  return c


def make_arm(
  arrays: pathlib.Path, seed: int, backbone: pathlib.Path, arm: str, rates: Rates
) -> ConfigDict:
  """Returns the configuration of a run of an arm, with heads on a frozen backbone.

  Args:
    arrays, seed: as of `make_config`.
    backbone: work directory of the plain run.
    arm: a name in `ARMS`.
    rates: learning rate, or one per early exit.
  """
  c = make_config(arrays, seed)
  c.strategy, c.model.exits = 'classifier_wise', ('stage1', 'stage2')
  c.model.pretrained, c.phases.backbone.duration = str(backbone), '0 steps'
  c.phases.heads.duration, c.phases.heads.learning_rate = f'{STEPS} steps', rates
  c.update_from_flattened_dict(ARMS[arm])
  if c.curriculum.teacher == 'file':
    c.curriculum.difficulty_file = str(arrays.with_name('quality.csv'))
  return c


def run(workdir: pathlib.Path, console: Console) -> pd.DataFrame:
  """Makes all missing runs of the study; returns the table, a row per run.

  Columns: `arm`, `kind` ('trial' or 'run'), `seed`, `rates`, and the mean absolute errors
  `validation_EXIT` and `test_EXIT`, in digits. A trial has no test error.
  """
  if not (workdir / 'counting.npz').exists():
    write_difficulty(write_data(workdir), workdir / 'quality.csv', validation_size=500)
  rows: list[dict[str, object]] = []
  for arm in ARMS:
    for seed in SEARCH_SEEDS:
      rows += [_row(workdir, arm, 'trial', seed, rate, console) for rate in RATES]
    rates = best_rates(pd.DataFrame(rows), arm)
    rows += [_row(workdir, arm, 'run', seed, rates, console) for seed in SEEDS]
  return pd.DataFrame(rows)


def _row(
  workdir: pathlib.Path, arm: str, kind: str, seed: int, rates: Rates, console: Console
) -> dict[str, object]:
  arrays, backbone = workdir / 'counting.npz', workdir / f'backbone{seed}'
  train(make_config(arrays, seed), backbone, console=console, brief=True)
  name = ' '.join(f'{rate:g}' for rate in np.atleast_1d(rates))
  folder = workdir / 'runs' / f'{arm}-{kind}-{seed}-{name.replace(" ", "-")}'
  config = make_arm(arrays, seed, backbone, arm, rates)
  summary = train(config, folder, console=console, brief=True)
  row: dict[str, object] = {'arm': arm, 'kind': kind, 'seed': seed, 'rates': name}
  splits = {'validation': 'validation'} | ({'test': 'exits'} if kind == 'run' else {})
  for split, key in splits.items():
    row |= {f'{split}_{exits["name"]}': exits['mae'] for exits in summary[key]}
  print(row, flush=True)
  return row


def best_rates(table: pd.DataFrame, arm: str) -> tuple[float, ...]:
  """Returns the rate of every early exit with the lowest mean validation error of the trials."""
  trials = table[(table['arm'] == arm) & (table['kind'] == 'trial')]
  errors = trials.groupby('rates', sort=False)[[f'validation_{name}' for name in EXITS]].mean()
  return tuple(float(errors[column].idxmin()) for column in errors)


def page(table: pd.DataFrame) -> str:
  """Returns the page of the study, as Markdown."""
  title = (__doc__ or '').partition('\n')[0]
  runs = table[table['kind'] == 'run']
  differences = difference_rows(runs)
  cells = [row[name] for row in differences for name in EXITS]
  parts = (
    f'# {title.removesuffix(".")}',
    INTRODUCTION.format(
      train=TRAIN,
      steps=STEPS,
      final=runs['test_final'].mean(),
      runs=len(runs),
      seeds=runs['seed'].nunique(),
      trials=len(table) - len(runs),
    ),
    wording.table(error_rows(runs)),
    DIFFERENCES.format(tests=len(cells), significant=sum('**' in cell for cell in cells)),
    wording.table(differences),
    'The learning rates that each arm found, for its two early exits:',
    wording.table(
      [{'arm': arm, 'rates': runs.loc[runs['arm'] == arm, 'rates'].iloc[0]} for arm in ARMS]
    ),
  )
  return '\n\n'.join(parts) + '\n'


def error_rows(runs: pd.DataFrame) -> list[dict[str, str]]:
  """Returns a row per arm: mean and deviation over the seeds of the error of every early exit."""
  rows = []
  for arm in ARMS:
    of_arm = runs[runs['arm'] == arm]
    errors = {name: of_arm[f'test_{name}'] for name in EXITS}
    cells = {name: f'{e.mean():.3f} ± {e.std():.3f}' for name, e in errors.items()}
    rows.append({'arm': arm} | cells)
  return rows


def difference_rows(runs: pd.DataFrame) -> list[dict[str, str]]:
  """Returns a row per arm: paired differences of the errors from those of `BASELINE`.

  They have 95 % intervals of the t-test over seeds. Those whose p-value is below 0.05 after Holm's
  correction over all of them are bold.
  """
  by_arm = {arm: runs[runs['arm'] == arm].sort_values('seed') for arm in ARMS}
  found = {
    (arm, name): over_seeds(
      by_arm[arm][f'test_{name}'].to_numpy(), by_arm[BASELINE][f'test_{name}'].to_numpy()
    )
    for arm in ARMS
    for name in EXITS
    if arm != BASELINE
  }
  corrected = dict(zip(found, holm([effect.p for effect in found.values()]), strict=True))
  rows: dict[str, dict[str, str]] = {}
  for (arm, name), effect in found.items():
    low, high, p = effect.difference_low, effect.difference_high, corrected[arm, name]
    text = f'{effect.difference:+.3f} [{low:+.3f}, {high:+.3f}]' if p is not None else 'the same'
    bold = p is not None and p < wording.SIGNIFICANT
    rows.setdefault(arm, {'arm': arm})[name] = f'**{text}**' if bold else text
  return list(rows.values())


def main(argv: list[str] | None = None) -> int:
  """Runs the study, and writes its table."""
  parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
  parser.add_argument('--workdir', type=pathlib.Path, default=pathlib.Path('runs/studies/counting'))
  flags = parser.parse_args(argv)
  table = run(flags.workdir, Console(quiet=True))
  (RESULTS / TABLE).parent.mkdir(parents=True, exist_ok=True)
  table.round(8).to_csv(RESULTS / TABLE, index=False)
  print(page(table))
  return 0


if __name__ == '__main__':
  sys.exit(main())
