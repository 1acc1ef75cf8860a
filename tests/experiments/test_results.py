import functools
import pathlib

import numpy as np
from PIL import Image
import pytest

from experiments import results
from experiments.paired import figures
from experiments.paired.search import judged
from experiments.paired.table import read_table, write_table
from mecl_jax import config
from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from tests.experiments.test_table import failed, make_run

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATE = """\
{% macro headline() %}
{% set found = mean_effect('toy', 'ours', 'exit 1') %}
{{ found }} points in {{ found.row.cells }} cells, {{ found.row.seeds }} seeds: [all](results.md),
[the paper](https://arxiv.org/abs/2104.10461).
{% endmacro %}
# Results


"""
README = 'before\n<!-- results -->\nold\n<!-- /results -->\nafter\n'


@pytest.fixture
def project(tmp_path):
  """A function that builds from a template, of tables, docs and a README that lie in a folder.

  Of the study toy: changes at the first exit of 2, 4 and 0 points after 100 steps, and -1 each
  after 1,000; at the second exit of 1 point in two seeds of three.
  """
  write_table(tmp_path / 'tables' / 'toy.csv', toy_rows())
  (tmp_path / 'README.md').write_text(README)

  def build(text=''):
    template = tmp_path / 'results.md.jinja'
    template.write_text(TEMPLATE + text)
    return results.build(
      tmp_path / 'tables', tmp_path / 'docs', tmp_path / 'README.md', template=template
    )

  return build


def toy_rows():
  rows = []
  for seed, (one, two) in enumerate([(0.52, 0.61), (0.55, 0.61), (0.53, 0.60)]):
    before = (0.5, 0.51, 0.53)[seed]
    rows += [
      make_run('ours', seed, one, two),
      make_run('standard', seed, before, 0.6),
      make_run('ours', seed, 0.69, 0.7, budget=1000),
      make_run('standard', seed, 0.7, 0.7, budget=1000),
    ]
  trials = [
    make_run('ours', 9, 0.4 + 0.1 * k, 0.5, trial=k, fields=f'{{"rate": {k}}}') for k in (0, 1)
  ]
  return [*rows, *trials, failed(make_run('ours', 5, 0.5, 0.6)) | {'error': 'a | b\nc'}]


def said(project, text):
  """What the page has below its heading for this piece of the template."""
  built = project(text)
  page = next(text for path, text in built.texts.items() if path.name == 'results.md')
  return page.removeprefix('# Results\n').strip()


def test_numbers_in_prose_are_those_of_the_tables(project):
  # 2 ± 4.302653 * 2 / sqrt(3), and so on.
  for call, expected in {
    "mean_effect('toy', 'ours', 'exit 1', budget=100)": '+2.00 [-2.97, 6.97]',
    "mean_effect('toy', 'ours', 'exit 1', budget=1000)": '-1.00 (the same in all 3 seeds)',
    "mean_effect('toy', 'ours', 'exit 2', budget=100).row.seeds": '3',
    "mean_effect('toy', 'standard', 'exit 1', against='ours', budget=100)": '-2.00 [-6.97, 2.97]',
    "mean_effect('toy', 'ours', 'exit 1')": '+0.50 [-1.98, 2.98]',
    "mean_effect('toy', 'ours', 'exit 2', budget=100)": '+0.67 [-0.77, 2.10]',
    "accuracy('toy', 'digits', 100, 'ours', 'exit 1')": '53.33',
    "validated('toy', 'ours', budget=100)": '57.00',
    "span('toy', measure='exit 1')": '-1.00 to +2.00',
    "span('toy', against='ours', arm=['standard', 'ours'], measure='exit 1')": '-2.00 to +1.00',
    "gains('toy')": '0 of 4',
    "losses('toy')": '0 of 4',
    "seeds('toy', arm='ours')": '3',
    "runs('toy')": '12',
    "runs('toy', 'trial')": '2',
    "ends('toy', 'ours', 'rate')": '2 of 2',
    "values('toy', 'budget') | join(' ')": '100 1000',
    "command('toy')": 'python -m experiments.paired --config=experiments/configs/toy.py',
  }.items():
    assert said(project, f'{{{{ {call} }}}}') == expected, call


def test_a_table_has_a_line_per_budget_and_arm(project):
  assert said(project, "{{ difference_table('toy', 'digits') }}").splitlines() == [
    '| steps | arm | seeds | exit 1 | exit 2 |',
    '| --- | --- | --- | --- | --- |',
    '| 100 | `standard` |  | 51.33 % | 60.00 % |',
    '| 100 | `ours` | 3 | +2.00 [-2.97, 6.97] | +0.67 [-0.77, 2.10] |',
    '| 1,000 | `standard` |  | 70.00 % | 70.00 % |',
    '| 1,000 | `ours` | 3 | -1.00 (the same in all 3 seeds) | +0.00 (the same in all 3 seeds) |',
  ]


