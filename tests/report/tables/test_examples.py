import numpy as np

from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.report.tables.examples import examples_rows
from tests.evaluation.predictions import make

NAMES = ('first', 'second', 'final')


def examples(columns):
  test = make('test', n=60, exits=3)
  policy = Policy(Rule('max_probability'), np.array([0.6, 0.6]))
  ids = np.array([f'test_{k:02}' for k in range(60)])
  rows = examples_rows(policy, test, ids, list('abcde'), NAMES, columns)
  return test, policy, ids.tolist(), rows


def test_examples_have_highest_and_lowest_confidence():
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


def test_no_example_is_on_both_sides():
  test, policy, _, rows = examples(columns=50)
  assert len({row['id'] for row in rows}) == len(rows) == len(test.labels)
  leaving = np.bincount(policy.leaves_at(test.logits))
  assert [sum(row['exit'] == name for row in rows) for name in NAMES] == leaving.tolist()
