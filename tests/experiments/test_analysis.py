import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.paired import analysis, table
from mecl_jax.errors import UserError
from tests.experiments.test_table import failed, make_run

T2, T1 = 4.302653, 12.706205  # 97.5 % quantiles of Student's t, 2 degrees of freedom and 1


def table_of(rows):
  """Returns rows as a table with the dtypes of one that was read."""
  columns = table.columns(2)
  found = pd.DataFrame(rows, dtype=object).reindex(columns=list(columns))
  return found.astype(columns)


def analysed(function, rows, *more):
  """Returns the rows that a function of `analysis` makes of a table with these rows."""
  return table.records(function(table_of(rows), *more))


def arms(ours, theirs, **more):
  """Returns runs of two arms with these accuracies of the first exit, by seed from 0."""
  rows = [make_run('ours', seed, value, **more) for seed, value in enumerate(ours)]
  return rows + [make_run('standard', seed, value, **more) for seed, value in enumerate(theirs)]


def only(rows, **which):
  (row,) = (r for r in rows if all(r[name] == value for name, value in which.items()))
  return row


def test_differences_follow_the_textbook():
  (row,) = analysed(analysis.differences, arms([0.52, 0.55, 0.53], [0.50, 0.51, 0.53], noise=0.2))
  error = 2 / math.sqrt(3)  # of the changes 2, 4 and 0 points
  place = ['toy', 'digits', 0.2, 100, 'ours', 'exit 1', 3]
  names = ('study', 'setting', 'noise', 'budget', 'arm', 'measure', 'seeds')
  assert [row[name] for name in names] == place
  assert row['difference'] == 2
  assert row['accuracy'] == pytest.approx(1.6 / 3)
  assert row['baseline_accuracy'] == pytest.approx(1.54 / 3)
  assert row['low'] == pytest.approx(2 - T2 * error, abs=1e-5)
  assert row['high'] == pytest.approx(2 + T2 * error, abs=1e-5)
  assert row['p'] == row['p_holm'] == pytest.approx(2 * stats.t.sf(2 / error, 2), rel=1e-5)


def test_bootstrap_intervals_equal_those_of_scipy():
  ours = np.array([0.52, 0.55, 0.53, 0.541, 0.56, 0.55])
  rows = arms(ours, [0.5] * 6) + arms(ours[::-1] / 2, [0.25] * 6, setting='other')
  one, other = analysed(analysis.differences, rows)
  expected = stats.bootstrap(
    (np.rint(1e6 * (ours - 0.5)),), np.mean, n_resamples=2000, method='BCa', random_state=0
  ).confidence_interval
  assert (one['boot_low'], one['boot_high']) == pytest.approx([1e-4 * end for end in expected])
  assert 2 < one['boot_low'] < one['difference'] < one['boot_high'] < 6
  assert other['boot_low'] == pytest.approx(one['boot_low'] / 2, rel=0.2)
  assert analysed(analysis.differences, rows) == [one, other]


def test_only_complete_pairs_count():
  rows = arms([0.52, 0.55, 0.9], [0.50, 0.51, 0.1, 0.2])
  rows[2] = failed(rows[2])
  rows.append(make_run('ours', 7, 0.99))
  rows.append(make_run('ours', 3, 0.99, trial=0))
  (row,) = analysed(analysis.differences, rows)
  assert (row['seeds'], row['difference']) == (2, 3)
  (failure,) = analysed(analysis.failures, rows)
  assert (failure['arm'], failure['seed'], failure['error']) == ('ours', 2, 'went wrong')


def test_one_pair_or_equal_pairs_have_no_interval():
  (one,) = analysed(analysis.differences, arms([0.52], [0.5]))
  (same,) = analysed(analysis.differences, arms([0.52, 0.62], [0.5, 0.6]))
  for row, seeds in ((one, 1), (same, 2)):
    assert (row['seeds'], row['difference']) == (seeds, 2)
    assert {row[name] for name in ('low', 'high', 'boot_low', 'boot_high', 'p', 'p_holm')} == {None}


def test_final_exit_is_compared_where_it_changes():
  still = arms([0.52, 0.55], [0.50, 0.51])
  moving = arms([0.52, 0.55], [0.50, 0.51], setting='joint', strategy='joint')
  moving[0]['test_final'] = 0.93
  found = analysed(analysis.differences, still + moving)
  assert [(row['setting'], row['measure']) for row in found] == [
    ('digits', 'exit 1'), ('joint', 'exit 1'), ('joint', 'final')
  ]  # fmt: skip
  assert found[2]['difference'] == 1.5


