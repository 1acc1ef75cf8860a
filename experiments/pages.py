"""The page of a study with all of its tables and pictures, made in the same way for every study."""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import itertools

from matplotlib.figure import Figure
import pandas as pd

from experiments import published, wording
from experiments.paired import analysis, figures
from experiments.paired.study import BASELINE
from experiments.paired.table import TRIAL, Row, csv_text, exits_of, fields_of, records
from experiments.studies import RATE, StudyResults

MOST_ARMS = 10  # whose lines can be distinguished in a panel
FEWEST_PAIRS = 4  # that a picture of means is drawn of
FEWEST_RATES = 3  # that a picture of rates is drawn of
GROUPS = ('noise', 'strategy', 'rate')  # means are not taken over different values of these
HEADINGS = {'noise': 'wrong labels', 'rate': 'learning rate', 'budget': 'steps'}


@dataclasses.dataclass
class Files:
  """The files of a page, by their paths below docs/: texts, and functions that draw pictures."""

  texts: dict[str, str] = dataclasses.field(default_factory=dict)
  pictures: dict[str, Callable[[], Figure]] = dataclasses.field(default_factory=dict)

  def csv(self, name: str, table: pd.DataFrame) -> str:
    """Adds a table and returns a link to it."""
    self.texts[f'results/{name}.csv'] = csv_text(table)
    return f'[CSV]({name}.csv)'

  def picture(self, name: str, caption: str, draw: Callable, table: pd.DataFrame) -> str:
    """Adds a picture and returns its Markdown."""
    self.pictures[f'images/results-{name}.png'] = functools.partial(draw, table)
    return f'![{caption}](../images/results-{name}.png)'


def study_page(study: StudyResults) -> Files:
  """Makes results/NAME.md of a study, with its pictures and CSV files."""
  files = Files()
  pairs = [*((arm, BASELINE) for arm in study.arms), *study.pairs]
  sections = {
    'Runs': [_runs(study)],
    'Networks': [wording.table(_networks(study))],
    'Arms': [wording.table(_arms(study))],
    'Beside published networks': [
      wording.table(published.levels(study.runs)),
      wording.table(published.differences(study.runs)),
    ],
    'Means over settings': [*_means(study, pairs, files)],
    'Every setting': [*_every_setting(study, files)],
    'Steps to reach the accuracy of `standard`': [*_steps(study, files)],
    'Results of the search': [*_search(study, files)],
  }
  text = [
    f'<!-- Written by python -m experiments.results from experiments/results/{study.name}.csv. -->',
    f'# {study.title}',
    study.introduction,
    study.older_search and f'**Made with an older search** than described: {study.older_search}.',
    '[All results](../results.md); [how to read the tables](../results.md#how-to-read-the-tables).',
  ]
  for heading, parts in sections.items():
    if any(parts):
      text += [f'## {heading}', *parts]
  files.texts[f'results/{study.name}.md'] = '\n\n'.join(filter(None, text)) + '\n'
  return files


def _runs(study: StudyResults) -> str:
  ended, failed = study.table[study.table['error'].isna()], analysis.failures(study.table)
  device, version = (', '.join(ended[name].unique()) for name in ('device', 'version'))
  return (
    f'```\n{study.command}\n```\n\nRuns: {study.counted}'
    f' ([table](../../experiments/results/{study.name}.csv)); failed: {len(failed)}.'
    f' Paired seeds of every difference: {study.seeds}. Device: {device}; mecl_jax {version}.'
  ) + (f'\n\n{wording.table(records(failed))}' if len(failed) else '')


def _networks(study: StudyResults) -> list[Row]:
  rows = []
  for setting, runs in study.runs.groupby('setting', sort=False):
    macs, exits = [int(word) for word in runs['macs'].iloc[0].split()], exits_of(runs.iloc[0])
    shares = [f'`{e}` {m / macs[-1]:.0%}' for e, m in zip(exits[:-1], macs, strict=False)]
    row = {'setting': setting, 'early exits and their share of the MACs': ', '.join(shares)}
    final = wording.percent(runs['test_final'])
    rows.append(row | {'MACs': f'{macs[-1] / 1e6:.2f} M', 'accuracy of the final exit': final})
  return rows


def _arms(study: StudyResults) -> list[Row]:
  """Returns the fields that all runs of an arm have in common, and the names of searched ones."""
  rows = []
  for arm, runs in study.runs.groupby('arm', sort=False):
    found = [fields_of(row) for row in records(runs)]
    same = {k: v for k, v in found[0].items() if all(f.get(k) == v for f in found)}
    row = {'arm': f'`{arm}`', 'fields': ', '.join(f'`{k}={v}`' for k, v in same.items())}
    own = dict.fromkeys(k for f in found for v in f.values() if isinstance(v, dict) for k in v)
    rows.append(row | ({'searched for each exit': ', '.join(f'`{k}`' for k in own)} if own else {}))
  return rows


