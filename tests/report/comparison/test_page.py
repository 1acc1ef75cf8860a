import csv
import dataclasses
import io

from matplotlib.colors import same_color
import numpy as np
import pytest
from rich.console import Console

from mecl_jax.report.comparison import figures as compare_figures
from mecl_jax.report.comparison import page as compare_page
from mecl_jax.report.pages.page import Drawing, Listing, write_page
from tests.report.runs_to_compare import EXITS, make_run, tables_of


@pytest.fixture(scope='module')
def tables():
  """Two arms of three seeds, and one that has a seed in common with the baseline."""
  arms = {'plain': 0.0, 'better': 0.5}
  runs = [make_run(arm, seed, known) for arm, known in arms.items() for seed in range(3)]
  return tables_of([*runs, make_run('once', 1, known=0.2)])


def notes_of(*runs):
  return compare_page.notes(tables_of(runs))


def test_the_page_is_written_with_all_tables(tables, tmp_path):
  sections = compare_page.sections(tables)
  page = write_page(tmp_path, 'title', {}, [], sections, tables)
  assert {path.stem for path in (tmp_path / 'tables').iterdir()} == set(tables)
  assert page.read_text().count('<img') == 3
  blocks = [block for section in sections for block in section.blocks]
  listed = {block.table for block in blocks if isinstance(block, Listing)}
  drawn = {name for block in blocks if isinstance(block, Drawing) for name in block.tables}
  assert listed | drawn == set(tables)
  rows = list(csv.DictReader((tmp_path / 'tables/differences.csv').open()))
  found = [(row['difference'], row['p_holm']) for row in tables['differences']]
  assert [(float(row['difference']), row['p_holm']) for row in rows] == [
    (value, '' if p is None else str(p)) for value, p in found
  ]


def test_facts_say_what_is_compared(tables):
  facts = compare_page.facts(tables, 1200)
  assert facts['baseline'] == 'plain' and facts['seeds'] == '0, 1, 2'
  assert (facts['runs'], facts['arms']) == ('7', '3')
  assert facts['test split'] == 'toy: 1,200 images'


def test_runs_of_equal_length_and_exits_need_no_note(tables):
  (note,) = compare_page.notes(tables)
  assert 'one seed is in common' in note
  assert notes_of(*(make_run(arm, seed) for arm in ('plain', 'b') for seed in (0, 1))) == []


def test_notes_name_what_has_not_ended_or_ran_longer():
  notes = notes_of(
    *(make_run('plain', seed) for seed in (0, 1)),
    *(make_run('other', seed, steps=12, complete=False) for seed in (0, 1)),
  )
  assert notes == [
    '`runs/other-0` has not ended: this is its step 12.',
    '`runs/other-1` has not ended: this is its step 12.',
    'The runs have not trained for the same number of steps; see the table of runs.',
  ]


def test_notes_name_arms_without_pairs():
  notes = notes_of(make_run('plain', 0), make_run('other', 1))
  assert notes == ['No seed of `other` is one of the baseline: there is no paired difference.']
  notes = notes_of(make_run('plain', 0), make_run('plain', 1))
  assert notes == ['All runs are of one configuration; there is no other arm to compare them with.']


def test_notes_name_exits_that_one_alone_has():
  notes = notes_of(
    *(make_run('plain', seed) for seed in (0, 1)),
    *(make_run('other', seed, exits=('stage2', 'late', 'final')) for seed in (0, 1)),
  )
  assert notes == [
    '`other` and the baseline have other exits: stage1, late of one of them alone have no'
    ' difference.'
  ]


def test_notes_say_why_there_is_no_curve_or_area():
  runs = [make_run(arm, seed) for arm in ('plain', 'other') for seed in (0, 1)]
  runs[1] = dataclasses.replace(runs[1], validation=None)
  assert notes_of(*runs) == [
    '`runs/plain-1` has no validation predictions, and so no thresholds and no curve.'
  ]
  runs = [make_run('plain', 0), make_run('huge', 1, macs=10**9)]
  assert notes_of(*runs)[-1] == (
    'No number of MACs is in reach of all curves, so that there are no areas.'
  )


def test_a_page_without_differences_or_curves_leaves_them_out(tmp_path):
  runs = [make_run('plain', 0), make_run('other', 1)]
  tables = tables_of([dataclasses.replace(run, validation=None) for run in runs])
  sections = compare_page.sections(tables)
  assert [section.title for section in sections] == ['Runs', 'What the exits are worth']
  assert write_page(tmp_path, 'title', {}, [], sections, tables).exists()


def test_marks_are_means_and_dots_are_seeds(tables):
  axes = compare_figures.accuracy_figure(tables['runs'], tables['arms']).axes[0]
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


def test_arms_with_other_exits_stand_where_their_exits_are():
  tables = tables_of([make_run('plain', 0), make_run('other', 0, exits=('stage2', 'final'))])
  axes = compare_figures.accuracy_figure(tables['runs'], tables['arms']).axes[0]
  assert [tick.get_text() for tick in axes.get_xticklabels()] == [*EXITS]
  (other,) = (
    line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == 's'
  )
  assert other.get_xdata().round().tolist() == [1, 2]


def test_a_forest_has_a_point_and_an_interval_for_every_difference(tables):
  panels = compare_figures.difference_figure(tables['differences']).axes
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


def test_curves_have_a_line_per_run_and_a_look_per_arm(tables):
  axes = compare_figures.curve_figure(tables['curves']).axes[0]
  assert len(axes.lines) == 7 and axes.get_xscale() == 'linear'
  assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 3
  rows = [row for row in tables['curves'] if row['directory'] == 'runs/better-2']
  np.testing.assert_allclose(axes.lines[5].get_xdata(), [row['test_macs'] / 1e6 for row in rows])
  np.testing.assert_allclose(
    axes.lines[5].get_ydata(), [100 * row['test_accuracy'] for row in rows]
  )
  tables = tables_of([make_run('plain', 0), make_run('huge', 0, macs=10**8)])
  assert compare_figures.curve_figure(tables['curves']).axes[0].get_xscale() == 'log'


def test_names_of_arms_stay_within_the_figures(tables):
  long = ', '.join(f'curriculum.field_{k}=value' for k in range(8))
  renamed = {
    name: [row | {'arm': f'{row["arm"]}, {long}'} for row in rows] for name, rows in tables.items()
  }
  figures = [
    block.figure
    for section in compare_page.sections(renamed)
    for block in section.blocks
    if isinstance(block, Drawing)
  ]
  for figure in figures:
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    texts = [
      *(t for axes in figure.axes for t in axes.texts),
      *(t for g in figure.legends for t in g.get_texts()),
    ]
    assert any('field_7' in text.get_text() for text in texts)
    for box in (text.get_window_extent() for text in texts):
      assert 0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height


def test_the_table_that_is_printed_has_points_and_nats(tables):
  console = Console(file=io.StringIO(), width=120)
  console.print(compare_page.difference_table(tables))
  said = console.file.getvalue()
  (row,) = (
    r
    for r in tables['differences']
    if (r['arm'], r['exit'], r['metric']) == ('better', 'stage1', 'accuracy')
  )
  low, high = (f'{100 * row[f"difference_{end}"]:+.2f}' for end in ('low', 'high'))
  assert f'{100 * row["difference"]:+.2f} ({low} to {high})' in said
  assert f'{row["p_holm"]:.3g}' in said
  assert said.count('better') == 1 and said.count('stage1') == 2
