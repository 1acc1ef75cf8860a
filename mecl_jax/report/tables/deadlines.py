"""Tables of accuracy under deadlines, from measured latencies."""

from collections.abc import Mapping, Sequence

import numpy as np

from mecl_jax.evaluation import deadlines
from mecl_jax.evaluation.deadlines import Staircase
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.rows import Rows, row

BEYOND = 1.5  # the longest deadline of a table, as a multiple of the last change of exits

Stairs = Mapping[str, Staircase]  # by the choice among the exits in time: 'deepest' or 'best'


def deadline_tables(
  validation: Predicted,
  test: Predicted,
  latencies: np.ndarray,
  names: Sequence[str],
  *,
  fixed: Sequence[float] = (),
  trace: np.ndarray | None = None,
) -> dict[str, Rows]:
  """Returns the tables `deadlines` and `deadline_distributions`.

  Args:
    validation: predictions that decide which exit is the most accurate.
    test: predictions that the accuracies are measured on.
    latencies: float [exits], seconds, of the network up to each exit without any other head.
    names: of the exits.
    fixed: further deadlines that have a row, in seconds.
    trace: observed deadlines, float [N], in seconds; see `deadlines.read_trace`.

  Raises:
    UserError: a latency is not above 0, or there is not one latency per exit.
  """
  accuracy, chosen_by = (split.right().mean(axis=0) for split in (test, validation))
  classes = test.logits.shape[-1]
  stairs = {
    'deepest': deadlines.deepest(latencies, accuracy, classes),
    'best': deadlines.most_accurate(latencies, accuracy, classes, chosen_by),
  }
  return {
    'deadlines': deadlines_rows(stairs, names, fixed),
    'deadline_distributions': distributions_rows(stairs, trace),
  }


def deadlines_rows(stairs: Stairs, names: Sequence[str], fixed: Sequence[float] = ()) -> Rows:
  """Returns a row per deadline at which the exit that answers changes, and one at either end.

  Before any exit is in time the exit is None and the accuracy is that of a random guess.
  """
  changes = np.concatenate([one.starts for one in stairs.values()])
  at = np.unique(np.concatenate([[0, BEYOND * changes.max()], changes, fixed]))
  columns: dict[str, Sequence | np.ndarray] = {'deadline_ms': 1000 * at}
  for kind, one in stairs.items():
    answering = [None, *(names[k] for k in one.exits)]
    columns[f'{kind}_exit'] = [answering[s] for s in np.searchsorted(one.starts, at, side='right')]
    columns[f'{kind}_accuracy'] = deadlines.accuracy_at(one, at)
  return [row({name: values[i] for name, values in columns.items()}) for i in range(len(at))]


def distributions_rows(stairs: Stairs, trace: np.ndarray | None = None) -> Rows:
  """Returns a row per distribution of deadlines: uniform, exponential, and the trace if given.

  The uniform distribution runs from 0 to 1.5 times the last change of exits, and the last change is
  the mean of the exponential distribution.
  """
  last = max(one.starts[-1] for one in stairs.values())
  distributions = {
    f'uniform, 0 to {1000 * BEYOND * last:.4g} ms': deadlines.uniform(0, BEYOND * last),
    f'exponential, mean {1000 * last:.4g} ms': deadlines.exponential(last),
  }
  if trace is not None:
    distributions[f'trace of {len(trace)} deadlines'] = deadlines.empirical(trace)
  rows = []
  for name, distribution in distributions.items():
    expected = {k: deadlines.expected_accuracy(one, distribution) for k, one in stairs.items()}
    rows.append(row({'distribution': name} | {f'{k}_accuracy': e for k, e in expected.items()}))
  return rows