def _means(study: StudyResults, pairs: list[tuple[str, str]], files: Files) -> Iterator[str]:
  """Yields pictures and tables of means over settings of equal noise, strategy and rate."""
  runs = study.runs
  varying = [name for name in GROUPS if runs[name].nunique() > 1]
  groups: list[Row] = [dict(zip(varying, values, strict=True)) for values in sorted(set(
    zip(*(runs[name] for name in varying), strict=True)
  ))] or [{}]  # fmt: skip
  if len(pairs) >= FEWEST_PAIRS and runs['rate'].isna().all():
    for group in groups:
      means = pd.concat([study.pooled(*pair, **group) for pair in pairs])
      name = '-'.join([study.name, 'means', *map(str, group.values())])
      yield files.picture(name, 'Mean differences', figures.mean_figure, means)
  yield wording.table([row for group in groups for row in _mean_rows(study, pairs, group)])
  if runs['budget'].nunique() > 1:
    rows = [
      row
      for group in groups
      for budget in sorted(study.select(**group)['budget'].unique().tolist())
      for row in _mean_rows(study, pairs, group | {'budget': budget})
    ]
    yield _folded('By number of steps', wording.table(rows))
  yield from _other_units(study, pairs, groups, files)
  searching = study.table.loc[study.table['kind'] == TRIAL, 'seed']
  compared = runs['seed'].drop_duplicates()
  others = compared[~compared.isin(searching)].tolist()
  if 0 < len(others) < len(compared):
    rows = list(_mean_rows(study, pairs, {'seed': others}))
    yield _folded('Without the seeds that the searches had', wording.table(rows))


def _other_units(
  study: StudyResults, pairs: list[tuple[str, str]], groups: list[Row], files: Files
) -> Iterator[str]:
  """Yields the means again, with intervals over the settings, and over seeds and test images."""
  if study.runs['rate'].isna().all():
    rows = []
    for pair, group in itertools.product(pairs, groups):
      means = records(study.pooled(*pair, unit='setting', **group))
      if means[0]['seeds'] == 1:
        continue
      place = {HEADINGS.get(name, name): _shown(name, value) for name, value in group.items()}
      place |= {'arm': f'`{pair[0]}`', 'against': f'`{pair[1]}`', 'settings': means[0]['seeds']}
      rows.append(place | {mean['measure']: wording.points(mean) for mean in means})
    text = 'Means over seeds and budgets; the interval is of a paired t-test over the settings.'
    if rows:
      yield _folded('With the settings as the unit', f'{text}\n\n{wording.table(rows)}')
  if study.images is not None:
    rows = [
      {'arm': f'`{arm}`', 'against': f'`{against}`'}
      | {row['measure']: wording.points(row) for row in study.over_images(arm, against)}
      for arm, against in pairs
    ]
    link = files.csv(f'{study.name}-images', study.images)
    yield _folded(
      'With intervals over seeds and test images',
      f'{wording.table(rows)}\n\nTwo-way bootstrap; every setting and budget: {link}.',
    )


def _mean_rows(study: StudyResults, pairs: list[tuple[str, str]], group: Row) -> Iterator[Row]:
  """Yields the accuracies of the baseline, then the differences of each pair of arms."""
  shown = {name: value for name, value in group.items() if name != 'seed'}
  place: Row = {HEADINGS.get(name, name): _shown(name, value) for name, value in shown.items()}
  means = {pair: records(study.pooled(*pair, **group)) for pair in pairs}
  base = study.select(arm=BASELINE, **group)
  row = place | {'arm': f'`{BASELINE}`', 'against': '', 'validation': study.validated(base)}
  for measure in dict.fromkeys(mean['measure'] for rows in means.values() for mean in rows):
    row[measure] = wording.percent(base[analysis.column_of(measure)])
  yield row
  for (arm, against), rows in means.items():
    row = place | {'arm': f'`{arm}`', 'against': f'`{against}`'}
    row['validation'] = study.validated(study.select(arm=arm, **group))
    row |= {mean['measure']: wording.points(mean) for mean in rows}
    if shown == group:  # intervals of a setting are those of all seeds
      intervals = study.intervals(arm, against, **group)
      row |= {'above zero': wording.above(intervals), 'below zero': wording.below(intervals)}
    yield row


def _every_setting(study: StudyResults, files: Files) -> Iterator[str]:
  """Yields pictures and tables of all differences from the baseline.

  Where arms are searched, the other pairs too: there an arm takes what was found for another one.
  """
  differences = study.differences()
  yield from _budget_pictures(study, files)
  if study.runs['rate'].nunique() >= FEWEST_RATES and study.runs['budget'].nunique() == 1:
    for arm, of_arm in differences.groupby('arm', sort=False):
      caption = f'Differences of {arm} against the learning rate'
      yield files.picture(f'{study.name}-{arm}-rates', caption, figures.rate_figure, of_arm)
  yield from _difference_tables(study, differences, BASELINE)
  link = files.csv(f'{study.name}-differences', differences)
  yield f'All tests with bootstrap intervals and p-values: {link}.'
  for arm, against in study.pairs if study.searched else ():
    found = study.differences(against, arm)
    early, name = found[found['measure'].str.startswith('exit')], f'{arm}-against-{against}'
    yield f'**`{arm}` against `{against}`**'
    caption = f'Differences of {arm} from {against}'
    yield files.picture(f'{study.name}-{name}', caption, figures.forest_figure, early)
    tables = '\n\n'.join(_difference_tables(study, found, against))
    link = files.csv(f'{study.name}-{arm}-differences-against-{against}', found)
    yield _folded('As tables', f'{tables}\n\nWith bootstrap intervals and p-values: {link}.')


