"""Studies: arms x budgets x seeds, in one or more settings."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import math
import pathlib
import runpy
from typing import Any

from ml_collections import ConfigDict

from experiments.paired.search import Fields, Space, is_rate, points
from mecl_jax import config as config_lib
from mecl_jax.commands.resolve import resolve
from mecl_jax.errors import UserError, choose
from mecl_jax.training.strategies import dependence

BASELINE = 'standard'  # the arm that the others are compared with
Pairs = Sequence[tuple[str, str]]  # an arm, and another that it is compared with
# The strategy of runs on a shared backbone, by the phase that the budget is for.
ON_BACKBONE = {'heads': 'classifier_wise', 'joint': 'mixed'}


@dataclasses.dataclass(frozen=True)
class Arm:
  """One way of training.

  Attributes:
    fields: of the configuration.
    space: values of the fields to search before the arm runs; None for no search. All searched arms
      have the same learning rates.
    like: the searched arm whose values this one takes; its own `fields` have priority.
  """

  fields: Fields = dataclasses.field(default_factory=dict)
  space: Space | None = None
  like: str | None = None


@dataclasses.dataclass(frozen=True)
class Study:
  """A study, as a file in `experiments/configs/` describes it.

  Attributes:
    common: fields of every run.
    settings: name -> fields. A setting is a data set, a backbone with its exits, and label noise.
    arms: name -> arm; one of them is the baseline, 'standard'.
    budgets: optimiser steps of the phase `budget_of`; a mapping adds fields for each budget.
    seeds: of the runs, the same in every arm.
    backbone: fields, besides `common` and the setting, of the plain run whose backbone all arms of
      a seed share. Heads train on the frozen backbone (`classifier_wise`), or whole networks begin
      with it (`mixed`, with a budget of `joint`). None: every run trains its whole network.
    budget_of: the group of `config.phases` that the budget is for.
    trials: the most points that a searched arm tries, in every setting and at every budget: a
      multiple of the number of learning rates; None for all combinations of its values.
    search_seeds: of the runs of a trial, none of them in `seeds`. With heads on a shared backbone
      every early exit takes the trial with its best mean validation accuracy; whole networks take
      the best on average.
  """

  common: Fields
  settings: Mapping[str, Fields]
  arms: Mapping[str, Arm]
  budgets: Sequence[int] | Mapping[int, Fields]
  seeds: Sequence[int]
  backbone: Fields | None = None
  budget_of: str = 'heads'
  trials: int | None = None
  search_seeds: Sequence[int] = ()

  def __post_init__(self):
    choose('the baseline', BASELINE, self.arms)
    if len(set(self.search_seeds)) < len(self.search_seeds):
      raise UserError(f'search_seeds are {tuple(self.search_seeds)}; they must differ')
    if both := sorted(set(self.search_seeds) & set(self.seeds)):
      raise UserError(
        f'search_seeds and seeds both have {both[0]}; values must be chosen with other seeds than'
        ' those compared'
      )
    if self.backbone is not None:
      choose('budget_of, on a shared backbone,', self.budget_of, ON_BACKBONE)
    for name, arm in self.arms.items():
      self._check_arm(name, arm)
    self._check_rates()
    for setting in self.settings:
      for name, arm in self.arms.items():
        for config in map(resolve, self._configs(setting, arm)):
          if self.backbone is not None:
            self._check_on_backbone(f'arm {name} of {setting}', arm, config)
    if self.backbone is not None:
      self._check_backbones()

  def _check_rates(self) -> None:
    """Raises UserError if searched arms do not share their learning rates."""
    first: dict[str, tuple[str, list]] = {}
    for name, arm in self.arms.items():
      rates = {field: [*values] for field, values in (arm.space or {}).items() if is_rate(field)}
      for field, values in rates.items():
        other, shared = first.setdefault(field, (name, values))
        if values != shared:
          raise UserError(
            f'arms {other} and {name} search different values of {field}; give both the same'
          )
      number = math.prod(map(len, rates.values()))
      if self.trials is not None and arm.space and (self.trials < 1 or self.trials % number):
        raise UserError(
          f'trials is {self.trials}; it must be a multiple of the {number} learning rates of {name}'
        )

  def _check_arm(self, name: str, arm: Arm) -> None:
    """Raises UserError for an arm that cannot be run or cannot be compared."""
    if arm.like is not None:
      choose(f'arm {name} is like', arm.like, [n for n, a in self.arms.items() if a.space])
    if arm.space is not None and not self.search_seeds:
      raise UserError(f'arm {name} has a space; set search_seeds of the study')
    if arm.space is not None and arm.like is not None:
      raise UserError(f'arm {name} has both space and like={arm.like}; set only one of them')
    space = arm.space or {}
    if empty := [field for field, values in space.items() if not len(values)]:
      raise UserError(f'arm {name} has no values of {empty[0]} in its space; give a list of values')
    if twice := [field for field in space if field in arm.fields]:
      raise UserError(
        f'arm {name} has {twice[0]} in its fields and in its space; remove one of them'
      )
    of_budgets = {field for budget in self.budgets for field in self.of_budget(budget)}
    if taken := [field for field in (*arm.fields, *space) if field in of_budgets]:
      raise UserError(f'arm {name} has {taken[0]}, which the budgets set; remove it')
    if self.backbone is None:
      return
    for field in (*arm.fields, *space):
      if not field.startswith(self._of_training()):
        raise UserError(
          f'arm {name} has {field}; on a shared backbone arms may differ only in fields of'
          f' {", ".join(self._of_training())}'
        )

  def _check_on_backbone(self, whose: str, arm: Arm, config: ConfigDict) -> None:
    """Raises UserError for a resolved configuration that a shared backbone does not allow."""
    if config.strategy != (strategy := ON_BACKBONE[self.budget_of]):
      raise UserError(
        f'{whose} has strategy={config.strategy}; on a shared backbone, with a budget of'
        f' {self.budget_of}, it must be {strategy}'
      )
    if self.trains_heads:
      _check_heads(whose, config, by_exit=arm.space is not None or arm.like is not None)

  def _check_backbones(self) -> None:
    """Raises UserError for a backbone that cannot be trained, or that two data sets would share.

    Digests do not contain the place of the data, which may move.
    """
    trained: dict[str, tuple[str, ConfigDict]] = {}
    for setting in self.settings:
      config = resolve(self.backbone_config(setting, seed=0))
      first, its = trained.setdefault(backbone_digest(config), (setting, config))
      if any(its.data[field] != config.data[field] for field in ('arrays', 'data_dir')):
        raise UserError(
          f'{first!r} and {setting!r} would share a backbone but read different data; give them'
          ' different data.names'
        )

  def _configs(self, setting: str, arm: Arm) -> Iterator[ConfigDict]:
    """Yields configurations of an arm in a setting: those of all points, and of all budgets.

    Only the first point has all budgets: to check a large grid at each of them takes long.
    """
    space = self.arms[arm.like].space if arm.like else arm.space
    for number, point in enumerate(points(space or {}, self.trials)):
      for budget in [*self.budgets][: 1 if number else None]:
        yield self.config(setting, point, arm.fields, self.of_budget(budget), seed=0)

  def config(self, setting: str, *more: Fields, seed: int) -> ConfigDict:
    """Returns the configuration of a run: `common`, then the setting, then `more`."""
    config = config_lib.default()
    try:
      for fields in (self.common, self.settings[setting], *more):
        config.update_from_flattened_dict(dict(fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      raise UserError(f'the study has an invalid field or value: {error}') from None
    config.seed = seed
    return config

  def of_budget(self, budget: int) -> Fields:
    """Returns the fields of all runs of a budget: its steps, and those that the study adds."""
    more = self.budgets[budget] if isinstance(self.budgets, Mapping) else {}
    return {**more, f'phases.{self.budget_of}.duration': f'{budget} steps'}

  @property
  def trains_heads(self) -> bool:
    """Whether only heads train, on a shared backbone."""
    return self.backbone is not None and self.budget_of == 'heads'

  def backbone_config(self, setting: str, seed: int) -> ConfigDict:
    """Returns the configuration that trains the shared backbone: no early exit, no curriculum.

    Fields of the training of heads do not change it.
    """
    plain = {'strategy': 'joint', 'model.exits': (), 'curriculum.order': 'none'}
    return self.config(setting, self._untrained() | plain, self.backbone or {}, seed=seed)

  def network_digest(self, setting: str, seed: int) -> str:
    """Returns a digest of the network that a run begins with: shared backbone and heads.

    Without a shared backbone it names the setting and the seed.
    """
    if self.backbone is None:
      return f'{setting}, seed {seed}'
    network = self.config(setting, self._untrained(), seed=seed)
    return config_lib.digest(network, backbone_digest(self.backbone_config(setting, seed)))

  def _of_training(self) -> tuple[str, ...]:
    """Returns the prefixes of the fields that may differ between runs on one backbone."""
    copies = ('augment.copies',) if self.trains_heads else ()
    return f'phases.{self.budget_of}.', 'curriculum.', 'distillation.', *copies

  def _untrained(self) -> dict[str, Any]:
    """Returns the defaults of the fields that may differ between runs on one backbone."""
    fields = config_lib.flatten(config_lib.default())
    return {name: value for name, value in fields if name.startswith(self._of_training())}


def backbone_digest(config: ConfigDict) -> str:
  """Returns a digest of the run that trains a backbone, which also differs by the label file."""
  labels = config.data.train_labels  # a path, which is not part of a run's own digest
  return config_lib.digest(config, *([labels] if labels else []))


def _check_heads(whose: str, config: ConfigDict, *, by_exit: bool) -> None:
  """Raises UserError for a configuration that heads on a shared backbone do not allow.

  Args:
    whose: name of the configuration in messages.
    config: resolved, `classifier_wise`.
    by_exit: whether every exit takes the best values of a search of its own.
  """
  if not config.cache_features:
    raise UserError(
      f'{whose} has cache_features=False; heads on a shared backbone need cache_features=True'
    )
  if by_exit and (reason := dependence(config)):
    raise UserError(f'{whose} cannot be searched per exit: {reason}')


def studies(root: pathlib.Path = pathlib.Path()) -> list[pathlib.Path]:
  """Returns the files of all studies, below the root of the repository."""
  files = (root / 'experiments' / 'configs').glob('*.py')
  return sorted(path for path in files if path.stem not in ('__init__', 'common'))


def load(path: pathlib.Path) -> Study:
  """Returns the study of a file, from its `get_study()`.

  Raises:
    UserError: there is no such file, or it does not describe a study.
  """
  if not path.is_file():
    there = ', '.join(map(str, studies()))
    raise UserError(f'there is no study {path}{there and f"; valid: {there}"}')
  study = runpy.run_path(str(path)).get('get_study', lambda: None)()
  if not isinstance(study, Study):
    raise UserError(f'{path} has no get_study() that returns a Study')
  return study


def load_pairs(path: pathlib.Path, study: Study) -> Pairs:
  """Returns the pairs of arms that a study's file compares: its `PAIRS`.

  Raises:
    UserError: the study has no such arm.
  """
  pairs = runpy.run_path(str(path)).get('PAIRS', ())
  for arm in itertools.chain(*pairs):
    choose(f'an arm of PAIRS in {path}', arm, study.arms)
  return pairs
