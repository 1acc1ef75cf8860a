from matplotlib.patches import Rectangle
import numpy as np
import pytest

from mecl_jax.report.figures.accuracy import KINDS, accuracy_against_macs
from mecl_jax.report.rows import values
from tests.report import run_rows
from tests.report.figures.drawings import THREE, draw, lines

pytestmark = pytest.mark.filterwarnings('error')


@pytest.mark.parametrize(
  'name, costs', [('against MACs', [2e6, 4e6, 6e6]), ('against latency', [3, 4, 5])]
)
def test_a_panel_per_kind_of_thresholds(name, costs):
  panels = [axes for axes in draw(name).axes if axes.get_title()]
  column = 'test_macs' if name == 'against MACs' else 'test_ms'
  assert [axes.get_title() for axes in panels] == list(KINDS.values())[:3]
  for axes, kind in zip(panels, run_rows.KINDS, strict=True):
    static, *rules = lines(axes)
    np.testing.assert_allclose(static, np.column_stack((costs, [60, 62, 64])))
    assert len(rules) == 5  # what is calibrated has its own figure
    for drawn, rule in zip(rules, run_rows.RULES, strict=True):
      rows = [r for r in THREE['curve'] if (r['rule'], r['thresholds']) == (rule, kind)][:20]
      x, y = values(rows, column), values(rows, 'test_accuracy')
      np.testing.assert_allclose(drawn, np.column_stack((x, 100 * y)))


def test_exits_have_intervals():
  axes = draw('against MACs').axes[0]
  bars = axes.containers[0].lines[2][0].get_segments()
  np.testing.assert_allclose([bar[:, 1] for bar in bars], [[59, 61], [61, 63], [63, 65]])


def test_chosen_point_has_a_star_others_have_rings():
  axes = draw('against MACs').axes[:3]
  marks = [(line.get_marker(), line.get_xydata()) for a in axes for line in a.lines]
  marks = [(marker, *xy[0]) for marker, xy in marks if len(xy) == 1]
  stars = [mark[1:] for mark in marks if mark[0] == '*']
  chosen = next(row for row in THREE['operating_points'] if row['chosen'])
  assert stars == [(chosen['test_macs'], 100 * chosen['test_accuracy'])]
  assert len(marks) == len(THREE['operating_points'])


def test_rules_differ_in_colour_dashes_and_mark():
  axes = draw('against MACs').axes[0]
  rules = [line for line in axes.lines if line.get_linestyle() != 'None'][:5]
  for look in ('get_color', 'get_marker', 'get_linestyle', '_dash_pattern'):
    of = [getattr(line, look) for line in rules]
    found = {str(value() if callable(value) else value) for value in of}
    assert len(found) == (2 if look == 'get_linestyle' else 5), look
  marked = [tuple(line.get_markevery()) for line in rules]
  assert len(set(marked)) == 5  # marks of lines that coincide do not hide each other


def test_fixed_exits_are_dots_and_no_panel():
  """The rule `fixed` has a point per exit, which is chosen here; the dots show all of them."""
  of = {'rule': 'fixed', 'thresholds': 'fixed'}
  fixed = [row | of for row in THREE['curve'][:3]]
  points = [row | {'chosen': False} for row in THREE['operating_points']]
  points = [points[0] | of | {'chosen': True}, points[1] | of, *points]
  figure = accuracy_against_macs(THREE['exits'], [*fixed, *THREE['curve']], points)
  panels = [axes for axes in figure.axes if axes.get_title()]
  assert [axes.get_title() for axes in panels] == list(KINDS.values())[:3]
  for axes in panels:
    stars = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == '*']
    at = points[0]['test_macs'], 100 * points[0]['test_accuracy']
    np.testing.assert_allclose(stars, [at])
  legend = [text.get_text() for text in figure.axes[3].get_legend().get_texts()]
  assert 'fixed' not in legend and 'all images at one exit' in legend


def test_operating_points_are_optional():
  figure = accuracy_against_macs(THREE['exits'], THREE['curve'], [])
  assert len(lines(figure.axes[0])) == 6


def test_bars_of_leaving_images_add_up_to_100():
  axes = draw('leaving').axes[0]
  bars = [p for p in axes.patches if isinstance(p, Rectangle)]
  widths = np.reshape([bar.get_width() for bar in bars], (3, -1))
  np.testing.assert_allclose(widths.sum(axis=0), 100)
  column = values(THREE['operating_points'], 'leave:stage2')
  np.testing.assert_allclose(widths[1], 100 * column)
  assert not any(bar.get_clip_on() for bar in bars)
  bold = [t.get_text() for t in axes.get_yticklabels() if t.get_fontweight() == 'bold']
  assert bold == ['★ entropy, budgeted']
