"""Many steps where some of the labels are wrong: what is left of a gain then?

On the backbones of `noise`, with its arms but for distillation.
"""

import dataclasses

from experiments.configs import noise
from experiments.paired.study import Study


def get_study() -> Study:
  short = noise.get_study()
  arms = {name: arm for name, arm in short.arms.items() if not name.startswith('distilled')}
  return dataclasses.replace(short, arms=arms, budgets=(10_000,))
