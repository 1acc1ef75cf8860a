"""The page of a run: who leaves where, what that saves, and everything a reader may ask."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np

from mecl_jax.curriculum.weights import favour_easy
from mecl_jax.errors import UserError
from mecl_jax.evaluation import calibration
from mecl_jax.evaluation.choice import Choice, choose_policy, given_policy
from mecl_jax.evaluation.costs import Costs, make_costs
from mecl_jax.evaluation.deadlines import read_trace
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.policies import Policy, load_policy, save_policy
from mecl_jax.evaluation.predictions import TEST, VALIDATION, check_same_exits, predicted
from mecl_jax.inference import Latency, load_latency
from mecl_jax.inference.latency import device_name
from mecl_jax.models import exit_costs
from mecl_jax.report.pages import run as run_page
from mecl_jax.report.pages.page import Rows, remove_page, write_page
from mecl_jax.report.pictures.contact_sheet import exit_sheet
from mecl_jax.report.pictures.plots import curriculum_name
from mecl_jax.report.tables.deadlines import deadline_tables
from mecl_jax.report.tables.dynamic import dynamic_tables
from mecl_jax.report.tables.exits import exit_tables
from mecl_jax.report.tables.run import examples_rows, training_rows
from mecl_jax.training.log import read_metrics
from mecl_jax.training.run import Run

NOT_WORTH = 'the heads on the way cost more than they save, so the final exit alone is better'

ONE_EXIT = 'this network has one exit, so that nothing leaves early'


def choose(run: Run, predictions: Mapping[str, np.ndarray]) -> Choice:
  """Where images of a run leave, as its `evaluation` wishes or the policy it names says.

  Args:
    run: its `evaluation` is what counts.
    predictions: as in predictions.npz.

  Raises:
    UserError: no policy meets the wish, or what it needs is not there or of another network.
  """
  settings = run.config.evaluation
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  costs = _costs(run, find_latency(run))
  if policy := _given(run):
    return given_policy(policy, validation, test, costs)
  name = next((n for n in ('target_macs', 'target_latency_ms') if settings[n]), 'max_accuracy_drop')
  return choose_policy(validation, test, costs, Target(name, settings[name]))


def write(
  run: Run,
  summary: Mapping[str, Any],
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
) -> str:
  """Writes report/index.html with its tables, and policy.json; returns in a line what was chosen.

  Args:
    run: to report of.
    summary: of it.
    predictions: as in predictions.npz.
    found: metrics of the exits on the test split, see `exit_metrics`.

  Raises: as `choose`; UserError also if there is a page of somebody else's.
  """
  latency, folder, test = find_latency(run), run.workdir / 'report', run.dataset.test
  tables = _tables(run, predictions, found, latency)
  pictures = {run_page.NETWORK: (folder / 'network.png').read_bytes()}
  if can_leave_early(run):
    choice = choose(run, predictions)
    policy = choice.chosen.point.policy
    save_policy(run.workdir / 'policy.json', policy, run.dataset.name)
    tables |= _tables_of_choice(run, choice, predictions, latency)
    pictures[run_page.EXAMPLES] = exit_sheet(tables['examples'], test.images, test.ids)
  write_page(
    folder,
    f'{summary["dataset"]}, {summary["backbone"]}: {summary["strategy"]}',
    _facts(run, summary, latency),
    _notes(run, summary, tables, latency),
    run_page.run_sections(tables, pictures),
    tables,
  )
  return _told(tables['operating_points']) if can_leave_early(run) else ONE_EXIT


def can_leave_early(run: Run) -> bool:
  """Whether there is an exit before the last."""
  return len(run.model.exit_names) > 1


def check(run: Run) -> None:
  """Raises UserError if a file that `evaluation` names is not there or of another network.

  To be told before hours of training, not after.
  """
  if policy := _given(run):
    check_same_exits(run.config.evaluation.policy_file, policy.exits, len(run.model.exit_names))
  if run.config.evaluation.latency_file:
    find_latency(run)
  _deadlines(run)


def forget(run: Run) -> None:
  """Removes page and policy, which would be of an earlier evaluation.

  Raises:
    UserError: there is a page of somebody else's.
  """
  remove_page(run.workdir / 'report')
  policy, named = run.workdir / 'policy.json', run.config.evaluation.policy_file
  if not named or pathlib.Path(named).resolve() != policy.resolve():
    policy.unlink(missing_ok=True)


def find_latency(run: Run) -> Latency | None:
  """The latencies that `evaluation.latency_file` names, or those of the work directory, if any.

  Raises:
    UserError: the file cannot be read, or is of another network.
  """
  path = run.config.evaluation.latency_file or run.workdir / 'latency.json'
  if not run.config.evaluation.latency_file and not path.exists():
    return None
  latency = load_latency(path, run.model.exit_names)
  shape = run.dataset.image_shape
  ours = (tuple(cost.macs for cost in exit_costs(run.model, shape)), shape, run.config.model.dtype)
  if (latency.macs, latency.image_shape, latency.dtype) != ours:
    raise UserError(
      f'{path} is of another network with exits of the same names; --mode=latency measures this one'
    )
  return latency


def _given(run: Run) -> Policy | None:
  path = run.config.evaluation.policy_file
  return load_policy(path, run.dataset.name) if path else None


def _deadlines(run: Run) -> np.ndarray | None:
  path = run.config.evaluation.deadlines_file
  return read_trace(path) if path else None


def _told(points: Rows) -> str:
  chosen = _chosen(points)
  saved = chosen['macs_saved']
  return (
    f'early exit by {chosen["rule"]}, {chosen["thresholds"]} thresholds:'
    f' accuracy {chosen["test_accuracy"]:.2%}, {100 * chosen["test_drop"]:.2f} points'
    f' ({100 * chosen["test_drop_low"]:.2f} to {100 * chosen["test_drop_high"]:.2f}) below the'
    ' final exit, '
    + (
      f'of whose MACs it saves {saved:.1%}'
      if saved > 0
      else f'at {-saved:.1%} more MACs: {NOT_WORTH}'
    )
  )


def _chosen(points: Rows) -> dict[str, Any]:
  return next(row for row in points if row['chosen'])


def _costs(run: Run, latency: Latency | None) -> Costs:
  exits = exit_costs(run.model, run.dataset.image_shape)
  if latency is None:
    return make_costs(exits)
  batch = latency.smallest_batch
  whole = latency.prefix_ms(batch)[-1] / batch
  return make_costs(exits, latency.segment_ms(batch) / batch, whole)


def _tables(
  run: Run,
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
  latency: Latency | None,
) -> dict[str, Rows]:
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  names, exits = run.model.exit_names, exit_costs(run.model, run.dataset.image_shape)
  tables = exit_tables(test, found, calibration.fit(validation.logits, validation.labels), exits)
  if latency:
    # An exit that half of the calls do not finish by a deadline does not answer by it.
    seconds = latency.tail_ms(latency.smallest_batch) / 1000
    tables |= deadline_tables(validation, test, seconds, names, trace=_deadlines(run))
    tables |= {'latency': latency.rows, 'segments': latency.segments}
  if records := read_metrics(run.workdir / 'metrics.jsonl'):
    tables['training'] = training_rows(records, names)
  if weights := _weights(run):
    tables['weights'] = weights
  return tables


def _weights(run: Run) -> Rows:
  """How much the easiest and the hardest training image count at each exit."""
  rows, strength = Rows(), run.config.curriculum.easy_strength
  for plan in run.plans:
    if plan.sample_weights == 'easy_weighted':
      ends = favour_easy(np.array([1.0, 0.0]), np.array(plan.depths), strength)
      for name, easiest, hardest in zip(plan.phase.exits, *ends, strict=True):
        rows.append({'exit': name, 'easiest': float(easiest), 'hardest': float(hardest)})
  return rows


def _tables_of_choice(
  run: Run, choice: Choice, predictions: Mapping[str, np.ndarray], latency: Latency | None
) -> dict[str, Rows]:
  validation, test = (predicted(predictions, name) for name in (VALIDATION, TEST))
  names, classes = run.model.exit_names, run.dataset.class_names
  temperatures = calibration.fit(validation.logits, validation.labels)
  tables = dynamic_tables(choice, validation, test, temperatures, _costs(run, latency), names)
  policy = choice.chosen.point.policy
  if latency and latency.policy == policy.digest:  # else they are of other thresholds
    tables['savings'] = latency.savings
  tables['examples'] = examples_rows(policy, test, predictions['test_ids'], classes, names)
  return tables


def _facts(run: Run, summary: Mapping[str, Any], latency: Latency | None) -> dict[str, str]:
  data, curriculum = run.dataset, summary['curriculum']
  taught = f' by {curriculum["teacher"]}, {curriculum["measure"]}' if curriculum['teacher'] else ''
  name = curriculum_name(curriculum['order'], curriculum['sample_weights'])
  paced = '' if curriculum['order'] == 'none' else f', {curriculum["pacing"]} pacing'
  facts = {
    'data': f'{data.name}: {len(data.train):,} training, {len(data.validation):,} validation,'
    f' {len(data.test):,} test images, {data.num_classes} classes',
    'network': f'{summary["backbone"]}, exits at {", ".join(run.model.exit_stages)}',
    'training': f'{summary["strategy"]}, {summary["steps"]:,} steps of {run.config.batch_size}'
    f' images in {summary["wall_seconds"]:,.0f} s, seed {summary["seed"]}',
    'curriculum': f'{name}{paced}{taught}',
  }
  if latency:
    facts['latency'] = f'{latency.device}, {latency.dtype}, JAX {latency.jax}'
  return facts | {'run': f'{run.workdir}, mecl_jax {summary["version"]}'}


def _notes(
  run: Run, summary: Mapping[str, Any], tables: Mapping[str, Rows], latency: Latency | None
) -> list[str]:
  """What a reader has to know before believing a number."""
  notes = []
  if not summary['complete']:
    notes.append(f'Training has not ended: this is its step {summary["steps"]:,}.')
  if latency and latency.device != device_name():
    notes.append(
      f'Latencies were measured on another device than this page was made on: {latency.device},'
      f' not {device_name()}.'
    )
  ends = [str(row['exit']) for row in tables['calibration'] if row['at_bound']]
  if ends:
    notes.append(f'The temperature of {", ".join(ends)} is an end of the range that was searched.')
  if not can_leave_early(run):
    return [*notes, f'{ONE_EXIT[0].upper()}{ONE_EXIT[1:]}.']
  chosen = _chosen(tables['operating_points'])
  if chosen['macs_saved'] <= 0:
    notes.append(f'Early exit does not pay here: {NOT_WORTH}.')
  if chosen['wish'] == 'max_accuracy_drop' and chosen['test_drop_low'] > chosen['wish_value']:
    notes.append(
      f'The wish of losing at most {100 * chosen["wish_value"]:.2f} points, kept on validation, is'
      f' missed on test by more than chance: {100 * chosen["test_drop"]:.2f} points are lost.'
    )
  if latency and latency.savings and 'savings' not in tables:
    notes.append(
      'What early exit saves in time was measured with other thresholds and is left out;'
      ' --mode=latency measures it anew.'
    )
  if run.config.evaluation.policy_file:
    notes.append(f'The thresholds are those of {run.config.evaluation.policy_file}.')
  return notes
