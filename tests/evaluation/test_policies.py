import json

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import policies, rules, thresholds
from mecl_jax.evaluation.policies import Policy, fixed, load_policy, save_policy
from mecl_jax.evaluation.rules import Rule
from tests.evaluation.predictions import make

SPLIT = make(n=100)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('exits', [1, 2, 5])
def test_examples_leave_at_the_first_exit_that_suffices(exits, ties):
  rng = np.random.default_rng(exits)
  for _ in range(20):
    confidence = rng.integers(0, 4, (30, exits)) / 3 if ties else rng.random((30, exits))
    limits = rng.integers(0, 5, exits - 1) / 3 if ties else rng.random(exits - 1) * 1.5
    expected = []
    for row in confidence:
      at = 0
      while at < exits - 1 and row[at] < limits[at]:
        at += 1
      expected.append(at)
    assert policies.first_reached(confidence, limits).tolist() == expected


def test_patience_counts_exits_that_agree():
  predicted = np.array([[0, 0, 1, 1, 1], [2, 2, 2, 2, 2], [0, 1, 0, 1, 0]])
  policy = Policy(Rule('patience'), np.full(4, 3.0))
  assert policy.leaves_at(np.eye(3)[predicted]).tolist() == [4, 2, 4]


def test_infinite_threshold_keeps_all_examples():
  policy = Policy(Rule('margin'), np.array([np.inf, -np.inf, 0.0]))
  assert set(policy.leaves_at(SPLIT.logits)) == {1}


def test_another_number_of_exits_is_rejected():
  policy = Policy(Rule('margin'), np.zeros(3))
  with pytest.raises(UserError, match='a policy of 4 exits for predictions of 5'):
    policy.leaves_at(make(exits=5).logits)


@pytest.mark.parametrize('name', rules.RULES)
def test_saved_policy_is_read_bit_for_bit(name, tmp_path):
  fitted = thresholds.budgeted(rules.fit_rule(name, SPLIT), SPLIT)[3]
  policy = Policy(fitted.rule, np.append(fitted.thresholds[:-1], np.inf))
  policies.save_policy(tmp_path / 'policy.json', policy, 'digits')
  back = policies.load_policy(tmp_path / 'policy.json', 'digits')
  assert back.rule == policy.rule and back.exits == 4
  assert back.thresholds.dtype == np.float64
  np.testing.assert_array_equal(back.thresholds, policy.thresholds)
  test = make('test')
  np.testing.assert_array_equal(back.leaves_at(test.logits), policy.leaves_at(test.logits))


def edited(path):
  """Returns the fields of a file, to write them again with changes."""
  file = json.loads(path.read_text())
  del file['checksum']
  return file


@pytest.mark.parametrize('number', [0, 1, 2])
def test_saved_fixed_exit_is_read(number, tmp_path):
  save_policy(tmp_path / 'policy.json', fixed(number, 3), 'digits')
  back = load_policy(tmp_path / 'policy.json', 'digits')
  assert (back.fixed_exit, back.exits, back.digest) == (number, 3, fixed(number, 3).digest)
  assert set(back.leaves_at(make(exits=3).logits)) == {number}
  assert Policy(rules.Rule('margin'), np.full(2, np.inf)).fixed_exit is None


@pytest.mark.parametrize('name', rules.RULES)
def test_file_of_version_1_is_read(name, tmp_path):
  policy = thresholds.budgeted(rules.fit_rule(name, SPLIT), SPLIT)[20]
  path = tmp_path / 'policy.json'
  policies.save_policy(path, policy, 'digits')
  file = edited(path) | {'version': 1}
  del file['features']
  path.write_text(json.dumps(file | {'learnt': file.pop('coefficients')}))
  back = policies.load_policy(path, 'digits')
  assert back.rule == policy.rule and back.digest == policy.digest


def test_new_rule_leaves_saved_gates_valid(tmp_path, monkeypatch):
  policy = thresholds.budgeted(rules.fit_rule('gate', SPLIT), SPLIT)[20]
  expected = policy.leaves_at(SPLIT.logits)
  policies.save_policy(tmp_path / 'policy.json', policy, 'digits')
  monkeypatch.setitem(rules.CONFIDENCES, 'new', lambda last: last.exp(0 * last.two_largest()[1]))
  monkeypatch.setattr(rules, 'RULES', (*rules.RULES, 'new'))
  monkeypatch.setattr(rules, 'GATE_FEATURES', ('new', *rules.GATE_FEATURES))
  back = policies.load_policy(tmp_path / 'policy.json', 'digits')
  np.testing.assert_array_equal(back.leaves_at(SPLIT.logits), expected)
  assert len(rules.fit_rule('gate', make(n=80)).coefficients[0]) == 6


def test_file_is_plain_json(tmp_path):
  path = tmp_path / 'policy.json'
  policies.save_policy(path, Policy(Rule('entropy'), np.array([-0.25, np.inf])), 'cifar10')

  def refuse(constant):
    raise AssertionError(f'{constant} is no JSON')

  file = json.loads(path.read_text(), parse_constant=refuse)
  assert len(file.pop('checksum')) == 64
  assert file == {
    'format': 'mecl_jax exit policy',
    'version': 2,
    'dataset': 'cifar10',
    'exits': 3,
    'rule': 'entropy',
    'features': [],
    'coefficients': [],
    'thresholds': [-0.25, 'inf'],
  }


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'format': 'a poem'}, 'is not an exit policy'),
    ({'version': 3}, 'has version 3'),
    ({'dataset': 'cifar100'}, 'for cifar100, not for digits'),
    ({'rule': 'patient'}, 'choose one of'),
    ({'rule': 'gate'}, 'damaged'),
    ({'rule': 'fixed'}, 'damaged: a fixed exit has'),
    ({'coefficients': [[1.0]]}, 'damaged'),
    ({'coefficients': None}, 'damaged'),
    ({'rule': 'gate', 'coefficients': [[10**400]] * 3}, 'damaged'),
    ({'rule': 'gate', 'coefficients': [['nan']] * 3}, 'damaged: a coefficient'),
    ({'thresholds': [0.5, 10**400]}, 'damaged'),
    ({'features': None}, 'damaged'),
    ({'features': ['astrology']}, 'damaged: unknown features'),
    ({'exits': 4}, 'damaged'),
    ({'exits': 'three'}, 'damaged'),
    ({'thresholds': [0.5, 'nan']}, 'damaged'),
    ({'thresholds': [0.5, 'much']}, 'damaged'),
    ({'thresholds': 0.5}, 'damaged'),
  ],
)
def test_bad_file_is_rejected_in_one_line(change, message, tmp_path):
  path = tmp_path / 'policy.json'
  policies.save_policy(path, Policy(Rule('margin'), np.array([0.5, 0.6])), 'digits')
  path.write_text(json.dumps(edited(path) | change))
  with pytest.raises(UserError, match=message) as caught:
    policies.load_policy(path, 'digits')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['', '{', '[1]', '\ufeff'])
def test_other_file_is_rejected(text, tmp_path):
  path = tmp_path / 'policy.json'
  with pytest.raises(UserError, match='does not exist'):
    policies.load_policy(path, 'digits')
  path.write_text(text)
  with pytest.raises(UserError, match=r'policy\.json is not a JSON file'):
    policies.load_policy(path, 'digits')
