"""What a study compares: arms x budgets x seeds, in one or more settings."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import pathlib
import runpy
from typing import Any

from ml_collections import ConfigDict

from experiments.paired.search import Fields, Space, points
from mecl_jax import config as config_lib
from mecl_jax.commands.configuration import resolve
from mecl_jax.errors import UserError, choose
from mecl_jax.models.placement import split_head
from mecl_jax.models.registry import CASCADE

BASELINE = 'standard'  # the arm that the others are compared with
# What trains on a shared backbone, by the phase that the budget is for, and the strategy of that.
ON_BACKBONE = {'heads': 'classifier_wise', 'joint': 'mixed'}


@dataclasses.dataclass(frozen=True)
class Arm:
  """One way of training.

  Attributes:
    fields: of the configuration.
    space: what is searched before the arm runs; None: it runs as it is.
    like: the arm whose found values this one takes instead, before its own `fields`.
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
    budgets: optimiser steps of the phase `budget_of`; or these with fields of all their runs.
    seeds: of the runs, the same in every arm.
    backbone: fields of the plain run whose backbone all arms of a seed share, beside `common` and
      the setting: heads learn on it as it is (`classifier_wise`), or whole networks begin with it
      (`mixed`, the budget being of `joint`); None: each run trains all of its network.
    budget_of: the group of `config.phases` that the budget is for.
    trials: how many points of its space each arm tries, in every setting and at every budget.
    search_seeds: of a trial's runs. Of heads on a shared backbone every early exit takes the trial
      that is best for it, of whole networks all take that which is best on average: by the mean
      accuracy on validation.
  """

  common: Fields
  settings: Mapping[str, Fields]
  arms: Mapping[str, Arm]
  budgets: Sequence[int] | Mapping[int, Fields]
  seeds: Sequence[int]
  backbone: Fields | None = None
  budget_of: str = 'heads'
  trials: int = 0
  search_seeds: Sequence[int] = ()

  def __post_init__(self):
    choose('the baseline', BASELINE, self.arms)
    if len(set(self.search_seeds)) < len(self.search_seeds):
      raise UserError(f'search_seeds are {tuple(self.search_seeds)}; name each of them once')
    if self.backbone is not None:
      choose('budget_of, on a shared backbone,', self.budget_of, ON_BACKBONE)
    for name, arm in self.arms.items():
      self._check_arm(name, arm)
    for setting in self.settings:
      for name, arm in self.arms.items():
        for config in map(resolve, self._configs(setting, arm)):
          if self.backbone is not None:
            self._check_on_backbone(f'arm {name} of {setting}', arm, config)
    if self.backbone is not None:
      self._check_backbones()

  def _check_arm(self, name: str, arm: Arm) -> None:
    """Raises UserError for an arm that cannot be run, or not beside the others."""
    if arm.like is not None:
      choose(f'arm {name} is like', arm.like, [n for n, a in self.arms.items() if a.space])
    if arm.space is not None and not (self.trials and self.search_seeds):
      raise UserError(f'arm {name} has a space: the study needs trials and search_seeds')
    if arm.space is not None and arm.like is not None:
      raise UserError(f'arm {name} has a space and is like {arm.like}; leave one of them out')
    space = arm.space or {}
    if twice := [field for field in space if field in arm.fields]:
      raise UserError(f'arm {name} has {twice[0]} in its fields and in its space; choose one')
    of_budgets = {field for budget in self.budgets for field in self.of_budget(budget)}
    if taken := [field for field in (*arm.fields, *space) if field in of_budgets]:
      raise UserError(f'arm {name} has {taken[0]}, which is a matter of the budget')
    if self.backbone is None:
      return
    for field in (*arm.fields, *space):
      if not field.startswith(self._of_training()):
        raise UserError(f'arm {name} has {field}, in which arms on one backbone cannot differ')

  def _check_on_backbone(self, whose: str, arm: Arm, config: ConfigDict) -> None:
    """Raises UserError for a resolved configuration that cannot be had on a shared backbone."""
    if config.strategy != (strategy := ON_BACKBONE[self.budget_of]):
      raise UserError(
        f'{whose} has strategy={config.strategy}; on a shared backbone, with a budget of'
        f' {self.budget_of}, it must be {strategy}'
      )
    if self.trains_heads:
      _check_heads(whose, config, by_exit=arm.space is not None or arm.like is not None)

  def _check_backbones(self) -> None:
    """Raises UserError for a backbone that cannot be trained, or that other data would share.

    A digest leaves out where the data lie, as they may move.
    """
    trained: dict[str, tuple[str, ConfigDict]] = {}
    for setting in self.settings:
      config = resolve(self.backbone_config(setting, seed=0))
      first, its = trained.setdefault(config_lib.digest(config), (setting, config))
      if any(its.data[field] != config.data[field] for field in ('arrays', 'data_dir')):
        raise UserError(
          f'{first!r} and {setting!r} would share a backbone, but have their data from different'
          ' places; give them different data.names'
        )

  def _configs(self, setting: str, arm: Arm) -> Iterator[ConfigDict]:
    """Of an arm's runs in a setting: at every budget, with every point that is tried for it."""
    space = self.arms[arm.like].space if arm.like else arm.space
    for point in points(space or {}, self.trials if space else 1):
      for budget in self.budgets:
        yield self.config(setting, point, arm.fields, self.of_budget(budget), seed=0)

  def config(self, setting: str, *more: Fields, seed: int) -> ConfigDict:
    """The configuration of a run: what is common, then the setting, then `more`."""
    config = config_lib.default()
    try:
      for fields in (self.common, self.settings[setting], *more):
        config.update_from_flattened_dict(dict(fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      raise UserError(f'the study has a field or value that does not fit: {error}') from None
    config.seed = seed
    return config

  def of_budget(self, budget: int) -> Fields:
    """The fields of all runs of a budget: its steps, and whatever else the study says of it."""
    more = self.budgets[budget] if isinstance(self.budgets, Mapping) else {}
    return {**more, f'phases.{self.budget_of}.duration': f'{budget} steps'}

  @property
  def trains_heads(self) -> bool:
    """Whether nothing but heads trains, on a shared backbone."""
    return self.backbone is not None and self.budget_of == 'heads'

  def backbone_config(self, setting: str, seed: int) -> ConfigDict:
    """Of the run that trains the shared backbone: all data at every step, no early exit.

    How the runs of the study train, as settings may say it for them, is no matter of it.
    """
    plain = {'strategy': 'joint', 'model.exits': (), 'curriculum.order': 'none'}
    return self.config(setting, self._untrained() | plain, self.backbone or {}, seed=seed)

  def network_digest(self, setting: str, seed: int) -> str:
    """Of what a run begins with: the shared backbone and the heads, whatever their training.

    Without a shared backbone it is of setting and seed.
    """
    if self.backbone is None:
      return f'{setting}, seed {seed}'
    network = self.config(setting, self._untrained(), seed=seed)
    return config_lib.digest(network, config_lib.digest(self.backbone_config(setting, seed)))

  def _of_training(self) -> tuple[str, ...]:
    """How the names of fields begin in which runs on one backbone may differ."""
    return f'phases.{self.budget_of}.', 'curriculum.', 'distillation.'

  def _untrained(self) -> dict[str, Any]:
    """The defaults of how runs train, in place of what a study says of it."""
    fields = config_lib.flatten(config_lib.default())
    return {name: value for name, value in fields if name.startswith(self._of_training())}


def _check_heads(whose: str, config: ConfigDict, *, by_exit: bool) -> None:
  """Raises UserError for what heads on a shared backbone cannot do.

  Args:
    whose: the configuration is, for the message.
    config: resolved, `classifier_wise`.
    by_exit: whether every exit takes what is best for it, from a training of its own.
  """
  if not config.cache_features:
    raise UserError(
      f'{whose} has cache_features=False; on a shared backbone features are always computed once'
    )
  if by_exit and config.curriculum.sample_weights == 'survivors':
    raise UserError(f'{whose} cannot be searched by exit: survivors hang on earlier exits')
  heads = [head or config.model.head for _, head in map(split_head, config.model.exits)]
  if by_exit and (cascades := [head for head in heads if head.startswith(CASCADE)]):
    raise UserError(
      f'{whose} cannot be searched by exit: {cascades[0]} sees what the exit before says'
    )


def studies(root: pathlib.Path = pathlib.Path()) -> list[pathlib.Path]:
  """The files of all studies, below the root of the repository."""
  files = (root / 'experiments' / 'configs').glob('*.py')
  return sorted(path for path in files if path.stem not in ('__init__', 'common'))


def load(path: pathlib.Path) -> Study:
  """The study that a file's `get_study()` returns.

  Raises:
    UserError: there is no such file, or it describes no study.
  """
  if not path.is_file():
    there = ', '.join(map(str, studies()))
    raise UserError(f'there is no study {path}{there and f"; there are: {there}"}')
  study = runpy.run_path(str(path)).get('get_study', lambda: None)()
  if not isinstance(study, Study):
    raise UserError(f'{path} has no get_study() that returns a Study')
  return study
