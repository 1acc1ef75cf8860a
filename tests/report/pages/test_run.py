import io

from PIL import Image
import pytest

from mecl_jax.report.pages.blocks import Drawing, Listing, Picture, Text
from mecl_jax.report.pages.page import write_page
from mecl_jax.report.pages.run import run_sections
from tests.report import run_rows

pytestmark = pytest.mark.filterwarnings('error')

TABLES = run_rows.make(3)
EXAMPLES = [
  {'exit': 'stage1', 'side': 'surest', 'rank': 0, 'id': 'a', 'confidence': 1.0, 'right': True}
]
TITLES = [
  'Accuracy and cost of each exit',
  'Early exit',
  'Measured time',
  'Deadlines',
  'Energy',
  'Calibration',
  'Overthinking',
  'Training',
  'Images by exit',
]


def picture():
  file = io.BytesIO()
  Image.new('RGB', (4, 4)).save(file, 'png')
  return file.getvalue()


def only(*names):
  return {name: TABLES[name] for name in names}


def texts(section):
  return ' '.join(block.text for block in section.blocks if isinstance(block, Text))


def named(sections):
  """Returns the tables that figures and listings name."""
  blocks = [block for section in sections for block in section.blocks]
  of_figures = [t for b in blocks if isinstance(b, Drawing | Picture) for t in b.tables]
  return {*of_figures, *(b.table for b in blocks if isinstance(b, Listing))}


def test_sections_are_ordered_and_show_every_table(tmp_path):
  tables = TABLES | {'examples': EXAMPLES}
  sections = run_sections(tables, {'network': picture(), 'examples': picture()})
  assert [section.title for section in sections] == TITLES
  assert named(sections) == set(tables)
  for section in sections:
    assert isinstance(section.blocks[0], Text)  # explains the section
    for block in section.blocks:
      assert isinstance(block, Text) or block.caption.endswith('.')
  path = write_page(tmp_path, 'A run', {}, [], sections, tables)
  assert path.read_text().count('<img') == 16


def test_sections_without_tables_are_left_out():
  wanted = {
    ('exits',): [0, 2],
    ('exits', 'curve'): [0, 1, 2],
    ('energy', 'energy_trace', 'energy_settings'): [2, 4],
    ('energy', 'energy_trace'): [2],
    ('calibration',): [2, 5],
    ('ensembles',): [2, 6],
    ('training',): [2, 7],
    ('examples',): [2],  # but no picture of them
    ('exits', 'deadlines'): [0, 2, 3],
  }
  tables = TABLES | {'examples': EXAMPLES}
  for names, sections in wanted.items():
    found = run_sections({name: tables[name] for name in names}, {})
    assert [section.title for section in found] == [TITLES[k] for k in sections], names
    assert named(found) <= set(names)


def test_training_explains_the_curriculum():
  whole = [row | {'visible': row['visible'] and 1.0} for row in TABLES['training']]
  for training, weights, expected in (
    (TABLES['training'], [], 'harder images are added'),
    (whole, TABLES['weights'], 'the lower its weight'),
    (whole, [], ''),
  ):
    _, section = run_sections({'training': training, 'weights': weights}, {})
    text = texts(section)
    assert expected in text
    assert ('harder images' in text, 'lower its weight' in text) == (
      'harder images' in expected,
      'lower' in expected,
    )
    captions = [block.caption for block in section.blocks if isinstance(block, Drawing)]
    assert ('that the curriculum shows' in captions[0]) == ('harder' in expected)


@pytest.mark.parametrize(
  ('strengths', 'ends', 'expected'),
  [
    ((0.4, 0.2), None, 'the lower its weight in the loss of an early exit. The effect is stronger'),
    ((-0.4, -0.2), None, 'the higher its weight in the loss of an early exit. The effect is'),
    ((0.2, 0.6), None, 'the lower its weight in the loss of an early exit.'),
    ((0.4, 0.4), None, 'the lower its weight in the loss of an early exit.'),
    ((0.4, -0.2), None, 'depends on its difficulty'),
    ((0, 0), None, 'depends on its difficulty'),
    ((0.8, 0.4), (0, 0), 'the lower its weight in the loss of an early exit. The effect is'),
    ((0.8, 0.4), (-0.4, -0.2), 'depends on its difficulty'),
    ((-0.8, -0.4), (0, 0), 'the higher its weight in the loss of an early exit. The effect is'),
  ],
)
def test_page_explains_which_images_weigh_more(strengths, ends, expected):
  weights = [
    {'exit': f'stage{k}', 'easiest': 1 + s, 'hardest': 1 - s} for k, s in enumerate(strengths)
  ]
  for row, end in zip(weights, ends or (), strict=False):
    row |= {'easiest_at_end': 1 + end, 'hardest_at_end': 1 - end}
  _, section = run_sections({'training': TABLES['training'], 'weights': weights}, {})
  text = ' '.join(texts(section).split())
  assert expected in text
  stronger = 'stronger for earlier exits' in text
  assert stronger == (abs(strengths[0]) > abs(strengths[1]))
  assert ('Weights change linearly' in text) == (ends is not None)


def test_an_empty_table_counts_as_missing():
  found = run_sections({name: [] for name in TABLES}, {})
  assert [section.title for section in found] == ['Measured time']


def test_page_without_latencies_explains_measuring():
  (clock,) = run_sections({}, {})
  assert '--mode=latency' in texts(clock) and len(clock.blocks) == 1
  (clock,) = run_sections(only('latency', 'savings'), {})
  assert '--mode=latency' not in texts(clock)
  tables = run_rows.make(3, latency=False) | only('latency')
  assert 'curve' not in named(
    [run_sections(tables, {})[2]]
  )  # the curve was made before the latencies


def test_operating_points_state_gains_as_gains(tmp_path):
  points = [
    row | {'test_drop': -0.0056, 'test_drop_low': -0.01, 'test_drop_high': 0.002, 'ms_saved': -0.3}
    for row in TABLES['operating_points']
  ]
  tables = only('exits', 'curve') | {'operating_points': points}
  page = write_page(tmp_path, 'A run', {}, [], run_sections(tables, {}), tables).read_text()
  for cell in ('+0.56', '-0.20 to +1.00', '43.2 % less', '30.0 % more'):
    assert cell in page.replace('\xa0', ' ')
  assert '`max_accuracy_drop=0.005`'.strip('`') in page


def test_bars_leave_out_fixed_exits_that_are_not_chosen():
  chosen = next(row for row in TABLES['operating_points'] if row['chosen'])
  fixed = [chosen | {'rule': 'fixed', 'thresholds': n, 'chosen': False} for n in ('a', 'final')]
  points = [*fixed, *TABLES['operating_points']]
  stop = run_sections(only('exits', 'curve') | {'operating_points': points}, {})[1]
  (bars,) = (b for b in stop.blocks if isinstance(b, Drawing) and b.tables == ('operating_points',))
  labels = [label.get_text() for label in bars.figure.axes[0].get_yticklabels()]
  assert len(labels) == len(TABLES['operating_points'])
  assert not any('fixed' in label for label in labels)


def test_a_given_policy_has_no_target():
  points = [row | {'target': None, 'target_value': None} for row in TABLES['operating_points'][:1]]
  stop = run_sections(only('exits', 'curve') | {'operating_points': points}, {})[1]
  captions = [block.caption for block in stop.blocks if isinstance(block, Listing)]
  assert 'target' not in captions[0]


def test_unknown_picture_is_rejected():
  with pytest.raises(ValueError, match='no section for picture scores'):
    run_sections(TABLES, {'scores': b''})
