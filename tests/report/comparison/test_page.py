import csv
import dataclasses
import io

import pytest
from rich.console import Console

from mecl_jax.report.comparison import page
from mecl_jax.report.pages.blocks import Drawing, Listing
from mecl_jax.report.pages.page import write_page
from tests.report.runs_to_compare import make_run, tables_of, tables_of_three_arms


@pytest.fixture(scope='module')
def tables():
  return tables_of_three_arms()


def notes_of(*runs):
  return page.notes(tables_of(runs))


def test_page_has_all_tables(tables, tmp_path):
  sections = page.sections(tables)
  path = write_page(tmp_path, 'title', {}, [], sections, tables)
  assert {path.stem for path in (tmp_path / 'tables').iterdir()} == set(tables)
  assert path.read_text().count('<img') == 3
  blocks = [block for section in sections for block in section.blocks]
  listed = {block.table for block in blocks if isinstance(block, Listing)}
  drawn = {name for block in blocks if isinstance(block, Drawing) for name in block.tables}
  assert listed | drawn == set(tables)
  rows = list(csv.DictReader((tmp_path / 'tables/differences.csv').open()))
  found = [(row['difference'], row['p_holm']) for row in tables['differences']]
  assert [(float(row['difference']), row['p_holm']) for row in rows] == [
    (value, '' if p is None else str(p)) for value, p in found
  ]


def test_facts_describe_the_comparison(tables):
  facts = page.facts(tables, 1200)
  assert facts['baseline'] == 'plain' and facts['seeds'] == '0, 1, 2'
  assert (facts['runs'], facts['arms']) == ('7', '3')
  assert facts['test split'] == 'toy: 1,200 images'


def test_equal_steps_and_exits_need_no_note(tables):
  (note,) = page.notes(tables)
  assert 'one common seed' in note
  assert notes_of(*(make_run(arm, seed) for arm in ('plain', 'b') for seed in (0, 1))) == []


def test_notes_name_unfinished_and_longer_runs():
  notes = notes_of(
    *(make_run('plain', seed) for seed in (0, 1)),
    *(make_run('other', seed, steps=12, complete=False) for seed in (0, 1)),
  )
  assert notes == [
    '`runs/other-0` has not finished training; its results are those of step 12.',
    '`runs/other-1` has not finished training; its results are those of step 12.',
    'The runs have trained for different numbers of steps; see the table of runs.',
  ]


def test_notes_name_arms_without_pairs():
  notes = notes_of(make_run('plain', 0), make_run('other', 1))
  assert notes == [
    '`other` and the baseline have no seed in common; there is no paired difference.'
  ]
  notes = notes_of(make_run('plain', 0), make_run('plain', 1))
  assert notes == ['All runs have the same configuration; there is no second arm to compare.']


def test_notes_name_exits_of_only_one_arm():
  notes = notes_of(
    *(make_run('plain', seed) for seed in (0, 1)),
    *(make_run('other', seed, exits=('stage2', 'late', 'final')) for seed in (0, 1)),
  )
  assert notes == [
    '`other` and the baseline have different exits. Only one of them has stage1, late; there is no'
    ' difference for these.'
  ]


def test_notes_explain_missing_curves_and_areas():
  runs = [make_run(arm, seed) for arm in ('plain', 'other') for seed in (0, 1)]
  runs[1] = dataclasses.replace(runs[1], validation=None)
  assert notes_of(*runs) == [
    '`runs/plain-1` has no validation predictions, therefore no thresholds and no curve.'
  ]
  runs = [make_run('plain', 0), make_run('huge', 1, macs=10**9)]
  assert notes_of(*runs)[-1] == (
    'The curves have no range of MACs in common, therefore there are no areas.'
  )


def test_differences_and_curves_are_optional(tmp_path):
  runs = [make_run('plain', 0), make_run('other', 1)]
  tables = tables_of([dataclasses.replace(run, validation=None) for run in runs])
  sections = page.sections(tables)
  assert [section.title for section in sections] == ['Runs', 'Accuracy of each exit']
  assert write_page(tmp_path, 'title', {}, [], sections, tables).exists()


def test_long_names_of_arms_stay_inside(tables):
  long = ', '.join(f'curriculum.field_{k}=value' for k in range(8))
  renamed = {
    name: [row | {'arm': f'{row["arm"]}, {long}'} for row in rows] for name, rows in tables.items()
  }
  drawn = [
    block.figure
    for section in page.sections(renamed)
    for block in section.blocks
    if isinstance(block, Drawing)
  ]
  for figure in drawn:
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    texts = [
      *(t for axes in figure.axes for t in axes.texts),
      *(t for g in figure.legends for t in g.get_texts()),
    ]
    assert any('field_7' in text.get_text() for text in texts)
    for box in (text.get_window_extent() for text in texts):
      assert 0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height


def test_printed_table_has_points_and_nats(tables):
  console = Console(file=io.StringIO(), width=120)
  console.print(page.difference_table(tables))
  text = console.file.getvalue()
  (row,) = (
    r
    for r in tables['differences']
    if (r['arm'], r['exit'], r['metric']) == ('better', 'stage1', 'accuracy')
  )
  low, high = (f'{100 * row[f"difference_{end}"]:+.2f}' for end in ('low', 'high'))
  assert f'{100 * row["difference"]:+.2f} ({low} to {high})' in text
  assert f'{row["p_holm"]:.3g}' in text
  assert text.count('better') == 1 and text.count('stage1') == 2
