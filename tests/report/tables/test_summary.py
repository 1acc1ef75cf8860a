import io
import json

import numpy as np
import pytest
from rich.console import Console

from mecl_jax import evaluation
from mecl_jax.evaluation.exit_metrics import exit_metrics
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.models import ExitCost
from mecl_jax.report.tables.summary import exit_rows, exit_table
from tests.evaluation.predictions import make

NAMES = ['stage1', 'final']
COSTS = [ExitCost(name, name, 'conv', 40_000_000, 21_000, 1, 1) for name in NAMES]


def summary(rows):
  return {'dataset': 'cifar10', 'backbone': 'resnet8', 'strategy': 'joint', 'exits': rows}


def rows_of(classes=5):
  split = make('test', n=300, exits=2, classes=classes)
  return split, exit_rows(exit_metrics(split), NAMES, COSTS)


def printed(rows, width=80):
  console = Console(width=width, record=True, file=io.StringIO())
  console.print(exit_table(summary(rows)))
  return console.export_text()


def test_rows_match_the_metrics():
  split, rows = rows_of()
  for k, row in enumerate(rows):
    for name in ('accuracy', 'nll', 'brier', 'ece', 'auroc'):
      assert row[name] == getattr(evaluation, name)(split.logits[:, k], split.labels)
    assert row['accuracy_low'] < row['accuracy'] < row['accuracy_high']
    expected = 1.96 * np.sqrt(row['accuracy'] * (1 - row['accuracy']) / 300)
    assert (row['accuracy_high'] - row['accuracy_low']) / 2 == pytest.approx(expected, rel=0.15)
    assert (row['name'], row['macs'], row['parameters']) == (NAMES[k], 40_000_000, 21_000)
  assert json.loads(json.dumps(rows)) == rows


def test_an_exit_without_errors_has_no_auroc():
  labels = np.arange(20) % 2
  split = Predicted('test', np.eye(2)[labels][:, None], labels)
  (row,) = exit_rows(exit_metrics(split), NAMES[:1], COSTS[:1])
  assert row['accuracy'] == row['accuracy_high'] == 1 and row['auroc'] is None
  assert row['accuracy_low'] == pytest.approx(0.025 ** (1 / 20))  # 20 of 20 are not 100 %
  assert '100.00%' in printed([row])


@pytest.mark.parametrize('classes', [5, 30])
def test_table_fits_a_terminal(classes):
  _, rows = rows_of(classes)
  text = printed(rows)
  for row in rows:
    low, high = (f'{100 * row[f"accuracy_{end}"]:.1f}' for end in ('low', 'high'))
    (line,) = [line for line in text.splitlines() if row['name'] in line]
    assert f'{row["accuracy"]:.2%} ({low} to {high})' in line and '40.0 M' in line
  assert ('top-5' in text) == (classes == 30)
  assert '95 % interval' in text and 'ECE: debiased' in text
