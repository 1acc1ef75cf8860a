"""The training examples that a phase shows, without those that the teacher contradicts."""

import numpy as np

from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import UserError
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run

_KEEP = 'or set curriculum.contradicted=keep'


def shown_rows(run: Run, plan: PhasePlan, difficulty: Difficulty | None) -> np.ndarray:
  """Returns the rows of the training split that a phase shows, ascending, int64.

  Args:
    run: the run.
    plan: of the phase; with `contradicted` 'drop' it shows no example whose label is not the class
      that the teacher predicts.
    difficulty: of the training examples; None if `needs_scores` is false.

  Raises:
    UserError: the scores lack the predictions of the teacher, or the examples that are left are
      fewer than a batch, or lack a class.
  """
  train = run.dataset.train
  if plan.contradicted == 'keep':
    return np.arange(len(train))
  if difficulty is None or difficulty.contradicted is None:
    scorer = difficulty.teacher if difficulty else run.config.curriculum.teacher
    raise UserError(
      'curriculum.contradicted=drop needs scores with the array `contradicted`, and those of'
      f' {scorer} lack it, as tables and files of mecl_jax 0.4 do; compute them again, {_KEEP}'
    )
  rows = np.flatnonzero(~difficulty.contradicted)
  if len(rows) < run.config.batch_size:
    raise UserError(
      f'curriculum.contradicted=drop leaves {len(rows):,} of {len(train):,} training examples, and'
      f' batch_size is {run.config.batch_size}; lower it, use another teacher, {_KEEP}'
    )
  lost = np.setdiff1d(train.labels, train.labels[rows])
  if len(lost):
    raise UserError(
      'curriculum.contradicted=drop leaves no example of class'
      f' {run.dataset.class_names[lost[0]]}; use another teacher, {_KEEP}'
    )
  return rows
