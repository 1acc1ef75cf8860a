"""Made-up tables of a run, for the tests of figures and of the page."""

import numpy as np

RULES = ('max_probability', 'entropy', 'margin', 'patience', 'gate')
KINDS = ('budgeted', 'shared', 'per_exit')


def exit_names(count, *, long=False):
  stem = 'stage{}_block_with_a_long_name' if long else 'stage{}'
  return [*(stem.format(k + 1) for k in range(count - 1)), 'final']


def make(count=3, *, long=False, latency=True):
  """Returns all tables of a run with `count` exits."""
  names, rng = exit_names(count, long=long), np.random.default_rng(0)
  tables = of_exits(names, rng) | of_pairs(names) | of_training(names)
  tables |= dynamic(names, rng, latency) | of_energy()
  return tables | (of_time(names) if latency else {})


def of_exits(names, rng):
  exits, calibration, reliability, ensembles = [], [], [], []
  for k, name in enumerate(names):
    row = {'exit': name, 'stage': name, 'head': 'conv'}
    for column, value in (('accuracy', 0.6 + 0.02 * k), ('nll', 1.1), ('brier', 0.5)):
      row |= {column: value, f'{column}_low': value - 0.01, f'{column}_high': value + 0.01}
    for column, value in (('ece', 0.02), ('auroc', 0.8)):
      row |= {column: value, f'{column}_low': value - 0.01, f'{column}_high': value + 0.01}
    macs = 2_000_000 * (k + 1)
    row |= {'macs': macs, 'dynamic_macs': macs + 1000 * k, 'head_macs': 1000, 'parameters': 40_000}
    exits.append(row)
    row = {'exit': name, 'temperature': 1.25, 'at_bound': False}
    for column in ('nll', 'ece', 'brier', 'auroc'):
      row |= {f'{column}_before': 0.2 + 0.01 * k, f'{column}_after': 0.1 + 0.01 * k}
    calibration.append(row)
    for calibrated in (False, True):
      for b in range(15):
        examples = 0 if b < 2 else 100 * b
        middle = (b + 0.5) / 15 if examples else None
        right = middle if calibrated or middle is None else middle - 0.03
        bins = {'exit': name, 'calibrated': calibrated, 'bin_low': b / 15, 'bin_high': (b + 1) / 15}
        reliability.append(bins | {'examples': examples, 'confidence': middle, 'accuracy': right})
    row = {'exit': name, 'single': 0.6, 'arithmetic': 0.61 + 0.01 * k, 'geometric': 0.62}
    ensembles.append(row | {'nll_single': 1.1, 'nll_arithmetic': 1.0, 'nll_geometric': 0.9})
  return {
    'exits': exits,
    'calibration': calibration,
    'reliability': reliability,
    'ensembles': ensembles,
  }


def of_pairs(names):
  shares = (('oracle', 0.7), ('last', 0.63), ('wasteful', 0.6), ('destructive', 0.07))
  first = [0.6, *[0.2 / len(names)] * (len(names) - 1), 0.2]
  return {
    'overthinking': [{'measure': name, 'share': share} for name, share in shares],
    'first_correct': [
      {'exit': name, 'share': share} for name, share in zip([*names, 'never'], first, strict=True)
    ],
    'agreement': [
      {
        'exit': one,
        'other': other,
        'same_class': 1 - abs(i - j) / 20,
        'both_wrong': 0.3,
        'ratio': 1.5 + (i + j) / 10,
      }
      for i, one in enumerate(names)
      for j, other in enumerate(names)
    ],
  }


def of_training(names):
  rows = []
  for step in range(1, 11):
    phase = 'backbone' if step < 4 else 'heads'
    row = {'step': 10 * step, 'phase': phase, 'loss': 2 / step, 'visible': step / 10}
    rows.append(row | {f'validation:{name}': None for name in names})
    row = {'step': 10 * step, 'phase': phase, 'loss': None, 'visible': None}
    rows.append(row | {f'validation:{name}': 0.05 * step for name in names})
  weights = [
    {'exit': name, 'easiest': 1.4 - 0.1 * k, 'hardest': 0.6 + 0.1 * k}
    for k, name in enumerate(names)
  ]
  return {'training': rows, 'weights': weights}


