import itertools

from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
import numpy as np
import pytest

from mecl_jax.report import style as figures_style
from mecl_jax.report.figures import (
  accuracy as figures,
)
from mecl_jax.report.figures import (
  calibration as figures_calibration,
)
from mecl_jax.report.figures import (
  exits as figures_exits,
)
from mecl_jax.report.figures import (
  time as figures_time,
)
from mecl_jax.report.figures import (
  training as figures_training,
)
from mecl_jax.report.pictures.plots import COLOURS
from tests.report import run_rows

pytestmark = pytest.mark.filterwarnings('error')

DRAWN = {
  'against MACs': (figures.accuracy_against_macs, 'exits', 'curve', 'operating_points'),
  'against latency': (
    figures.accuracy_against_latency,
    *('exits', 'latency', 'curve', 'operating_points'),
  ),
  'leaving': (figures.leaving, 'operating_points'),
  'reliability': (figures_calibration.reliability, 'reliability'),
  'effect': (figures_calibration.effect, 'calibration'),
  'effect on rules': (figures_calibration.effect_on_rules, 'areas'),
  'overthinking': (figures_exits.overthinking, 'overthinking', 'first_correct'),
  'agreement': (figures_exits.agreement, 'agreement'),
  'ensembles': (figures_exits.ensembles, 'ensembles'),
  'deadlines': (figures_time.deadlines, 'deadlines', 'exits'),
  'latency': (figures_time.latency, 'latency'),
  'savings': (figures_time.savings, 'savings'),
  'training': (figures_training.training, 'training'),
}
THREE = run_rows.make(3)
OTHERS = {'one exit': run_rows.make(1), 'twelve with long names': run_rows.make(12, long=True)}


def draw(name, tables=THREE):
  function, *names = DRAWN[name]
  return function(*(tables[table] for table in names))


def lines(axes):
  """Points of the lines of two points or more, float [points, 2] each, error bars left out."""
  found = [line.get_xydata() for line in axes.lines if line.get_marker() != '_']
  return [points for points in found if len(points) > 1]


def visible(axes):
  """The tick labels of an axes that can be seen, one list for each axis."""
  if not axes.axison:
    return [[], []]
  found = []
  for axis in (axes.xaxis, axes.yaxis):
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    found.append([t.label1 for t in ticks if low <= t.get_loc() <= high])
  return found


def shown(texts):
  """Extents of the texts that can be seen."""
  return {t: t.get_window_extent() for t in texts if t.get_visible() and t.get_text().strip()}


