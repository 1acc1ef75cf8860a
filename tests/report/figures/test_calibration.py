import numpy as np
import pytest

from tests.report.figures.drawings import draw, lines

pytestmark = pytest.mark.filterwarnings('error')


def test_empty_bins_are_left_out():
  figure = draw('reliability')
  assert [axes.get_title() for axes in figure.axes] == ['stage1', 'stage2', 'final']
  diagonal, before, after = lines(figure.axes[0])
  assert len(before) == len(after) == 13
  np.testing.assert_allclose(before[:, 0] - before[:, 1], 3)
  np.testing.assert_allclose(after[:, 0], after[:, 1])
  assert diagonal.tolist() == [[0, 0], [100, 100]]
  areas = figure.axes[0].collections[0].get_sizes()
  assert (np.diff(areas) > 0).all()  # more examples, larger marks


def test_lines_run_from_before_to_after():
  drawn = lines(draw('effect').axes[0])
  np.testing.assert_allclose(drawn[0][:, 0], [0.2, 0.21, 0.22])
  np.testing.assert_allclose(drawn[1][:, 0], [0.1, 0.11, 0.12])
  drawn = lines(draw('effect on rules').axes[0])
  assert len(drawn[0]) == 15
  np.testing.assert_allclose(drawn[1][:, 0] - drawn[0][:, 0], 1)  # points of accuracy
