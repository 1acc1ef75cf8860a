"""Tables of several runs, with differences paired by seed.

Runs that differ only in their seed form an arm. The arm of the first run is the baseline. Every
other arm is compared with it, over the seeds that both have.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.intervals import (
  Interval,
  difference_interval,
  proportion_difference_interval,
)
from mecl_jax.evaluation.paired import Effect, holm, over_images, over_seeds
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.models import FINAL
from mecl_jax.report.rows import Cell, Row, Rows

METRICS = {'accuracy': metrics.correct, 'nll': metrics.losses}


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedRun:
  """A run in a comparison.

  Attributes:
    arm: name of its arm.
    seed: of the run; unique in its arm.
    directory: the work directory.
    facts: `dataset`, `backbone`, `strategy`, `steps` and `complete`, from summary.json.
    exits: names, earliest first.
    macs: int [exits], of an exit alone.
    dynamic_macs: int [exits], of an image that leaves there and has passed the heads of all
      earlier exits.
    validation: predictions; None if there are none, so that the run has no curve.
    test: predictions, for the same images in the same order as those of all other runs.
  """

  arm: str
  seed: int
  directory: str
  facts: Mapping[str, Cell]
  exits: tuple[str, ...]
  macs: np.ndarray
  dynamic_macs: np.ndarray
  validation: Predicted | None
  test: Predicted

  @functools.cached_property
  def values(self) -> dict[str, np.ndarray]:
    """Returns metric to its value for each test image, float64 [N, exits]."""
    split = self.test
    return {name: of(split.logits, split.labels).astype(float) for name, of in METRICS.items()}

  @functools.cached_property
  def means(self) -> dict[str, dict[str, float]]:
    """Returns metric to exit to the mean over the test images."""
    return {
      name: dict(zip(self.exits, values.mean(axis=0).tolist(), strict=True))
      for name, values in self.values.items()
    }


Pairs = list[tuple[ComparedRun, ComparedRun]]  # a run, and the baseline's run with the same seed


def by_arm(runs: Sequence[ComparedRun]) -> dict[str, dict[int, ComparedRun]]:
  """Returns arm to seed to run, the baseline first."""
  arms: dict[str, dict[int, ComparedRun]] = {}
  for run in runs:
    arms.setdefault(run.arm, {})[run.seed] = run
  return arms


def paired(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, Pairs]]:
  """Yields every arm except the baseline with its pairs; no pairs without a common seed."""
  (_, baseline), *others = by_arm(runs).items()
  for arm, ours in others:
    yield arm, [(ours[seed], baseline[seed]) for seed in baseline if seed in ours]


def common_exits(ours: ComparedRun, theirs: ComparedRun) -> list[str]:
  """Returns the exits that both runs have, by name."""
  return [name for name in ours.exits if name in theirs.exits]


def run_rows(runs: Sequence[ComparedRun]) -> Rows:
  """Returns a row per run, with its test accuracy at each exit; None for exits it does not have."""
  names = dict.fromkeys(name for run in runs for name in run.exits)
  exits = sorted(
    names, key=lambda name: name == FINAL
  )  # the final exit last, the others in order of occurrence
  return [
    {'arm': run.arm, 'seed': run.seed, 'directory': run.directory, **run.facts}
    | {f'accuracy:{name}': run.means['accuracy'].get(name) for name in exits}
    for run in runs
  ]


def arm_rows(runs: Sequence[ComparedRun]) -> Rows:
  """Returns a row per arm and exit: mean and deviation over seeds, and MACs per image."""
  rows: Rows = []
  for arm, of_seed in by_arm(runs).items():
    first = next(iter(of_seed.values()))
    for name, macs in zip(first.exits, first.macs.tolist(), strict=True):
      row: Row = {'arm': arm, 'exit': name, 'seeds': len(of_seed)}
      for metric in METRICS:
        row |= spread(metric, [run.means[metric][name] for run in of_seed.values()])
      rows.append(row | {'macs': macs})
  return rows


def spread(name: str, values: Sequence[float]) -> Row:
  """Returns the mean and the standard deviation over seeds; None for the latter with one seed."""
  sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return {name: float(np.mean(values)), f'{name}_sd': sd}


def difference_rows(runs: Sequence[ComparedRun]) -> Rows:
  """Returns a row per metric, arm and common exit, for arms that share a seed with the baseline.

  All tests of a metric are one family for Holm's correction.
  """
  rows: Rows = []
  for metric in METRICS:
    effects = {
      (arm, name): effect
      for arm, pairs in paired(runs)
      if pairs
      for name, effect in _effects(metric, pairs).items()
    }
    corrected = holm([effect.p for effect in effects.values()])
    rows += [
      {'arm': arm, 'exit': name, 'metric': metric, **effect._asdict(), 'p_holm': p_holm}
      for ((arm, name), effect), p_holm in zip(effects.items(), corrected, strict=True)
    ]
  return rows


def _effects(metric: str, pairs: Pairs) -> dict[str, Effect]:
  """Returns the effect at each common exit: over seeds, or over images if there is one pair."""
  names = common_exits(*pairs[0])
  if len(pairs) == 1:
    interval = _over_images(metric, *pairs[0], names)
    return dict(zip(names, over_images(interval), strict=True))
  means = {name: np.array([[r.means[metric][name] for r in p] for p in pairs]) for name in names}
  return {name: over_seeds(*of_exit.T) for name, of_exit in means.items()}


def _over_images(
  metric: str, ours: ComparedRun, theirs: ComparedRun, names: Sequence[str]
) -> Interval:
  """Returns the interval of a difference at each exit, of zero width where both predict the same.

  Two runs with a shared backbone have one final exit, and its difference is exactly zero.
  """

  def of_both(name: str) -> list[np.ndarray]:
    return [run.values[name][:, [*map(run.exits.index, names)]] for run in (ours, theirs)]

  values = of_both(metric)
  if metric != 'accuracy':
    return difference_interval(*values)
  interval = proportion_difference_interval(*(right.astype(bool) for right in values))
  same = np.equal(*of_both('nll')).all(axis=0)
  return Interval(*(np.where(same, 0.0, part) for part in interval))
