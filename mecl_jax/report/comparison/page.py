"""The page of a comparison of runs, and its printed table, made from tables alone."""

from collections.abc import Mapping

import mecl_jax
from mecl_jax.evaluation.paired import OVER_IMAGES
from mecl_jax.report.comparison import figures
from mecl_jax.report.pages.blocks import Drawing, Listing, Section, Text
from mecl_jax.report.rows import Row, Rows, groups, texts
from mecl_jax.terminal import FittedTable

Tables = Mapping[str, Rows]

HOW = """Each run is paired with the run of the baseline that has the same seed; both are
evaluated on the same test images. With two or more common seeds, the 95 % interval and `p` come
from a paired t-test over seeds. `p (Holm)` is corrected for all tests of the same metric. With
one common seed, the interval is over test images: that of Bonett and Price (2012) for accuracy, a
bootstrap for NLL and areas. It then covers the choice of images, but not the choice of the seed.

A difference is the value of the arm minus that of the baseline. Differences in accuracy are
fractions of 1: 0.01 is one point. If all pairs differ by the same amount, there is no test."""
CURVES = """Early exit as in the budgeted batch classification of MSDNet (Huang et al., 2018): an
image leaves at the first exit whose largest probability reaches its threshold. The thresholds
for 39 budgets come from the validation split of each run; accuracy and MACs are those of the
test split. The MACs of an image are those of the stages up to the exit where it leaves, and of
the heads of that exit and of all earlier exits."""


def facts(tables: Tables, images: int) -> dict[str, str]:
  """Returns the facts at the top of the page.

  Args:
    tables: of the comparison, by name.
    images: number of test images.
  """
  runs, arms = tables['runs'], groups(tables['runs'], 'arm')
  return {
    'runs': str(len(runs)),
    'arms': str(len(arms)),
    'baseline': baseline(tables),
    'seeds': ', '.join(sorted(set(texts(runs, 'seed')), key=int)),
    'test split': f'{", ".join(dict.fromkeys(texts(runs, "dataset")))}: {images:,} images',
    'version': f'mecl_jax {mecl_jax.__version__}',
  }


def baseline(tables: Tables) -> str:
  """Returns the name of the baseline, the arm of the first run."""
  return str(tables['runs'][0]['arm'])


def notes(tables: Tables) -> list[str]:
  """Returns warnings about the differences."""
  found = [
    f'`{row["directory"]}` has not finished training; its results are those of step {row["steps"]}.'
    for row in tables['runs']
    if not row['complete']
  ]
  if len(set(texts(tables['runs'], 'steps'))) > 1:
    found.append('The runs have trained for different numbers of steps; see the table of runs.')
  found += _notes_on_pairs(tables)
  found += _notes_on_exits(tables)
  with_curve = set(texts(tables['curves'], 'directory'))
  found += [
    f'`{name}` has no validation predictions, therefore no thresholds and no curve.'
    for name in texts(tables['runs'], 'directory')
    if name not in with_curve
  ]
  if with_curve and not tables['areas']:
    found.append('The curves have no range of MACs in common, therefore there are no areas.')
  return found


def _notes_on_pairs(tables: Tables) -> list[str]:
  arms = [arm for (arm,) in groups(tables['runs'], 'arm')]
  if len(arms) == 1:
    return ['All runs have the same configuration; there is no second arm to compare.']
  compared = groups(tables['differences'], 'arm')
  found = [
    f'`{arm}` and the baseline have no seed in common; there is no paired difference.'
    for arm in arms[1:]
    if (arm,) not in compared
  ]
  if OVER_IMAGES in texts(tables['differences'], 'how'):
    found.append(
      'With one common seed, a difference may change its sign with another seed, however narrow its'
      ' interval is; train more seeds.'
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
        f'`{arm}` and the baseline have different exits. Only one of them has {", ".join(lone)};'
        ' there is no difference for these.'
      )
  return found


def sections(tables: Tables) -> list[Section]:
  """Returns the sections of the page."""
  found = [_runs(tables), _exits(tables)]
  if tables['differences']:
    found.append(_differences(tables))
  if tables['curves']:
    found.append(_curves(tables))
  return found


def _runs(tables: Tables) -> Section:
  known = ('dataset', 'backbone', 'strategy')  # shown among the facts or the settings
  columns = tuple(name for name in tables['runs'][0] if name not in known)
  return Section(
    'Runs',
    [
      Listing('runs', 'The runs, with the test accuracy of each exit.', columns),
      Listing(
        'settings',
        'The arms, with all configuration fields in which they differ. A name that ends in `..` is'
        ' shortened.',
      ),
    ],
  )


def _exits(tables: Tables) -> Section:
  drawing = Drawing(
    figures.accuracy_figure(tables['runs'], tables['arms']),
    'Test accuracy of each exit. Large marks are means over the seeds of an arm; the dots beside'
    ' them are single seeds.',
    ('runs', 'arms'),
  )
  listing = Listing(
    'arms',
    'The exits of each arm: mean and standard deviation (sd) over seeds, and MACs per image.',
  )
  return Section('Accuracy of each exit', [drawing, listing])


def _differences(tables: Tables) -> Section:
  drawing = Drawing(
    figures.difference_figure(tables['differences']),
    f'Differences from the baseline, {baseline(tables)}, with 95 % intervals. A mark is filled if'
    ' its interval does not contain zero. Higher accuracy is better; higher NLL is worse.',
    ('differences',),
  )
  listing = Listing(
    'differences',
    'The same differences as numbers, in accuracy as fractions of 1; `how` is the source of the'
    ' interval.',
  )
  return Section('Differences from the baseline', [Text(HOW), drawing, listing])


def _curves(tables: Tables) -> Section:
  drawing = Drawing(
    figures.curve_figure(tables['curves']),
    'Test accuracy against mean MACs per image with early exit, a line per run.',
    ('curves',),
  )
  listing = Listing(
    'areas',
    'Mean accuracy of the curves over the range of MACs that all of them cover, and its difference'
    ' from the baseline, as a fraction of 1.',
  )
  areas = [listing] if tables['areas'] else []
  return Section('Accuracy against mean MACs', [Text(CURVES), drawing, *areas])


def difference_table(tables: Tables) -> FittedTable:
  """Returns the differences for the terminal, a line per arm and exit."""
  numbers = ('seeds', 'accuracy (points)', 'p (Holm)', 'NLL (nats)')
  rows, before = list[tuple[str, ...]](), ''
  for (arm, name), (accuracy, nll) in groups(tables['differences'], 'arm', 'exit').items():
    if before and arm != before:
      rows.append(())
    p = '' if accuracy['p_holm'] is None else f'{float(accuracy["p_holm"]):.3g}'
    cells = (str(accuracy['pairs']), _interval(accuracy), p, _interval(nll))
    rows.append((arm if arm != before else '', name, *cells))
    before = arm
  title = f'differences from {baseline(tables)}: test split'
  optional = ('seeds', 'NLL (nats)', 'p (Holm)')
  return FittedTable(title, ('arm', 'exit', *numbers), rows, numbers, optional, ('arm',))


def _interval(row: Row) -> str:
  """Formats a difference as '+0.35 (+0.10 to +0.60)'; accuracy is in points."""
  unit, digits = (100, 2) if row['metric'] == 'accuracy' else (1, 3)
  middle, low, high = (
    '' if value is None else f'{unit * float(value):+.{digits}f}'
    for value in (row['difference'], row['difference_low'], row['difference_high'])
  )
  return f'{middle} ({low} to {high})' if low else middle