def test_a_setting_has_a_line_of_its_exits_and_their_costs(project):
  assert said(project, "{{ network_table('toy') }}").splitlines()[2:] == [
    '| digits | `stage1` 33%, `stage2` 67% | 0.00 M | 90.00 % |'
  ]


def test_sure_differences_are_bold(project, tmp_path):
  rows = [
    make_run(arm, seed, (0.5, 0.51, 0.53)[seed] + plus[seed])
    for arm, plus in (('standard', (0, 0, 0)), ('ours', (0.02, 0.021, 0.022)))
    for seed in range(3)
  ]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  text = said(project, "{{ difference_table('toy', 'digits') }} {{ gains('toy') }}")
  assert '| **+2.10 [1.85, 2.35]** |' in text and text.endswith('1 of 1')


def test_steps_searches_and_failures_have_tables(project):
  assert said(project, "{{ steps_table('toy', 'digits') }}").splitlines()[2:] == [
    '| 100 | `ours` | 3 | ≤ 1.00 (67% censored) | ≤ 1.00 (67% censored) |',
    '| 1,000 | `ours` | 3 | ≥ 1.00 | 1.00 |',
  ]
  # Trials with (0.4, 0.5) and (0.5, 0.5); of equals the first is taken.
  assert said(project, "{{ search_table('toy') }}").splitlines()[2:] == [
    '| digits | 100 | `ours` | exit1 | 2 | `rate=1` | 1 | 50.00 |',
    '| digits | 100 | `ours` | exit2 | 2 | `rate=0` | 1 | 50.00 |',
  ]
  assert said(project, "{{ failure_table('toy') }}").splitlines()[2:] == [
    r'| toy | digits | 100 | ours | run |  | 5 | a \| b c |'
  ]


def test_whole_analyses_lie_beside_the_page(project, tmp_path):
  built = project("{{ csv('toy', 'differences') }} {{ csv('toy', 'tries') }}")
  names, *lines = built.texts[tmp_path / 'docs/results/toy-differences.csv'].splitlines()
  assert names.startswith('study,setting,noise,budget,arm,measure,seeds,accuracy')
  assert len(lines) == 4 and lines[0].startswith('toy,digits,0.0,100,ours,exit 1,3,0.53333333')
  assert (
    'results/toy-differences.csv results/toy-tries.csv' in built.texts[tmp_path / 'docs/results.md']
  )
  assert tmp_path / 'docs/results/toy-tries.csv' in built.texts


def test_pictures_are_drawn_from_the_tables(project, tmp_path):
  built = project(
    "![a]({{ budget_figure('toy') }}) ![b]({{ forest_figure('toy', 'ours', measure='exit 1') }})"
  )
  results.write(built)
  names = ['results-toy-budgets.png', 'results-toy-ours-exit1.png']
  assert sorted(path.name for path in (tmp_path / 'docs/images').iterdir()) == names
  for name in names:
    assert f'(images/{name})' in (tmp_path / 'docs/results.md').read_text()
    assert Image.open(tmp_path / 'docs/images' / name).width == 1050


def test_a_forest_has_a_filled_mark_where_the_interval_leaves_out_zero():
  place = {'setting': 'a', 'arm': 'ours'}
  rows = [
    place | {'measure': measure, 'budget': budget, 'difference': x, 'low': x - 1, 'high': x + 1}
    for measure, budget, x in (('area', 100, 2), ('exit 1', 1000, 0.5), ('exit 1', 100, -3))
  ]
  axes = figures.forest_figure(rows).axes[0]
  labels = [label.get_text() for label in axes.get_yticklabels()]
  assert labels == ['exit 1, 100 steps', 'exit 1, 1,000 steps', 'area, 100 steps']
  filled, empty = (line for line in axes.lines if line.get_marker() == 'o')
  assert sorted(zip(*filled.get_data(), strict=True)) == [(-3, 0), (2, 2)]
  assert list(zip(*empty.get_data(), strict=True)) == [(0.5, 1)]
  (whiskers,) = axes.collections
  assert [part[:, 0].tolist() for part in whiskers.get_segments()] == [
    [1, 3],
    [-0.5, 1.5],
    [-4, -2],
  ]


