"""The report of a run: its operating point, and the page with its tables and figures."""

from collections.abc import Mapping, Sequence
import hashlib
import pathlib
from typing import Any, NamedTuple

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.commands.run_notes import notes
from mecl_jax.curriculum.weights import favour_easy
from mecl_jax.deploy.energy_file import load_energy
from mecl_jax.errors import UserError
from mecl_jax.evaluation import calibration
from mecl_jax.evaluation.choice import Choice, choose_policy, given_policy
from mecl_jax.evaluation.costs import Costs, make_costs
from mecl_jax.evaluation.deadlines import read_trace
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.operating_points import (
  TARGET_LATENCY_MS,
  Target,
  check_reachable,
  limits_nothing,
)
from mecl_jax.evaluation.policies import Policy, load_policy, save_policy
from mecl_jax.evaluation.predictions import TEST, VALIDATION, check_same_exits, predicted
from mecl_jax.evaluation.rules import FIXED
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS, Shown
from mecl_jax.inference import Latency, load_latency
from mecl_jax.models import ExitCost, exit_costs
from mecl_jax.report.cells import curriculum_name
from mecl_jax.report.pages import run as run_page
from mecl_jax.report.pages.blocks import Section
from mecl_jax.report.pages.page import check_page, write_page
from mecl_jax.report.pages.task import task_sections
from mecl_jax.report.pictures.examples import exit_sheet
from mecl_jax.report.rows import Rows
from mecl_jax.report.tables.deadlines import deadline_tables
from mecl_jax.report.tables.dynamic import dynamic_tables, task_tables
from mecl_jax.report.tables.examples import examples_rows
from mecl_jax.report.tables.exits import exit_tables, exits_rows
from mecl_jax.report.tables.training import training_rows
from mecl_jax.report.verdict import verdict
from mecl_jax.training.log import read_metrics
from mecl_jax.training.run import Run, costs_without_data

ONE_EXIT = 'This network has one exit, so that no image leaves early.'


class Exits(NamedTuple):
  """What the files of `evaluation` must fit.

  Attributes:
    costs: of the exits.
    image_shape: (height, width, channels) of the images.
    dataset: name of the data set.
  """

  costs: tuple[ExitCost, ...]
  image_shape: tuple[int, int, int]
  dataset: str


def exits_of(run: Run) -> Exits:
  """Returns the exits of a run."""
  shape = run.dataset.image_shape
  return Exits(exit_costs(run.model, shape), shape, run.dataset.name)


def exits_of_network(config: ConfigDict, identity: Mapping[str, Any]) -> Exits:
  """Returns the exits of a run before its data are loaded, from `workdir.read_run`."""
  shape = tuple(identity['image_shape'])
  costs = costs_without_data(config, shape, identity['num_classes'])
  return Exits(costs, shape, identity['name'])


def choose(run: Run, predictions: Mapping[str, np.ndarray]) -> Choice:
  """Chooses the policy that meets the target in `evaluation`, or takes the given one.

  Args:
    run: the run.
    predictions: as in predictions.npz.

  Raises:
    UserError: no policy meets the target, or a file that it needs is missing or of another network.
  """
  settings = run.config.evaluation
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  costs = _costs(run, find_latency(run))
  if policy := _given(settings, run.dataset.name):
    return given_policy(policy, validation, test, costs)
  return choose_policy(validation, test, costs, _target(run.config))


def write(
  run: Run,
  summary: Mapping[str, Any],
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
  choice: Choice | None,
  workdir: pathlib.Path,
) -> str:
  """Writes report/index.html with its tables, and policy.json.

  Args:
    run: the run.
    summary: of the run.
    predictions: as in predictions.npz.
    found: metrics of the exits on the test split, see `exit_metrics`.
    choice: from `choose`; None for a network with one exit.
    workdir: to write to; its report/ has the pictures of the run.

  Returns:
    the verdict in one sentence, with which the page begins.
  """
  latency, folder, test = find_latency(run), workdir / 'report', run.dataset.test
  tables = _tables(run, predictions, found, latency)
  pictures = {run_page.NETWORK: (folder / 'network.svg').read_bytes()}
  if choice:
    policy = choice.chosen.point.policy
    save_policy(workdir / 'policy.json', policy, run.dataset.name)
    tables |= _tables_of_choice(run, choice, predictions, latency)
    frames = TASKS[run.config.task].frame
    pictures[run_page.EXAMPLES] = exit_sheet(tables['examples'], test.images, test.ids, frames)
    sentence = verdict(tables['operating_points'], tables['exits'], shown_of(run))
    if choice.target and (above := limits_nothing(_costs(run, latency), choice.target)):
      sentence = f'{sentence} ({above}.)'
  else:
    sentence = ONE_EXIT
  write_page(
    folder,
    f'{summary["dataset"]}, {summary["backbone"]}: {summary["strategy"]}',
    _facts(run, summary, latency),
    notes(run, summary, tables, latency, _costs(run, latency)),
    _sections(run, tables, pictures),
    tables,
    verdict=sentence,
  )
  return sentence