@pytest.mark.parametrize('tables', OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize('name', DRAWN)
def test_names_and_labels_can_be_read(name, tables):
  figure = draw(name, tables)
  figure.draw_without_rendering()
  assert figure.get_figwidth() == figures_style.WIDTH
  ticks = [labels for axes in figure.axes for labels in visible(axes)]
  legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
  around = [
    *(text for a in figure.axes if a.axison for text in (a.title, a.xaxis.label, a.yaxis.label)),
    *(text for legend in legends for text in legend.get_texts()),
    *([figure._suptitle] if figure._suptitle else []),
  ]
  paper = figure.bbox.padded(1)
  written = [text for axes in figure.axes for text in axes.texts]
  for text, box in shown([*itertools.chain(*ticks), *around, *written]).items():
    inside = [paper.contains(*corner) for corner in (box.min, box.max)]
    assert all(inside), text.get_text()
  for texts in (*ticks, around):
    for (one, a), (other, b) in itertools.combinations(shown(texts).items(), 2):
      assert not a.overlaps(b), (one.get_text(), other.get_text())


def test_lines_differ_without_their_colours():
  looks = [figures_style.look(k) for k in range(28)]
  assert len({(look['marker'], str(look['linestyle'])) for look in looks}) == 28
  assert [look['color'] for look in looks[:7]] == list(COLOURS)


def test_cells_without_a_number_are_nan():
  rows = [{'a': None, 'b': 'x'}, {'a': 2, 'b': 'y'}]
  np.testing.assert_array_equal(figures_style.values(rows, 'a'), [np.nan, 2])
  assert figures_style.groups(rows, 'b') == {('x',): rows[:1], ('y',): rows[1:]}


@pytest.mark.parametrize(
  'name, costs', [('against MACs', [2e6, 4e6, 6e6]), ('against latency', [3, 4, 5])]
)
def test_every_panel_shows_the_exits_and_the_rules_of_a_kind_of_thresholds(name, costs):
  panels = [axes for axes in draw(name).axes if axes.get_title()]
  column = 'test_macs' if name == 'against MACs' else 'test_ms'
  assert [axes.get_title() for axes in panels] == list(figures.KINDS.values())[:3]
  for axes, kind in zip(panels, run_rows.KINDS, strict=True):
    static, *rules = lines(axes)
    np.testing.assert_allclose(static, np.column_stack((costs, [60, 62, 64])))
    assert len(rules) == 5  # what is calibrated has its own figure
    for drawn, rule in zip(rules, run_rows.RULES, strict=True):
      rows = [r for r in THREE['curve'] if (r['rule'], r['thresholds']) == (rule, kind)][:20]
      x, y = figures_style.values(rows, column), figures_style.values(rows, 'test_accuracy')
      np.testing.assert_allclose(drawn, np.column_stack((x, 100 * y)))


def test_the_exits_have_their_intervals():
  axes = draw('against MACs').axes[0]
  bars = axes.containers[0].lines[2][0].get_segments()
  np.testing.assert_allclose([bar[:, 1] for bar in bars], [[59, 61], [61, 63], [63, 65]])


def test_a_star_marks_the_chosen_point_and_rings_the_others():
  axes = draw('against MACs').axes[:3]
  marks = [(line.get_marker(), line.get_xydata()) for a in axes for line in a.lines]
  marks = [(marker, *xy[0]) for marker, xy in marks if len(xy) == 1]
  stars = [mark[1:] for mark in marks if mark[0] == '*']
  chosen = next(row for row in THREE['operating_points'] if row['chosen'])
  assert stars == [(chosen['test_macs'], 100 * chosen['test_accuracy'])]
  assert len(marks) == len(THREE['operating_points'])


def test_a_curve_without_operating_points_is_drawn():
  figure = figures.accuracy_against_macs(THREE['exits'], THREE['curve'], [])
  assert len(lines(figure.axes[0])) == 6


def test_bars_of_who_leaves_where_fill_the_width():
  axes = draw('leaving').axes[0]
  bars = [p for p in axes.patches if isinstance(p, Rectangle)]
  widths = np.reshape([bar.get_width() for bar in bars], (3, -1))
  np.testing.assert_allclose(widths.sum(axis=0), 100)
  column = figures_style.values(THREE['operating_points'], 'leave:stage2')
  np.testing.assert_allclose(widths[1], 100 * column)
  bold = [t.get_text() for t in axes.get_yticklabels() if t.get_fontweight() == 'bold']
  assert bold == ['★ entropy, budgeted']


def test_reliability_leaves_out_empty_bins():
  figure = draw('reliability')
  assert [axes.get_title() for axes in figure.axes] == ['stage1', 'stage2', 'final']
  diagonal, before, after = lines(figure.axes[0])
  assert len(before) == len(after) == 13
  np.testing.assert_allclose(before[:, 0] - before[:, 1], 3)
  np.testing.assert_allclose(after[:, 0], after[:, 1])
  assert diagonal.tolist() == [[0, 0], [100, 100]]
  areas = figure.axes[0].collections[0].get_sizes()
  assert (np.diff(areas) > 0).all()  # more examples, larger marks


def test_effects_run_from_before_to_after():
  drawn = lines(draw('effect').axes[0])
  np.testing.assert_allclose(drawn[0][:, 0], [0.2, 0.21, 0.22])
  np.testing.assert_allclose(drawn[1][:, 0], [0.1, 0.11, 0.12])
  drawn = lines(draw('effect on rules').axes[0])
  assert len(drawn[0]) == 15
  np.testing.assert_allclose(drawn[1][:, 0] - drawn[0][:, 0], 1)  # points of accuracy


def test_overthinking_shows_both_tables():
  left, right = draw('overthinking').axes
  assert [bar.get_width() for bar in left.patches] == pytest.approx([70, 63, 60, 7])
  assert [bar.get_width() for bar in right.patches] == pytest.approx([60, 20 / 3, 20 / 3, 20])
  assert right.get_yticklabels()[-1].get_text() == 'never'


def test_agreement_does_not_hang_on_the_order_of_pairs():
  rows = THREE['agreement']
  for order in (rows, [*rows[:1], *rows[2:], rows[1]]):
    same, ratio = figures_exits.agreement(order).axes
    cells = {tuple(t.get_position()): t.get_text() for t in same.texts}
    assert len(cells) == 6  # none on the diagonal
    assert cells[0, 1] == cells[1, 0] == '95' and cells[0, 2] == '90'
    assert {t.get_text() for t in ratio.texts} == {'1.6', '1.7', '1.8'}


def test_exits_without_errors_have_no_ratio():
  rows = [row | {'ratio': None} for row in THREE['agreement']]
  assert not figures_exits.agreement(rows).axes[1].texts


def test_ensembles_show_accuracy_and_nll_of_all_three():
  accuracy, nll = draw('ensembles').axes
  np.testing.assert_allclose(lines(accuracy)[1], [[1, 61], [2, 62], [3, 63]])
  np.testing.assert_allclose([line[0, 1] for line in lines(nll)], [1.1, 1.0, 0.9])


def test_deadlines_number_the_exits_where_they_begin_to_answer():
  axes = draw('deadlines').axes[0]
  deepest, best = (line for line in axes.lines if len(line.get_xydata()) == 5)
  assert deepest.get_drawstyle() == best.get_drawstyle() == 'steps-post'
  np.testing.assert_allclose(deepest.get_xydata()[1:4], [[3, 60], [4, 62], [5, 64]])
  numbers = [(t.get_text(), to_hex(t.get_color()).upper()) for t in axes.texts]
  assert [n for n, colour in numbers if colour == COLOURS[0]] == ['1', '2', '3']
  assert [n for n, colour in numbers if colour == COLOURS[1]] == ['1']
  low, high = axes.get_xlim()
  assert 0 < low < 3 and high == 7.5


def test_latency_shows_the_smallest_batch_and_the_throughput_of_all():
  times, throughput = draw('latency').axes
  np.testing.assert_allclose(lines(times)[0], [[3, 0], [4, 1], [5, 2]])
  np.testing.assert_allclose(lines(times)[1], [[4, 0], [5, 1], [6, 2]])
  assert times.get_xlabel() == 'milliseconds of a batch of 1'
  assert len(lines(throughput)) == 3


def test_savings_are_shares_of_the_final_exit():
  axes = draw('savings').axes[0]
  heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
  np.testing.assert_allclose(heights, [[100, 100], [60, 60], [65, 65]])
  (macs,) = (c for c in axes.collections if c.get_label() == 'early exit, in MACs')
  np.testing.assert_allclose([segment[:, 1] for segment in macs.get_segments()], 55)


def test_training_without_a_pacing_has_no_visible_share():
  rows = [row | {'visible': row['visible'] and 1.0} for row in run_rows.make(3)['training']]
  _, accuracy = figures_training.training(rows).axes
  assert accuracy.get_xlabel() == 'step'


def test_training_leaves_out_what_was_not_measured():
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
