import numpy as np

from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.report.tables.run import examples_rows, training_rows
from tests.evaluation.predictions import make

NAMES = ('first', 'second', 'final')


def test_training_is_told_line_by_line():
  records = [
    {'step': 5, 'phase': 'joint', 'loss': 2.5, 'visible': 0.25, 'accuracy': {'final': 0.5}},
    {'step': 6, 'phase': 'joint', 'validation': {'final': 0.75}},
  ]
  assert training_rows(records, ('stage1', 'final')) == [
    {'step': 5, 'phase': 'joint', 'loss': 2.5, 'visible': 0.25,
     'validation:stage1': None, 'validation:final': None},
    {'step': 6, 'phase': 'joint', 'loss': None, 'visible': None,
     'validation:stage1': None, 'validation:final': 0.75},
  ]  # fmt: skip


def examples(columns):
  test = make('test', n=60, exits=3)
  policy = Policy(Rule('max_probability'), np.array([0.6, 0.6]))
  ids = np.array([f'test_{k:02}' for k in range(60)])
  rows = examples_rows(policy, test, ids, list('abcde'), NAMES, columns)
  return test, policy, ids.tolist(), rows


def test_examples_are_the_surest_and_the_least_sure_of_those_that_leave():
  test, policy, ids, rows = examples(columns=2)
  leaves, sure = policy.leaves_at(test.logits), policy.rule.confidence(test.logits)
  for k, name in enumerate(NAMES):
    members = np.flatnonzero(leaves == k)
    assert len(members) >= 4
    rising = members[np.argsort(sure[members, k])]
    for side, expected in (('surest', rising[::-1][:2]), ('least sure', rising[:2])):
      mine = [row for row in rows if (row['exit'], row['side']) == (name, side)]
      assert [row['rank'] for row in mine] == [0, 1]
      assert [ids.index(row['id']) for row in mine] == expected.tolist()
      for row, example in zip(mine, expected, strict=True):
        assert row['confidence'] == sure[example, k]
        assert row['label'] == 'abcde'[test.labels[example]]
        assert row['predicted'] == 'abcde'[test.logits[example, k].argmax()]
        assert row['right'] is (row['label'] == row['predicted'])


def test_no_example_stands_on_both_sides():
  test, policy, _, rows = examples(columns=50)
  assert len({row['id'] for row in rows}) == len(rows) == len(test.labels)
  leaving = np.bincount(policy.leaves_at(test.logits))
  assert [sum(row['exit'] == name for row in rows) for name in NAMES] == leaving.tolist()
