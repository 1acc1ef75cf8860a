import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import published, wording
from experiments.paired.table import places
from mecl_jax.errors import UserError
from tests.experiments.test_table import make_run

OURS = (0.70, 0.71, 0.72)


def runs(**changes):
  of_network = {'backbone': 'resnet18', 'dataset': 'cifar100', 'exits': 'a b c final'}
  macs = '163000000 300000000 440000000 570000000'
  rows = [
    make_run(arm, seed, accuracy, 0.75)
    | {**of_network, 'macs': macs, 'test_exit3': 0.76, 'validation_exit3': 0.76, **changes}
    for arm in ('standard', 'ours')
    for seed, accuracy in enumerate(OURS)
  ]
  return pd.DataFrame(rows)


def test_published_costs_rise_from_exit_to_exit():
  theirs = published.of_network('resnet18', 'cifar100')
  assert theirs['accuracy'].between(0, 1).all()
  for _, of_method in theirs.groupby('method'):
    assert tuple(of_method['exit']) == places(3)
    macs = of_method['macs'].tolist()
    assert macs == sorted(set(macs))


def test_mean_has_the_interval_of_a_t_test():
  row = published.above(runs()[:3], 'exit1', 0.69)
  expected = stats.ttest_1samp(100 * np.array(OURS) - 69, 0).confidence_interval(0.95)
  assert (row['seeds'], row['difference']) == (3, pytest.approx(2))
  assert (row['low'], row['high']) == pytest.approx(tuple(expected))
  alone = published.above(runs()[:1], 'exit1', 0.69)
  assert alone['seeds'] == 1 and np.isnan([alone['low'], alone['high']]).all()


def test_tables_have_their_methods_and_our_arms():
  lines = wording.table(published.levels(runs())).splitlines()
  names, _, theirs, ours, *methods = lines
  assert names == '|  | exit 1 | exit 2 | exit 3 | final |'
  assert theirs.startswith('| MACs, published | 170 M |') and ours.endswith('| 440 M | 570 M |')
  assert '| joint training | 67.23 % | 73.80 % | 77.75 % | 78.38 % |' in methods
  assert methods[-2].startswith('| `ours`, ours | 71.00 [68.52, 73.48] % | 75.00 %')
  less = {row['']: row['exit 1'] for row in published.differences(runs())}
  assert less['`ours` less joint training'] == '+3.77 [1.29, 6.25]'


def test_unknown_method_is_rejected():
  theirs = published.of_network('resnet18', 'cifar100')
  with pytest.raises(UserError, match=r"nothing is published of 'joint'.*methods: joint training"):
    published.accuracy_of(theirs, 'joint', 'exit1')


def test_network_without_published_results_has_no_table():
  other = runs(dataset='mnist')
  assert published.levels(other) == published.differences(other) == []
