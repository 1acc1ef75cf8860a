"""The overview of a run before it starts: devices, data, network, and the plan of its phases."""

from collections.abc import Mapping
import pathlib

import jax
from ml_collections import ConfigDict
from rich.table import Table
from rich.text import Text

from mecl_jax import config as config_lib
from mecl_jax.curriculum import visible_count
from mecl_jax.data import Dataset
from mecl_jax.evaluation.tasks import TASKS, Task
from mecl_jax.models import exit_costs, stage_costs
from mecl_jax.models.macs import quantity
from mecl_jax.report.cells import curriculum_name
from mecl_jax.report.pictures.network import draw_network
from mecl_jax.terminal import FittedTable
from mecl_jax.training.easy_strengths import STRENGTH_FIELDS, STRENGTHENED
from mecl_jax.training.exit_pacings import PACING_FIELDS
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run


def print_run(run: Run) -> None:
  """Prints devices, data, network and phases."""
  devices, data = jax.local_devices(), run.dataset
  facts = {
    'work directory': str(run.workdir),
    'devices': f'{len(devices)} x {devices[0].device_kind}, JAX {jax.__version__}',
    'data': _shape(data, TASKS[run.config.task]),
    **dict(data.notes),
    **_noise(data),
    **_input(run),
    'training': f'{run.config.strategy}, batch {run.config.batch_size}, seed {run.config.seed},'
    f' {run.config.model.dtype}',
    **_unused_fields(run.config.curriculum),
  }
  _print_facts(run, facts)
  run.console.print(_network(run))
  if run.plans:
    run.console.print(_phases(run))


def print_stages(run: Run) -> None:
  """Prints every stage with its shape, cost and exit."""
  model, rows = run.model, []
  stages, passed = stage_costs(model.backbone, model.input_shape(run.dataset.image_shape)), 0
  total = sum(stage.macs for stage in stages)
  exits = dict(zip(model.exit_stages, model.exit_names, strict=True))
  for stage in stages:
    passed += stage.macs
    shape = ' x '.join(map(str, stage.shape))
    costs = quantity(stage.macs), f'{passed / total:.1%}', quantity(stage.parameters)
    rows.append((stage.name, shape, *costs, exits.get(stage.name, '')))
  costs = ('MACs', 'cumulative', 'parameters')
  columns = ('stage', 'height x width x channels', *costs, 'exit')
  optional = ('cumulative', 'parameters')
  run.console.print(FittedTable('stages', columns, rows, right=costs, optional=optional))


def _print_facts(run: Run, facts: Mapping[str, str]) -> None:
  """Prints a line per fact; a terminal wraps it between words, and not the path, to be copied."""
  for name, fact in facts.items():
    if run.console.is_terminal and name != 'work directory':
      line = Table.grid(padding=(0, 1))
      line.add_column(width=14)
      line.add_column(overflow='fold')
      line.add_row(Text(name), Text(fact))
      run.console.print(line)
    else:
      run.console.print(f'{name:<15}{fact}', soft_wrap=True, markup=False)


def draw(run: Run, folder: pathlib.Path) -> pathlib.Path:
  """Draws the network with its exits into a folder; returns the path of the picture."""
  model, shape = run.model, run.dataset.image_shape
  height, width, channels = model.input_shape(shape)
  path = folder / 'network.png'
  title = f'{run.config.model.backbone} on {height}x{width}x{channels} images'
  stages = stage_costs(model.backbone, (height, width, channels))
  draw_network(path, title, stages, exit_costs(model, shape))
  return path


def _shape(data: Dataset, task: Task) -> str:
  sizes = (
    f' {len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test'
    ' images,'
  )
  height, width, channels = data.image_shape
  units = f' in {data.units}' if data.units else ''
  shape = f' {height}x{width}x{channels}, {task.counted(data.num_classes)}{units}'
  return f'{data.name}:{sizes if len(data.train) else ""}{shape}'


def _noise(data: Dataset) -> dict[str, str]:
  if data.flipped is None:
    return {}
  flipped, size = int(data.flipped.sum()), len(data.train)
  return {'label noise': f'{flipped:,} of {size:,} training labels are wrong: label_noise.npz'}


