"""The page of a run: its tables as sections, each with an explanation of how to read it."""

from collections.abc import Callable, Mapping

import numpy as np

from mecl_jax.evaluation.rules import FIXED
from mecl_jax.models.macs import quantity
from mecl_jax.report.cells import estimates
from mecl_jax.report.figures import accuracy, calibration, energy, exits, time, training
from mecl_jax.report.pages import prose
from mecl_jax.report.pages.blocks import Block, Drawing, Listing, Picture, Section, Text
from mecl_jax.report.rows import Rows, values

Tables = Mapping[str, Rows]
Pictures = Mapping[str, bytes]
Blocks = list[Block]

NETWORK, EXAMPLES = 'network', 'examples'  # pictures
# The columns of wide tables that the page shows; the CSV files have all columns.
EXIT_COLUMNS = (
  *('exit', 'accuracy', 'top_5', 'nll', 'brier', 'ece', 'auroc', 'macs', 'parameters', 'head'),
)
SAVING_COLUMNS = (
  *('batch', 'images', 'static_ms', 'allowed_ms', 'dynamic_ms', 'allowed_saving'),
  *('measured_saving', 'macs_saving', 'disagreements'),
)
POINT_COLUMNS = (
  *('rule', 'thresholds', 'validation_accuracy', 'test_accuracy', 'test_drop', 'chosen'),
  *('test_macs', 'macs_saved', 'test_ms', 'ms_saved'),
)
CALIBRATION_COLUMNS = (
  *('exit', 'temperature', 'nll_before', 'nll_after', 'ece_before', 'ece_after'),
  *('brier_before', 'brier_after', 'auroc_before', 'auroc_after'),
)


def run_sections(tables: Tables, pictures: Pictures) -> list[Section]:
  """Returns the sections of a run's page.

  Args:
    tables: by name; a section without its tables, or with empty tables, is left out.
    pictures: PNGs or SVGs by name: `network`, the stages and exits, and `examples`, returned by
      `exit_sheet` for the table `examples`.

  Raises:
    ValueError: a picture has another name.
  """
  for name in pictures:
    if name not in (NETWORK, EXAMPLES):
      raise ValueError(f'there is no section for picture {name}; use {NETWORK} or {EXAMPLES}')
  tables = {name: rows for name, rows in tables.items() if rows}
  makers: dict[str, Callable[[Tables, Pictures], Blocks]] = {
    'Accuracy and cost of each exit': _exits,
    'Early exit': _early_exit,
    'Measured time': _time,
    'Deadlines': _deadlines,
    'Energy': _energy,
    'Calibration': _calibration,
    'Overthinking': _overthinking,
    'Training': _training,
    'Images by exit': _images,
  }
  found = {title: make(tables, pictures) for title, make in makers.items()}
  return [Section(title, blocks) for title, blocks in found.items() if blocks]


def _has(tables: Tables, *names: str) -> bool:
  return all(name in tables for name in names)


