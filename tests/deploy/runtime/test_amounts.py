"""CSV files of costs, budgets and incomes."""

import pytest

from mecl_jax.deploy.runtime.amounts import Amounts, check_unit, read_amounts, read_costs
from mecl_jax.deploy.runtime.errors import BundleError

EXITS = ('early', 'middle', 'late')


def write(folder, content):
  path = folder / 'amounts.csv'
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


@pytest.mark.parametrize(
  ('text', 'unit'),
  [
    ('exit,cost_mJ\nearly,1\nmiddle,2.5\nlate,30\n', 'mJ'),
    ('exit,cost\nlate,30\nearly,1\nmiddle,2.5', ''),
    ('\ufeffexit, cost_ms\r\n\r\n early ,1\r\nmiddle, 2.5 \r\n"late",3e1\r\n', 'ms'),
  ],
)
def test_costs_are_read_in_the_order_of_the_exits(text, unit, tmp_path):
  assert read_costs(write(tmp_path, text), EXITS) == Amounts([1, 2.5, 30], unit)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', "begins with ''; the heading must be exit,cost_mJ"),
    ('early,1\nmiddle,2\nlate,3\n', "begins with 'early,1'; the heading must be"),
    ('exit,cost mJ\nearly,1\n', 'the heading must be exit,cost_mJ'),
    ('exit,cost_mJ\n', 'lacks the cost of early, middle, late'),
    ('exit,cost_mJ\nearly,1\nlate,3\n', 'lacks the cost of middle'),
    ('exit,cost_mJ\nearly,1\nfinal,3\n', "line 3 of .* has exit 'final'; the exits are early, mid"),
    ('exit,cost_mJ\nearly,1\nearly,1\n', 'line 3 of .* has exit early for the second time'),
    ('exit,cost_mJ\nearly,one\n', "line 2 of .* has the cost 'one'; it must be one number, 0 or"),
    ('exit,cost_mJ\nearly,-1\n', "has the cost '-1'"),
    ('exit,cost_mJ\nearly,nan\n', "has the cost 'nan'"),
    ('exit,cost_mJ\nearly,inf\n', "has the cost 'inf'"),
    ('exit,cost_mJ\nearly\n', "has the cost ''"),
    ('exit,cost_mJ\nearly,1,2\n', "has the cost '1,2'"),
    ('exit,cost_mJ\nearly,0\nmiddle,0\nlate,0\n', 'costs of 0 only; one must be above 0'),
    (b'\x80\x04\x95\xff', 'cannot be read as a CSV file of costs'),
  ],
)
def test_bad_costs_are_rejected_in_one_line(content, message, tmp_path):
  with pytest.raises(BundleError, match=message) as caught:
    read_costs(write(tmp_path, content), EXITS)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('text', 'unit'), [('income_mJ\n1\n\n2.5\n', 'mJ'), ('income\n1\n2.5', ''), ('1\n2.5\n', '')]
)
def test_trace_may_have_a_heading(text, unit, tmp_path):
  assert read_amounts(write(tmp_path, text), 'income') == Amounts([1, 2.5], unit)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', 'has no income; write one number per line'),
    ('income_mJ\n', 'has no income'),
    ('budget_mJ\n1\n', "line 1 of .* has the income 'budget_mJ'"),
    ('1\nmuch\n', "line 2 of .* has the income 'much'"),
    ('1\n2,3\n', "line 2 of .* has the income '2,3'"),
    ('-1\n', "line 1 of .* has the income '-1'"),
  ],
)
def test_bad_trace_is_rejected_in_one_line(content, message, tmp_path):
  with pytest.raises(BundleError, match=message) as caught:
    read_amounts(write(tmp_path, content), 'income')
  assert '\n' not in str(caught.value)


def test_missing_file_is_rejected_in_one_line(tmp_path):
  with pytest.raises(BundleError, match=r'none\.csv cannot be read as a CSV file of amounts of'):
    read_amounts(tmp_path / 'none.csv', 'budget')


def test_other_unit_than_that_of_the_costs_is_rejected():
  check_unit('a.csv', 'mJ', 'mJ')
  check_unit('a.csv', '', 'mJ')
  with pytest.raises(BundleError, match=r'a\.csv is in J, but the costs are in mJ; use one unit'):
    check_unit('a.csv', 'J', 'mJ')
