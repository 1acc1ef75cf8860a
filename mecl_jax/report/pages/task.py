"""The page of a run whose task is not classification."""

from collections.abc import Mapping

from mecl_jax.evaluation.rules import FIXED
from mecl_jax.evaluation.tasks import Shown, Task
from mecl_jax.report.cells import estimates
from mecl_jax.report.figures import accuracy, time, training
from mecl_jax.report.pages import prose
from mecl_jax.report.pages.blocks import Block, Drawing, Listing, Picture, Section, Text
from mecl_jax.report.pages.run import EXAMPLES, NETWORK, SAVING_COLUMNS
from mecl_jax.report.rows import Rows

Tables = Mapping[str, Rows]
Pictures = Mapping[str, bytes]
Blocks = list[Block]

HIDDEN = ('stage', 'dynamic_macs', 'head_macs')  # columns that only the CSV file has

WORTH = """An exit predicts at an inner stage of the network. An image that leaves there skips all
later stages. The table shows how good every exit is on the test split, and its cost. {about}{units}

Small numbers are 95 % intervals: the uncertainty from the choice of test images. MACs are
multiply-accumulates per image, up to the exit and with its head."""
UNITS = ' The unit of the targets: {units}.'
AGAINST = (
  'Test {label} against the mean {cost} per image. Black dots: all images leave at one exit, with'
  ' 95 % intervals. Lines: early exit by one rule, with thresholds from low (most images leave'
  ' early) to high (few do). {way} and further left is better.'
)
POINTS = """A policy is a rule with its thresholds, or a fixed exit: all images stop there, no other
head runs, and nothing is decided. An operating point is the policy that meets a target best: the
fewest MACs for at most a given loss against the final exit, or the best predictions within given
MACs or milliseconds. If policies are equal, the simplest is chosen. Policies are chosen on the
validation split, so the test split may miss the target."""
POINTS_TABLE = (
  'The operating points{target}, and all fixed exits that meet it. {label}, MACs and time are'
  ' compared with the final exit alone. The CSV file has the thresholds.'
)
TRAINING = """Where the validation values of an exit still become better at the end of its last
phase, longer training may help."""
PACED = """The curriculum first shows a part of the training images, and then more and more of them;
with `easy_first` it starts with the easiest images. When harder images are added, the training loss
rises. This is expected, as long as the validation values do not become worse."""
CURVES = (
  'Training loss, and validation {label} of each exit. Dotted lines mark the start of a phase.'
)
SHEET = (
  'Images that leave at each exit: the highest confidence on the left, the lowest on the right. A'
  ' frame marks {frame}.'
)


def task_sections(tables: Tables, pictures: Pictures, task: Task, shown: Shown) -> list[Section]:
  """Returns the sections of the page.

  Args:
    tables, pictures: as of `run.run_sections`.
    task: of the run.
    shown: its quality, with the unit of the targets.
  """
  tables = {name: rows for name, rows in tables.items() if rows}
  found = {
    'Quality and cost of each exit': _exits(tables, pictures, shown, task.about),
    'Early exit': _early_exit(tables, shown),
    'Measured time': _time(tables, shown),
    'Training': _training(tables, shown),
    'Images by exit': _images(tables, pictures, task.frame),
  }
  return [Section(title, blocks) for title, blocks in found.items() if blocks]


def _exits(tables: Tables, pictures: Pictures, shown: Shown, about: str) -> Blocks:
  columns = tuple(c for c in estimates(list(tables['exits'][0])) if c not in HIDDEN)
  units = UNITS.format(units=shown.units) if shown.units else ''
  text = WORTH.format(about=about, units=units)
  blocks: Blocks = [Text(text), Listing('exits', prose.EXITS, columns)]
  if NETWORK in pictures:
    blocks.append(Picture(pictures[NETWORK], prose.NETWORK, ('exits',), NETWORK))
  return blocks


def _early_exit(tables: Tables, shown: Shown) -> Blocks:
  if 'operating_points' not in tables:
    return []
  points = tables['operating_points']
  drawn = ('exits', 'curve', 'operating_points')
  figure = accuracy.accuracy_against_macs(tables['exits'], tables['curve'], points, shown)
  name = points[0]['target']  # none if the thresholds come from a file
  target = f' for `{name}={points[0]["target_value"]:.10g}`' if name else ''
  caption = POINTS_TABLE.format(target=target, label=shown.label.capitalize())
  wanted = (
    *('rule', 'thresholds', f'validation_{shown.column}', f'test_{shown.column}', shown.loss),
    *('chosen', 'test_macs', 'macs_saved', 'test_ms', 'ms_saved'),
  )
  columns = tuple(column for column in wanted if column in points[0])
  early = [row for row in points if row['rule'] != FIXED or row['chosen']]
  return [
    Text(prose.STOP),
    Drawing(figure, _against('MACs', shown), drawn),
    Text(POINTS),
    Listing('operating_points', caption, columns, joined='thresholds'),
    Drawing(accuracy.leaving(early), prose.LEAVING, ('operating_points',)),
  ]


def _against(cost: str, shown: Shown) -> str:
  way = 'Higher' if shown.sign > 0 else 'Lower'
  return AGAINST.format(label=shown.label, cost=cost, way=way)


def _time(tables: Tables, shown: Shown) -> Blocks:
  if 'latency' not in tables:
    return [Text(prose.UNTIMED)]
  latency = tables['latency']
  blocks: Blocks = [Text(prose.TIMED), Drawing(time.latency(latency), prose.LATENCY, ('latency',))]
  if 'test_ms' in tables.get('curve', [{}])[0]:
    drawn = ('exits', 'latency', 'curve', 'operating_points')
    exits, rows, curve, points = (tables[name] for name in drawn)
    figure = accuracy.accuracy_against_latency(exits, rows, curve, points, shown)
    blocks.append(Drawing(figure, _against('time', shown), drawn))
  if 'savings' in tables:
    blocks += [
      Text(prose.SAVINGS),
      Drawing(time.savings(tables['savings']), prose.SAVINGS_FIGURE, ('savings',)),
      Listing('savings', prose.SAVINGS_TABLE, SAVING_COLUMNS),
    ]
  return blocks


def _training(tables: Tables, shown: Shown) -> Blocks:
  if 'training' not in tables:
    return []
  rows = tables['training']
  figure = training.training_curves(rows, shown)
  text = '\n\n'.join((TRAINING, PACED) if training.paced(rows) else (TRAINING,))
  blocks: Blocks = [
    Text(text),
    Drawing(figure, CURVES.format(label=shown.label), ('training',)),
  ]
  if 'weights' in tables:
    blocks.append(Listing('weights', prose.WEIGHTS))
  return blocks


def _images(tables: Tables, pictures: Pictures, frame: str) -> Blocks:
  if 'examples' not in tables or EXAMPLES not in pictures:
    return []
  picture = Picture(pictures[EXAMPLES], SHEET.format(frame=frame), ('examples',), EXAMPLES)
  return [Text(prose.IMAGES), picture]
