import functools
import pathlib
import shutil

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from experiments import results
from experiments.pages import Files
from experiments.paired import figures
from experiments.paired.search import judged
from experiments.paired.table import fields_of, read_table, records, write_table
from experiments.quotes import Quotes
from experiments.studies import read_studies
from mecl_jax import config
from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from tests.experiments.test_table import failed, make_run

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATE = """\
{% macro headline() %}
{{ effect('toy', 'ours', 'exit 1') }} points, {{ seeds('toy') }} seeds: [all](results.md),
[the paper](https://arxiv.org/abs/2104.10461).
{% endmacro %}
# Results


"""
README = 'before\n<!-- results -->\nold\n<!-- /results -->\nafter\n'
STUDY = '"""A toy.\n\nWhat do toys show?\n"""\nPAIRS = [(\'standard\', \'ours\')]\n'


def make_project(folder):
  """Returns a function that builds the pages of a toy study from a template.

  Changes at the first exit are 2, 4 and 0 points after 100 steps, and -1 each after 1,000; at the
  second exit they are 1 point in two seeds of three after 100 steps, else 0.
  """
  write_table(folder / 'tables' / 'toy.csv', toy_rows())
  write_text(folder / 'configs' / 'toy.py', STUDY)
  (folder / 'README.md').write_text(README)

  def build(text=''):
    template = folder / 'results.md.jinja'
    template.write_text(TEMPLATE + text)
    folders = (folder / name for name in ('tables', 'configs', 'docs', 'README.md'))
    return results.build(*folders, template=template)

  return build


@pytest.fixture
def project(tmp_path):
  """`make_project`, in a folder that a test may change."""
  return make_project(tmp_path)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  """The page of the toy study as it is."""
  return study_page(make_project(tmp_path_factory.mktemp('project'))())


@pytest.fixture
def template_only(monkeypatch):
  """Leaves out the pages of studies, which take most of the time."""
  monkeypatch.setattr(results, 'study_page', lambda study: Files())


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
    make_run('ours', 9, 0.4 + 0.1 * k, 0.5, trial=k, fields=f'{{"learning_rate": {k}}}')
    for k in (0, 1)
  ]
  return [*rows, *trials, failed(make_run('ours', 5, 0.5, 0.6)) | {'error': 'a | b\nc'}]