def test_the_arms_of_a_panel_keep_their_order_and_stand_beside_each_other():
  rows = [
    {'setting': 'a', 'arm': arm, 'measure': measure, 'budget': budget}
    | {'difference': value, 'low': value - 1, 'high': value + 2}
    for arm, value in (('one', 1), ('other', 2))
    for measure in ('exit 1', 'exit 2')
    for budget in (100, 1000)
    if (arm, measure) != ('one', 'exit 2')
  ]
  first, second = figures.budget_figure(rows).axes
  one, other = (container.lines[0] for container in first.containers)
  (alone,) = (container.lines[0] for container in second.containers)
  assert one.get_ydata().tolist() == [1, 1] and other.get_ydata().tolist() == [2, 2]
  assert one.get_xdata()[0] < 100 < other.get_xdata()[0] < one.get_xdata()[1] < 1000
  assert (alone.get_xdata() == other.get_xdata()).all()
  assert alone.get_color() == other.get_color() != one.get_color()


def test_a_line_of_the_rate_figure_is_all_settings_of_a_name():
  rows = [
    {'setting': f'{name} at {rate}', 'arm': 'ours', 'measure': 'exit 1', 'budget': 100}
    | {'difference': value * rate, 'low': -1, 'high': 2, 'baseline_accuracy': rate + value / 10}
    for name, value in (('one', 1), ('other', 2))
    for rate in (0.01, 0.3)
  ]
  axes, below = figures.rate_figure(rows).axes
  one, other = (container.lines[0] for container in axes.containers)
  assert below.lines[0].get_ydata().tolist() == pytest.approx([11, 40])
  assert below.lines[1].get_xdata().tolist() == [0.01, 0.3]
  assert one.get_ydata().tolist() == [0.01, 0.3] and other.get_ydata().tolist() == [0.02, 0.6]
  assert one.get_xdata()[0] < 0.01 < other.get_xdata()[0] < one.get_xdata()[1] < 0.3


def test_a_table_of_rates_has_a_line_per_setting(project, tmp_path):
  rows = [row | {'setting': f'digits at {row["budget"] / 1000}'} for row in toy_rows()]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  assert said(project, "{{ rate_table('toy', 'ours') }}").splitlines()[2:] == [
    '| digits | 0.1 | 100 | 51.33 %, +2.00 [-2.97, 6.97] | 60.00 %, +0.67 [-0.77, 2.10] |',
    '| digits | 1.0 | 1,000 | 70.00 %, -1.00 (the same in all 3 seeds) | '
    '70.00 %, +0.00 (the same in all 3 seeds) |',
  ]
  assert (
    said(project, "{{ at('toy', '0.1') }} {{ rates('toy') | join }}") == "['digits at 0.1'] 0.11.0"
  )


def test_means_are_told_and_drawn_per_pair_of_arms(project):
  pairs = "'toy', [('ours', 'standard'), ('standard', 'ours')]"
  assert said(project, f'{{{{ mean_table({pairs}) }}}}') == (
    '| arm | against | exit 1 | exit 2 |\n| --- | --- | --- | --- |\n'
    '| `ours` | `standard` | +0.50 [-1.98, 2.98] | +0.33 [-0.38, 1.05] |\n'
    '| `standard` | `ours` | -0.50 [-2.98, 1.98] | -0.33 [-1.05, 0.38] |'
  )
  assert '+2.00 [-2.97, 6.97]' in said(project, f'{{{{ mean_table({pairs}, budget=100) }}}}')
  built = project(f'{{{{ mean_figure({pairs}) }}}} {{{{ mean_figure({pairs}, budget=100) }}}}')
  pictures = {path.name: draw for path, draw in built.pictures.items()}
  assert list(pictures) == ['results-toy-means.png', 'results-toy-means-100.png']
  draw = pictures['results-toy-means.png']
  first, second = draw().axes
  labels = [label.get_text() for label in first.get_yticklabels()]
  assert labels == ['ours - standard', 'standard - ours']
  *_, empty = second.lines
  assert empty.get_xdata() == pytest.approx([1 / 3, -1 / 3]) and list(empty.get_ydata()) == [0, 1]


def test_two_pictures_of_one_name_are_told(project):
  one, other = [('ours', 'standard')], [('standard', 'ours')]
  project(f'{{{{ mean_figure("toy", {one}) }}}} {{{{ mean_figure("toy", {one}) }}}}')
  with pytest.raises(UserError, match='would be images/results-toy-means'):
    project(f'{{{{ mean_figure("toy", {one}) }}}} {{{{ mean_figure("toy", {other}) }}}}')


