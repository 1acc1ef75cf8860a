"""The jobs of a study: one per run, with its fields and its configuration."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from ml_collections import ConfigDict

from experiments.paired.search import ALL_EXITS, Fields, best_trials, points
from experiments.paired.study import Arm, Study, backbone_digest
from experiments.paired.table import RUN, TRIAL, Row
from mecl_jax import config as config_lib

RATE = 'phases.heads.learning_rate'
Cell = tuple[str, int]  # a setting and a seed, whose runs share a backbone


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    setting, arm, budget, seed: names and numbers of the study.
    fields: of the arm, including tuned ones. If a search chose separately for every early exit,
      'exit1', 'exit2', .. are mappings of the fields that it chose.
    trial: number of the point that is tried; None for a run of the comparison.
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
    """Returns the configuration of the run, or one for each early exit.

    The weights of a shared backbone are not in it.
    """
    budget = study.of_budget(self.budget)
    own = [value for value in self.fields.values() if isinstance(value, Mapping)]
    common = {name: v for name, v in self.fields.items() if not isinstance(v, Mapping)}
    if own and all(set(point) == {RATE} for point in own):  # one training has a rate for each exit
      own = [{RATE: tuple(point[RATE] for point in own)}]
    return [
      study.config(self.setting, point, common, budget, seed=self.seed) for point in own or [{}]
    ]

  def digest(self, study: Study) -> str:
    """Returns 16 hex digits that identify the run and name the file of its row."""
    shared = study.backbone is not None
    what = (
      *(self.setting, self.arm, self.kind, self.trial),
      *map(config_lib.digest, self.configs(study)),
      backbone_digest(study.backbone_config(self.setting, self.seed)) if shared else '',
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def cells(study: Study, shard: int = 0, shards: int = 1) -> list[Cell]:
  """Returns settings and seeds, seed by seed, of which every `shards`-th network is this shard's.

  Cells that begin with the same network stay together.
  """
  of_network: dict[str, list[Cell]] = {}
  for seed in dict.fromkeys((*study.search_seeds, *study.seeds)):
    for setting in study.settings:
      cell = setting, seed
      of_network.setdefault(study.network_digest(*cell), []).append(cell)
  return [cell for cells in [*of_network.values()][shard::shards] for cell in cells]


def trials(study: Study, cell: Cell) -> Iterator[Job]:
  """Yields the trials of all searched arms, with one seed in one setting."""
  setting, seed = cell
  for name, arm in study.arms.items():
    if arm.space is not None and seed in study.search_seeds:
      for number, point in enumerate(points(arm.space, study.trials)):
        for budget in study.budgets:
          yield Job(setting, name, budget, seed, {**arm.fields, **point}, number)


def runs(study: Study, cell: Cell, rows: Sequence[Row]) -> Iterator[Job | None]:
  """Yields the runs of the comparison, with one seed in one setting.

  Args:
    study: of the runs.
    cell: their setting and seed.
    rows: the trials of the study that have ended, in any setting.

  Yields:
    a job, or None for a run that waits for trials.
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
  """Returns the fields of the best trial, or by 'exit1', .. those of the best for each exit.

  None while trials are missing, or if all of them failed.
  """
  arm: Arm = study.arms[name]
  if arm.space is None:
    return {}
  wanted = {'arm': name, 'setting': setting, 'budget': budget, 'kind': TRIAL}
  mine = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
  if len(mine) < len(points(arm.space, study.trials)) * len(study.search_seeds):
    return None
  fields = {row['trial']: _fields(row) for row in mine}
  best = {judge: fields[trial] for judge, trial in best_trials(mine).items()}
  return best.get(ALL_EXITS, best) if best else None


def _below(found: Fields, fields: Fields) -> Fields:
  """Returns the fields that a search found, without those that the arm itself sets."""
  return {
    name: _below(value, fields) if isinstance(value, Mapping) else value
    for name, value in found.items()
    if name not in fields
  }


def _fields(row: Row) -> Fields:
  """Returns the fields of a row, with the tuples that JSON does not have."""
  found = json.loads(row['fields'])
  return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