def _input(run: Run) -> dict[str, str]:
  size, model = run.config.data.image_size, run.config.model
  facts = {'images': f'resized to {size}x{size} on the device'} if size else {}
  if model.pretrained:
    facts['weights'] = f'from {model.pretrained}, pixels as {model.preprocessing}'
  return facts


def _unused_fields(curriculum: ConfigDict) -> dict[str, str]:
  """Returns the fields that were changed although another field switches them off."""
  usual, weights = config_lib.default().curriculum, curriculum.sample_weights
  of_weights = {
    **dict.fromkeys(STRENGTH_FIELDS, STRENGTHENED),
    'confidence_decay': ('own_confidence',),
    'gate_confidence': ('cgt_hard', 'cgt_soft'),
    'weight_rate': ('l2w_den',),
  }
  switched_off = {
    'order': PACING_FIELDS if curriculum.order == 'none' else (),
    'sample_weights': tuple(name for name, used_by in of_weights.items() if weights not in used_by),
    'exit_strengths': ('easy_strength',) if curriculum.exit_strengths else (),
  }
  unused = [
    f'{name} (curriculum.{switch} is {curriculum[switch]})'
    for switch, names in switched_off.items()
    for name in names
    if curriculum[name] != usual[name]
  ]
  return {'no effect': ', '.join(unused)} if unused else {}


def _network(run: Run) -> FittedTable:
  model, rows = run.model, []
  costs = exit_costs(model, run.dataset.image_shape)
  for name, segment, cost in zip(model.exit_names, model.segments, costs, strict=True):
    stages = segment[0] if len(segment) == 1 else f'{segment[0]} .. {segment[-1]}'
    macs, share = quantity(cost.macs), f'{cost.macs / costs[-1].macs:.0%}'
    rows.append((name, cost.head, stages, macs, share, quantity(cost.parameters)))
  costs_of = ('MACs up to it', 'of the last', 'parameters')
  columns = ('exit', 'head', 'stages up to it', *costs_of)
  optional = ('stages up to it', 'parameters', 'head')
  return FittedTable(run.config.model.backbone, columns, rows, right=costs_of, optional=optional)


def _phases(run: Run) -> FittedTable:
  size, rows = len(run.dataset.train), []
  for plan in run.plans:
    settings = plan.settings
    row = {
      'phase': plan.phase.name,
      'steps': f'{plan.steps:,}',
      'epochs': f'{plan.steps * run.config.batch_size / size:.1f}',
      'optimiser': f'{settings.optimizer} {_rate(settings)} {settings.schedule}',
      'loss of exits': ', '.join(plan.phase.exits),
      'curriculum': curriculum_name(plan.order, plan.sample_weights, plan.contradicted),
      'visible images': _visible(run, plan),
    }
    rows.append(tuple(row.values()))
  optional = ('epochs', 'optimiser', 'visible images')
  return FittedTable('phases', tuple(row), rows, right=('steps', 'epochs'), optional=optional)


def _rate(settings: ConfigDict) -> str:
  rate = settings.learning_rate
  if isinstance(rate, str):
    return rate
  return ' '.join(f'{value:g}' for value in (rate if isinstance(rate, list | tuple) else (rate,)))


def _visible(run: Run, plan: PhasePlan) -> str:
  """Returns the number of images visible at the start, and the step from which all are.

  Where contradicted images are dropped, it is a share, as their number is known later.
  """
  size, batch_size = len(run.dataset.train), run.config.batch_size

  pacing = plan.pacing

  def visible(step: int) -> int:
    return visible_count(pacing(step), size, batch_size)

  drops = plan.contradicted == 'drop'
  without = ', without the contradicted' if drops else ''
  if visible(0) == size:
    return f'all{without}'
  full = next((step for step in range(plan.steps) if visible(step) == size), None)
  end = 'never all' if full is None else f'all from step {full:,}'
  exits = '' if len(set(plan.pacings)) == 1 else ' (of the exit that sees most)'
  start = f'{visible(0) / size:.0%}' if drops else f'{visible(0):,}'
  return f'{start} at the start, {end}{exits}{without}'