def rendered(project, text):
  """Returns what the page has below its heading for this piece of the template."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(results, 'study_page', lambda study: Files())
    built = project(text)
  page = next(text for path, text in built.texts.items() if path.name == 'results.md')
  return page.removeprefix('# Results\n').strip()


def study_page(built):
  return next(text for path, text in built.texts.items() if path.name == 'toy.md')


def test_numbers_in_prose_equal_those_of_the_tables(project):
  # 2 ± 4.302653 * 2 / sqrt(3), and so on.
  quoted = {
    "effect('toy', 'ours', 'exit 1', budget=100)": '+2.00 [-2.97, 6.97]',
    "effect('toy', 'ours', 'exit 1', budget=1000)": '-1.00 (the same in all 3 seeds)',
    "effect('toy', 'standard', 'exit 1', against='ours', budget=100)": '-2.00 [-6.97, 2.97]',
    "effect('toy', 'ours', 'exit 1')": '+0.50 [-1.98, 2.98]',
    "effect('toy', 'ours', 'exit 2', budget=100)": '+0.67 [-0.77, 2.10]',
    "effect('toy', 'ours', 'exit 2', seed=2)": '+0.00 (one seed)',
    "effect('toy', 'ours', unit='setting')": '+0.50 (one setting)',
    "accuracy('toy', 'ours', 'exit 1', budget=100)": '53.33 %',
    "best_arm('toy', budget=100)": 'ours',
    "seconds('toy', 'ours')": '2 s',
    "advice('toy', budget=100)": '`ours`, +2.00 [-2.97, 6.97] at the first exit, which may be no'
    ' change',
    "advice('toy', budget=1000)": 'standard training: no arm is better on validation',
    "whole_point('toy', 'ours', 'standard')": '0 of 1',
    "budgets('toy')": '[100, 1000]',
    "budgets('other')": '[]',
    "measured('other')": 'False',
    "above_zero('toy', 'ours')": '0 of 4',
    "below_zero('toy', 'ours')": '0 of 4',
    "seeds('toy')": '3',
    "values('toy', 'budget') | join(' ')": '100 1000',
    "made('toy')": '[All tables of `toy`](results/toy.md): `python -m experiments.paired'
    ' --config=experiments/configs/toy.py`, 1 min on cpu.',
  }
  text = '\n'.join(f'{{{{ {call} }}}}' for call in quoted)
  assert rendered(project, text).splitlines() == list(quoted.values())


def test_tables_have_a_line_per_arm_and_pair(project):
  # Every seed of the trials has only one run, so the means are those of the runs.
  assert rendered(project, "{{ table('toy') }}").splitlines()[2:] == [
    '| `standard` | 60.67 % | 65.00 % |',
    '| `ours` | +0.50 [-1.98, 2.98] | +0.33 [-0.38, 1.05] |',
    '| `standard` less `ours` | -0.50 [-2.98, 1.98] | -0.33 [-1.05, 0.38] |',
  ]
  assert rendered(project, "{{ table('toy', 'budget', arms=['ours'], seconds=True) }}") == (
    '| arm | 100 steps | 1,000 steps | seconds a run |\n| --- | --- | --- | --- |\n'
    '| `standard` | 51.33 % | 70.00 % | 2 |\n'
    '| `ours` | +2.00 [-2.97, 6.97] | -1.00 (the same in all 3 seeds) | 2 |'
  )


@pytest.mark.parametrize('lacking', ['standard', 'ours'])
def test_arms_are_compared_where_all_have_runs(project, tmp_path, lacking):
  # Without this run, one of the least accurate, an arm has a higher mean over all that it has.
  rows = [r for r in toy_rows() if (r['arm'], r['budget'], r['seed']) != (lacking, 100, 0)]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  assert rendered(project, "{{ best_arm('toy') }}") == 'ours'
  lines = rendered(project, "{{ table('toy', 'budget', arms=['ours']) }}").splitlines()
  assert lines[2] == '| `standard` | 52.00 % | 70.00 % |'
  lines = rendered(project, "{{ table('toy', arms=['ours'], seconds=True) }}").splitlines()
  assert lines[2] == '| `standard` | 62.80 % | 66.00 % | 2 |'


def test_best_arm_needs_runs_of_all_arms(project, tmp_path):
  rows = [r for r in toy_rows() if (r['arm'] == 'ours') == (r['budget'] == 100)]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  with pytest.raises(UserError, match='no setting, budget and seed with runs of all arms'):
    Quotes(read_studies(tmp_path / 'tables', tmp_path / 'configs'), set()).best_arm('toy')


def test_settings_are_units_where_there_are_several(project, page, tmp_path):
  assert 'With the settings as the unit' not in page
  rows = [row | {'setting': s} for s in ('one', 'other') for row in toy_rows() if not row['error']]
  for row in rows[: len(rows) // 2]:
    row['test_exit1'] -= 0.01 * (row['arm'] == 'ours')
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  several = study_page(project())
  units = several[several.index('With the settings as the unit') :].splitlines()
  # A half and minus a half point: 0 ± 12.7062 * 0.5.
  assert (
    '| `ours` | `standard` | 2 | +0.00 [-6.35, 6.35] | +0.33 (the same in all 2 settings) |'
    in (units)
  )


def test_intervals_over_images_are_shown(project, tmp_path):
  row = 'all,all,ours,standard,exit 1,3,0.5,-0.2,1.2\n'
  names = 'setting,budget,arm,against,measure,seeds,difference,low,high\n'
  write_text(tmp_path / 'tables' / 'images' / 'toy.csv', names + row)
  built = project()
  assert '| `ours` | `standard` | +0.50 [-0.20, 1.20] |' in study_page(built)
  assert built.texts[tmp_path / 'docs/results/toy-images.csv'] == names + row
  (line,) = (
    line
    for line in rendered(project, "{{ table('toy', arms=['ours']) }}").splitlines()
    if line.startswith('| `ours`')
  )
  assert line.endswith('| +0.50 [-0.20, 1.20] |')
  assert 'new images' not in rendered(project, "{{ table('toy', seed=[0, 1, 2]) }}")
  write_text(tmp_path / 'tables' / 'images' / 'toy.csv', 'a,b\n')
  with pytest.raises(UserError, match=r'is no images\.csv of a study: its columns are a, b'):
    project()


def test_older_searches_are_named(project, page, tmp_path):
  assert 'older search' not in page
  rates = {'standard': (0.1, 0.3), 'ours': (0.2, 0.3)}
  trials = [
    make_run(arm, 0, 0.5, 0.5, trial=k, fields=f'{{"phases.heads.learning_rate": {rate}}}')
    for arm, of_arm in rates.items()
    for k, rate in enumerate(of_arm)
  ]
  runs = [row for row in toy_rows() if row['kind'] == 'run']
  write_table(tmp_path / 'tables' / 'toy.csv', [*runs, *trials])
  clause = (
    'its arms tried different learning rates, and the seeds of its search (0) are among those'
  )
  assert f'**Made with an older search** than described: {clause} compared.\n' in study_page(
    project()
  )
  assert '| older |' in rendered(project, '{{ studies_table() }}')
  auto = [row | {'fields': '{"phases.heads.learning_rate": [0.1, 0.01]}'} for row in runs]
  write_table(tmp_path / 'tables' / 'toy.csv', auto)
  assert '| auto |' in rendered(project, '{{ studies_table() }}')


def test_study_page_has_its_docstring_and_command(page):
  lines = page.splitlines()
  assert lines[2] == '# A toy' and lines[4] == 'What do toys show?'
  assert 'python -m experiments.paired --config=experiments/configs/toy.py' in lines
  (runs,) = (line for line in lines if line.startswith('Runs: '))
  assert runs.startswith('Runs: 12 and 2 trials') and 'failed: 1' in runs
  assert '| toy | digits | 100 | ours | run |  | 5 | a \\| b c |' in lines


def test_study_page_has_a_line_per_budget_and_arm(page):
  text = """\
