"""Simulates how often each interval that the pages print contains the true value.

  python -m experiments.coverage [--repetitions=500] [--docs=docs] [--only=NAME ..]

It draws test splits of 200, 1,000 and 10,000 images from populations of 50,000 made-up images whose
true values are known exactly, computes the interval of each split with the function that the pages
use, and counts. It writes docs/coverage.md and docs/coverage.csv.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import functools
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from experiments import wording
from mecl_jax.evaluation import calibration, metrics
from mecl_jax.evaluation.calibration_error import ece_interval
from mecl_jax.evaluation.choice import choose_policy
from mecl_jax.evaluation.costs import Costs, unit_costs
from mecl_jax.evaluation.intervals import (
  auroc_interval,
  mean_interval,
  proportion_difference_interval,
  proportion_interval,
)
from mecl_jax.evaluation.operating_points import MAX_ACCURACY_DROP, Target
from mecl_jax.evaluation.paired import over_seeds
from mecl_jax.evaluation.predictions import TEST, VALIDATION, Predicted
from mecl_jax.files import write_text
from mecl_jax.report.comparison.curves import area_rows, curves_of
from mecl_jax.report.comparison.tables import ComparedRun

IMAGES = 50_000  # of a population
SIZES = (200, 1_000, 10_000)  # images of a test split
VALIDATION_IMAGES = 1_000
REPETITIONS = 500
LOW = 0.93  # coverage below it is named
ERRORS = (0.001, 0.01, 0.06)  # true ECE
SIGNALS = {'about 64 % right': 2.0, 'about 89 % right': 4.0, 'about 99 % right': 8.0}
SEEDS = (3, 8)
MACS = unit_costs((10, 20, 30), (10, 22, 34))

Row = dict[str, Any]


class Count:
  """Counts intervals that contain the true value.

  Args:
    name: of the interval.
    population: a description of it.
    images: in a test split.
  """

  def __init__(self, name: str, population: str, images: int | None):
    self.facts: Row = {'interval': name, 'population': population, 'images': images}
    self._seen: list[tuple[float, float, float, float]] = []

  def add(self, interval: Sequence[Any], true: float) -> None:
    """Adds an interval (estimate, low, high), of one number each."""
    estimate, low, high = (float(part) for part in interval)
    self._seen.append((true, estimate, low, high))

  def row(self) -> Row:
    """Returns the coverage, and the means of the true values, estimates and widths."""
    true, estimate, low, high = np.array(self._seen).T
    return self.facts | {
      'repetitions': len(true),
      'coverage': ((low <= true) & (true <= high)).mean(),
      'above': (low > true).mean(),
      'below': (high < true).mean(),
      'true': true.mean(),
      'estimate': estimate.mean(),
      'width': (high - low).mean(),
    }


def of_ece(repetitions: int, sizes: Sequence[int] = SIZES) -> Iterator[Row]:
  """Yields the coverage of the ECE before and after a temperature.

  The temperature is fitted on a validation split of its own in every repetition; the true ECE after
  it is that of the scaled population.
  """
  for shape in ('overconfident', 'too high and too low'):
    for error in ERRORS:
      confidence, right = _population_of_error(shape, error)
      true = _true_ece(confidence, right)
      for images in sizes:
        rng = np.random.default_rng(images)
        counts = [Count(f'ECE {side}', shape, images) for side in ('before', 'after temperature')]
        for _ in range(repetitions):
          logits, labels = _sample(confidence, right, images, rng)
          fitted = calibration.fit(*_sample(confidence, right, VALIDATION_IMAGES, rng))
          scaled = calibration.apply(fitted, logits)
          found = (ece_interval(logits, labels), ece_interval(scaled, labels))
          truths = true, _true_ece(_scaled(confidence, fitted[0]), right)
          for count, interval, value in zip(counts, found, truths, strict=True):
            count.add([part[0] for part in interval], value)
        yield from (count.row() for count in counts)


def of_metrics(repetitions: int, sizes: Sequence[int] = SIZES) -> Iterator[Row]:
  """Yields the coverage of accuracy, NLL, Brier score, AUROC, and differences of two runs."""
  for population, signal in SIGNALS.items():
    whole = population_of_signal(signal, exits=2)
    losses, right = metrics.losses(whole.logits, whole.labels), whole.right()
    errors = metrics.squared_errors(whole.logits, whole.labels)[:, 1]
    means = ('NLL', 'Brier score', 'NLL of two runs')
    values = np.stack([losses[:, 1], errors, losses[:, 1] - losses[:, 0]], axis=1)
    auroc = metrics.auroc(whole.logits[:, 1], whole.labels)
    for images in sizes:
      rng = np.random.default_rng(images)
      names = ('accuracy', 'AUROC', *means, 'accuracy of two runs')
      counts = {name: Count(name, population, images) for name in names}
      for repetition in range(repetitions):
        drawn = rng.integers(IMAGES, size=images)
        of_drawn = right[drawn]
        counts['accuracy'].add(proportion_interval(of_drawn[:, 1]), right[:, 1].mean())
        found = auroc_interval(whole.logits[drawn, 1:], whole.labels[drawn])
        if np.isfinite(found.estimate[0]):  # else the page has no AUROC
          counts['AUROC'].add([part[0] for part in found], auroc)
        # The seed of the resamples differs, so that an unlucky one does not decide.
        found = mean_interval(values[drawn], seed=repetition)
        for k, name in enumerate(means):
          counts[name].add([part[k] for part in found], values[:, k].mean())
        pair = proportion_difference_interval(of_drawn[:, 1], of_drawn[:, 0])
        counts['accuracy of two runs'].add(pair, right[:, 1].mean() - right[:, 0].mean())
      yield from (count.row() for count in counts.values())


def of_policies(repetitions: int, sizes: Sequence[int] = SIZES, choices: int = 20) -> Iterator[Row]:
  """Yields the coverage of the accuracy drop of a chosen policy against the final exit.

  A policy is chosen on `choices` validation splits; the true drop is that of the chosen policy on
  the population, so that the interval also covers a policy that looked too good on validation.
  """
  target = Target(MAX_ACCURACY_DROP, 0.005)
  for population, signal in SIGNALS.items():
    whole = population_of_signal(signal, exits=3)
    right, rng = whole.right(), np.random.default_rng(0)
    counts = [Count('accuracy drop of the chosen policy', population, images) for images in sizes]
    for _ in range(choices):
      drawn = rng.integers(IMAGES, size=VALIDATION_IMAGES)
      validation = Predicted(VALIDATION, whole.logits[drawn], whole.labels[drawn])
      test = Predicted(TEST, validation.logits, validation.labels)  # does not matter here
      policy = choose_policy(validation, test, Costs(MACS), target).chosen.point.policy
      if policy.fixed_exit == whole.exits - 1:
        continue  # the drop is exactly 0, and no interval is drawn
      reached = right[np.arange(IMAGES), policy.leaves_at(whole.logits)]
      for count, images in zip(counts, sizes, strict=True):
        for _ in range(max(1, repetitions // choices)):
          drawn = rng.integers(IMAGES, size=images)
          interval = proportion_difference_interval(right[drawn, -1], reached[drawn])
          count.add(interval, right[:, -1].mean() - reached.mean())
    yield from (count.row() for count in counts)


def of_areas(repetitions: int, sizes: Sequence[int] = SIZES[:2]) -> Iterator[Row]:
  """Yields the coverage of the difference of two runs in area; 10,000 images take too long."""
  population = next(iter(SIGNALS))
  pair = [population_of_signal(SIGNALS[population], exits=3, seed=seed) for seed in (0, 1)]
  ours = Predicted(TEST, np.stack([p.logits for p in pair]).mean(axis=0), pair[0].labels)
  two = (ours, Predicted(TEST, 0.5 * ours.logits + 0.5 * pair[0].logits, ours.labels))
  few = np.random.default_rng(0).integers(IMAGES, size=VALIDATION_IMAGES)

  def rows(drawn: np.ndarray) -> Row:
    runs = [
      ComparedRun(
        *(name, 0, name, {}, ('a', 'b', 'final'), MACS.fixed, MACS.of('margin')),
        Predicted(VALIDATION, whole.logits[few], whole.labels[few]),
        Predicted(TEST, whole.logits[drawn], whole.labels[drawn]),
      )
      for name, whole in zip(('baseline', 'arm'), two, strict=True)
    ]
    return area_rows(runs, curves_of(runs))[1]

  true = rows(np.arange(IMAGES))['difference']
  for images in sizes:
    rng, count = np.random.default_rng(images), Count('area of two runs', population, images)
    for _ in range(repetitions):
      row = rows(rng.integers(IMAGES, size=images))
      count.add([row[f'difference{end}'] for end in ('', '_low', '_high')], true)
    yield count.row()


def of_seeds(repetitions: int) -> Iterator[Row]:
  """Yields the coverage of the paired t interval over seeds, in points of accuracy."""
  for seeds in SEEDS:
    rng, count = np.random.default_rng(seeds), Count('over seeds', f'{seeds} paired seeds', None)
    for _ in range(repetitions):
      theirs = rng.normal(60, 1, seeds)
      found = over_seeds(theirs + rng.normal(0.3, 0.4, seeds), theirs)
      count.add((found.difference, found.difference_low, found.difference_high), 0.3)
    yield count.row()


PARTS: dict[str, Callable[[int], Iterator[Row]]] = {
  'ece': of_ece,
  'metrics': of_metrics,
  'policies': of_policies,
  'areas': of_areas,
  'seeds': of_seeds,
}


@functools.cache
def population_of_signal(signal: float, exits: int, seed: int = 0) -> Predicted:
  """Makes a population whose later exits are more accurate; the larger the signal, the more."""
  rng = np.random.default_rng(seed)
  labels = np.random.default_rng(0).integers(0, 10, IMAGES)
  logits = rng.normal(size=(IMAGES, 1, 10)) + 0.7 * rng.normal(size=(IMAGES, exits, 10))
  clarity = rng.gamma(2, 0.5, (IMAGES, 1)) + 0.3
  logits[np.arange(IMAGES), :, labels] += np.linspace(0.7, 1, exits) * signal * clarity
  return Predicted(TEST, 1.5 * logits, labels)


def _population_of_error(shape: str, error: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns confidence and whether it is right, of a population of about this ECE."""
  rng = np.random.default_rng(0)
  confidence, drawn = 0.25 + 0.75 * rng.beta(1.6, 1, IMAGES), rng.random(IMAGES)
  size = 4 * confidence * (1 - confidence) + 0.05
  gap = -size if shape == 'overconfident' else size * np.sin(4 * np.pi * confidence)
  # Within a bin, the first images by a random number are right: the share is exact.
  bins = metrics.bin_of(confidence)

  def right(scale: float) -> np.ndarray:
    wanted, found = np.clip(confidence + scale * gap, 0, 1), np.zeros(IMAGES, bool)
    for b in range(metrics.BINS):
      inside = np.flatnonzero(bins == b)
      order = inside[np.argsort(drawn[inside] - wanted[inside])]
      found[order[: round(wanted[inside].sum())]] = True
    return found

  low, high = 0.0, 3.0
  for _ in range(30):
    middle = (low + high) / 2
    low, high = (middle, high) if _true_ece(confidence, right(middle)) < error else (low, middle)
  return confidence, right(high)


