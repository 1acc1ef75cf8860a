import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from mecl_jax.evaluation import thresholds
from mecl_jax.evaluation.choice import choose_policy
from mecl_jax.evaluation.costs import Costs, unit_costs
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.policies import load_policy, save_policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import OneExample, Rule, fit_rule
from mecl_jax.evaluation.tasks import TASKS, LossSettings, regression

COSTS = Costs(unit_costs([1.0, 2.0, 4.0], [1.0, 2.2, 4.4]))


def make(name, n=150, outputs=1, scale=1.0, seed=0):
  """Predictions of three exits; a shared noise has another size for each example."""
  rng = np.random.default_rng((seed, name == 'test'))
  labels = rng.uniform(0, 8, (n, outputs))
  hard = rng.uniform(0, 1, (n, 1, 1))
  noise = hard * rng.normal(size=(n, 3, outputs)) * np.array([2.0, 1.0, 0.5])[:, None]
  predicted = (labels[:, None] + noise) * scale
  return Predicted(
    name, predicted.astype(np.float32), (scale * labels).astype(np.float32), 'regression'
  )


VALIDATION, TEST = make('validation'), make('test')


def test_loss_equals_that_by_hand():
  outputs, labels = np.array([[[3.0, 10.0]]]), np.array([[2.0, 4.0]])
  settings = LossSettings(huber_delta=1.0, scale=jnp.array([2.0, 3.0]))
  # Errors of 0.5 and 2 deviations: 0.5^2 / 2 and 2 - 1 / 2.
  np.testing.assert_allclose(regression.losses(outputs, labels, settings), [[(0.125 + 1.5) / 2]])


def test_gradient_of_a_head_does_not_depend_on_the_unit():
  def slope(unit):
    mean, std = jnp.array([5.0 * unit]), jnp.array([2.0 * unit])
    labels = jnp.array([[4.0 * unit], [9.0 * unit]])

    def loss(standardised):
      settings = LossSettings(huber_delta=1.0, scale=std)
      return regression.losses(standardised * std + mean, labels, settings).sum()

    return jax.grad(loss)(jnp.array([[[0.0]], [[0.25]]]))

  # Standardised targets are -0.5 and 2: slopes 0.5, and -1, as the error is above delta.
  for unit in (1.0, 1000.0):
    np.testing.assert_allclose(slope(unit).ravel(), [0.5, -1.0], rtol=1e-4)


@pytest.mark.parametrize('outputs', [1, 3])
def test_metrics_equal_those_of_scikit_learn(outputs):
  split = make('test', n=80, outputs=outputs)
  found = TASKS['regression'].metrics(split.logits, split.labels, None)
  for k in range(3):
    of_exit = split.labels.astype(float), split.logits[:, k].astype(float)
    expected = {
      'mae': sk.mean_absolute_error(*of_exit),
      'rmse': np.sqrt(sk.mean_squared_error(*of_exit)),
      'r2': sk.r2_score(*of_exit),
    }
    for name, value in expected.items():
      assert found[name].estimate[k] == pytest.approx(value, abs=1e-6), name
      assert found[name].low[k] < value < found[name].high[k]


def test_targets_without_variance_have_no_r2():
  found = regression.metrics(np.zeros((5, 1, 1)), np.ones((5, 1), np.float32))
  assert np.isnan(found['r2'].estimate).all() and found['mae'].estimate == [1.0]


def test_agreement_is_minus_the_change_and_no_image_leaves_at_the_first_exit():
  confidence = Rule('agreement').confidence(VALIDATION.logits)
  assert np.isneginf(confidence[:, 0]).all()
  change = np.abs(np.diff(VALIDATION.logits.astype(float), axis=1))[..., 0]
  np.testing.assert_array_equal(confidence[:, 1:], -change)
  rule = fit_rule('agreement', VALIDATION)
  for policy in (*thresholds.shared(rule, VALIDATION), *thresholds.budgeted(rule, VALIDATION)):
    assert (policy.leaves_at(VALIDATION.logits) > 0).all()


@pytest.mark.parametrize('name', ['agreement', 'predicted_error'])
@pytest.mark.parametrize('outputs', [1, 2])
def test_one_example_has_the_confidence_of_many(name, outputs):
  split = make('validation', n=20, outputs=outputs)
  rule = fit_rule(name, split)
  confidence = rule.confidence(split.logits)
  for i in range(20):
    for k in range(3):
      so_far = [split.logits[i : i + 1, j] for j in range(k + 1)]
      one = rule._of_last(OneExample(so_far), k + 1)
      assert one == confidence[i, k]
      value = float(confidence[i, k])
      assert rule.one_reaches(so_far, value - 1e-6)
      assert np.isinf(value) or not rule.one_reaches(so_far, value + 1e-6)


def test_predicted_error_ranks_images_by_their_error():
  confidence = fit_rule('predicted_error', VALIDATION).confidence(TEST.logits)
  errors = -TEST.quality()
  for k in (1, 2):
    sure = confidence[:, k] >= np.median(confidence[:, k])
    assert errors[sure, k].mean() < 0.8 * errors[~sure, k].mean()


def test_fitted_rule_is_saved_and_read(tmp_path):
  policy = thresholds.shared(fit_rule('predicted_error', VALIDATION), VALIDATION)[30]
  save_policy(tmp_path / 'policy.json', policy, 'counting')
  back = load_policy(tmp_path / 'policy.json', 'counting')
  assert back.digest == policy.digest
  np.testing.assert_array_equal(back.leaves_at(TEST.logits), policy.leaves_at(TEST.logits))


@pytest.mark.parametrize('value', [0.0, 0.1, 0.5])
def test_chosen_policy_keeps_the_rise_of_the_error(value):
  choice = choose_policy(VALIDATION, TEST, COSTS, Target('max_error_rise', value))
  final = -VALIDATION.quality()[:, -1].mean()
  assert {line.rule for line in choice.lines} == {'fixed', 'agreement', 'predicted_error'}
  for option in choice.options:
    assert -option.point.validation_accuracy <= final * (1 + value) + 1e-9
  assert choice.chosen.point.validation_cost == min(o.point.validation_cost for o in choice.options)


def test_choice_does_not_depend_on_the_unit():
  found = []
  for unit in (1.0, 1024.0):  # a power of two, so that nothing rounds
    validation, test = make('validation', scale=unit), make('test', scale=unit)
    choice = choose_policy(validation, test, COSTS, Target('max_error_rise', 0.2))
    point = choice.chosen.point
    found.append(
      (choice.chosen.line.rule, point.index, point.test_cost, point.test_accuracy / unit)
    )
  assert found[0][:3] == found[1][:3] and found[0][3] == pytest.approx(found[1][3])


def test_linear_model_of_features_finds_numbers_that_depend_on_them():
  features = np.random.default_rng(0).normal(size=(100, 4))
  labels = (features @ [[1.0], [2.0], [0.0], [0.0]] + 5).astype(np.float32)
  found = TASKS['regression'].from_features(features, labels)
  assert found.shape == labels.shape and np.abs(found - labels).max() < 0.1
