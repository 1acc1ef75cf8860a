"""Made-up runs for the tests of comparisons, and what the tests read from tables."""

import numpy as np

from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.comparison.curves import area_rows, curve_rows, curves_of
from mecl_jax.report.comparison.tables import ComparedRun, arm_rows, difference_rows, run_rows
from tests.evaluation.predictions import make

EXITS = ('stage1', 'stage2', 'final')


def make_run(arm, seed, known=0.0, exits=EXITS, macs=1_000_000, n=120, steps=24, complete=True):
  """Returns a run whose accuracy grows with `known`; all runs have the same images."""
  splits = {}
  for name in ('validation', 'test'):
    made = make(name, n=n, exits=len(exits), classes=4)
    noise = np.random.default_rng((seed, len(arm))).normal(size=made.logits.shape)
    better = made.logits + noise + known * np.eye(4)[made.labels][:, None]
    splits[name] = Predicted(name, better, made.labels)
  facts = {'dataset': 'toy', 'backbone': 'resnet8', 'strategy': 'joint', 'steps': steps}
  costs = macs * np.arange(1, len(exits) + 1)
  directory, facts = f'runs/{arm}-{seed}', facts | {'complete': complete}
  return ComparedRun(arm, seed, directory, facts, exits, costs, costs, **splits)


def tables_of(runs):
  """Returns all tables of a comparison."""
  curves = curves_of(runs)
  return {
    'runs': run_rows(runs),
    'settings': [{'arm': arm, 'settings': ''} for arm in dict.fromkeys(run.arm for run in runs)],
    'arms': arm_rows(runs),
    'differences': difference_rows(runs),
    'curves': curve_rows(curves),
    'areas': area_rows(runs, curves),
  }


def seeds_of_three_arms():
  """Returns a baseline of 4 seeds, an arm with 3 of them and another seed, and an arm with 1."""
  plain = [make_run('plain', seed) for seed in range(4)]
  better = [make_run('better', seed, known=0.5) for seed in (2, 1, 0, 9)]
  return [*plain, *better, make_run('once', 3, known=0.2)]


def tables_of_three_arms():
  """Returns tables of two arms with 3 seeds, and an arm with one of these seeds."""
  arms = {'plain': 0.0, 'better': 0.5}
  runs = [make_run(arm, seed, known) for arm, known in arms.items() for seed in range(3)]
  return tables_of([*runs, make_run('once', 1, known=0.2)])


def accuracy(run, exit_):
  logits = run.test.logits[:, run.exits.index(exit_)]
  return np.mean(logits.argmax(-1) == run.test.labels)


def chosen(rows, **wanted):
  return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def by_name(runs):
  return {(run.arm, run.seed): run for run in runs}
