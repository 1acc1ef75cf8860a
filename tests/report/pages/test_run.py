import io

from PIL import Image
import pytest

from mecl_jax.report.pages.page import (
  Drawing,
  Listing,
  Picture,
  Text,
  write_page,
)
from mecl_jax.report.pages.run import run_sections
from tests.report import run_rows

pytestmark = pytest.mark.filterwarnings('error')

TABLES = run_rows.make(3)
EXAMPLES = [
  {'exit': 'stage1', 'side': 'surest', 'rank': 0, 'id': 'a', 'confidence': 1.0, 'right': True}
]
TITLES = [
  'What each exit is worth',
  'Where to stop',
  'On the clock',
  'Deadlines',
  'Calibration',
  'Overthinking',
  'How training went',
  'Which images leave where',
]


def picture():
  file = io.BytesIO()
  Image.new('RGB', (4, 4)).save(file, 'png')
  return file.getvalue()


def only(*names):
  return {name: TABLES[name] for name in names}


def said(section):
  return ' '.join(block.text for block in section.blocks if isinstance(block, Text))


def named(sections):
  """The tables that figures and listings name."""
  blocks = [block for section in sections for block in section.blocks]
  of_figures = [t for b in blocks if isinstance(b, Drawing | Picture) for t in b.tables]
  return {*of_figures, *(b.table for b in blocks if isinstance(b, Listing))}


def test_a_whole_run_is_told_in_order_and_every_table_is_shown(tmp_path):
  tables = TABLES | {'examples': EXAMPLES}
  sections = run_sections(tables, {'network': picture(), 'examples': picture()})
  assert [section.title for section in sections] == TITLES
  assert named(sections) == set(tables)
  for section in sections:
    assert isinstance(section.blocks[0], Text)  # which says how to read what follows
    for block in section.blocks:
      assert isinstance(block, Text) or block.caption.endswith('.')
  path = write_page(tmp_path, 'A run', {}, [], sections, tables)
  assert path.read_text().count('<img') == 15


def test_what_was_not_measured_is_left_out():
  wanted = {
    ('exits',): [0, 2],
    ('exits', 'curve'): [0, 1, 2],
    ('calibration',): [2, 4],
    ('ensembles',): [2, 5],
    ('training',): [2, 6],
    ('examples',): [2],  # but no picture of them
    ('exits', 'deadlines'): [0, 2, 3],
  }
  tables = TABLES | {'examples': EXAMPLES}
  for names, sections in wanted.items():
    found = run_sections({name: tables[name] for name in names}, {})
    assert [section.title for section in found] == [TITLES[k] for k in sections], names
    assert named(found) <= set(names)


def test_training_tells_of_the_curriculum_that_there_was():
  whole = [row | {'visible': row['visible'] and 1.0} for row in TABLES['training']]
  for training, weights, told in (
    (TABLES['training'], [], 'harder images come in'),
    (whole, TABLES['weights'], 'the less it counts'),
    (whole, [], ''),
  ):
    _, section = run_sections({'training': training, 'weights': weights}, {})
    text = said(section)
    assert told in text
    assert ('harder' in text, 'counts' in text) == ('harder' in told, 'counts' in told)
    captions = [block.caption for block in section.blocks if isinstance(block, Drawing)]
    assert ('that the curriculum showed' in captions[0]) == ('harder' in told)


def test_an_empty_table_is_as_none():
  found = run_sections({name: [] for name in TABLES}, {})
  assert [section.title for section in found] == ['On the clock']


def test_without_latencies_the_page_says_how_to_measure_them():
  (clock,) = run_sections({}, {})
  assert '--mode=latency' in said(clock) and len(clock.blocks) == 1
  (clock,) = run_sections(only('latency', 'savings'), {})
  assert '--mode=latency' not in said(clock)
  tables = run_rows.make(3, latency=False) | only('latency')
  assert 'curve' not in named([run_sections(tables, {})[2]])  # latencies came later than it


@pytest.mark.parametrize(
  'drop, told', [(0.0042, '0.42 points below'), (-0.01, '1.00 points above')]
)
def test_the_chosen_operating_point_is_told_in_a_sentence(drop, told):
  points = [row | {'test_drop': drop} for row in TABLES['operating_points']]
  stop = run_sections(only('exits', 'curve') | {'operating_points': points}, {})[1]
  chosen = next(row for row in points if row['chosen'])
  assert f'`{chosen["rule"]}` with thresholds `{chosen["thresholds"]}`' in said(stop)
  assert told in said(stop) and 'saves 43.21 %' in said(stop)
  captions = [block.caption for block in stop.blocks if isinstance(block, Listing)]
  assert '`max_accuracy_drop=0.005`' in captions[0]


def test_a_policy_that_was_given_has_no_wish():
  points = [row | {'wish': None, 'wish_value': None} for row in TABLES['operating_points'][:1]]
  stop = run_sections(only('exits', 'curve') | {'operating_points': points}, {})[1]
  captions = [block.caption for block in stop.blocks if isinstance(block, Listing)]
  assert 'wish' not in captions[0]


def test_a_picture_without_a_place_is_refused():
  with pytest.raises(ValueError, match='place for the picture scores'):
    run_sections(TABLES, {'scores': b''})