def test_area_is_compared_where_both_have_one():
  rows = arms([0.52, 0.55], [0.50, 0.51])
  for row, area in zip(rows, (0.8, None, 0.7, 0.7), strict=True):
    row['area'] = area
  row = only(analysed(analysis.differences, rows), measure='area')
  assert (row['seeds'], row['difference']) == (1, 10)


def test_holms_family_is_all_tests_of_a_study():
  clear = arms([0.52, 0.55, 0.531], [0.50, 0.51, 0.5])
  unclear = arms([0.52, 0.50, 0.531], [0.50, 0.51, 0.53], setting='other')
  alone = arms([0.52, 0.55, 0.531], [0.50, 0.51, 0.5], study='second')
  first, other, second = analysed(analysis.differences, clear + unclear + alone)
  assert first['p'] < other['p']
  assert first['p_holm'] == pytest.approx(2 * first['p'], rel=1e-5)
  assert other['p_holm'] == other['p']
  assert second['p_holm'] == second['p'] == first['p']


def test_unknown_baseline_is_rejected():
  rows = arms([0.52, 0.55], [0.50, 0.51])
  (row,) = analysed(analysis.differences, rows, 'ours')
  assert (row['arm'], row['difference']) == ('standard', -3)
  for function in (analysis.differences, analysis.steps_to_reach):
    with pytest.raises(UserError, match=r"toy has no runs of 'plain'; .*: ours, standard"):
      function(table_of(rows), 'plain')


def test_pooled_difference_averages_within_each_seed():
  rows = arms([0.52, 0.54, 0.9], [0.50, 0.50, 0.1])
  rows += arms([0.56, 0.50], [0.52, 0.50], setting='other')
  rows += [make_run('standard', 0, 0.1, setting='without ours')]
  (row,) = analysed(analysis.pooled, rows, 'ours')
  # Of seed 0 the mean of 2 and 4 points, of seed 1 that of 4 and 0.
  assert (row['cells'], row['seeds'], row['difference']) == (2, 2, 2.5)
  assert row['low'] == pytest.approx(2.5 - T1 * 0.5, abs=1e-5)
  assert row['measure'] == 'exit 1', 'no run has a second exit'
  with pytest.raises(UserError, match="no seed has runs of both 'plain' and 'standard'"):
    analysis.pooled(table_of(rows), 'plain')


def test_settings_as_units_average_over_seeds_and_budgets():
  rows = arms([0.52, 0.54], [0.50, 0.50]) + arms([0.56], [0.50], budget=1000)
  rows += arms([0.51, 0.50], [0.50, 0.50], setting='other')
  rows += [make_run('standard', 0, 0.1, setting='without ours')]
  (row,) = analysed(analysis.pooled, rows, 'ours', 'standard', 'setting')
  # The mean of 3 and 6 points, one for each budget, and that of 1 and 0.
  assert (row['cells'], row['unit'], row['seeds'], row['difference']) == (3, 'setting', 2, 2.5)
  assert row['low'] == pytest.approx(2.5 - T1 * 2, abs=1e-5)
  (alone,) = analysed(analysis.pooled, rows[:4], 'ours', 'standard', 'setting')
  assert (alone['seeds'], alone['low']) == (1, None)


@pytest.mark.parametrize(
  ('target', 'expected'),
  [
    (0.5, (100, '')),
    (0.6, (1000, '')),  # half way in the logarithm
    (0.7, (10_000, '')),
    (0.4, (100, 'at most')),
    (0.71, (100_000, 'at least')),
  ],
)
def test_steps_are_interpolated_between_budgets(target, expected):
  steps, bound = analysis.first_reached([100, 10_000, 100_000], np.array([0.5, 0.7, 0.65]), target)
  assert (steps, bound) == (pytest.approx(expected[0]), expected[1])


def curves(ours, theirs):
  """Returns runs of two arms, by seed the accuracies after 100 and 10,000 steps."""
  return [
    make_run(arm, seed, value, budget=budget)
    for arm, of_seed in (('ours', ours), ('standard', theirs))
    for seed, curve in enumerate(of_seed)
    for budget, value in zip((100, 10_000), curve, strict=True)
  ]


