"""The runs of a study, one by one: what each is to do, and which are still to be done."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from ml_collections import ConfigDict
import numpy as np
from scipy.stats import qmc

from experiments.paired.study import Arm, Fields, Space, Study
from mecl_jax import config as config_lib

RUN, TRIAL = 'run', 'trial'

Row = dict[str, Any]
Cell = tuple[str, int]  # a setting and a seed: what shares a backbone


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    setting, arm, budget, seed: what it is of.
    fields: of the arm, tuned ones included.
    trial: number of the point that is tried; None: a run to be compared.
  """

  setting: str
  arm: str
  budget: int
  seed: int
  fields: Fields
  trial: int | None = None

  @property
  def kind(self) -> str:
    return RUN if self.trial is None else TRIAL

  def config(self, study: Study) -> ConfigDict:
    """Of the run, but for the weights of a shared backbone."""
    budget = {f'phases.{study.budget_of}.duration': f'{self.budget} steps'}
    return study.config(self.setting, budget, self.fields, seed=self.seed)

  def digest(self, study: Study) -> str:
    """Of all that makes the run what it is: 16 hex digits, by which its row is found again."""
    shared = study.backbone is not None
    what = (
      *(self.setting, self.arm, self.kind, self.trial),
      config_lib.digest(self.config(study)),
      config_lib.digest(study.backbone_config(self.setting, self.seed)) if shared else '',
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def cells(study: Study, shard: int = 0, shards: int = 1) -> list[Cell]:
  """Settings and seeds, those of one seed after the other: shards take turns."""
  seeds = dict.fromkeys((*study.search_seeds, *study.seeds))
  return [(setting, seed) for seed in seeds for setting in study.settings][shard::shards]


def trials(study: Study, cell: Cell) -> Iterator[Job]:
  """The tries of every arm that is searched, with one seed in one setting."""
  setting, seed = cell
  for name, arm in study.arms.items():
    if arm.space is not None and seed in study.search_seeds:
      for number, point in enumerate(points(arm.space, study.trials)):
        for budget in study.budgets:
          yield Job(setting, name, budget, seed, {**arm.fields, **point}, number)


def runs(study: Study, cell: Cell, rows: Sequence[Row]) -> Iterator[Job | None]:
  """The runs to be compared, with one seed in one setting; None for one that waits for trials.

  Args:
    study: of the runs.
    cell: their setting and seed.
    rows: of the trials that have ended, in any setting.
  """
  setting, seed = cell
  if seed not in study.seeds:
    return
  for name, arm in study.arms.items():
    for budget in study.budgets:
      found = _found(study, arm.like or name, setting, budget, rows)
      fields = None if found is None else {**found, **arm.fields}
      yield None if fields is None else Job(setting, name, budget, seed, fields)


def points(space: Space, count: int) -> list[Fields]:
  """So many points of a space, as a Latin hypercube: as many different values of every number.

  They are the same whenever they are asked for, so that several machines can share a search.

  References:
    McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables", Technometrics 21(2), 1979.
  """
  if not space:
    return [{}] * count
  drawn = qmc.LatinHypercube(len(space), rng=np.random.default_rng(0)).random(count)
  return [
    {name: _at(where, share) for (name, where), share in zip(space.items(), row, strict=True)}
    for row in drawn.tolist()
  ]


def _at(where: tuple[float, float] | list[Any], share: float) -> Any:
  if isinstance(where, list):
    return where[int(share * len(where))]
  low, high = where
  return float(f'{low * (high / low) ** share:.3g}')


def _found(
  study: Study, name: str, setting: str, budget: int, rows: Sequence[Row]
) -> Fields | None:
  """The fields of the best trial; None while not all have ended.

  A trial that failed in one of its runs is no candidate.
  """
  arm: Arm = study.arms[name]
  if arm.space is None:
    return arm.fields
  wanted = {'arm': name, 'setting': setting, 'budget': budget, 'kind': TRIAL}
  mine = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
  if len(mine) < study.trials * len(study.search_seeds):
    return None
  worth: dict[int, list[float]] = {}
  for row in mine:
    worth.setdefault(row['trial'], []).append(-np.inf if row['error'] else early_accuracy(row))
  best = max(worth, key=lambda number: float(np.mean(worth[number])))
  fields = json.loads(next(row['fields'] for row in mine if row['trial'] == best))
  # JSON has no tuples.
  return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def early_accuracy(row: Mapping[str, Any]) -> float:
  """Mean validation accuracy of the early exits, by which trials are judged."""
  early = [v for k, v in row.items() if k.startswith('validation_exit') and v is not None]
  return float(np.mean(early))
