import numpy as np
import pytest

from mecl_jax import evaluation
from mecl_jax.evaluation import calibration_error, intervals, metrics
from mecl_jax.evaluation.exit_metrics import NAMES, exit_metrics
from tests.evaluation.predictions import make

TEST = make('test', n=150, exits=3, classes=30)


def test_values_agree_with_the_metrics():
  found = exit_metrics(TEST)
  assert tuple(found) == NAMES
  functions = {name: getattr(evaluation, name, metrics.top_k_accuracy) for name in NAMES}
  for name, function in functions.items():
    expected = [function(TEST.logits[:, k], TEST.labels) for k in range(3)]
    assert found[name].estimate.tolist() == expected
    assert (found[name].low <= found[name].estimate).all(), name
    assert (found[name].estimate <= found[name].high).all(), name
    assert (found[name].low < found[name].high).all(), name


def test_intervals_are_those_of_each_metric():
  found = exit_metrics(TEST)
  alone = {
    'accuracy': intervals.proportion_interval(metrics.correct(TEST.logits, TEST.labels)),
    'nll': intervals.mean_interval(metrics.losses(TEST.logits, TEST.labels)),
    'ece': calibration_error.ece_interval(TEST.logits, TEST.labels),
    'auroc': intervals.auroc_interval(TEST.logits, TEST.labels),
  }
  for name, expected in alone.items():
    np.testing.assert_allclose(found[name], expected, rtol=1e-12)


def test_other_intervals_are_not_computed(monkeypatch):
  monkeypatch.setattr(intervals, 'auroc_interval', None)
  found, whole = exit_metrics(TEST, ['accuracy']), metrics.correct(TEST.logits, TEST.labels)
  np.testing.assert_array_equal(found['accuracy'], intervals.proportion_interval(whole))
  assert np.isnan(found['nll'].low).all() and np.isfinite(found['nll'].estimate).all()


@pytest.mark.parametrize(('classes', 'expected'), [(19, False), (20, True)])
def test_top_5_needs_many_classes(classes, expected):
  assert ('top_5' in exit_metrics(make(n=30, classes=classes), [])) == expected
