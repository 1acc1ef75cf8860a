"""A tiny study whose runs take a second."""

from experiments.paired.study import Arm, Study
from mecl_jax.config import flatten
from tests.toys import make_config


def make_study(toy_file, **changes):
  common = dict(flatten(make_config(toy_file))) | {
    'data.name': 'digits',  # the name in the table
    'model.head': 'mixed_pool',
    'model.exits': ('stage1', 'stage2'),
    'steps_per_dispatch': 50,
  }
  settings = {
    'common': common,
    'settings': {'toy network': {}},
    'arms': {
      'standard': Arm({'curriculum.order': 'none'}),
      'easy_first': Arm({'curriculum.order': 'easy_first'}),
    },
    'budgets': (4, 7),
    'seeds': (0,),
    'backbone': {'phases.joint.duration': '5 steps'},
  }
  return Study(**settings | changes)