def shown_of(run: Run) -> Shown:
  """Returns how the quality of a run is shown, with the unit of its targets."""
  return TASKS[run.config.task].shown._replace(units=run.dataset.units)


def _sections(run: Run, tables: Mapping[str, Rows], pictures: Mapping[str, bytes]) -> list[Section]:
  task = TASKS[run.config.task]
  if task is CLASSIFICATION:
    return run_page.run_sections(tables, pictures)
  return task_sections(tables, pictures, task, shown_of(run))


def checkpoint_digest(predictions: Mapping[str, np.ndarray]) -> str:
  """Returns a digest of the checkpoint that predicted, 16 hexadecimal digits."""
  return hashlib.sha256(str(predictions['checkpoint']).encode()).hexdigest()[:16]


def has_early_exits(run: Run) -> bool:
  """Returns whether the network has an exit before the last one."""
  return len(run.model.exit_names) > 1


def check(
  config: ConfigDict, workdir: pathlib.Path, exits: Exits, *, measures_latency: bool = False
) -> None:
  """Checks the target and the files of `evaluation`, before hours of training and not after.

  Args:
    config: of the run.
    workdir: of the run.
    exits: of its network.
    measures_latency: whether the command measures what a target in milliseconds needs.

  Raises:
    UserError: a file cannot be read or is of another network, no exit is as cheap as the target, or
      report/ or report/index.html is a file that mecl_jax did not write.
  """
  settings = config.evaluation
  given = _given(settings, exits.dataset)
  if given:
    check_same_exits(settings.policy_file, given.exits, len(exits.costs))
    rules = (FIXED, *TASKS[config.task].rules)
    if given.rule.name not in rules:
      raise UserError(
        f'{settings.policy_file} has the rule {given.rule.name}, and task={config.task} has'
        f' {", ".join(rules)}; use a policy of this task'
      )
  if settings.latency_file:
    _find_latency(config, workdir, exits)
  _deadlines(settings)
  folder = workdir / 'report'
  if folder.exists() and not folder.is_dir():
    raise UserError(f'{folder} is a file, and the report needs a folder of this name; move it')
  if not config.report.page:
    return
  check_page(folder)
  if given or len(exits.costs) == 1 or (settings.target_latency_ms and measures_latency):
    return
  target, latency = _target(config), None
  if target.name == TARGET_LATENCY_MS:
    latency = _find_latency(config, workdir, exits)
    if latency is None:
      raise UserError(
        f'evaluation.target_latency_ms={target.value:g} needs latencies of the trained network;'
        f' train without this field, and then --mode=latency --workdir={workdir} measures them'
      )
  check_reachable(_make_costs(exits.costs, latency), target)


def check_targets(settings: ConfigDict) -> None:
  """Checks that the group `evaluation` has one target.

  Raises:
    UserError: it has two.
  """
  if settings.target_macs and settings.target_latency_ms:
    raise UserError('set only one of evaluation.target_macs and evaluation.target_latency_ms')


def find_latency(run: Run) -> Latency | None:
  """Returns the latencies of `evaluation.latency_file`, else those of the work directory, if any.

  Raises:
    UserError: the file cannot be read, or is of another network.
  """
  return _find_latency(run.config, run.workdir, exits_of(run))


def _find_latency(config: ConfigDict, workdir: pathlib.Path, exits: Exits) -> Latency | None:
  path = config.evaluation.latency_file or workdir / 'latency.json'
  if not config.evaluation.latency_file and not path.exists():
    return None
  latency = load_latency(path, [cost.name for cost in exits.costs])
  ours = tuple(cost.macs for cost in exits.costs), exits.image_shape, config.model.dtype
  if (latency.macs, latency.image_shape, latency.dtype) != ours:
    raise UserError(
      f'{path} belongs to another network with exits of the same names; --mode=latency measures'
      ' this one'
    )
  return latency


def _target(config: ConfigDict) -> Target:
  settings, costs = config.evaluation, ('target_macs', 'target_latency_ms')
  name = next((name for name in costs if settings[name]), TASKS[config.task].shown.target)
  return Target(name, settings[name])


def _given(settings: ConfigDict, dataset: str) -> Policy | None:
  path = settings.policy_file
  return load_policy(path, dataset) if path else None


