from matplotlib.colors import same_color
import numpy as np
import pytest

from mecl_jax.report.comparison import figures
from tests.report.runs_to_compare import EXITS, make_run, tables_of, tables_of_three_arms


@pytest.fixture(scope='module')
def tables():
  return tables_of_three_arms()


def test_marks_are_means_and_dots_are_seeds(tables):
  axes = figures.accuracy_figure(tables['runs'], tables['arms']).axes[0]
  marks = [line for line in axes.lines if line.get_marker() != '.' and len(line.get_xdata()) == 3]
  dots = [line for line in axes.lines if line.get_marker() == '.']
  assert len(marks) == 3 and len(dots) == 2  # an arm of one seed is its own mean
  arms = [[r for r in tables['arms'] if r['arm'] == name] for name in ('plain', 'better', 'once')]
  for mark, rows in zip(marks, arms, strict=True):
    np.testing.assert_allclose(mark.get_ydata(), [100 * row['accuracy'] for row in rows])
  for dot, mark, name in zip(dots, marks, ('plain', 'better'), strict=False):
    runs = [row for row in tables['runs'] if row['arm'] == name]
    found = [100 * row[f'accuracy:{exit_}'] for row in runs for exit_ in EXITS]
    np.testing.assert_allclose(dot.get_ydata(), found)
    assert same_color(dot.get_color(), mark.get_color())
    # Beside its own mark, and nearer to it than to the next arm's.
    step = marks[1].get_xdata()[0] - marks[0].get_xdata()[0]
    assert ((dot.get_xdata()[:3] - mark.get_xdata()) < step / 2).all()


def test_arms_are_drawn_at_their_exits():
  tables = tables_of([make_run('plain', 0), make_run('other', 0, exits=('stage2', 'final'))])
  axes = figures.accuracy_figure(tables['runs'], tables['arms']).axes[0]
  assert [tick.get_text() for tick in axes.get_xticklabels()] == [*EXITS]
  (other,) = (
    line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == 's'
  )
  assert other.get_xdata().round().tolist() == [1, 2]


def test_every_difference_has_a_point_and_interval(tables):
  panels = figures.difference_figure(tables['differences']).axes
  assert [axes.get_xlabel() for axes in panels] == [
    'difference in accuracy (points)',
    'difference in NLL (nats)',
  ]
  heights = panels[0].get_yticks()
  assert [tick.get_text() for tick in panels[0].get_yticklabels()] == [*EXITS] * 2
  assert [text.get_text() for text in panels[0].texts] == ['better', 'once']
  for axes, metric, unit in zip(panels, ('accuracy', 'nll'), (100, 1), strict=True):
    rows = [row for row in tables['differences'] if row['metric'] == metric]
    (spans,) = axes.collections
    for segment, row, at in zip(spans.get_segments(), rows, heights, strict=True):
      ends = [(unit * row['difference_low'], at), (unit * row['difference_high'], at)]
      np.testing.assert_allclose(segment, ends)
    sure, unsure = axes.lines[1:]
    leaves_out = [row['difference_low'] > 0 or row['difference_high'] < 0 for row in rows]
    for line, wanted in ((sure, True), (unsure, False)):
      found = [
        unit * row['difference'] for row, s in zip(rows, leaves_out, strict=True) if s == wanted
      ]
      np.testing.assert_allclose(line.get_xdata(), found)
    assert same_color(unsure.get_markerfacecolor(), 'white')
    assert axes.lines[0].get_xdata() == [0, 0]


def test_a_line_per_run_and_a_style_per_arm(tables):
  axes = figures.curve_figure(tables['curves']).axes[0]
  assert len(axes.lines) == 7 and axes.get_xscale() == 'linear'
  assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 3
  rows = [row for row in tables['curves'] if row['directory'] == 'runs/better-2']
  np.testing.assert_allclose(axes.lines[5].get_xdata(), [row['test_macs'] / 1e6 for row in rows])
  np.testing.assert_allclose(
    axes.lines[5].get_ydata(), [100 * row['test_accuracy'] for row in rows]
  )
  tables = tables_of([make_run('plain', 0), make_run('huge', 0, macs=10**8)])
  assert figures.curve_figure(tables['curves']).axes[0].get_xscale() == 'log'
