import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.tables.deadlines import deadline_tables

NAMES = ['a', 'b', 'c']
LATENCIES = np.array([0.001, 0.002, 0.004])
LABELS = np.zeros(10, int)


def split(name, *right):
  """Returns three exits that are right on so many of 10 examples of 4 classes."""
  predictions = np.stack([np.arange(10) >= count for count in right], axis=1).astype(int)
  return Predicted(name, np.eye(4)[predictions], LABELS)


# The second exit is the most accurate one on both splits.
VALIDATION, TEST = split('validation', 5, 8, 7), split('test', 4, 9, 6)


def test_a_row_per_deadline_at_which_the_exit_changes():
  rows = deadline_tables(VALIDATION, TEST, LATENCIES, NAMES)['deadlines']
  assert [[*row.values()] for row in rows] == [
    [0.0, None, 0.25, None, 0.25],
    [1.0, 'a', 0.4, 'a', 0.4],
    [2.0, 'b', 0.9, 'b', 0.9],
    [4.0, 'c', 0.6, 'b', 0.9],
    [6.0, 'c', 0.6, 'b', 0.9],
  ]
  assert [*rows[0]] == [
    *('deadline_ms', 'deepest_exit', 'deepest_accuracy', 'best_exit', 'best_accuracy')
  ]


def test_best_exit_is_chosen_on_validation():
  lucky = split('test', 10, 1, 2)
  row = deadline_tables(VALIDATION, lucky, LATENCIES, NAMES)['deadlines'][-1]
  assert (row['best_exit'], row['best_accuracy']) == ('b', 0.1)


def test_fixed_deadlines_have_rows():
  rows = deadline_tables(VALIDATION, TEST, LATENCIES, NAMES, fixed=[0.003, 0.02])['deadlines']
  by_deadline = {row['deadline_ms']: [*row.values()][1:] for row in rows}
  assert len(by_deadline) == 7
  assert by_deadline[3.0] == ['b', 0.9, 'b', 0.9] and by_deadline[20.0] == ['c', 0.6, 'b', 0.9]


def test_distributions_match_hand_computed_values():
  trace = np.array([0.0005, 0.001, 0.0025, 0.01])
  tables = deadline_tables(VALIDATION, TEST, LATENCIES, NAMES, trace=trace)
  rows = {row['distribution']: [*row.values()][1:] for row in tables['deadline_distributions']}
  # From 0 to 6 ms: no exit for 1, then 1, 2 and 2 of a, b and c.
  uniform = (0.25 + 0.4 + 2 * 0.9 + 2 * 0.6) / 6, (0.25 + 0.4 + 4 * 0.9) / 6
  below = 1 - np.exp(-np.array([1, 2, 4]) / 4)
  shares = np.diff([0, *below, 1])
  assert rows == {
    'uniform, 0 to 6 ms': pytest.approx(uniform),
    'exponential, mean 4 ms': pytest.approx([shares @ [0.25, 0.4, 0.9, w] for w in (0.6, 0.9)]),
    'trace of 4 deadlines': pytest.approx([(0.25 + 0.4 + 0.9 + w) / 4 for w in (0.6, 0.9)]),
  }


def test_trace_is_optional():
  rows = deadline_tables(VALIDATION, TEST, LATENCIES, NAMES)['deadline_distributions']
  assert [row['distribution'].split(',')[0] for row in rows] == ['uniform', 'exponential']


@pytest.mark.parametrize(
  ('latencies', 'message'),
  [(LATENCIES[:2], 'latencies of 2 exits'), (np.array([1, np.nan, 2]), 'measure them again')],
)
def test_invalid_latencies_are_rejected(latencies, message):
  with pytest.raises(UserError, match=message) as caught:
    deadline_tables(VALIDATION, TEST, latencies, NAMES)
  assert '\n' not in str(caught.value)
