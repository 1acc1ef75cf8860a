import math

import pytest

from mecl_jax.report import cells


@pytest.mark.parametrize(
  'column, value, text',
  [
    ('accuracy', 0.61494, '61.49'), ('nll', 1.08523, '1.085'), ('macs', 40_551_808, '40.6 M'),
    ('p50_ms', 12.345, '12.3'), ('p50_ms', 1234.5, '1,234'), ('p50_ms', 0.01234, '0.0123'),
    ('p50_ms', 99.99, '100'), ('leave:stage1', 0.5, '50.00'), ('threshold:stage1', math.inf, '∞'),
    ('threshold:stage1', 0.87654321, '0.8765'), ('id', 12345, '12345'), ('step', 12345, '12,345'),
    ('ece', math.nan, '–'), ('ece', None, '–'), ('chosen', True, 'yes'), ('chosen', False, 'no'),
    ('target_value', 20_000_000, '20,000,000'), ('target_value', 0.005, '0.005'),
    ('label', 'cat', 'cat'),
  ],
)  # fmt: skip
def test_cells_have_few_digits(column, value, text):
  assert cells.show({column: value}, column) == (text, '')


def test_headings_have_units_and_name_the_exit():
  headings = [cells.heading(c) for c in ('accuracy', 'leave:a{}b', 'some_thing', 'x:y')]
  assert headings == ['accuracy (%)', 'leave at a{}b (%)', 'some thing', 'x:y']
  assert cells.estimates(['ece', 'ece_low', 'bin_low', 'ece_high']) == ['ece', 'bin_low']


def test_losses_and_gains_are_stated_in_words():
  assert cells.less_or_more(0.35) == '35.0 % less' and cells.less_or_more(-0.35) == '35.0 % more'
  assert cells.below_or_above(0.0042) == '0.42 points below'
  assert cells.below_or_above(-0.0056) == '0.56 points above'
  assert cells.show({'ms_saved': -0.35}, 'ms_saved')[0] == '35.0 % more'
  assert cells.show({'allowed_saving': 0.26}, 'allowed_saving')[0] == '26.0 % less'


def test_accuracy_against_the_final_exit_is_a_change():
  row = {'test_drop': -0.004, 'test_drop_low': -0.011, 'test_drop_high': 0.003}
  assert cells.show(row, 'test_drop') == ('+0.40', '-0.30 to +1.10')
  assert cells.show({'test_drop': 0.0}, 'test_drop')[0] == '+0.00'


def test_curriculum_name_has_order_and_weights():
  assert cells.curriculum_name('none', 'none') == 'none'
  assert cells.curriculum_name('easy_first', 'easy_weighted') == 'easy_first, easy_weighted'
  assert cells.curriculum_name('none', 'none', 'drop') == 'contradicted dropped'
