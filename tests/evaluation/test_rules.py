import math

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mecl_jax.errors import UserError
from mecl_jax.evaluation import rules
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import Rule
from tests.evaluation.predictions import make

pytestmark = pytest.mark.filterwarnings('error')

SPLIT = make(n=300, exits=5, classes=30)
PROBABILITIES = softmax(SPLIT.logits.astype(np.float64), axis=-1)


def confidence(name, logits):
  return Rule(name).confidence(logits)


def test_confidences_agree_with_scipy():
  highest = np.sort(PROBABILITIES, axis=-1)
  np.testing.assert_allclose(confidence('max_probability', SPLIT.logits), PROBABILITIES.max(-1))
  np.testing.assert_allclose(confidence('entropy', SPLIT.logits), -entropy(PROBABILITIES, axis=-1))
  np.testing.assert_allclose(
    confidence('margin', SPLIT.logits), highest[..., -1] - highest[..., -2], atol=1e-15
  )


@pytest.mark.parametrize('ties', [False, True])
def test_patience_agrees_with_a_loop(ties):
  logits = make(n=200, exits=6, classes=2, ties=ties).logits
  patience = confidence('patience', logits)
  assert set(np.unique(patience)) == {1, 2, 3, 4, 5, 6}
  for i, k in np.ndindex(patience.shape):
    count = 1
    while count <= k and logits[i, k - count].argmax() == logits[i, k].argmax():
      count += 1
    assert patience[i, k] == count


def test_patience_by_hand():
  predicted = np.array([[0, 0, 1, 1, 1, 0], [2, 2, 2, 2, 2, 2]])
  patience = confidence('patience', np.eye(3)[predicted])
  assert patience.tolist() == [[1, 2, 1, 2, 3, 1], [1, 2, 3, 4, 5, 6]]


def test_extreme_logits_do_not_overflow():
  logits = np.array([[[1e4, 0, -1e4]], [[3, 3, 3]]], np.float32)
  assert confidence('max_probability', logits).ravel().tolist() == pytest.approx([1, 1 / 3])
  assert confidence('entropy', logits).ravel().tolist() == pytest.approx([0, -np.log(3)])
  assert confidence('margin', logits).ravel().tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize('name', rules.RULES)
def test_confidence_of_any_part_is_bit_identical(name):
  rule = rules.fit_rule(name, SPLIT)
  confidence = rule.confidence(SPLIT.logits)
  assert confidence.shape == (300, 5) and confidence.dtype == np.float64
  for k in range(1, 6):
    for part in (slice(0, 1), slice(17, 24), slice(None, None, 3), np.array([5, 2, 250])):
      found = rule.confidence(SPLIT.logits[part, :k])
      np.testing.assert_array_equal(found, confidence[part, :k])
  other = rule.confidence(np.asfortranarray(SPLIT.logits))
  np.testing.assert_array_equal(other, confidence)


def stages(logits):
  """Logits of the first 1, 2, .. exits, as a list of exits each."""
  by_exit = list(np.moveaxis(logits, 1, 0))
  return [by_exit[:k] for k in range(1, len(by_exit) + 1)]


@pytest.mark.parametrize('scale', [0.0, 1.0, 300.0])  # all classes alike, and one beyond doubt
@pytest.mark.parametrize('name', rules.RULES)
def test_plain_numbers_agree_with_arrays(name, scale):
  rule = rules.fit_rule(name, SPLIT)
  logits = (scale * SPLIT.logits[:60]).astype(np.float32)
  found = [
    [rule._of_last(rules.OneExample(so_far), len(so_far)) for so_far in stages(logits[i : i + 1])]
    for i in range(len(logits))
  ]
  np.testing.assert_allclose(found, rule.confidence(logits), rtol=0, atol=rules.NEAR / 1000)


@pytest.mark.parametrize('name', rules.RULES)
def test_single_example_decides_as_many_at_a_tie(name):
  rule = rules.fit_rule(name, SPLIT)
  confidence = rule.confidence(SPLIT.logits)
  for so_far, exact in zip(stages(SPLIT.logits), confidence.T, strict=True):
    for threshold in (exact[7], np.nextafter(exact[7], np.inf), np.median(exact)):
      expected = exact >= threshold
      np.testing.assert_array_equal(rule.reaches(so_far, threshold), expected)
      for i in range(30):
        one = [logits[i : i + 1] for logits in so_far]
        assert rule.one_reaches(one, threshold) == expected[i]


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('name', rules.RULES)
def test_single_example_that_is_not_finite_is_rejected(name, bad):
  rule = rules.fit_rule(name, SPLIT)
  exits = [np.array([[0.0, 1.0]]), np.array([[bad, 1.0]])]
  for reaches in (rule.one_reaches, rule.reaches):
    with pytest.raises(UserError, match='1 of 1 examples are not finite'):
      reaches(exits, 0.5)


@pytest.mark.parametrize('name', rules.RULES)
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_rejected(name, bad):
  rule, logits = rules.fit_rule(name, SPLIT), SPLIT.logits.copy()
  logits[3, 2, 1] = bad
  with pytest.raises(UserError, match='1 of 300 examples are not finite'):
    rule.confidence(logits)


def test_unknown_rule_is_rejected():
  with pytest.raises(UserError, match='max_probability, entropy, margin, patience, gate'):
    rules.fit_rule('confidence', SPLIT)
  with pytest.raises(UserError, match='choose one of'):
    rules.Rule('confidence')


@pytest.mark.parametrize('name', rules.RULES)
def test_rules_are_fitted_on_validation_only(name):
  with pytest.raises(UserError, match='not from the test split'):
    rules.fit_rule(name, make('test'))


def test_gate_agrees_with_scikit_learn():
  gate, test = rules.fit_rule('gate', SPLIT), make('test', n=100, exits=5, classes=30)
  confidence = gate.confidence(test.logits)
  for k in range(5):
    seen, new = (
      np.stack([Rule(name).confidence(logits)[:, k] for name in rules.GATE_FEATURES], axis=-1)
      for logits in (SPLIT.logits, test.logits)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-9))
    model.fit(seen, SPLIT.logits[:, k].argmax(-1) == SPLIT.labels)
    np.testing.assert_allclose(confidence[:, k], model.predict_proba(new)[:, 1], rtol=1e-5)


def test_gate_of_an_exit_that_is_always_or_never_right():
  logits = make(n=18, exits=2).logits
  labels = logits[:, 0].argmax(-1)
  logits[:, 1, :] = np.eye(5)[(labels + 1) % 5]
  gate = rules.fit_rule('gate', Predicted('validation', logits, labels))
  confidence = gate.confidence(make('test', n=9, exits=2).logits)
  np.testing.assert_allclose(confidence[:, 0], 19 / 20)
  np.testing.assert_allclose(confidence[:, 1], 1 / 20)


def test_gate_of_one_example_or_constant_features():
  one = rules.fit_rule('gate', make(n=1))
  assert one.confidence(make('test').logits).shape == (200, 4)
  logits = np.tile(np.array([4.0, 0, 0]), (10, 2, 1))
  gate = rules.fit_rule('gate', Predicted('validation', logits, np.arange(10) % 3))
  np.testing.assert_allclose(gate.confidence(logits), 0.4, atol=1e-3)


def test_gate_rejects_more_exits_than_fitted():
  gate = rules.fit_rule('gate', make(exits=2))
  with pytest.raises(UserError, match='a gate of 2 exits for predictions of 3'):
    gate.confidence(make(exits=3).logits)
