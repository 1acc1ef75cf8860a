"""The story of a run: its tables as sections of the page, each with how to read it."""

from collections.abc import Callable, Mapping

from mecl_jax.models.macs import quantity
from mecl_jax.report.cells import Cell, percent, show
from mecl_jax.report.figures import (
  accuracy as figures,
)
from mecl_jax.report.figures import (
  calibration as figures_calibration,
)
from mecl_jax.report.figures import (
  exits as figures_exits,
)
from mecl_jax.report.figures import (
  time as figures_time,
)
from mecl_jax.report.figures import (
  training as figures_training,
)
from mecl_jax.report.pages.page import (
  Drawing,
  Listing,
  Picture,
  Rows,
  Section,
  Text,
)
from mecl_jax.report.style import values

Tables = Mapping[str, Rows]
Pictures = Mapping[str, bytes]
Blocks = list[Text | Drawing | Picture | Listing]

NETWORK, EXAMPLES = 'network', 'examples'  # pictures
# What is read of wide tables; their CSV has all.
EXIT_COLUMNS = (
  *('exit', 'head', 'accuracy', 'top_5', 'nll', 'brier', 'ece', 'auroc', 'macs', 'parameters'),
)
POINT_COLUMNS = (
  *('rule', 'thresholds', 'chosen', 'test_accuracy', 'test_drop'),
  *('test_macs', 'macs_saved', 'test_ms', 'ms_saved'),
)
CALIBRATION_COLUMNS = (
  *('exit', 'temperature', 'nll_before', 'nll_after', 'ece_before', 'ece_after'),
  *('brier_before', 'brier_after', 'auroc_before', 'auroc_after'),
)

WORTH = """An exit is a classifier on an inner stage of the network: whoever stops there needs
only the stages up to it. This table says what the answer of every exit is worth on the test
split, and what it costs.

Small numbers are 95 % intervals: how far a value might be off, had other test images been drawn.
NLL and the Brier score ask for good probabilities, not only for the right class; less is better.
ECE is how far confidence and accuracy are apart; 0 is best. AUROC says how well confidence tells
right answers from wrong ones; 1 is perfect and 0.5 is a coin. MACs are multiply-accumulates of one
image, up to the exit and with its head."""

STOP = """With early exit an image leaves at the first exit that is sure enough of it: easy images
early, hard ones late. What 'sure' means is the rule, and how sure is enough are the thresholds.
All of them were chosen on the validation split; what is shown here are the results on the test
split, which chose nothing."""

POINTS = """An operating point is the policy that fits a wish best, such as to save as many MACs
as possible with at most so much accuracy lost. 'Below the final exit' is the accuracy lost on the
test split, in points; it may be more or less than was wished for, since other images chose."""

UNTIMED = """MACs are no milliseconds: early stages take more time than their MACs say. The time
of this network was not measured yet; `python -m mecl_jax.main --mode=latency --workdir=DIR`
measures it on the device at hand, and the page then shows it here."""

TIMED = """The same network on a clock: compiled, warm, with the time of compiling left out. One
image at a time says how soon an answer is there; large batches say how many images a second can
be answered."""

SAVINGS = """What early exit saves of the time of the final exit, image after image really
leaving. 'Allowed' is what the measured times of the stages leave room for, each as often as images
reach it; the distance from there to 'measured' is what asking the exits and gathering the images
that go on has cost. All three take a batch in calls of the size that is fastest for the whole
network; early exit may do better than allowed where fewer images are faster still."""

DEADLINES = """When the answer has to be there at a fixed time, the deepest exit that is done by
then in 99 of 100 calls may answer, or the one that was most accurate on validation among those that
are done. Before the first exit is in time there is only chance."""

CALIBRATION = """An exit that says 80 % should be right 80 times in 100. One number per exit, its
temperature, was fitted on the validation split to that end; it changes how sure an exit says that
it is, and never its answer."""

OVERTHINKING = """A network overthinks when an early exit is right and a later one is not. The
oracle, which would know which exit to believe, is the bound of what any rule can reach; where
exits err on different images, their mean may beat each of them."""

TRAINING = """Where the validation accuracy of an exit still rises at the end of its last phase,
training longer may pay; where it falls while the loss does too, the exit learns its training images
by heart."""

PACED = """The curriculum showed a part of the training images first and then ever more of them;
with `easy_first` it is the easiest part. When the visible share grows, harder images come in and
the training loss rises: that is no harm as long as the validation accuracy does not fall."""

WEIGHTED = """The more difficult a training image, the less it counts in the loss of an early exit,
which cannot learn everything; the earlier the exit, the more so."""

IMAGES = """Images of the test split by the exit at which they leave, at the chosen operating
point: those of which it was most sure, and those that it let go only just."""


