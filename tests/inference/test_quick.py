import math

import numpy as np
import pytest

from mecl_jax.evaluation.rules import MEASURES, RULES, Rule, fit_rule
from mecl_jax.inference import quick
from tests.evaluation.predictions import make

SPLIT = make(exits=4, classes=6, n=60)


@pytest.mark.parametrize('scale', [0.0, 1.0, 300.0])  # all classes alike, and one beyond doubt
@pytest.mark.parametrize('name', RULES)
def test_one_example_is_as_sure_as_among_others(name, scale):
  rule = fit_rule(name, SPLIT)
  logits = (scale * SPLIT.logits).astype(np.float32)
  exact = rule.confidence(logits)
  said = [
    [quick.confidence(rule, row[: k + 1]) for k in range(len(row))] for row in logits.tolist()
  ]
  np.testing.assert_allclose(said, exact, rtol=0, atol=1e-12)


def test_measures_come_in_the_order_of_the_gate():
  assert list(quick.MEASURES) == list(MEASURES)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('name', MEASURES)
def test_logits_that_are_not_finite_are_not_judged(name, bad):
  assert math.isnan(quick.confidence(Rule(name), [[0.0, 1.0], [bad, 1.0]]))
