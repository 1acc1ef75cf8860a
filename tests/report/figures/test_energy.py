import numpy as np
import pytest

from mecl_jax.report.figures import energy
from tests.report.figures.drawings import THREE, draw, lines

pytestmark = pytest.mark.filterwarnings('error')


def test_lines_are_those_of_the_policies():
  figure = draw('energy')
  income, level, missed, _ = figure.axes
  assert income.get_ylabel() == 'income (mJ)' and level.get_ylabel() == 'level of the store (mJ)'
  assert [len(points) for points in lines(level)] == [12, 12, 12]
  np.testing.assert_allclose(lines(level)[0][:4], [[0, 5], [4, 6], [8, 7], [12, 5]])
  np.testing.assert_allclose(lines(missed)[2][:4, 1], [0, 0.5, 1, 1.5])
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert labels == ['greedy', 'threshold', 'reserve', 'right', 'wrong', 'missed']
  assert figure._suptitle.get_text().startswith('simulated')


def test_bars_are_all_images():
  answers = draw('energy').axes[3]
  heights = np.array([[bar.get_height() for bar in bars] for bars in answers.containers[:3]])
  np.testing.assert_allclose(heights.sum(axis=0), 100)
  np.testing.assert_allclose(heights[0], [60, 65, 70])
  np.testing.assert_allclose(heights[2], [30, 20, 10])
  ends = answers.containers[3].lines[2][0].get_segments()
  np.testing.assert_allclose([segment[:, 1] for segment in ends], [[58, 62], [63, 67], [68, 72]])


def test_budgets_have_no_bar():
  rows = [*THREE['energy'], {**THREE['energy'][0], 'supply': 'budgets'}]
  figure = energy.energy(rows, THREE['energy_trace'])
  assert [label.get_text() for label in figure.axes[3].get_xticklabels()] == [
    *('greedy', 'threshold', 'reserve')
  ]
