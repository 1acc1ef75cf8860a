"""The runs of a study, one by one: what each is to do, and which are still to be done."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from ml_collections import ConfigDict

from experiments.paired.search import ALL_EXITS, Fields, best_trials, points
from experiments.paired.study import Arm, Study
from experiments.paired.table import RUN, TRIAL, Row
from mecl_jax import config as config_lib

Cell = tuple[str, int]  # a setting and a seed: what shares a backbone


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    setting, arm, budget, seed: what it is of.
    fields: of the arm, tuned ones included. Where a search chose for every early exit by itself,
      'exit1', 'exit2', .. are what it chose, each a mapping of more fields.
    trial: number of the point that is tried; None: a run to be compared.
  """

  setting: str
  arm: str
  budget: int
  seed: int
  fields: Mapping[str, Any]
  trial: int | None = None

  @property
  def kind(self) -> str:
    return RUN if self.trial is None else TRIAL

  def configs(self, study: Study) -> list[ConfigDict]:
    """Of the run, but for the weights of a shared backbone: one, or one for each early exit."""
    budget = study.of_budget(self.budget)
    own = [value for value in self.fields.values() if isinstance(value, Mapping)]
    common = {name: v for name, v in self.fields.items() if not isinstance(v, Mapping)}
    return [
      study.config(self.setting, point, common, budget, seed=self.seed) for point in own or [{}]
    ]

  def digest(self, study: Study) -> str:
    """Of all that makes the run what it is: 16 hex digits, by which its row is found again."""
    shared = study.backbone is not None
    what = (
      *(self.setting, self.arm, self.kind, self.trial),
      *map(config_lib.digest, self.configs(study)),
      config_lib.digest(study.backbone_config(self.setting, self.seed)) if shared else '',
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def cells(study: Study, shard: int = 0, shards: int = 1) -> list[Cell]:
  """Settings and seeds, those of one seed after the other: shards take turns.

  Cells that begin with the same network stay together.
  """
  of_network: dict[str, list[Cell]] = {}
  for seed in dict.fromkeys((*study.search_seeds, *study.seeds)):
    for setting in study.settings:
      cell = setting, seed
      of_network.setdefault(study.network_digest(*cell), []).append(cell)
  return [cell for cells in [*of_network.values()][shard::shards] for cell in cells]


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
    rows: of the study's trials that have ended, in any setting.
  """
  setting, seed = cell
  if seed not in study.seeds:
    return
  for name, arm in study.arms.items():
    for budget in study.budgets:
      found = _found(study, arm.like or name, setting, budget, rows)
      fields = None if found is None else {**arm.fields, **_below(found, arm.fields)}
      yield None if fields is None else Job(setting, name, budget, seed, fields)


def _found(
  study: Study, name: str, setting: str, budget: int, rows: Sequence[Row]
) -> Fields | None:
  """The fields of the best trial, or of every exit's best one, 'exit1' and so on.

  None while not all trials have ended, or no one well.
  """
  arm: Arm = study.arms[name]
  if arm.space is None:
    return {}
  wanted = {'arm': name, 'setting': setting, 'budget': budget, 'kind': TRIAL}
  mine = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
  if len(mine) < study.trials * len(study.search_seeds):
    return None
  fields = {row['trial']: _fields(row) for row in mine}
  best = {judge: fields[trial] for judge, trial in best_trials(mine).items()}
  return best.get(ALL_EXITS, best) if best else None


def _below(found: Fields, fields: Fields) -> Fields:
  """What was found, for all exits or for each, less what an arm's own fields say."""
  return {
    name: _below(value, fields) if isinstance(value, Mapping) else value
    for name, value in found.items()
    if name not in fields
  }


def _fields(row: Row) -> Fields:
  """JSON has no tuples."""
  found = json.loads(row['fields'])
  return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