| steps | arm | seeds | exit 1 | exit 2 |
| --- | --- | --- | --- | --- |
| 100 | `standard` |  | 51.33 % | 60.00 % |
| 100 | `ours` | 3 | +2.00 [-2.97, 6.97] | +0.67 [-0.77, 2.10] |
| 1,000 | `standard` |  | 70.00 % | 70.00 % |
| 1,000 | `ours` | 3 | -1.00 (the same in all 3 seeds) | +0.00 (the same in all 3 seeds) |
"""
  assert f'**digits**\n\n{text}' in page


def test_study_page_has_networks_and_arms(page):
  assert '| digits | `stage1` 33%, `stage2` 67% | 0.00 M | 90.00 % |' in page
  assert '| `ours` | `curriculum.order=none` |' in page


def test_study_page_has_means_of_all_pairs(page):
  means = page[page.index('## Means') : page.index('<details>')].splitlines()
  none = '0 of 4 | 0 of 4'
  assert [line for line in means if line.startswith('| `')] == [
    '| `standard` |  | 62.83 % | 60.67 % | 65.00 % |  |  |',
    f'| `ours` | `standard` | 63.25 % | +0.50 [-1.98, 2.98] | +0.33 [-0.38, 1.05] | {none} |',
    f'| `standard` | `ours` | 62.83 % | -0.50 [-2.98, 1.98] | -0.33 [-1.05, 0.38] | {none} |',
  ]
  by_steps = page[page.index('By number of steps') :]
  assert '| 100 | `ours` | `standard` | 57.00 % | +2.00 [-2.97, 6.97] |' in by_steps


def test_sure_differences_are_bold(project, tmp_path):
  rows = [
    make_run(arm, seed, (0.5, 0.51, 0.53)[seed] + plus[seed])
    for arm, plus in (('standard', (0, 0, 0)), ('ours', (0.02, 0.021, 0.022)))
    for seed in range(3)
  ]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  assert '| **+2.10 [1.85, 2.35]** |' in study_page(project())
  assert rendered(project, "{{ above_zero('toy', 'ours') }}") == '1 of 1'
  assert rendered(project, "{{ whole_point('toy', 'ours', 'standard') }}") == '1 of 1'


def test_steps_and_searches_have_tables(page):
  lines = page.splitlines()
  assert '| 100 | `ours` | 3 | ≤ 1.00 (67% censored) | ≤ 1.00 (67% censored) |' in lines
  assert '| 1,000 | `ours` | 3 | ≥ 1.00 | 1.00 |' in lines
  # Trials with (0.4, 0.5) and (0.5, 0.5); of equals the first is taken.
  assert '| digits | 100 | `ours` | exit1 | 2 | `learning_rate=1` | 1 | 50.00 % |' in lines
  assert '| digits | 100 | `ours` | exit2 | 2 | `learning_rate=0` | 1 | 50.00 % |' in lines
  (ends,) = (line for line in lines if line.startswith('- `ours`: '))
  assert ends.startswith('- `ours`: 2 of 2 searches')


def test_studies_can_leave_out_steps(project, tmp_path):
  write_text(tmp_path / 'configs' / 'toy.py', STUDY + 'COMPARE_STEPS = False\n')
  assert 'Steps to reach' not in study_page(project())


def test_rates_of_a_setting_share_a_table(project, tmp_path):
  rows = [row | {'setting': f'digits at {row["budget"] / 1000}'} for row in toy_rows()]
  write_table(tmp_path / 'tables' / 'toy.csv', rows)
  page = study_page(project())
  assert '**digits**\n\n| learning rate | steps | arm |' in page
  assert '| 0.1 | 100 | `ours` | 3 | +2.00 [-2.97, 6.97] | +0.67 [-0.77, 2.10] |' in page
  assert '| 1.0 | 1,000 | `ours` | 3 | -1.00 (the same in all 3 seeds) |' in page
  assert rendered(project, "{{ values('toy', 'rate') | join(' ') }}") == '0.1 1.0'
  assert rendered(project, "{{ best_rate('toy') }}") == '1.0'


def test_analyses_are_csv_files(project, tmp_path):
  built = project()
  names, *lines = built.texts[tmp_path / 'docs/results/toy-differences.csv'].splitlines()
  assert names.startswith('study,setting,noise,budget,arm,measure,seeds,accuracy')
  assert len(lines) == 4 and lines[0].startswith('toy,digits,0.0,100,ours,exit 1,3,0.53333333')
  for kind in ('differences', 'steps', 'tries', 'standard-differences-against-ours'):
    assert tmp_path / f'docs/results/toy-{kind}.csv' in built.texts
    assert f'(toy-{kind}.csv)' in study_page(built)


def test_pictures_are_drawn(project, tmp_path):
  built = project("![a]({{ picture('toy-budgets-noise0') }})")
  results.write(built)
  names = ['results-toy-budgets-noise0.png', 'results-toy-standard-against-ours.png']
  assert sorted(path.name for path in (tmp_path / 'docs/images').iterdir()) == names
  for name in names:
    assert f'(../images/{name})' in (tmp_path / 'docs/results/toy.md').read_text()
    assert Image.open(tmp_path / 'docs/images' / name).width == 1050
  assert f'(images/{names[0]})' in (tmp_path / 'docs/results.md').read_text()


def test_forest_fills_marks_that_exclude_zero():
  place = {'setting': 'a', 'arm': 'ours'}
  rows = [
    place | {'measure': measure, 'budget': budget, 'difference': x, 'low': x - 1, 'high': x + 1}
    for measure, budget, x in (('area', 100, 2), ('exit 1', 1000, 0.5), ('exit 1', 100, -3))
  ]
  axes = figures.forest_figure(pd.DataFrame(rows)).axes[0]
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


def test_arms_of_a_panel_keep_their_order():
  rows = [
    {'setting': 'a', 'arm': arm, 'measure': measure, 'budget': budget}
    | {'difference': value, 'low': value - 1, 'high': value + 2}
    for arm, value in (('one', 1), ('other', 2))
    for measure in ('exit 1', 'exit 2')
    for budget in (100, 1000)
    if (arm, measure) != ('one', 'exit 2')
  ]
  first, second = figures.budget_figure(pd.DataFrame(rows)).axes
  one, other = (container.lines[0] for container in first.containers)
  (alone,) = (container.lines[0] for container in second.containers)
  assert one.get_ydata().tolist() == [1, 1] and other.get_ydata().tolist() == [2, 2]
  assert one.get_xdata()[0] < 100 < other.get_xdata()[0] < one.get_xdata()[1] < 1000
  assert (alone.get_xdata() == other.get_xdata()).all()
  assert alone.get_color() == other.get_color() != one.get_color()


def test_rate_figure_has_a_line_per_setting():
  rows = [
    {'setting': f'{name} at {rate}', 'arm': 'ours', 'measure': 'exit 1', 'budget': 100}
    | {'difference': value * rate, 'low': -1, 'high': 2, 'baseline_accuracy': rate + value / 10}
    for name, value in (('one', 1), ('other', 2))
    for rate in (0.01, 0.3)
  ]
  axes, below = figures.rate_figure(pd.DataFrame(rows)).axes
  one, other = (container.lines[0] for container in axes.containers)
  assert below.lines[0].get_ydata().tolist() == pytest.approx([11, 40])
  assert below.lines[1].get_xdata().tolist() == [0.01, 0.3]
  assert one.get_ydata().tolist() == [0.01, 0.3] and other.get_ydata().tolist() == [0.02, 0.6]
  assert one.get_xdata()[0] < 0.01 < other.get_xdata()[0] < one.get_xdata()[1] < 0.3


def test_mean_figure_has_a_line_per_pair():
  rows = [
    {'arm': arm, 'against': against, 'measure': measure, 'difference': value}
    | {'low': value - 1, 'high': value + 1}
    for measure in ('exit 1', 'exit 2')
    for arm, against, value in (('ours', 'standard', 0.5), ('standard', 'ours', -0.5))
  ]
  first, second = figures.mean_figure(pd.DataFrame(rows)).axes
  labels = [label.get_text() for label in first.get_yticklabels()]
  assert labels == ['ours - standard', 'standard - ours']
  *_, empty = second.lines
  assert empty.get_xdata() == pytest.approx([0.5, -0.5]) and list(empty.get_ydata()) == [0, 1]


@pytest.mark.usefixtures('template_only')
def test_headline_goes_between_its_marks(project, tmp_path):
  results.write(project())
  text = '+0.50 [-1.98, 2.98] points, 3 seeds: [all](docs/results.md),\n'
  text += '[the paper](https://arxiv.org/abs/2104.10461).\n'
  assert (tmp_path / 'README.md').read_text() == README.replace('old\n', text)
  assert results.outdated(project()) == []


@pytest.mark.usefixtures('template_only')
@pytest.mark.parametrize(
  'text', ['no marks', '<!-- results -->', '<!-- /results -->\n<!-- results -->', README + README]
)
def test_readme_without_marks_is_rejected(project, tmp_path, text):
  (tmp_path / 'README.md').write_text(text)
  with pytest.raises(UserError, match='no block for results; add the lines <!-- results -->'):
    project()


@pytest.mark.usefixtures('template_only')
@pytest.mark.parametrize(
  ('call', 'message'),
  [
    ("effect('toy', 'ours', 'exit 1', setting='mnist')", "'mnist'; valid: digits"),
    ("effect('toy', 'ours', 'exit 1', budget=200)", 'budget 200; valid: 100, 1000'),
    ("effect('toy', 'ours', 'exit 9')", "no 'exit 9'; valid: exit 1, exit 2"),
    ("effect('toy', 'ours', 'exit 1', name='a')", "no column 'name' .*; valid: study, setting"),
    (
      "below_zero('toy', 'ours', measure='exit 9')",
      "no difference of 'ours' from 'standard' there",
    ),
    ("table('toy', arms=['other'])", "no seed has runs of both 'other' and 'standard'"),
    ("seeds('other')", "no table of 'other'; there are: toy"),
    ("effect('toy', 'ours', 'exit 1', against='x')", "no seed has runs of both 'ours' and 'x'"),
    ("picture('other')", 'no page has the picture images/results-other.png'),
    ('no_such_function()', "'no_such_function' is undefined"),
    ('{', r'results.md.jinja: .*'),
  ],
)
def test_unknown_names_are_rejected(project, call, message):
  with pytest.raises(UserError, match=message):
    project(f'{{{{ {call} }}}}')


def test_tables_are_named_after_their_study(project, tmp_path):
  (tmp_path / 'tables/toy.csv').rename(tmp_path / 'tables/other.csv')
  with pytest.raises(UserError, match=r"other\.csv has runs of 'toy'; name the file"):
    project()
  (tmp_path / 'tables/other.csv').rename(tmp_path / 'tables/toy.csv')
  (tmp_path / 'configs/toy.py').rename(tmp_path / 'configs/other.py')
  with pytest.raises(UserError, match=r"no .*toy\.py that describes the study 'toy'"):
    project()
  (tmp_path / 'tables/toy.csv').unlink()
  with pytest.raises(UserError, match='has no tables'):
    project()


@pytest.mark.usefixtures('template_only')
def test_check_names_stale_files_and_writes_nothing(project, tmp_path, monkeypatch, capsys):
  project()  # which writes the template
  build = functools.partial(results.build, template=tmp_path / 'results.md.jinja')
  monkeypatch.setattr(results, 'build', build)
  places = [f'--{name}={tmp_path / path}' for name, path in (
    ('tables', 'tables'), ('configs', 'configs'), ('docs', 'docs'), ('readme', 'README.md')
  )]  # fmt: skip
  assert results.main([*places, '--check']) == 1
  (line,) = capsys.readouterr().out.splitlines()
  assert 'README.md' in line and 'run python -m experiments.results' in line
  assert (tmp_path / 'README.md').read_text() == README and not (tmp_path / 'docs').exists()
  assert results.main(places) == 0
  assert results.main([*places, '--check']) == 0
  (tmp_path / 'docs/results.md').write_text('typed in')
  assert results.main([*places, '--check']) == 1
  assert results.main(places) == 0
  made = 'docs/results/old.csv', 'docs/results/old.md', 'docs/images/results-old.png'
  for path in (*made, 'docs/images/drawn-by-hand.png'):
    write_text(tmp_path / path, '')
  capsys.readouterr()
  assert results.main([*places, '--check']) == 1
  (line,) = capsys.readouterr().out.splitlines()
  assert all(path in line for path in made) and 'by-hand' not in line
  assert results.main(places) == 0
  assert not any((tmp_path / path).exists() for path in made)
  assert (tmp_path / 'docs/images/drawn-by-hand.png').exists()
  (tmp_path / 'README.md').write_text('no marks')
  assert results.main(places) == 2
  assert capsys.readouterr().err.startswith('error: ')


def test_recipe_has_the_best_strength_on_validation():
  rows = records(read_table(ROOT / 'experiments' / 'results' / 'strengths.csv'))
  judgements: dict[str, list[float]] = {}
  for row in rows:
    judgements.setdefault(row['arm'], []).extend(judged(row).values())
  means = {arm: np.mean(values) for arm, values in judgements.items()}
  recipe = config.default()
  config.make_recommended(recipe)
  assert max(means, key=means.get) == f'easy_weighted_{recipe.curriculum.easy_strength}'


def test_easy_weighted_is_the_recipe_of_configs():
  """Except in the studies that docs/results.md names."""
  recipe = config.default()
  config.make_recommended(recipe)
  strength, found = recipe.curriculum.easy_strength, {}
  for path in (ROOT / 'experiments' / 'results').glob('*.csv'):
    for row in records(read_table(path)):
      if (row['kind'], row['arm'], row['error']) == ('run', 'easy_weighted', None):
        fields = fields_of(row)
        parts = [fields, *(value for value in fields.values() if isinstance(value, dict))]
        named = [part.get('curriculum.easy_strength') for part in parts]
        found.setdefault(path.stem, set()).update(n for n in named if n is not None)
  assert len(found.pop('tuned')) > 1 and found.pop('combined') == {2 * strength}
  assert len(found) > 5 and all(strengths == {strength} for strengths in found.values())


ARMS = ('standard', 'easy_first', 'anti', 'random', 'easy_weighted', 'dropped', 'distilled')
COMING = {
  'lite0': ('cifar10', 'cifar100'),
  'human': ('cifar10 aggregate', 'cifar10 random', 'cifar10 worst', 'cifar100 noisy'),
  'rivals': ('cifar10 resnet14', 'cifar100 vgg11'),
}


@pytest.mark.slow
def test_page_fills_in_when_a_study_has_a_table(tmp_path):
  """Builds the committed template from the committed tables and made-up ones of more studies."""
  tables, configs = tmp_path / 'tables', tmp_path / 'configs'
  shutil.copytree(ROOT / 'experiments' / 'results', tables)
  shutil.copytree(ROOT / 'experiments' / 'configs', configs)
  for name, settings in COMING.items():
    rows = [
      make_run(arm, seed, *(0.5 + 0.01 * k + 0.001 * ((seed + k) % 3) for k in range(4)))
      | {'study': name, 'setting': setting, 'budget': budget, 'arm': arm, 'area': 0.6}
      for setting in settings
      for budget in (300, 1000)
      for k, arm in enumerate(ARMS)
      for seed in range(3)
    ]
    write_table(tables / f'{name}.csv', rows)
    write_text(configs / f'{name}.py', f'"""{name}."""\nPAIRS = [("easy_first", "random")]\n')
  studies = read_studies(tables, configs)
  pictures = {'images/results-rates-easy_first-rates.png'}
  page, readme = results._rendered(results.TEMPLATE, Quotes(studies, pictures))
  assert 'Not measured yet' not in page
  for name in COMING:
    assert f'`python -m experiments.paired --config=experiments/configs/{name}.py`' in page
  assert '| `easy_first` | `random` | 0 of 2 | 0 of 4 |\n| `easy_first` | `standard` | 0' in page
  assert '(`lite0`): ' in page and '(`human`): ' in page and '(`rivals`): ' in page
  assert '| cifar10 aggregate | cifar10 random | cifar10 worst | cifar100 noisy |' in page
  assert page.index('**cifar10**') < page.index('## 2.') and '| exit 4 |' in page
  assert readme.index('| arm | cifar10 | cifar100 |') < readme.index('small networks')
  for name in COMING:
    del studies[name]
  page, readme = results._rendered(results.TEMPLATE, Quotes(studies, pictures))
  for name in COMING:
    assert f'Not measured yet: the study `{name}`.' in page
  assert 'Lite0' not in readme and readme.index('small networks')


@pytest.mark.slow
def test_committed_pages_are_up_to_date():
  tables = ROOT / 'experiments' / 'results'
  if not list(tables.glob('*.csv')):
    pytest.skip('experiments/results holds no table yet')
  built = results.build(tables, ROOT / 'experiments' / 'configs', ROOT / 'docs', ROOT / 'README.md')
  assert results.outdated(built) == []
  assert [path for path in built.pictures if not path.exists()] == []