def _sample(
  confidence: np.ndarray, right: np.ndarray, images: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Returns logits [images, 1, 10] and labels of images with these confidences."""
  drawn = rng.integers(len(right), size=images)
  logits = np.repeat(np.log((1 - confidence[drawn]) / 9)[:, None], 10, axis=1)
  logits[:, 0] = np.log(confidence[drawn])
  return logits[:, None], np.where(right[drawn], 0, 1)


def _scaled(confidence: np.ndarray, temperature: float) -> np.ndarray:
  """Returns the confidences of `_sample` after a temperature."""
  return 1 / (1 + 9 * ((1 - confidence) / (9 * confidence)) ** (1 / temperature))


def _true_ece(confidence: np.ndarray, right: np.ndarray) -> float:
  gap = np.bincount(metrics.bin_of(confidence), right - confidence, metrics.BINS)
  return float(np.abs(gap).sum() / len(right))


def page(table: pd.DataFrame) -> str:
  """Returns docs/coverage.md."""
  shown = [
    {
      'interval': row['interval'],
      'population': row['population'],
      'images': ''.join(_images(row)).removesuffix(' images'),
      'true value': f'{row["true"]:.4f}',
      'mean estimate': f'{row["estimate"]:.4f}',
      'mean width': f'{row["width"]:.4f}',
      'contain it (%)': f'{100 * row["coverage"]:.1f}',
      'too high, too low (%)': f'{100 * row["above"]:.1f}, {100 * row["below"]:.1f}',
    }
    for row in table.to_dict('records')
  ]
  low = [
    ', '.join((row['interval'], row['population'], *_images(row), f'{100 * row["coverage"]:.1f} %'))
    for row in table[table['coverage'] < LOW].to_dict('records')
  ]
  least, most = 100 * table['coverage'].min(), 100 * table['coverage'].max()
  text = [
    '<!-- Written by python -m experiments.coverage. -->',
    '# How often the intervals contain the true value',
    'A 95 % interval should contain the true value in 95 of 100 test splits. Here are simulations'
    ' of every interval that the pages of a run and of a comparison print, with the functions that'
    ' print them. Test splits are drawn from made-up populations whose true values are known:'
    ' `python -m experiments.coverage` ([all digits](coverage.csv)).',
    f'The intervals contain the true value in {least:.1f} to {most:.1f} % of the repetitions, of'
    f' which there are {table["repetitions"].min():,} or more; with 500 repetitions, 95 % is'
    ' measured to about 2 points.'
    + (f' Below {100 * LOW:.0f} %: {"; ".join(low)}.' if low else ''),
    '- **ECE**: the true value is that of the population over the same 15 bins. The interval is'
    ' wider than 95 % needs where it is unknown in which bins the gaps are. The estimate is too'
    ' large where the true ECE is small, but less so than the ECE without correction.\n'
    '- **Accuracy drop of the chosen policy**: the policy is chosen on another validation split in'
    ' each of 20 cases, for `max_accuracy_drop=0.005`.\n'
    '- **Over seeds**: a paired t-test; differences are normally distributed.',
    wording.table(shown),
  ]
  return '\n\n'.join(text) + '\n'


def _images(row: Row) -> list[str]:
  """Returns the number of images in words, or nothing for an interval over seeds."""
  return [] if pd.isna(row['images']) else [f'{int(row["images"]):,} images']


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--repetitions', type=int, default=REPETITIONS)
  parser.add_argument('--docs', type=pathlib.Path, default=pathlib.Path('docs'))
  parser.add_argument('--only', nargs='*', choices=PARTS, default=list(PARTS))
  flags = parser.parse_args(argv)
  rows = []
  for name in flags.only:
    for row in PARTS[name](flags.repetitions):
      print(*(f'{value:.4g}' if isinstance(value, float) else value for value in row.values()))
      rows.append(row)
  table = pd.DataFrame(rows)
  write_text(flags.docs / 'coverage.csv', table.to_csv(index=False, lineterminator='\n'))
  write_text(flags.docs / 'coverage.md', page(table))


if __name__ == '__main__':
  main()
