"""The command `energy`: simulates a run on a device that harvests its energy."""

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
from typing import NamedTuple

from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax.commands import run_report
from mecl_jax.commands.outcome import predictions_of, write_outcome
from mecl_jax.commands.session import restored_run
from mecl_jax.data import Dataset, Parts
from mecl_jax.deploy.energy import DAY, REPETITIONS, Device, Plan, daylight
from mecl_jax.deploy.energy_file import Energy, save_energy
from mecl_jax.deploy.energy_rows import simulate
from mecl_jax.deploy.runtime.amounts import Amounts, check_unit, read_amounts, read_costs
from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import TEST, VALIDATION, predicted
from mecl_jax.report.tables.energy import energy_table
from mecl_jax.training.log import doing, make_console
from mecl_jax.training.run import Run

MS, MJ = 'ms', 'mJ'  # milliseconds times watts are millijoules
FULL_ANSWERS = 24  # of the last exit, that the default store holds: for half of a made-up night
LIGHT = 0.5  # mean of the made-up income, in answers of the last exit
DAYS = 7  # of the made-up income


class Source(NamedTuple):
  """Amounts, and where they come from."""

  values: np.ndarray
  text: str


def energy(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
) -> Energy:
  """Simulates how a run answers from a store of energy that is harvested.

  Args:
    workdir: the run's work directory.
    config: as of `evaluate`.
    console: as of `evaluate`.
    data: as of `evaluate`.
    keep_target: as of `evaluate`.

  Returns:
    the simulation, which is also in energy.json and in the report.

  Raises:
    UserError: as `evaluate`; or a file of `energy` cannot be used, the costs are neither measured
      nor in a file, or the network has one exit.
    RunError: as `evaluate`.
  """
  console = console or make_console()
  opened = restored_run(
    pathlib.Path(workdir), config, console, data=data, keep_target=keep_target, mode='energy'
  )
  with opened as (run, position):
    if not run_report.has_early_exits(run):
      raise UserError('the network has one exit: without an early one there is nothing to choose')
    with _one_line_errors():
      device, unit, settings = _device(run)
    predictions = predictions_of(run, position)
    policy = run_report.choose(run, predictions).chosen.point.policy
    validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
    with doing(console, 'simulating'):
      check = run.interruption.check
      reserve, rows, trace = simulate(validation, test, policy, device, unit, check)
    settings |= {
      'images': f'one per interval, drawn from {len(test.labels):,} test images; means of'
      f' {REPETITIONS} repetitions with other images, and the range of 95 % of these',
      'threshold': _operating_point(policy, run.model.exit_names),
      'reserve': _chosen(reserve),
    }
    found = Energy(
      run_report.checkpoint_digest(predictions),
      policy.digest,
      unit,
      [{'setting': name, 'value': value} for name, value in settings.items()],
      rows,
      trace,
    )
    save_energy(run.workdir / 'energy.json', found)
    console.print(energy_table(found.rows, found.settings))
    write_outcome(run, position, predictions)
    return found


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
  """Turns errors of the readers that bundles share into those of this program."""
  try:
    yield
  except BundleError as error:
    raise UserError(str(error)) from None


def _device(run: Run) -> tuple[Device, str, dict[str, str]]:
  """Returns the device of `energy`, the unit of its amounts, and where they come from."""
  given = run.config.energy
  costs, unit, source = _costs(run)
  full = sum(costs) + given.wake
  capacity = given.capacity or FULL_ANSWERS * full
  if capacity < (least := costs[0] + given.wake):
    raise UserError(
      f'energy.capacity is {capacity:g} {unit}, but the first exit costs {least:.4g} {unit}:'
      ' no image could be answered; use a larger one'
    )
  income = _income(given, full, unit)
  budgets = _trace(given.budgets, 'budget', unit, given.watts) if given.budgets else None
  names = run.model.exit_names
  of_exits = ', '.join(f'{name} {cost:.4g}' for name, cost in zip(names, costs, strict=True))
  settings = {
    'figures': 'simulated on a computer; no energy was measured',
    'costs': f'{of_exits} {unit} for the segment before each exit: {source}',
    'store': f'{capacity:.4g} {unit}, {capacity / full:.4g} answers of the last exit;'
    f' {given.start:.0%} full at the start; {given.wake:.4g} {unit} to wake for an answer',
    'income': income.text,
  }
  if budgets:
    settings['budgets'] = budgets.text
  device = Device(
    costs=costs,
    wake=given.wake,
    capacity=capacity,
    level=given.start * capacity,
    income=income.values,
    budgets=budgets.values if budgets else None,
  )
  return device, unit, settings


def _costs(run: Run) -> tuple[tuple[float, ...], str, str]:
  """Returns the costs of the segments, their unit, and where they come from."""
  given = run.config.energy
  if given.costs:
    found = read_costs(given.costs, run.model.exit_names)
    values, unit = _in_millijoules(found, given.watts)
    watts = f', milliseconds at {given.watts:g} W' if found.unit == MS else ''
    return tuple(values), unit or 'units', f'{given.costs}{watts}'
  latency = run_report.find_latency(run)
  if latency is None:
    raise UserError(
      f'energy.costs is empty, and the times of the network are not measured; --mode=latency'
      f' --workdir={run.workdir} measures them, or write energy.costs=FILE.csv with exit,cost_mJ'
    )
  ms = latency.segment_ms(latency.smallest_batch) / latency.smallest_batch
  source = f'measured milliseconds ({latency.device}) times an assumed {given.watts:g} W'
  return tuple((ms * given.watts).tolist()), MJ, source


def _in_millijoules(found: Amounts, watts: float) -> Amounts:
  """Returns amounts of milliseconds in millijoules, and others as they are."""
  if found.unit != MS:
    return found
  return Amounts([value * watts for value in found.values], MJ)


def _income(given: ConfigDict, full: float, unit: str) -> Source:
  if given.income:
    return _trace(given.income, 'income', unit, given.watts, given.intervals)
  intervals = given.intervals or DAYS * DAY
  text = (
    f'made up: light from 6 to 18 h of {intervals / DAY:.4g} equal days with {DAY} intervals each,'
    f' in the mean {LIGHT * full:.4g} {unit} per interval, {LIGHT:g} answers of the last exit'
  )
  return Source(daylight(LIGHT * full, intervals), text)


def _trace(path: str, name: str, unit: str, watts: float, intervals: int = 0) -> Source:
  """Returns a trace of a file, repeated or cut to a number of intervals; 0: as it is."""
  values, found = _in_millijoules(read_amounts(path, name), watts)
  check_unit(path, found, unit)
  trace = np.resize(np.array(values), intervals or len(values))
  text = f'{path}, {len(values):,} lines for {len(trace):,} intervals'
  return Source(trace, f'{text}, in the mean {trace.mean():.4g} {unit}')


def _operating_point(policy: Policy, names: Sequence[str]) -> str:
  if policy.fixed_exit is None:
    return f'images leave by {policy.rule.name}, the rule of the operating point'
  return f'images leave at {names[policy.fixed_exit]}, the operating point'


def _chosen(reserve: Plan) -> str:
  how = (
    'to where they leave by the operating point'
    if reserve.by_rule
    else 'as deep as the store allows'
  )
  return (
    f'{reserve.reserve:.0%} of the capacity; above it, images go {how}. Both were chosen on'
    ' validation, for the most right answers with this income'
  )