def test_steps_to_reach_is_a_geometric_mean():
  rows = curves([(0.5, 0.7), (0.5, 0.7)], [(0.55, 0.6), (0.6, 0.6)])
  row = only(analysed(analysis.steps_to_reach, rows), budget=100)
  # A quarter and a half of the way from 100 to 10,000: ratios 10 ** 0.5 and 10 ** 1.
  assert row['ratio'] == pytest.approx(10**0.75)
  assert row['steps'] == pytest.approx(100 * 10**0.75, abs=1e-3)
  assert row['low'] == pytest.approx(10 ** (0.75 - T1 * 0.25), rel=1e-3)
  assert row['high'] == pytest.approx(10 ** (0.75 + T1 * 0.25), rel=1e-3)
  assert (row['seeds'], row['bound'], row['censored']) == (2, '', 0)


def test_censored_seeds_make_bounds():
  rows = curves([(0.5, 0.7), (0.5, 0.7)], [(0.4, 0.6), (0.6, 0.8)])
  early, late = analysed(analysis.steps_to_reach, rows)
  assert (early['bound'], early['censored']) == ('at most', 0.5)
  assert early['ratio'] == pytest.approx(10**0.5)  # of 1, the bound, and 10
  assert (late['bound'], late['censored']) == ('at least', 0.5)
  assert late['ratio'] == pytest.approx(10**-0.5)  # of 0.1 and 1, the bound
  assert early['low'] is late['high'] is None
  (_, mixed) = analysed(
    analysis.steps_to_reach, curves([(0.5, 0.7), (0.5, 0.7)], [(0.4, 0.4), (0.6, 0.8)])
  )
  assert (mixed['bound'], mixed['censored']) == ('mixed', 1)
  assert mixed['ratio'] is mixed['steps'] is None


def test_incomplete_curves_are_left_out():
  rows = curves([(0.5, 0.7), (0.5, 0.7)], [(0.5, 0.6), (0.5, 0.6)])
  rows[1] = failed(rows[1])
  rows.append(make_run('short', 0, 0.5))
  found = analysed(analysis.steps_to_reach, rows)
  assert {(row['arm'], row['seeds']) for row in found} == {('ours', 1)}


def trial(number, seed, first, second, rate, **more):
  fields = f'{{"rate": {rate}, "order": "anti"}}'
  means = {'exit1': first, 'exit2': second}
  return make_run('ours', seed, 0.5, 0.6, trial=number, validation=means, fields=fields, **more)


def searched(**more):
  """Returns four trials with two seeds each; one of them failed."""
  rows = [trial(0, 0, 0.4, 0.6, 1, **more), trial(0, 1, 0.5, 0.7, 1, **more)]
  rows += [trial(1, 0, 0.6, 0.8, 2, **more), trial(1, 1, 0.5, 0.7, 2, **more)]
  rows += [trial(2, seed, 0.6, 0.7, 3, **more) for seed in (0, 1)]
  rows += [trial(3, 0, 0.9, 0.9, 4, **more), failed(trial(3, 1, 0.9, 0.9, 4, **more))]
  return [*rows, make_run('ours', 0, 0.5, 0.6, **more)]


def test_separate_heads_have_a_search_per_exit():
  rows = searched()
  found = analysed(analysis.tries, rows)
  assert [row['trial'] for row in found if row['exit'] == 'exit1'] == [0, 1, 2, 3]
  assert [row['seeds'] for row in found if row['exit'] == 'exit2'] == [2, 2, 2, 1]
  means = [row['validation_accuracy'] for row in found if row['exit'] == 'exit1']
  assert means == [0.45, 0.55, 0.6, None]
  first, second = analysed(analysis.searches, rows)
  assert (first['exit'], first['trial'], first['trials']) == ('exit1', 2, 4)
  assert (second['exit'], second['trial'], second['tuned']) == ('exit2', 1, 'rate=2')
  assert second['fields'] == rows[2]['fields'] and second['validation_accuracy'] == 0.75


def test_whole_networks_have_one_search():
  (best,) = analysed(analysis.searches, searched(backbone_run=None))
  # Trials 1 and 2 are equal on average; the first of them is taken.
  assert (best['exit'], best['trial'], best['validation_accuracy']) == ('all exits', 1, 0.65)
