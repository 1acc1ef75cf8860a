import numpy as np
import pytest
from scipy import stats

from experiments import published
from experiments.paired.table import places
from experiments.quotes import Results
from mecl_jax.errors import UserError
from tests.experiments.test_table import make_run

OURS = (0.70, 0.71, 0.72)


def runs(**changes):
  of_network = {'backbone': 'resnet18', 'dataset': 'cifar100', 'exits': 'a b c final'}
  macs = '163000000 300000000 440000000 570000000'
  return [
    make_run(arm, seed, accuracy, 0.75)
    | {**of_network, 'macs': macs, 'test_exit3': 0.76, 'validation_exit3': 0.76, **changes}
    for arm in ('standard', 'ours')
    for seed, accuracy in enumerate(OURS)
  ]


def test_what_is_published_has_every_exit_at_rising_costs():
  for methods in (published.of_network(published.read(), run) for run in runs()[:1]):
    for of_exit in methods.values():
      assert tuple(of_exit) == places(3)
      macs = [row['macs'] for row in of_exit.values()]
      assert macs == sorted(set(macs)) and all(0 < row['accuracy'] < 1 for row in of_exit.values())


def test_our_mean_has_the_interval_of_a_t_test_over_the_seeds():
  row = published.above(runs()[:3], 'exit 1', 0.69)
  expected = stats.ttest_1samp(100 * np.array(OURS) - 69, 0).confidence_interval(0.95)
  assert (row['seeds'], row['difference']) == (3, pytest.approx(2))
  assert (row['low'], row['high']) == pytest.approx(tuple(expected))
  alone = published.above(runs()[:1], 'exit 1', 0.69)
  assert (alone['seeds'], alone['low'], alone['high']) == (1, None, None)


def test_a_table_has_their_methods_and_our_arms():
  results = Results({'toy': runs()})
  names, _, theirs, ours, *lines = results.published_table('toy').splitlines()
  assert names == '|  | exit 1 | exit 2 | exit 3 | final |'
  assert theirs.startswith('| MACs, published | 170 M |') and ours.endswith('| 440 M | 570 M |')
  assert '| joint training | 67.23 % | 73.80 % | 77.75 % | 78.38 % |' in lines
  assert lines[-1].startswith('| `ours`, here | 71.00 [68.52, 73.48] % | 75.00 %')
  assert results.above_published('toy', 'ours', 'joint training', 'exit 1') == '+3.77 [1.29, 6.25]'
  with pytest.raises(UserError, match='method'):
    results.above_published('toy', 'ours', 'joint', 'exit 1')


def test_a_network_of_which_nothing_is_published_is_told():
  with pytest.raises(UserError, match='nothing is published of resnet18 on mnist'):
    Results({'toy': runs(dataset='mnist')}).published_table('toy')
