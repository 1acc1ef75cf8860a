import numpy as np
import pytest

from mecl_jax.report.figures.training import training_curves
from tests.report import run_rows
from tests.report.figures.drawings import draw, lines

pytestmark = pytest.mark.filterwarnings('error')


def test_no_visible_share_without_pacing():
  rows = [row | {'visible': row['visible'] and 1.0} for row in run_rows.make(3)['training']]
  _, accuracy = training_curves(rows).axes
  assert accuracy.get_xlabel() == 'step'


def test_missing_measurements_are_left_out():
  loss, accuracy, visible = draw('training').axes
  phases, shares, of_exits = (
    [line for line in lines(axes) if np.ptp(line[:, 0])] for axes in (loss, visible, accuracy)
  )
  assert [len(line) for line in phases] == [3, 7]
  np.testing.assert_allclose(phases[0][0], [10, 2])
  assert [len(line) for line in of_exits] == [10, 10, 10]
  np.testing.assert_allclose(of_exits[0][-1], [100, 50])
  np.testing.assert_allclose(shares[1][[0, -1]], [[40, 40], [100, 100]])
  assert [t.get_text() for t in loss.texts] == ['backbone', 'heads']


def test_a_phase_begins_where_the_one_before_ends():
  for axes in draw('training').axes:
    starts = [line[0, 0] for line in lines(axes) if not np.ptp(line[:, 0])]
    assert starts == [0, 30]
