"""Runs made up for the tests of comparisons."""

import numpy as np

from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.comparison.curves import area_rows, curve_rows, curves_of
from mecl_jax.report.comparison.tables import ComparedRun, arm_rows, difference_rows, run_rows
from tests.evaluation.predictions import make

EXITS = ('stage1', 'stage2', 'final')


def make_run(arm, seed, known=0.0, exits=EXITS, macs=1_000_000, n=120, steps=24, complete=True):
  """A run that knows the more of the labels, the larger `known`; all see the same images."""
  splits = {}
  for name in ('validation', 'test'):
    said = make(name, n=n, exits=len(exits), classes=4)
    noise = np.random.default_rng((seed, len(arm))).normal(size=said.logits.shape)
    better = said.logits + noise + known * np.eye(4)[said.labels][:, None]
    splits[name] = Predicted(name, better, said.labels)
  facts = {'dataset': 'toy', 'backbone': 'resnet8', 'strategy': 'joint', 'steps': steps}
  costs = macs * np.arange(1, len(exits) + 1)
  directory, facts = f'runs/{arm}-{seed}', facts | {'complete': complete}
  return ComparedRun(arm, seed, directory, facts, exits, costs, costs, **splits)


def tables_of(runs):
  """All tables, as a comparison makes them."""
  curves = curves_of(runs)
  return {
    'runs': run_rows(runs),
    'settings': [{'arm': arm, 'settings': ''} for arm in dict.fromkeys(run.arm for run in runs)],
    'arms': arm_rows(runs),
    'differences': difference_rows(runs),
    'curves': curve_rows(curves),
    'areas': area_rows(runs, curves),
  }
