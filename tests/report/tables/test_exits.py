import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from mecl_jax import evaluation
from mecl_jax.errors import UserError
from mecl_jax.evaluation import calibration, metrics
from mecl_jax.evaluation.exit_metrics import exit_metrics
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.models import ExitCost
from mecl_jax.report.tables import exits as exit_tables
from tests.evaluation.predictions import make

NAMES = ['stage1', 'stage2', 'final']
COSTS = [
  ExitCost('stage1', 'block1', 'conv', 105, 11, 5, 1),
  ExitCost('stage2', 'block2', 'conv', 307, 12, 7, 1),
  ExitCost('final', 'block3', 'linear', 609, 13, 9, 1),
]
TEST = make('test', n=300, exits=3)
TEMPERATURES = np.array([2.0, calibration.HIGHEST, 0.5])

# Two exits, four examples of classes 0, 0, 1, 2.
LABELS = np.array([0, 0, 1, 2])
PREDICTIONS = np.array([[0, 0], [0, 1], [2, 2], [0, 2]])
BY_HAND = Predicted('test', np.log(np.eye(3)[PREDICTIONS] * 0.7 + 0.1), LABELS)


@pytest.fixture(scope='module')
def tables():
  return exit_tables.exit_tables(TEST, exit_metrics(TEST), TEMPERATURES, COSTS)


def test_rows_hold_plain_values_and_equal_columns(tables):
  assert [*tables] == [
    *('exits', 'calibration', 'reliability', 'overthinking', 'first_correct'),
    *('agreement', 'ensembles'),
  ]
  for name, rows in tables.items():
    assert len({tuple(row) for row in rows}) == 1, name
    assert {type(v) for row in rows for v in row.values()} <= {str, int, float, bool, type(None)}
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_columns_have_fixed_names(tables):
  def ends(name):
    return [name, f'{name}_low', f'{name}_high']

  measures = [*ends('accuracy'), *ends('nll'), *ends('brier'), *ends('ece'), *ends('auroc')]
  costs = ['macs', 'dynamic_macs', 'head_macs', 'parameters']
  assert [*tables['exits'][0]] == ['exit', 'stage', 'head', *measures, *costs]
  effect = [f'{m}_{side}' for m in ('nll', 'ece', 'brier', 'auroc') for side in ('before', 'after')]
  of_ece = [f'ece_{side}_{end}' for side in ('before', 'after') for end in ('low', 'high')]
  assert [*tables['calibration'][0]] == ['exit', 'temperature', 'at_bound', *effect, *of_ece]
  bins = ['bin_low', 'bin_high', 'examples', 'confidence', 'accuracy']
  assert [*tables['reliability'][0]] == ['exit', 'calibrated', *bins]


def test_exits_match_the_metrics(tables):
  for k, row in enumerate(tables['exits']):
    logits = TEST.logits[:, k]
    assert (row['exit'], row['stage'], row['head']) == (NAMES[k], f'block{k + 1}', COSTS[k].head)
    for name in ('accuracy', 'nll', 'brier', 'ece', 'auroc'):
      assert row[name] == pytest.approx(getattr(evaluation, name)(logits, TEST.labels), abs=1e-12)
      assert row[f'{name}_low'] < row[f'{name}_high']
      assert row[f'{name}_low'] <= row[name] <= row[f'{name}_high']
    expected = 1.96 * np.sqrt(row['accuracy'] * (1 - row['accuracy']) / len(logits))
    assert (row['accuracy_high'] - row['accuracy_low']) / 2 == pytest.approx(expected, rel=0.15)
  costs = ('macs', 'dynamic_macs', 'head_macs', 'parameters')
  assert [[row[name] for name in costs] for row in tables['exits']] == [
    [105, 105, 5, 11],
    [307, 312, 7, 12],
    [609, 621, 9, 13],
  ]


@pytest.mark.parametrize(('classes', 'expected'), [(19, False), (20, True)])
def test_top_5_needs_20_classes(classes, expected):
  split = make('test', n=60, exits=3, classes=classes)
  row = exit_tables.exits_rows(exit_metrics(split), COSTS)[1]
  assert all((column in row) == expected for column in ('top_5', 'top_5_low', 'top_5_high'))
  if expected:
    assert row['top_5'] == metrics.top_k_accuracy(split.logits[:, 1], split.labels)
    assert row['top_5_low'] < row['top_5'] < row['top_5_high']


