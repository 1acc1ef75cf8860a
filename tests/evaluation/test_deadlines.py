import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from mecl_jax.errors import UserError
from mecl_jax.evaluation import deadlines

LATENCIES = np.array([0.001, 0.002, 0.004])
ACCURACIES = np.array([0.5, 0.8, 0.7])  # the last is worse than the second
VALIDATION = np.array([0.5, 0.6, 0.6])

RNG = np.random.default_rng(0)
# Networks whose deeper exits may be faster, and ties among latencies.
NETWORKS = [
  (np.round(RNG.uniform(0.5, 4, exits)) / 1000, RNG.random(exits), np.round(RNG.random(exits), 1))
  for exits in (1, 2, 3, 5, 8, 12)
]


def by_hand(latencies, accuracies, validation, deadline, classes):
  """Accuracy of the best by `validation` (None: of the deepest) of the exits in time."""
  in_time = [k for k in range(len(latencies)) if latencies[k] <= deadline]
  if not in_time:
    return 1 / classes
  if validation is None:
    return accuracies[max(in_time)]
  return accuracies[max(in_time, key=lambda k: (validation[k], -latencies[k], -k))]


def staircase(network, by_validation):
  latencies, accuracies, validation = network
  if by_validation:
    return deadlines.most_accurate(latencies, accuracies, 10, validation)
  return deadlines.deepest(latencies, accuracies, 10)


def test_deepest_exit_in_time_answers():
  stairs = deadlines.deepest(LATENCIES, ACCURACIES, 10)
  at = np.array([[0, 0.00099, 0.001], [0.003, 0.004, np.inf]])
  expected = [[0.1, 0.1, 0.5], [0.8, 0.7, 0.7]]
  np.testing.assert_array_equal(deadlines.accuracy_at(stairs, at), expected)
  assert stairs.exits.tolist() == [0, 1, 2]


def test_most_accurate_on_validation_answers():
  stairs = deadlines.most_accurate(LATENCIES, ACCURACIES, 10, VALIDATION)
  assert stairs.exits.tolist() == [0, 1]
  assert deadlines.accuracy_at(stairs, 1.0) == 0.8
  # A lucky test split changes nothing.
  stairs = deadlines.most_accurate(LATENCIES, np.array([0.9, 0.2, 0.3]), 10, VALIDATION)
  assert stairs.exits.tolist() == [0, 1] and deadlines.accuracy_at(stairs, 1.0) == 0.2


@pytest.mark.parametrize('by_validation', [False, True])
@pytest.mark.parametrize('network', NETWORKS, ids=lambda n: f'{len(n[0])} exits')
def test_accuracy_agrees_with_its_definition(network, by_validation):
  latencies, accuracies, validation = network
  stairs = staircase(network, by_validation)
  assert (np.diff(stairs.starts) > 0).all()
  at = np.concatenate([latencies, np.linspace(0, 0.005, 101)])
  chosen = validation if by_validation else None
  expected = [by_hand(latencies, accuracies, chosen, d, 10) for d in at]
  np.testing.assert_array_equal(deadlines.accuracy_at(stairs, at), expected)


@pytest.mark.parametrize(
  ('distribution', 'reference'),
  [
    (deadlines.uniform(0, 0.01), stats.uniform(0, 0.01)),
    (deadlines.uniform(0.0015, 0.0035), stats.uniform(0.0015, 0.002)),
    (deadlines.exponential(0.002), stats.expon(scale=0.002)),
    (deadlines.exponential(0.1), stats.expon(scale=0.1)),
  ],
)
@pytest.mark.parametrize('by_validation', [False, True])
@pytest.mark.parametrize('network', NETWORKS, ids=lambda n: f'{len(n[0])} exits')
def test_closed_forms_agree_with_numerical_integration(
  network, by_validation, distribution, reference
):
  stairs = staircase(network, by_validation)

  def integrand(deadline):
    return deadlines.accuracy_at(stairs, deadline) * reference.pdf(deadline)

  low, high = reference.ppf(0), reference.ppf(1 - 1e-12)
  inside = [s for s in stairs.starts if low < s < high]
  pieces = itertools.pairwise([low, *inside, high])
  expected = sum(integrate.quad(integrand, a, b)[0] for a, b in pieces)
  assert deadlines.expected_accuracy(stairs, distribution) == pytest.approx(expected, abs=1e-8)