def _deadlines(settings: ConfigDict) -> np.ndarray | None:
  path = settings.deadlines_file
  return read_trace(path) if path else None


def _costs(run: Run, latency: Latency | None) -> Costs:
  return _make_costs(exit_costs(run.model, run.dataset.image_shape), latency)


def _make_costs(exits: Sequence[ExitCost], latency: Latency | None) -> Costs:
  return make_costs(exits, latency.per_image() if latency else None)


def _tables(
  run: Run,
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
  latency: Latency | None,
) -> dict[str, Rows]:
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  names, exits = run.model.exit_names, exit_costs(run.model, run.dataset.image_shape)
  if run.config.task == CLASSIFICATION.name:
    temperatures = calibration.fit(validation.logits, validation.labels)
    tables = exit_tables(test, found, temperatures, exits)
  else:
    tables = {'exits': exits_rows(found, exits)}
  if latency and run.config.task == CLASSIFICATION.name:
    # By the 99th percentile: an exit that meets a deadline in half of the calls does not meet it.
    seconds = latency.tail_ms(latency.smallest_batch) / 1000
    trace = _deadlines(run.config.evaluation)
    tables |= deadline_tables(validation, test, seconds, names, trace=trace)
  if latency:
    tables |= {'latency': latency.rows, 'segments': latency.segments}
  if records := read_metrics(run.workdir / 'metrics.jsonl'):
    tables['training'] = training_rows(records, names)
  if weights := _weights(run):
    tables['weights'] = weights
  return tables


def _weights(run: Run) -> Rows:
  """Returns the weights of the easiest and the hardest training image at each exit.

  Where they change over the phase, there are those of its first and of its last step.
  """
  rows, changes = Rows(), bool(run.config.curriculum.easy_end)
  for plan in run.plans:
    if plan.sample_weights == 'easy_weighted':
      first, last = favour_easy(np.array([1.0, 0.0]), plan.strengths).tolist()
      columns = {'easiest': first[0], 'hardest': first[1]}
      if changes:
        columns |= {'easiest_at_end': last[0], 'hardest_at_end': last[1]}
      for name, *values in zip(plan.phase.exits, *columns.values(), strict=True):
        rows.append({'exit': name, **dict(zip(columns, values, strict=True))})
  return rows


def _tables_of_choice(
  run: Run, choice: Choice, predictions: Mapping[str, np.ndarray], latency: Latency | None
) -> dict[str, Rows]:
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  names, classes = run.model.exit_names, run.dataset.class_names
  costs = _costs(run, latency)
  if run.config.task == CLASSIFICATION.name:
    temperatures = calibration.fit(validation.logits, validation.labels)
    tables = dynamic_tables(choice, validation, test, temperatures, costs, names)
  else:
    tables = task_tables(choice, test, costs, names)
  policy = choice.chosen.point.policy
  if latency and latency.policy == policy.digest:  # else they belong to other thresholds
    tables['savings'] = latency.savings
  if (path := run.workdir / 'energy.json').exists():
    energy = load_energy(path)
    if (energy.checkpoint, energy.policy) == (checkpoint_digest(predictions), policy.digest):
      tables |= energy.tables
  tables['examples'] = examples_rows(policy, test, predictions['test_ids'], classes, names)
  return tables


def _facts(run: Run, summary: Mapping[str, Any], latency: Latency | None) -> dict[str, str]:
  data, curriculum = run.dataset, summary['curriculum']
  teacher = curriculum['teacher'] and f' by {curriculum["teacher"]}, {curriculum["measure"]}'
  name = curriculum_name(
    *(curriculum[field] for field in ('order', 'sample_weights', 'contradicted'))
  )
  paced = '' if curriculum['order'] == 'none' else f', {curriculum["pacing"]} pacing'
  facts = {
    'data': f'{data.name}: {len(data.train):,} training, {len(data.validation):,} validation,'
    f' {len(data.test):,} test images, {TASKS[run.config.task].counted(data.num_classes)}',
    'network': f'{summary["backbone"]}, exits at {", ".join(run.model.exit_stages)}',
    'training': f'{summary["strategy"]}, {summary["steps"]:,} steps of {run.config.batch_size}'
    f' images in {summary["wall_seconds"]:,.0f} s, seed {summary["seed"]}',
    'curriculum': f'{name}{paced}{teacher or ""}',
  }
  if latency:
    facts['latency'] = f'{latency.device}, {latency.dtype}, JAX {latency.jax}'
  return facts | {'run': f'{run.workdir}, mecl_jax {summary["version"]}'}