def dynamic(names, rng, latency):
  curve, areas, points = [], [], []
  for calibrated in (False, True):
    for r, rule in enumerate(RULES):
      for kind in KINDS:
        for index in range(20):
          share = index / 19
          leave = np.full(len(names), share / len(names))
          leave[0] += 1 - share
          accuracy = 0.6 + 0.002 * index + 0.003 * r
          row = {'rule': rule, 'thresholds': kind, 'index': index, 'calibrated': calibrated}
          row |= {'validation_accuracy': accuracy, 'validation_macs': 2e6 * (1 + share)}
          row |= {'test_accuracy': accuracy - 0.01, 'test_macs': 2e6 * (1 + share)}
          if latency:
            row |= {'validation_ms': 3 + 4 * share, 'test_ms': 3 + 4 * share}
          curve.append(
            row | {f'leave:{name}': float(s) for name, s in zip(names, leave, strict=True)}
          )
        area = {'rule': rule, 'thresholds': kind, 'calibrated': calibrated}
        areas.append(area | {'area': 0.6 + 0.01 * calibrated, 'low_macs': 2e6, 'high_macs': 3e6})
  for row in curve:
    if row['index'] == 10 and not row['calibrated']:
      points.append(_point(row, names, latency))
  points[3]['chosen'] = True
  return {'curve': curve, 'areas': areas, 'operating_points': points}


def _point(row, names, latency):
  point = {'rule': row['rule'], 'thresholds': row['thresholds'], 'chosen': False}
  point |= {'target': 'max_accuracy_drop', 'target_value': 0.005}
  point |= {key: row[key] for key in ('validation_accuracy', 'test_accuracy')}
  point |= {'test_drop': 0.0042, 'test_drop_low': 0.001, 'test_drop_high': 0.007}
  point |= {key: row[key] for key in ('validation_macs', 'test_macs')}
  point |= {'macs_saved': 0.4321}
  if latency:
    point |= {'test_ms': row['test_ms'], 'ms_saved': 0.3}
  point |= {f'threshold:{name}': 0.9 for name in names[:-1]}
  return point | {f'leave:{name}': row[f'leave:{name}'] for name in names}


def of_time(names):
  latency = [
    {
      'exit': name,
      'batch': batch,
      'p50_ms': (3 + k) * batch**0.8,
      'p99_ms': (4 + k) * batch**0.8,
      'images_per_second': 1000 * batch**0.2 / (3 + k),
      'compile_seconds': 1.5,
    }
    for batch in (16, 1, 256)
    for k, name in enumerate(names)
  ]
  starts = [0.0, *(3.0 + k for k in range(len(names))), 1.5 * (2 + len(names))]
  deadlines = []
  for ms in starts:
    k = min(int(ms) - 3, len(names) - 1)
    row = {'deadline_ms': ms, 'deepest_exit': names[k] if k >= 0 else None}
    row |= {'deepest_accuracy': 0.6 + 0.02 * k if k >= 0 else 0.1}
    row |= {'best_exit': names[0] if k >= 0 else None, 'best_accuracy': 0.6 if k >= 0 else 0.1}
    deadlines.append(row)
  saving = {'images': 1024, 'static_ms': 200.0, 'allowed_ms': 120.0, 'dynamic_ms': 130.0}
  saving |= {'allowed_saving': 0.4, 'measured_saving': 0.35, 'share_reached': 0.875}
  saving |= {'macs_saving': 0.45, 'disagreements': 0}
  return {
    'latency': latency,
    'deadlines': deadlines,
    'deadline_distributions': [
      {'distribution': 'exponential, mean 5 ms', 'deepest_accuracy': 0.5, 'best_accuracy': 0.51}
    ],
    'savings': [{'batch': batch} | saving for batch in (1, 256)],
  }


def of_energy(unit='mJ', intervals=12):
  rows = []
  for k, policy in enumerate(('greedy', 'threshold', 'reserve')):
    row = {
      'supply': 'store',
      'policy': policy,
      'by_rule': k > 0,
      'reserve': 0.3 if k == 2 else None,
    }
    for column, value in (
      ('right_share', 0.6 + 0.05 * k),
      ('right_drop', -0.05 * k if k else None),
      ('answered_accuracy', 0.9 - 0.05 * k),
      ('missed_share', 0.3 - 0.1 * k),
      (f'used:{unit}', 1.5),
    ):
      ends = (None, None) if value is None else (value - 0.02, value + 0.02)
      row |= {column: value, f'{column}_low': ends[0], f'{column}_high': ends[1]}
    rows.append(row | {f'lost:{unit}': 0.25 * k, 'mean_exit': 2.5 - 0.5 * k})
  trace = [
    {
      'policy': row['policy'],
      'interval': 4 * k,
      f'income:{unit}': float(k % 6),
      f'level:{unit}': float(5 + k % 3),
      'right_share': 0.5,
      'missed_so_far': 0.5 * k,
    }
    for row in rows
    for k in range(intervals)
  ]
  settings = [{'setting': 'figures', 'value': 'simulated on a computer; no energy was measured'}]
  return {'energy': rows, 'energy_trace': trace, 'energy_settings': settings}