def test_the_headline_goes_between_its_marks(project, tmp_path):
  results.write(project())
  text = '+0.50 [-1.98, 2.98] points in 2 cells, 3 seeds: [all](docs/results.md),\n'
  text += '[the paper](https://arxiv.org/abs/2104.10461).\n'
  assert (tmp_path / 'README.md').read_text() == README.replace('old\n', text)
  assert results.outdated(project()) == []


@pytest.mark.parametrize(
  'text', ['no marks', '<!-- results -->', '<!-- /results -->\n<!-- results -->', README + README]
)
def test_a_readme_without_its_marks_is_told(project, tmp_path, text):
  (tmp_path / 'README.md').write_text(text)
  with pytest.raises(UserError, match='no place for the headline; add the lines <!-- results -->'):
    project()


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    ("mean_effect('toy', 'ours', 'exit 1', setting='mnist')", "'mnist'; there is: digits"),
    ("mean_effect('toy', 'ours', 'exit 1', budget=200)", 'budget 200; there is: 100, 1000'),
    ("span('toy', measure='exit 9')", 'there is: exit 1, exit 2'),
    ("span('toy', dataset='digits')", 'dataset cannot be chosen; choose by: study, setting'),
    ("rate_figure('toy', 'ours')", "a setting 'digits' that is not named 'NAME at RATE'"),
    ("runs('other')", "no table of a study 'other'; there are: toy"),
    ("span('toy', against='x')", "no runs of 'x'"),
    ('no_such_function()', "'no_such_function' is undefined"),
    ('{', r'results.md.jinja: .*'),
  ],
)
def test_what_the_tables_lack_is_told(project, call, message):
  with pytest.raises(UserError, match=message):
    project(f'{{{{ {call} }}}}')


def test_tables_are_named_after_their_study(project, tmp_path):
  (tmp_path / 'tables/toy.csv').rename(tmp_path / 'tables/other.csv')
  with pytest.raises(UserError, match=r"other\.csv has runs of 'toy'; name it after its study"):
    project()
  (tmp_path / 'tables/other.csv').unlink()
  with pytest.raises(UserError, match='has no tables'):
    project()


def test_check_tells_what_is_outdated_and_writes_nothing(project, tmp_path, monkeypatch, capsys):
  project()  # which writes the template
  build = functools.partial(results.build, template=tmp_path / 'results.md.jinja')
  monkeypatch.setattr(results, 'build', build)
  places = [f'--{name}={tmp_path / path}' for name, path in (
    ('tables', 'tables'), ('docs', 'docs'), ('readme', 'README.md')
  )]  # fmt: skip
  assert results.main([*places, '--check']) == 1
  (line,) = capsys.readouterr().out.splitlines()
  assert 'README.md' in line and 'python -m experiments.results mends' in line
  assert (tmp_path / 'README.md').read_text() == README and not (tmp_path / 'docs').exists()
  assert results.main(places) == 0
  assert results.main([*places, '--check']) == 0
  (tmp_path / 'docs/results.md').write_text('typed in')
  assert results.main([*places, '--check']) == 1
  assert results.main(places) == 0
  made = 'docs/results/toy-steps.csv', 'docs/images/results-toy.png'
  for path in (*made, 'docs/images/drawn-by-hand.png'):
    write_text(tmp_path / path, '')
  capsys.readouterr()
  assert results.main([*places, '--check']) == 1
  (line,) = capsys.readouterr().out.splitlines()
  assert all(path in line for path in made) and 'by-hand' not in line
  assert results.main(places) == 0
  left = sorted(path.name for path in (tmp_path / 'docs').rglob('*.*'))
  assert left == ['drawn-by-hand.png', 'results.md']
  (tmp_path / 'README.md').write_text('no marks')
  assert results.main(places) == 2
  assert capsys.readouterr().err.startswith('error: ')


def test_the_recipe_has_the_strength_that_is_best_on_validation():
  rows = read_table(ROOT / 'experiments' / 'results' / 'strengths.csv')
  judgements: dict[str, list[float]] = {}
  for row in rows:
    judgements.setdefault(row['arm'], []).extend(judged(row).values())
  means = {arm: np.mean(values) for arm, values in judgements.items()}
  recipe = config.default()
  config.make_recommended(recipe)
  assert max(means, key=means.get) == f'easy_weighted_{recipe.curriculum.easy_strength}'


def test_the_committed_pages_are_what_the_committed_tables_give():
  tables = ROOT / 'experiments' / 'results'
  if not list(tables.glob('*.csv')):
    pytest.skip('experiments/results holds no table yet')
  built = results.build(tables, ROOT / 'docs', ROOT / 'README.md')
  assert results.outdated(built) == []
  assert [path for path in built.pictures if not path.exists()] == []