def test_undefined_values_are_none():
  always = Predicted('test', np.tile(np.eye(2), (20, 1, 1)), np.tile([0], 20))
  first, last = exit_tables.exits_rows(exit_metrics(always), COSTS[:2])
  assert first['accuracy'] == 1 and last['accuracy'] == 0
  for row in (first, last):
    assert row['auroc'] is row['auroc_low'] is row['auroc_high'] is None
  ratio = {(r['exit'], r['other']): r['ratio'] for r in exit_tables.agreement_rows(always, 'ab')}
  assert ratio['a', 'b'] is None and ratio['b', 'b'] == 1


def test_calibration_before_and_after_temperatures(tables):
  for k, row in enumerate(tables['calibration']):
    before = TEST.logits[:, k].astype(float)
    for side, logits in (('before', before), ('after', before / TEMPERATURES[k])):
      for name in ('nll', 'ece', 'brier', 'auroc'):
        assert row[f'{name}_{side}'] == getattr(evaluation, name)(logits, TEST.labels)
  assert [row['temperature'] for row in tables['calibration']] == TEMPERATURES.tolist()
  assert [row['at_bound'] for row in tables['calibration']] == [False, True, False]


def test_bins_match_scikit_learn_and_the_ece(tables):
  for k, name in enumerate(NAMES):
    for calibrated, scale in ((False, 1), (True, TEMPERATURES[k])):
      logits = TEST.logits[:, k].astype(float) / scale
      rows = [
        row
        for row in tables['reliability']
        if (row['exit'], row['calibrated']) == (name, calibrated)
      ]
      assert [row['bin_low'] for row in rows[1:]] == [row['bin_high'] for row in rows[:-1]]
      assert (rows[0]['bin_low'], rows[-1]['bin_high'], len(rows)) == (0, 1, 15)
      full = [row for row in rows if row['examples']]
      right, sure = calibration_curve(
        metrics.correct(logits, TEST.labels), metrics.confidence(logits), n_bins=15
      )
      np.testing.assert_allclose([row['accuracy'] for row in full], right)
      np.testing.assert_allclose([row['confidence'] for row in full], sure)
      assert sum(row['examples'] for row in full) == 300
      gaps = [row['examples'] * abs(row['accuracy'] - row['confidence']) for row in full]
      assert sum(gaps) / 300 > evaluation.ece(logits, TEST.labels)  # it is debiased
      empty = [row for row in rows if not row['examples']]
      assert all(row['accuracy'] is row['confidence'] is None for row in empty)


def test_overthinking_matches_hand_computed_values():
  shares = {row['measure']: row['share'] for row in exit_tables.overthinking_rows(BY_HAND)}
  assert shares == {'oracle': 0.75, 'last': 0.5, 'wasteful': 0.5, 'destructive': 0.25}
  assert exit_tables.first_correct_rows(BY_HAND, ['early', 'final']) == [
    {'exit': 'early', 'share': 0.5},
    {'exit': 'final', 'share': 0.25},
    {'exit': 'never', 'share': 0.25},
  ]


def test_agreement_matches_hand_computed_values():
  rows = exit_tables.agreement_rows(BY_HAND, ['early', 'final'])
  assert [[*row.values()] for row in rows] == [
    ['early', 'early', 1, 0.5, 2],
    ['early', 'final', 0.5, 0.25, 1],
    ['final', 'early', 0.5, 0.25, 1],
    ['final', 'final', 1, 0.5, 2],
  ]


def test_ensembles_are_means_of_probabilities(tables):
  p = np.exp(TEST.logits.astype(float))
  p /= p.sum(axis=-1, keepdims=True)
  for k, row in enumerate(tables['ensembles']):
    geometric = np.exp(np.log(p[:, : k + 1]).mean(axis=1))
    means = {
      'single': p[:, k],
      'arithmetic': p[:, : k + 1].mean(axis=1),
      'geometric': geometric / geometric.sum(axis=-1, keepdims=True),
    }
    assert [*row] == ['exit', *means, *(f'nll_{name}' for name in means)]
    for name, mean in means.items():
      assert row[name] == np.mean(mean.argmax(axis=-1) == TEST.labels)
      loss = -np.log(mean[np.arange(300), TEST.labels]).mean()
      assert row[f'nll_{name}'] == pytest.approx(loss)


def test_wrong_number_of_exits_is_rejected():
  with pytest.raises(UserError, match='costs of 2 exits for predictions of 3'):
    exit_tables.exit_tables(TEST, {}, TEMPERATURES, COSTS[:2])
  with pytest.raises(UserError, match='2 temperatures and 3 exits'):
    exit_tables.exit_tables(TEST, {}, TEMPERATURES[:2], COSTS)