def run_sections(tables: Tables, pictures: Pictures) -> list[Section]:
  """The sections of a run's page.

  Args:
    tables: by name; a section whose tables are absent or empty is left out.
    pictures: PNGs by name: `network`, of its stages and exits, and `examples`, as of
      `contact_sheet.exit_sheet` of the table `examples`.

  Raises:
    ValueError: no section has a place for a picture.
  """
  for name in pictures:
    if name not in (NETWORK, EXAMPLES):
      raise ValueError(f'no section has a place for the picture {name}')
  tables = {name: rows for name, rows in tables.items() if rows}
  makers: dict[str, Callable[[Tables, Pictures], Blocks]] = {
    'What each exit is worth': _worth,
    'Where to stop': _where_to_stop,
    'On the clock': _on_the_clock,
    'Deadlines': _deadlines,
    'Calibration': _calibration,
    'Overthinking': _overthinking,
    'How training went': _training,
    'Which images leave where': _images,
  }
  found = {title: make(tables, pictures) for title, make in makers.items()}
  return [Section(title, blocks) for title, blocks in found.items() if blocks]


def _has(tables: Tables, *names: str) -> bool:
  return all(name in tables for name in names)


def _columns(tables: Tables, name: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
  """Those of the wanted columns that the table has."""
  return tuple(column for column in wanted if column in tables[name][0])


def _worth(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'exits'):
    return []
  columns = _columns(tables, 'exits', EXIT_COLUMNS)
  blocks: Blocks = [Text(WORTH), Listing('exits', 'The exits, earliest first.', columns)]
  if NETWORK in pictures:
    caption = 'The network, from the image on the left to the final exit on the right.'
    blocks.append(Picture(pictures[NETWORK], caption, ('exits',)))
  return blocks


def _where_to_stop(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'exits', 'curve'):
    return []
  points = tables.get('operating_points', [])
  drawn = ('exits', 'curve', *(['operating_points'] if points else []))
  figure = figures.accuracy_against_macs(tables['exits'], tables['curve'], points)
  caption = (
    'Test accuracy against the mean MACs of an image. Black dots are the exits without early exit,'
    ' with their intervals; every line is a rule, from thresholds at which nearly all images leave'
    ' early to those at which few do. Lines count the heads that an image was asked at on its way.'
    ' Further up and further left is better.'
  )
  blocks: Blocks = [Text(STOP), Drawing(figure, caption, drawn)]
  if points:
    chosen = [row for row in points if row['chosen']]
    blocks += [Text('\n\n'.join((POINTS, *map(_told, chosen)))), *_points(tables)]
  if _has(tables, 'areas'):
    low, high = (values(tables['areas'], f'{end}_macs')[0] for end in ('low', 'high'))
    caption = (
      'Every rule as one number: its mean test accuracy over the MACs that all curves reach,'
      f' {quantity(low)} to {quantity(high)}.'
    )
    blocks.append(Listing('areas', caption, ('rule', 'thresholds', 'calibrated', 'area')))
  return blocks


def _told(point: dict[str, Cell]) -> str:
  """An operating point in a sentence."""
  accuracy, macs, saved = (
    show(point, column)[0] for column in ('test_accuracy', 'test_macs', 'macs_saved')
  )
  drop, low, high = (
    values([point], column)[0] for column in ('test_drop', 'test_drop_low', 'test_drop_high')
  )
  side = 'below' if drop >= 0 else 'above'
  return (
    f'The chosen one is `{point["rule"]}` with thresholds `{point["thresholds"]}`: an accuracy of'
    f' {accuracy} % at {macs} MACs per image. That is {percent(abs(drop))} points {side} the final'
    f' exit, of whose MACs it saves {saved} %. The 95 % interval of what is lost, over the test'
    f' images, goes from {percent(low)} to {percent(high)} points.'
  )


def _points(tables: Tables) -> Blocks:
  points = tables['operating_points']
  wish = points[0]['wish']
  told = f' for the wish `{wish}={points[0]["wish_value"]}`' if wish else ''
  caption = (
    'Who leaves where: the share of the test images that leaves at each exit, at the operating'
    ' point of every rule. The one with the star is the chosen one.'
  )
  columns = _columns(tables, 'operating_points', POINT_COLUMNS)
  return [
    Listing(
      'operating_points', f'The operating points{told}; the CSV has their thresholds.', columns
    ),
    Drawing(figures.leaving(points), caption, ('operating_points',)),
  ]


def _on_the_clock(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'latency'):
    return [Text(UNTIMED)]
  caption = (
    'The time up to each exit. Left: one call of the smallest batch, the median and what 99 of 100'
    ' calls do not exceed. Right: how many images a second, for each batch size.'
  )
  blocks: Blocks = [
    Text(TIMED),
    Drawing(figures_time.latency(tables['latency']), caption, ('latency',)),
  ]
  if _has(tables, 'exits', 'curve') and 'test_ms' in tables['curve'][0]:
    blocks.append(_accuracy_against_latency(tables))
  if _has(tables, 'savings'):
    blocks += _savings(tables)
  return blocks


def _accuracy_against_latency(tables: Tables) -> Drawing:
  points = tables.get('operating_points', [])
  drawn = ('exits', 'latency', 'curve', *(['operating_points'] if points else []))
  figure = figures.accuracy_against_latency(
    tables['exits'], tables['latency'], tables['curve'], points
  )
  caption = (
    'Test accuracy against the mean time of an image. As the figure of the MACs, with the measured'
    ' times of the stages in their place; further up and further left is better.'
  )
  return Drawing(figure, caption, drawn)


def _savings(tables: Tables) -> Blocks:
  caption = (
    'The time of early exit for each batch size, with all images sent to the final exit as 100 %.'
    ' The dashed line is what the MACs alone would promise.'
  )
  return [
    Text(SAVINGS),
    Drawing(figures_time.savings(tables['savings']), caption, ('savings',)),
    Listing('savings', 'The measurements; disagreements are images with another answer.'),
  ]


def _deadlines(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'deadlines', 'exits'):
    return []
  figure = figures_time.deadlines(tables['deadlines'], tables['exits'])
  caption = (
    'Test accuracy against the deadline. A step is where another exit begins to be in time; its'
    ' number stands beside it.'
  )
  blocks: Blocks = [Text(DEADLINES), Drawing(figure, caption, ('deadlines', 'exits'))]
  if _has(tables, 'deadline_distributions'):
    caption = 'Expected accuracy when deadlines vary.'
    blocks.append(Listing('deadline_distributions', caption))
  return blocks


def _calibration(tables: Tables, pictures: Pictures) -> Blocks:
  blocks: Blocks = []
  if _has(tables, 'reliability'):
    caption = (
      'Accuracy against confidence, for each exit. On the grey diagonal they are equal; a line'
      ' below it is of an exit that is surer than it should be. Larger marks hold more images.'
    )
    figure = figures_calibration.reliability(tables['reliability'])
    blocks.append(Drawing(figure, caption, ('reliability',)))
  if _has(tables, 'calibration'):
    caption = 'What the temperatures change on the test split; further left is better.'
    figure = figures_calibration.effect(tables['calibration'])
    blocks.append(Drawing(figure, caption, ('calibration',)))
    columns = _columns(tables, 'calibration', CALIBRATION_COLUMNS)
    blocks.append(Listing('calibration', 'Temperatures, and measures before and after.', columns))
  if _has(tables, 'areas') and any(row['calibrated'] for row in tables['areas']):
    caption = (
      'What the temperatures change for early exit: the mean accuracy of every rule over the MACs'
      ' that all curves reach.'
    )
    figure = figures_calibration.effect_on_rules(tables['areas'])
    blocks.append(Drawing(figure, caption, ('areas',)))
  return [Text(CALIBRATION), *blocks] if blocks else []


def _overthinking(tables: Tables, pictures: Pictures) -> Blocks:
  blocks: Blocks = []
  if _has(tables, 'overthinking', 'first_correct'):
    caption = (
      'How often exits are right, together and in turn; below, the first exit that is right about'
      ' an image: whatever comes after it was not needed.'
    )
    figure = figures_exits.overthinking(tables['overthinking'], tables['first_correct'])
    blocks.append(Drawing(figure, caption, ('overthinking', 'first_correct')))
  if _has(tables, 'agreement'):
    caption = (
      'Which exits say the same, and which are wrong on the same images. Right: 1 is what exits'
      ' that know nothing of each other would do; the nearer to it, the more they can add.'
    )
    figure = figures_exits.agreement(tables['agreement'])
    blocks.append(Drawing(figure, caption, ('agreement',)))
  if _has(tables, 'ensembles'):
    caption = (
      'Every exit alone, and the mean of the probabilities of all exits up to it. The mean costs'
      ' next to nothing, as these exits have been asked on the way.'
    )
    figure = figures_exits.ensembles(tables['ensembles'])
    blocks.append(Drawing(figure, caption, ('ensembles',)))
  return [Text(OVERTHINKING), *blocks] if blocks else []


def _training(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'training'):
    return []
  paced = figures_training.paced(tables['training'])
  shown = ', and the share of the training images that the curriculum showed' if paced else ''
  caption = (
    f'Training loss, validation accuracy of each exit{shown}, over the steps. Dotted lines are'
    ' where a phase begins.'
  )
  figure = figures_training.training(tables['training'])
  told = '\n\n'.join((TRAINING, PACED) if paced else (TRAINING,))
  blocks: Blocks = [Text(told), Drawing(figure, caption, ('training',))]
  if _has(tables, 'weights'):
    caption = (
      'How much the easiest and the hardest training image count in the loss of an exit, in between'
      ' evenly by rank; all are divided by their mean over the batch.'
    )
    blocks += [Text(WEIGHTED), Listing('weights', caption, ('exit', 'easiest', 'hardest'))]
  return blocks


def _images(tables: Tables, pictures: Pictures) -> Blocks:
  if not _has(tables, 'examples') or EXAMPLES not in pictures:
    return []
  caption = (
    'The images that leave at each exit: the surest on the left, the least sure on the right. A'
    ' frame marks a wrong answer.'
  )
  return [Text(IMAGES), Picture(pictures[EXAMPLES], caption, ('examples',))]