def test_expectation_over_a_trace_is_the_mean():
  trace = np.concatenate([RNG.uniform(0, 0.006, 1000), LATENCIES])
  stairs = deadlines.deepest(LATENCIES, ACCURACIES, 10)
  expected = deadlines.accuracy_at(stairs, trace).mean()
  found = deadlines.expected_accuracy(stairs, deadlines.empirical(trace))
  assert found == pytest.approx(expected)


def test_uniform_distribution_may_have_no_width():
  stairs = deadlines.deepest(LATENCIES, ACCURACIES, 10)
  for at in (0.0, *LATENCIES, 0.003):
    found = deadlines.expected_accuracy(stairs, deadlines.uniform(at, at))
    assert found == deadlines.accuracy_at(stairs, at)


@pytest.mark.parametrize(
  ('make', 'match'),
  [
    (lambda: deadlines.uniform(2, 1), '0 <= low <= high'),
    (lambda: deadlines.uniform(-1, 1), '0 <= low <= high'),
    (lambda: deadlines.uniform(0, np.inf), '0 <= low <= high'),
    (lambda: deadlines.uniform(np.nan, 1), '0 <= low <= high'),
    (lambda: deadlines.exponential(0), 'above 0'),
    (lambda: deadlines.exponential(np.nan), 'above 0'),
    (lambda: deadlines.deepest(LATENCIES, ACCURACIES[:2], 10), 'of 3 exits'),
    (lambda: deadlines.most_accurate(LATENCIES, ACCURACIES, 10, [1]), '1 .validation'),
    (lambda: deadlines.deepest(np.array([1, np.nan]), ACCURACIES[:2], 10), 'measure them again'),
    (lambda: deadlines.deepest(np.array([0, 1]), ACCURACIES[:2], 10), 'measure them again'),
  ],
)
def test_bad_numbers_are_rejected(make, match):
  with pytest.raises(UserError, match=match):
    make()


@pytest.mark.parametrize(
  'text',
  [
    'deadline_ms\n1\n2.5\n30\n',
    '1\n2.5\n30',
    '\ufeffdeadline_ms\r\n1\r\n\r\n2.5\r\n3e1\r\n',
    '"deadline_ms"\n"1"\n 2.5 \n30\n\n  \n',
  ],
)
def test_traces_are_read_in_seconds(text, tmp_path):
  path = tmp_path / 'trace.csv'
  path.write_bytes(text.encode())
  np.testing.assert_allclose(deadlines.read_trace(path), [0.001, 0.0025, 0.03])


@pytest.mark.parametrize(
  ('content', 'match'),
  [
    (b'', 'no deadline'),
    (b'deadline_ms\n', 'no deadline'),
    (b'latency\n1\n', "line 1 of .* is 'latency'"),
    (b'deadline_ms\n1\n\nfast\n', "line 4 of .* is 'fast'"),
    (b'deadline_ms,device\n1,a\n', "line 1 of .* is 'deadline_ms,device'"),
    (b'1\n2,3\n', "line 2 of .* is '2,3'"),
    (b'1\nnan\n', 'line 2'),
    (b'1\ninf\n', 'line 2'),
    (b'-1\n', 'line 1'),
    (b'1\n__import__("os")\n', 'line 2'),
    (b'\x80\x04\x95\x00\xff', 'cannot be read as a CSV'),
    (b'1' * 200_000, 'cannot be read as a CSV'),
    (b'PK\x03\x04\x00\x00', 'line 1'),
  ],
)
def test_wrong_traces_are_rejected_in_one_line(content, match, tmp_path):
  path = tmp_path / 'trace.csv'
  path.write_bytes(content)
  with pytest.raises(UserError, match=match) as error:
    deadlines.read_trace(path)
  assert '\n' not in str(error.value) and len(str(error.value)) < 200 + len(str(path))


def test_missing_traces_are_rejected_in_one_line(tmp_path):
  for path in (tmp_path, tmp_path / 'none.csv'):
    with pytest.raises(UserError, match='cannot be read as a CSV'):
      deadlines.read_trace(path)