def _columns(tables: Tables, name: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
  """Returns the wanted columns that the table has."""
  return tuple(column for column in wanted if column in tables[name][0])


def _exits(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'exits'):
    return []
  columns = _columns(tables, 'exits', EXIT_COLUMNS)
  blocks: Blocks = [Text(prose.WORTH), Listing('exits', prose.EXITS, columns)]
  if NETWORK in pictures:
    blocks.append(Picture(pictures[NETWORK], prose.NETWORK, ('exits',), NETWORK))
  return blocks


def _early_exit(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'exits', 'curve'):
    return []
  points = tables.get('operating_points', [])
  drawn = ('exits', 'curve', *(['operating_points'] if points else []))
  figure = accuracy.accuracy_against_macs(tables['exits'], tables['curve'], points)
  blocks: Blocks = [Text(prose.STOP), Drawing(figure, prose.AGAINST_MACS, drawn)]
  if points:
    blocks += _operating_points(tables)
  if _has(tables, 'areas'):
    low, high = (quantity(values(tables['areas'], f'{end}_macs')[0]) for end in ('low', 'high'))
    caption = prose.AREAS.format(low=low, high=high)
    columns = ('rule', 'thresholds', 'area')
    blocks.append(Listing('areas', caption, columns, where={'calibrated': False}))
  return blocks


def _operating_points(tables: Tables) -> Blocks:
  points = tables['operating_points']
  target = points[0]['target']
  target = f' for the target `{target}={points[0]["target_value"]:.10g}`' if target else ''
  columns = _columns(tables, 'operating_points', POINT_COLUMNS)
  early = [row for row in points if row['rule'] != FIXED or row['chosen']]
  return [
    Text(prose.POINTS),
    Listing(
      'operating_points', prose.POINTS_TABLE.format(target=target), columns, joined='thresholds'
    ),
    Drawing(accuracy.leaving(early), prose.LEAVING, ('operating_points',)),
  ]


def _time(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'latency'):
    return [Text(prose.UNTIMED)]
  latency = tables['latency']
  blocks: Blocks = [Text(prose.TIMED), Drawing(time.latency(latency), prose.LATENCY, ('latency',))]
  if _has(tables, 'exits', 'curve') and 'test_ms' in tables['curve'][0]:
    points = tables.get('operating_points', [])
    drawn = ('exits', 'latency', 'curve', *(['operating_points'] if points else []))
    figure = accuracy.accuracy_against_latency(tables['exits'], latency, tables['curve'], points)
    blocks.append(Drawing(figure, prose.AGAINST_LATENCY, drawn))
  if _has(tables, 'savings'):
    blocks += [
      Text(prose.SAVINGS),
      Drawing(time.savings(tables['savings']), prose.SAVINGS_FIGURE, ('savings',)),
      Listing('savings', prose.SAVINGS_TABLE, SAVING_COLUMNS),
    ]
  return blocks


def _deadlines(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'deadlines', 'exits'):
    return []
  figure = time.deadlines(tables['deadlines'], tables['exits'])
  drawing = Drawing(figure, prose.DEADLINES_FIGURE, ('deadlines', 'exits'))
  blocks: Blocks = [Text(prose.DEADLINES), drawing]
  if _has(tables, 'deadline_distributions'):
    blocks.append(Listing('deadline_distributions', prose.DISTRIBUTIONS))
  return blocks


def _energy(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'energy', 'energy_trace', 'energy_settings'):
    return []
  has_budgets = any(row['supply'] != energy.STORE for row in tables['energy'])
  text = '\n\n'.join((prose.ENERGY, prose.BUDGETS) if has_budgets else (prose.ENERGY,))
  figure = energy.energy(tables['energy'], tables['energy_trace'])
  hidden = ('by_rule',) if has_budgets else ('by_rule', 'supply')
  columns = tuple(c for c in estimates(list(tables['energy'][0])) if c not in hidden)
  return [
    Text(text),
    Drawing(figure, prose.ENERGY_FIGURE, ('energy', 'energy_trace')),
    Listing('energy', prose.ENERGY_TABLE, columns),
    Listing('energy_settings', prose.ENERGY_SETTINGS),
  ]


def _calibration(tables: Tables, pictures: Pictures) -> Blocks:
  blocks: Blocks = []
  if _has(tables, 'reliability'):
    figure = calibration.reliability(tables['reliability'])
    blocks.append(Drawing(figure, prose.RELIABILITY, ('reliability',)))
  if _has(tables, 'calibration'):
    figure = calibration.effect(tables['calibration'])
    blocks.append(Drawing(figure, prose.EFFECT, ('calibration',)))
    columns = _columns(tables, 'calibration', CALIBRATION_COLUMNS)
    blocks.append(Listing('calibration', prose.TEMPERATURES, columns))
  if _has(tables, 'areas') and any(row['calibrated'] for row in tables['areas']):
    figure = calibration.effect_on_rules(tables['areas'])
    blocks.append(Drawing(figure, prose.EFFECT_ON_RULES, ('areas',)))
  return [Text(prose.CALIBRATION), *blocks] if blocks else []


def _overthinking(tables: Tables, pictures: Pictures) -> Blocks:
  blocks: Blocks = []
  if _has(tables, 'overthinking', 'first_correct'):
    figure = exits.overthinking(tables['overthinking'], tables['first_correct'])
    blocks.append(Drawing(figure, prose.SHARES, ('overthinking', 'first_correct')))
  if _has(tables, 'agreement'):
    figure = exits.agreement(tables['agreement'])
    blocks.append(Drawing(figure, prose.AGREEMENT, ('agreement',)))
  if _has(tables, 'ensembles'):
    figure = exits.ensembles(tables['ensembles'])
    blocks.append(Drawing(figure, prose.ENSEMBLES, ('ensembles',)))
  return [Text(prose.OVERTHINKING), *blocks] if blocks else []


def _training(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'training'):
    return []
  rows = tables['training']
  paced = training.paced(rows)
  text = '\n\n'.join((prose.TRAINING, prose.PACED) if paced else (prose.TRAINING,))
  caption = prose.CURVES.format(visible=prose.VISIBLE if paced else '')
  blocks: Blocks = [Text(text), Drawing(training.training_curves(rows), caption, ('training',))]
  if _has(tables, 'weights'):
    blocks += [Text(_weighted(tables['weights'])), Listing('weights', prose.WEIGHTS)]
  return blocks


def _weighted(rows: Rows) -> str:
  """Returns which images have the larger weights, from the rows of the table `weights`."""
  changes = 'easiest_at_end' in rows[0]
  gaps = np.stack(
    [
      values(rows, f'easiest{end}') - values(rows, f'hardest{end}')
      for end in ('', '_at_end')[: 1 + changes]
    ]
  ).round(9)  # [ends, exits]; equal strengths of exits differ equally
  text = prose.WEIGHTED
  if gaps.any() and (gaps >= 0).all():
    text = prose.EASY_WEIGHTED
  elif gaps.any() and (gaps <= 0).all():
    text = prose.HARD_WEIGHTED
  sizes = np.abs(gaps[gaps.any(axis=1)])
  if len(rows) > 1 and len(sizes) and (np.diff(sizes) < 0).all():
    text += f' {prose.EARLIER_WEIGHTED}'
  return text + (f' {prose.WEIGHTS_CHANGE}' if changes else '')


def _images(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'examples') or EXAMPLES not in pictures:
    return []
  picture = Picture(pictures[EXAMPLES], prose.SHEET, ('examples',), EXAMPLES)
  return [Text(prose.IMAGES), picture]
