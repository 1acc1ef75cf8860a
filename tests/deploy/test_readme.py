"""README.md of a bundle."""

import re

import jinja2
import pytest

from mecl_jax.deploy.readme import render_readme
from mecl_jax.evaluation.rules import FIXED, GATE, RULES
from tests.deploy.bundles import make_fields, make_policy

COEFFICIENTS = [[1.0, 0.5, -1.0]] * 3


def tables(text):
  """Returns the tables of a text, each a list of rows of cells."""
  found = re.findall(r'(?:^\|.*\|\n)+', text, re.MULTILINE)
  return [[re.split(r' \| ', line[2:-2]) for line in table.splitlines()] for table in found]


def test_tables_show_files_exits_and_policies():
  policy = make_policy('margin', [0.5, 0.9], share=[0.25, 0.25, 0.5])
  text = render_readme(make_fields(policies={'fast': policy, 'last': make_policy()}))
  files, exits, policies, rules = tables(text)
  assert [row[0] for row in files[2:]] == [
    *('`bundle.json`', '`segment_1.onnx`', '`segment_2.onnx`', '`segment_3.onnx`'),
    *('`segments.png`', '`early_exit.py`'),
  ]  # fmt: skip
  assert exits[2:] == [
    ['`early`', '80.0 %', '75.0 %', '1.0 k'],
    ['`middle`', '80.0 %', '75.0 %', '2.0 k'],
    ['`late`', '80.0 %', '75.0 %', '3.0 k'],
  ]
  assert policies[2:] == [
    ['`fast`', 'by margin', '75.0 %', '1.5 k', '25.0 %, 25.0 %, 50.0 %'],
    ['`last`', 'by fixed', '75.0 %', '1.5 k', '50.0 %, 0.0 %, 50.0 %'],
  ]
  assert [row[0] for row in rules[2:]] == ['`margin`', '`fixed`']
  for table in (files, exits, policies, rules):
    assert len({len(row) for row in table if set(row[0]) != set('-|')}) == 1


def test_bottlenecks_are_among_the_files():
  files = tables(render_readme(make_fields(has_bottlenecks=True)))[0]
  names = [row[0] for row in files[2:]]
  assert names[2] == '`encoder_0.onnx`, `decoder_0.onnx`' and len(names) == 8
  assert files[4][1].endswith(
    '3 bytes instead of its features, for a server (65.0 % right at the last exit)'
  )


def test_facts_are_those_of_the_bundle():
  text = render_readme(make_fields(classes=7, policies={'careful': make_policy()}))
  assert text.startswith('# A network for toy that answers early\n')
  assert 'a table with 3 exits' in text and 'made by mecl_jax 0.6.0' in text
  assert '--policy=careful' in text and "policy='careful'" in text
  assert 'uint8 [N, 2, 2, 3]' in text and '[1, 2, 2, 3]' in text and '[B, 7]' in text
  assert 'red, green, blue' in text
  gray = render_readme({**make_fields(), 'image_shape': [8, 8, 1]})
  assert 'uint8 [N, 8, 8, 1]' in gray and 'one channel' in gray and 'green' not in gray


@pytest.mark.parametrize('rule', [*RULES, FIXED])
def test_rules_that_are_used_are_explained(rule):
  gate = (['margin', 'patience'], COEFFICIENTS) if rule == GATE else ()
  text = render_readme(make_fields(policies={'one': make_policy(rule, ['inf', 'inf'], *gate)}))
  used = {rule, 'margin', 'patience'} if rule == GATE else {rule}
  explained = [row[0].strip('`') for row in tables(text)[3][2:]]
  assert set(explained) == used and len(explained) == len(used)


def test_large_costs_are_in_millions():
  fields = make_fields()
  fields['exits'][2]['macs'] = 40_813_184
  assert tables(render_readme(fields))[1][4][-1] == '40.81 M'


def test_text_of_a_bundle_cannot_break_a_table():
  fields = make_fields()
  fields['policies']['last']['meaning'] = 'fast | cheap\nand <b>good</b>'
  text = render_readme(fields)
  assert '| fast \\| cheap and <b>good</b> |' in text


def test_missing_field_is_an_error():
  fields = make_fields()
  del fields['image_shape']
  with pytest.raises(jinja2.UndefinedError, match='image_shape'):
    render_readme(fields)


def test_python_code_of_the_readme_is_valid():
  text = render_readme(make_fields())
  (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  compile(code, 'README.md', 'exec')
  assert 'Network(' in code and '{{' not in text and '{%' not in text
