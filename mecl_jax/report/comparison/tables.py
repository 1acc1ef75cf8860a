"""Runs side by side: from their predictions to tables, with differences paired by seed.

Runs that differ in their seeds alone are an arm. The arm of the first run is the baseline, with
which every other arm is compared over the seeds that both have.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.intervals import difference_interval
from mecl_jax.evaluation.paired import Effect, holm, over_images, over_seeds
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.models import FINAL
from mecl_jax.report.cells import Cell
from mecl_jax.report.pages.page import Rows

Row = dict[str, Cell]

METRICS = {'accuracy': metrics.correct, 'nll': metrics.losses}


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedRun:
  """A run as a comparison sees it.

  Attributes:
    arm: that it belongs to.
    seed: of the run; an arm has each once.
    directory: of the run, by which people know it.
    facts: `dataset`, `backbone`, `strategy`, `steps` and `complete`, as in its summary.
    exits: their names, earliest first.
    macs: int [exits], of an exit by itself.
    dynamic_macs: int [exits], of an image that leaves there and was asked at all exits before.
    validation: its predictions; None if it has none, which leaves it without a curve.
    test: its predictions, of the same images in the same order as in every other run.
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
    """Metric -> its value for every test image, float64 [N, exits]."""
    split = self.test
    return {name: of(split.logits, split.labels).astype(float) for name, of in METRICS.items()}

  @functools.cached_property
  def means(self) -> dict[str, dict[str, float]]:
    """Metric -> exit -> mean over the test images."""
    return {
      name: dict(zip(self.exits, values.mean(axis=0).tolist(), strict=True))
      for name, values in self.values.items()
    }


Pairs = list[tuple[ComparedRun, ComparedRun]]  # a run of an arm, and the baseline's of its seed


def by_arm(runs: Sequence[ComparedRun]) -> dict[str, dict[int, ComparedRun]]:
  """Arm -> seed -> run, the baseline first."""
  arms: dict[str, dict[int, ComparedRun]] = {}
  for run in runs:
    arms.setdefault(run.arm, {})[run.seed] = run
  return arms


def paired(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, Pairs]]:
  """Every arm but the baseline with its pairs; none where no seed is in common."""
  (_, baseline), *others = by_arm(runs).items()
  for arm, ours in others:
    yield arm, [(ours[seed], baseline[seed]) for seed in baseline if seed in ours]


def common_exits(ours: ComparedRun, theirs: ComparedRun) -> list[str]:
  """The exits that can be compared: those that have the same name."""
  return [name for name in ours.exits if name in theirs.exits]


def run_rows(runs: Sequence[ComparedRun]) -> Rows:
  """A row per run, with its test accuracy at each exit; None where it has no such exit."""
  names = dict.fromkeys(name for run in runs for name in run.exits)
  exits = sorted(names, key=lambda name: name == FINAL)  # stable: otherwise as they come
  return [
    {'arm': run.arm, 'seed': run.seed, 'directory': run.directory, **run.facts}
    | {f'accuracy:{name}': run.means['accuracy'].get(name) for name in exits}
    for run in runs
  ]


def arm_rows(runs: Sequence[ComparedRun]) -> Rows:
  """A row per arm and exit: means over its seeds, and MACs per image."""
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
  """Mean and standard deviation over seeds; None, if there is one seed."""
  sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return {name: float(np.mean(values)), f'{name}_sd': sd}


def difference_rows(runs: Sequence[ComparedRun]) -> Rows:
  """A row per metric, arm and common exit, if a seed is in common; metrics are families of Holm."""
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
  """Of every common exit: over the seeds, or over the images of the only pair."""
  names = common_exits(*pairs[0])
  if len(pairs) == 1:
    ours, theirs = (run.values[metric][:, [*map(run.exits.index, names)]] for run in pairs[0])
    return dict(zip(names, over_images(difference_interval(ours, theirs)), strict=True))
  means = {name: np.array([[r.means[metric][name] for r in p] for p in pairs]) for name in names}
  return {name: over_seeds(*of_exit.T) for name, of_exit in means.items()}
