from matplotlib.colors import to_hex
import numpy as np
import pytest

from mecl_jax.report.figures import time
from mecl_jax.report.style import COLOURS
from tests.report.figures.drawings import THREE, draw, lines

pytestmark = pytest.mark.filterwarnings('error')


def test_steps_have_the_number_of_their_exit():
  axes = draw('deadlines').axes[0]
  deepest, best = (line for line in axes.lines if len(line.get_xydata()) == 5)
  assert deepest.get_drawstyle() == best.get_drawstyle() == 'steps-post'
  np.testing.assert_allclose(deepest.get_xydata()[1:4], [[3, 60], [4, 62], [5, 64]])
  numbers = [(t.get_text(), to_hex(t.get_color()).upper()) for t in axes.texts]
  assert [n for n, colour in numbers if colour == COLOURS[0]] == ['1', '2', '3']
  assert [n for n, colour in numbers if colour == COLOURS[1]] == ['1']
  low, high = axes.get_xlim()
  assert 0 < low < 3 and high == 7.5


def test_latency_of_smallest_batch_and_all_throughputs():
  times, throughput = draw('latency').axes
  np.testing.assert_allclose(lines(times)[0], [[3, 0], [4, 1], [5, 2]])
  np.testing.assert_allclose(lines(times)[1], [[4, 0], [5, 1], [6, 2]])
  assert times.get_xlabel() == 'time of a batch of 1 (ms)'
  assert len(lines(throughput)) == 3


def test_savings_are_shares_of_the_final_exit():
  axes = draw('savings').axes[0]
  heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
  np.testing.assert_allclose(heights, [[100, 100], [60, 60], [65, 65]])
  (macs,) = (c for c in axes.collections if c.get_label() == 'early exit, from MACs')
  np.testing.assert_allclose([segment[:, 1] for segment in macs.get_segments()], 55)


def test_bars_above_100_percent_are_inside():
  rows = [row | {'dynamic_ms': 270.0} for row in THREE['savings']]
  axes = time.savings(rows).axes[0]
  assert axes.get_ylim()[1] > 135
