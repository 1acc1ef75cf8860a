"""The page of a comparison, and what is printed of it: all of it functions of the tables."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

import mecl_jax
from mecl_jax.evaluation.paired import OVER_IMAGES
from mecl_jax.report.cells import Cell
from mecl_jax.report.comparison import figures
from mecl_jax.report.pages.page import (
  Drawing,
  Listing,
  Rows,
  Section,
  Text,
)
from mecl_jax.report.style import groups, texts

Tables = Mapping[str, Rows]

HOW = """Each arm is compared with the baseline run by run: a run with the baseline's run of the \
same seed, on the same test images. With two seeds or more in common the interval (95 %) and `p` \
are those of a paired t-test over the seeds; the last column is `p` after Holm's correction for \
all tests of the same metric. With one seed in common the interval is that of a bootstrap over \
the test images: it says what other images might have told, and nothing of other seeds.

Differences are the arm's value less the baseline's, of accuracy as shares of 1 (0.01 is a \
point). Where all pairs differ by the same, as where both have trained one backbone alike, there \
is nothing to test."""
CURVES = """As in the budgeted batch of MSDNet (Huang et al., 2018): images leave at the first \
exit whose largest probability reaches its threshold. The thresholds of 39 budgets come from each \
run's validation split; accuracy and MACs are those of the test split. The MACs of an image are \
those of the stages up to the exit where it leaves and of all heads that it was asked on the way \
(of that exit's head alone in runs of early versions)."""


def facts(tables: Tables, images: int) -> dict[str, str]:
  """What stands on top of the page; `images` are those of the test split."""
  runs, arms = tables['runs'], groups(tables['runs'], 'arm')
  return {
    'runs': str(len(runs)),
    'arms': str(len(arms)),
    'baseline': baseline(tables),
    'seeds': ', '.join(sorted(set(texts(runs, 'seed')), key=int)),
    'test split': f'{", ".join(dict.fromkeys(texts(runs, "dataset")))}: {images:,} images',
    'program': f'mecl_jax {mecl_jax.__version__}',
  }


def baseline(tables: Tables) -> str:
  """The arm of the first run."""
  return str(tables['runs'][0]['arm'])


def notes(tables: Tables) -> list[str]:
  """What has to be known before a difference is believed."""
  found = [
    f'`{row["directory"]}` has not ended: this is its step {row["steps"]}.'
    for row in tables['runs']
    if not row['complete']
  ]
  if len(set(texts(tables['runs'], 'steps'))) > 1:
    found.append('The runs have not trained for the same number of steps; see the table of runs.')
  found += _notes_on_pairs(tables)
  found += _notes_on_exits(tables)
  with_curve = set(texts(tables['curves'], 'directory'))
  found += [
    f'`{name}` has no validation predictions, and so no thresholds and no curve.'
    for name in texts(tables['runs'], 'directory')
    if name not in with_curve
  ]
  if with_curve and not tables['areas']:
    found.append('No number of MACs is in reach of all curves, so that there are no areas.')
  return found


def _notes_on_pairs(tables: Tables) -> list[str]:
  arms = [arm for (arm,) in groups(tables['runs'], 'arm')]
  if len(arms) == 1:
    return ['All runs are of one configuration; there is no other arm to compare them with.']
  compared = groups(tables['differences'], 'arm')
  found = [
    f'No seed of `{arm}` is one of the baseline: there is no paired difference.'
    for arm in arms[1:]
    if (arm,) not in compared
  ]
  if OVER_IMAGES in texts(tables['differences'], 'how'):
    found.append(
      'Where one seed is in common, another seed may turn a difference round, however narrow its'
      ' interval; train more seeds to tell.'
    )
  return found


def _notes_on_exits(tables: Tables) -> list[str]:
  exits = {arm: set(texts(rows, 'exit')) for (arm,), rows in groups(tables['arms'], 'arm').items()}
  known, found = exits[baseline(tables)], []
  for arm, names in exits.items():
    if names != known:
      lone = [
        name for name in dict.fromkeys(texts(tables['arms'], 'exit')) if name in names ^ known
      ]
      found.append(
        f'`{arm}` and the baseline have other exits: {", ".join(lone)} of one of them alone have no'
        ' difference.'
      )
  return found


def sections(tables: Tables) -> list[Section]:
  """The page below its notes."""
  found = [_runs(tables), _exits(tables)]
  if tables['differences']:
    found.append(_differences(tables))
  if tables['curves']:
    found.append(_curves(tables))
  return found


def _runs(tables: Tables) -> Section:
  known = ('dataset', 'backbone', 'strategy')  # from the facts, or from what the arms differ in
  columns = tuple(name for name in tables['runs'][0] if name not in known)
  return Section(
    'Runs',
    [
      Listing('runs', 'The runs, with the test accuracy of their exits.', columns),
      Listing(
        'settings',
        'The arms: every field in which they differ. A name that ends with `..` leaves some out.',
      ),
    ],
  )


def _exits(tables: Tables) -> Section:
  drawing = Drawing(
    figures.accuracy_figure(tables['runs'], tables['arms']),
    'Test accuracy of every exit. Large marks are means over the seeds of an arm, the dots beside'
    ' them its seeds.',
    ('runs', 'arms'),
  )
  listing = Listing(
    'arms', 'The exits of every arm: means and standard deviations (sd) over its seeds.'
  )
  return Section('What the exits are worth', [drawing, listing])


def _differences(tables: Tables) -> Section:
  drawing = Drawing(
    figures.difference_figure(tables['differences']),
    f'Differences from the baseline, {baseline(tables)}, with intervals of 95 %; filled where the'
    ' interval leaves out zero. Right of zero is more accuracy, but also more NLL, which is worse.',
    ('differences',),
  )
  listing = Listing('differences', 'The same differences, and how their intervals were made.')
  return Section('Differences from the baseline', [Text(HOW), drawing, listing])


def _curves(tables: Tables) -> Section:
  drawing = Drawing(
    figures.curve_figure(tables['curves']),
    'Test accuracy against mean MACs when images leave early, a line per run.',
    ('curves',),
  )
  listing = Listing(
    'areas',
    'Mean accuracy below the curves, over the MACs that all of them reach, and its difference from'
    ' the baseline.',
  )
  areas = [listing] if tables['areas'] else []
  return Section('Accuracy against mean MACs', [Text(CURVES), drawing, *areas])


def difference_table(tables: Tables) -> Table:
  """The differences as they are printed, a line per arm and exit."""
  table = Table(title=f'differences from {baseline(tables)}: test split', title_justify='left')
  for column in ('arm', 'exit'):
    table.add_column(column, overflow='fold')
  for column in ('seeds', 'accuracy (points)', 'p (Holm)', 'NLL (nats)'):
    table.add_column(column, justify='right', no_wrap=True)
  before = ''
  for (arm, name), (accuracy, nll) in groups(tables['differences'], 'arm', 'exit').items():
    if before and arm != before:
      table.add_section()
    p = '' if accuracy['p_holm'] is None else f'{float(accuracy["p_holm"]):.3g}'
    cells = (str(accuracy['pairs']), _interval(accuracy), p, _interval(nll))
    table.add_row(escape(arm) if arm != before else '', escape(name), *cells)
    before = arm
  return table


def _interval(row: Mapping[str, Cell]) -> str:
  """'+0.35 (+0.10 to +0.60)', of accuracy in points."""
  unit, digits = (100, 2) if row['metric'] == 'accuracy' else (1, 3)
  middle, low, high = (
    '' if value is None else f'{unit * float(value):+.{digits}f}'
    for value in (row['difference'], row['difference_low'], row['difference_high'])
  )
  return f'{middle} ({low} to {high})' if low else middle
