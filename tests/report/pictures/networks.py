"""Made-up networks for the tests of their picture."""

import numpy as np

from mecl_jax.models.macs import ExitCost, StageCost


def chain(groups):
  """Returns stages from (name, blocks, side, channels, MACs of a block)."""
  return [
    StageCost(name if blocks == 1 else f'{name}_block{k + 1}', (side, side, channels), macs, 100)
    for name, blocks, side, channels, macs in groups
    for k in range(blocks)
  ]


def exits_at(stages, indices, head='conv'):
  """Returns an exit at each of these stages, named like its stage, and the final exit."""
  total = np.cumsum([stage.macs for stage in stages])
  early = [
    ExitCost(stages[k].name, stages[k].name, head, int(total[k]) + 9, 10, 9, 3) for k in indices
  ]
  return [*early, ExitCost('final', stages[-1].name, 'linear', int(total[-1]) + 5, 999, 5, 3)]


SMALL = chain(
  [('stem', 1, 28, 16, 10**5), ('stage1', 3, 28, 16, 10**6), ('stage2', 3, 14, 32, 10**6)]
)


DENSE = chain(
  [
    ('stem', 1, 112, 64, 10**8),
    ('stage1', 20, 112, 96, 10**8),
    ('transition1', 1, 56, 128, 10**6),
    ('stage2', 30, 56, 1024, 10**7),
    ('transition2', 1, 28, 128, 10**6),
    ('stage3', 66, 7, 1920, 10**7),
    ('norm', 1, 7, 1920, 0),
  ]
)


VIT = chain(
  [('stem', 1, 14, 768, 10**8), *((f'block{k}', 1, 14, 768, 10**9) for k in range(1, 13))]
)


NAMES = chain([('a$b$' * 9, 2, 8, 4, 10), ('_', 2, 4, 8, 0), ('x' * 40, 2, 1, 8, 10)])


NETWORKS = {
  'small': (SMALL, exits_at(SMALL, [3])),
  'two rows': (DENSE, exits_at(DENSE, range(9, 119, 10))),
  'crowded at the start': (DENSE, exits_at(DENSE, range(1, 12))),
  'crowded at the end': (DENSE, exits_at(DENSE, range(108, 119))),
  'one size': (VIT, exits_at(VIT, [3, 6, 9])),
  'every stage': (VIT, exits_at(VIT, range(12), head='mixed_pool')),
  'names': (NAMES, exits_at(NAMES, [0, 1, 2])),
  'only final': (SMALL[:1], exits_at(SMALL[:1], [])),
}
