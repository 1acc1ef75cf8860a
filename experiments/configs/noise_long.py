"""Label noise and many steps.

Is there still a gain after many steps where some of the labels are wrong? The arms and backbones
are those of the study `noise`, without distillation and at the same learning rate, which is not
searched for so many steps: a gain here may only make up for a rate that is too large.
"""

import dataclasses

from experiments.configs import noise
from experiments.paired.study import Study

PAIRS = [('easy_first', 'random')]


def get_study() -> Study:
  short = noise.get_study()
  arms = {name: arm for name, arm in short.arms.items() if not name.startswith('distilled')}
  return dataclasses.replace(short, arms=arms, budgets=(10_000,))