def _budget_pictures(study: StudyResults, files: Files) -> Iterator[str]:
  if study.runs['budget'].nunique() > 1 and len(study.arms) < MOST_ARMS:
    for noise, of_noise in study.differences().groupby('noise'):
      share = f'{100 * noise:.0f}'
      caption = f'Differences from standard against the budget, {share} % of the labels wrong'
      name = f'{study.name}-budgets-noise{share}'
      yield files.picture(name, caption, figures.budget_figure, of_noise)


def _difference_tables(
  study: StudyResults, differences: pd.DataFrame, against: str
) -> Iterator[str]:
  """Yields a table per setting, settings that differ in their rate together."""
  for setting, of_setting in differences.groupby(_without_rate(differences), sort=False):
    rows = []
    for (name, budget), tests in of_setting.groupby(['setting', 'budget'], sort=False):
      place = _place(name, budget)
      base = study.select(setting=name, budget=budget, arm=against)
      measures = tests['measure'].unique()
      levels = {m: wording.percent(base[analysis.column_of(m)].dropna()) for m in measures}
      rows.append(place | {'arm': f'`{against}`', 'seeds': ''} | levels)
      rows += _arm_rows(tests, place, wording.strong)
    yield f'**{setting}**\n\n{wording.table(rows)}'


def _steps(study: StudyResults, files: Files) -> Iterator[str]:
  found = analysis.steps_to_reach(study.table) if study.compare_steps else pd.DataFrame()
  if len(found):
    tables = []
    for setting, of_setting in found.groupby(_without_rate(found), sort=False):
      rows = [
        row
        for (name, budget), cells in of_setting.groupby(['setting', 'budget'])
        for row in _arm_rows(cells, _place(name, budget), wording.multiple)
      ]
      tables.append(f'**{setting}**\n\n{wording.table(rows)}')
    link = files.csv(f'{study.name}-steps', found)
    yield _folded('As multiples of the steps of `standard`', '\n\n'.join([*tables, f'{link}.']))


def _search(study: StudyResults, files: Files) -> Iterator[str]:
  if study.searched:
    best = analysis.searches(study.table)
    rows = [
      {
        **{'setting': row['setting'], 'steps': f'{row["budget"]:,}', 'arm': f'`{row["arm"]}`'},
        **{'exit': row['exit'], 'trials': row['trials']},
        **{'best': row['tuned'] and f'`{row["tuned"]}`', 'seeds': row['seeds']},
        'validation': wording.percent(row['validation_accuracy']),
      }
      for row in records(best)
    ]
    yield '\n'.join(_ends(study, best))
    link = files.csv(f'{study.name}-tries', analysis.tries(study.table))
    yield _folded('The best trial of every search', f'{wording.table(rows)}\n\nAll trials: {link}.')


def _ends(study: StudyResults, best: pd.DataFrame) -> Iterator[str]:
  """Yields how often searches chose the lowest or the highest number that they tried."""
  trials = study.table[study.table['kind'] == TRIAL]
  for arm, of_arm in best.groupby('arm', sort=False):
    tried = [fields_of(row) for row in records(trials[trials['arm'] == arm])]
    for field in (name for name in tried[0] if name.endswith('learning_rate')):
      if all(fields[field] == tried[0][field] for fields in tried):
        continue  # it was not searched
      ends = [pick(fields[field] for fields in tried) for pick in (min, max)]
      chosen = [fields_of(row)[field] in ends for row in records(of_arm)]
      yield (
        f'- `{arm}`: {sum(chosen)} of {len(chosen)} searches chose the lowest or the highest'
        f' `{field}` that was tried.'
      )


def _arm_rows(cells: pd.DataFrame, place: Row, show: Callable[[Row], str]) -> Iterator[Row]:
  """Yields a row per arm with a cell per measure."""
  for arm, of_arm in cells.groupby('arm', sort=False):
    seeds = ' to '.join(map(str, sorted(of_arm['seeds'].unique())))
    shown = {row['measure']: show(row) for row in of_arm.to_dict('records')}
    yield place | {'arm': f'`{arm}`', 'seeds': seeds} | shown


def _place(setting: str, budget: int) -> Row:
  rate = setting.rpartition(' at ')[2] if ' at ' in setting else None
  return ({'learning rate': rate} if rate else {}) | {'steps': f'{budget:,}'}


def _without_rate(table: pd.DataFrame) -> pd.Series:
  return table['setting'].str.replace(RATE, '', regex=True)


def _shown(name: str, value: object) -> str:
  return {'noise': '{:.0%}', 'budget': '{:,}'}.get(name, '{}').format(value)


def _folded(summary: str, text: str) -> str:
  return f'<details><summary>{summary}</summary>\n\n{text}\n\n</details>'
