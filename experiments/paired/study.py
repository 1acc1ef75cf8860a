"""What a study compares: arms x budgets x seeds, in one or more settings."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import runpy

from ml_collections import ConfigDict

from experiments.paired.search import Fields, Space, points
from mecl_jax import config as config_lib
from mecl_jax.errors import UserError, choose

BASELINE = 'standard'  # the arm that the others are compared with
# Fields of how heads train; heads that share a backbone may differ in nothing else.
OF_HEADS = ('phases.heads.', 'curriculum.', 'distillation.')


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
    backbone: fields of the plain run whose backbone all arms of a seed share; None: each run
      trains all of its network.
    budget_of: the group of `config.phases` that the budget is for.
    trials: how many points of its space each arm tries, in every setting and at every budget.
    search_seeds: of a trial's runs. On a shared backbone every early exit takes the trial that is
      best for it, without one that which is best on average: by the mean accuracy on validation.
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
    for name, arm in self.arms.items():
      self._check_arm(name, arm)
    for setting in self.settings:
      config_lib.resolve(self.backbone_config(setting, seed=0))
      for arm in self.arms.values():
        space = self.arms[arm.like].space if arm.like else arm.space
        for point in points(space or {}, self.trials if space else 1):
          for budget in self.budgets:
            fields = point, arm.fields, self.of_budget(budget)
            config_lib.resolve(self.config(setting, *fields, seed=0))

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
      if not field.startswith(OF_HEADS):
        raise UserError(f'arm {name} has {field}, in which heads on one backbone cannot differ')
    weights = arm.fields.get('curriculum.sample_weights')
    if weights == 'survivors' and (arm.space is not None or arm.like is not None):
      raise UserError(f'arm {name} cannot be searched by exit: survivors hang on earlier exits')

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

  def backbone_config(self, setting: str, seed: int) -> ConfigDict:
    """Of the run that trains the shared backbone: all data at every step, no early exit."""
    plain = {'strategy': 'joint', 'model.exits': (), 'curriculum.order': 'none'}
    return _but_heads(self.config(setting, plain, self.backbone or {}, seed=seed))

  def network_digest(self, setting: str, seed: int) -> str:
    """Of the shared backbone and the heads on it, whatever the settings of their training."""
    network = _but_heads(self.config(setting, seed=seed))
    return config_lib.digest(network, config_lib.digest(self.backbone_config(setting, seed)))


def _but_heads(config: ConfigDict) -> ConfigDict:
  """With default settings of the phase that trains heads, which the networks do not hang on."""
  config.phases.heads = config_lib.default().phases.heads
  return config


def load(path: pathlib.Path) -> Study:
  """The study that a file's `get_study()` returns.

  Raises:
    UserError: there is no such file, or it describes no study.
  """
  if not path.is_file():
    there = ', '.join(sorted(map(str, pathlib.Path('experiments/configs').glob('*.py'))))
    raise UserError(f'there is no study {path}{there and f"; there are: {there}"}')
  study = runpy.run_path(str(path)).get('get_study', lambda: None)()
  if not isinstance(study, Study):
    raise UserError(f'{path} has no get_study() that returns a Study')
  return study
