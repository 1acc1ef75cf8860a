"""The outcome of a run: predictions, summary, pictures and report."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict
import numpy as np

from mecl_jax import disk
from mecl_jax.commands import curriculum_report, overview, run_report
from mecl_jax.commands.replacement import replacing
from mecl_jax.curriculum import Difficulty, visible_count
from mecl_jax.errors import DamagedFile, MissingFile
from mecl_jax.evaluation.exit_metrics import exit_metrics
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import (
  TEST,
  VALIDATION,
  load_predictions,
  predicted,
  save_predictions,
)
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
from mecl_jax.files import write_checked_json
from mecl_jax.models import exit_costs
from mecl_jax.report.figures.training import training_curves
from mecl_jax.report.pictures.exits import draw_exit_curve
from mecl_jax.report.style import save
from mecl_jax.report.tables.summary import exit_rows, exit_table
from mecl_jax.report.tables.training import training_rows
from mecl_jax.training import rates_file
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.easy_strengths import STRENGTHENED
from mecl_jax.training.features import predict_split
from mecl_jax.training.log import doing, read_metrics, work
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.strategies import needs_scores
from mecl_jax.training.workdir import read_summary
from mecl_jax.version import __version__

# Fields of `evaluation` that the next evaluation keeps.
TARGETS_OF_SUMMARY = ('target_macs', 'target_latency_ms', 'policy_file')


def predictions_of(run: Run, position: Position) -> dict[str, np.ndarray]:
  """Returns the predictions of the run's model on validation and test.

  Those of predictions.npz are returned if they are of this position and these data. Otherwise both
  splits are predicted, and the file is written.

  Returns:
    the arrays of predictions.npz: logits [N, exits, classes], labels and ids of both splits.
  """
  path = run.workdir / 'predictions.npz'
  found = _kept_predictions(run, path)
  names, checkpoint = np.array(run.model.exit_names), np.array(_identifier(position))
  expected = {'exits': names, 'checkpoint': checkpoint}
  for name, split in ((VALIDATION, run.dataset.validation), (TEST, run.dataset.test)):
    expected |= {f'{name}_ids': split.ids, f'{name}_labels': split.labels}
  if all(key in found and np.array_equal(found[key], expected[key]) for key in expected):
    run.console.print(
      f'{path} is of this checkpoint and is used; delete it to predict again', soft_wrap=True
    )
    return found
  return _predict_splits(run, position)


def _kept_predictions(run: Run, path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    return load_predictions(path)
  except MissingFile:
    return {}
  except DamagedFile:
    run.console.print(f'{path} is damaged, and both splits are predicted again', soft_wrap=True)
    return {}


def _identifier(position: Position) -> str:
  """Returns a text that differs for the checkpoints of a run, and for those of other runs."""
  fields = dataclasses.asdict(position)
  del fields['wall_seconds']
  return json.dumps(fields, sort_keys=True)


def _predict_splits(run: Run, position: Position) -> dict[str, np.ndarray]:
  splits = {VALIDATION: run.dataset.validation, TEST: run.dataset.test}
  found = {}
  for name, split in splits.items():
    title = f'predicting {name}'
    with work(run.console, title, len(split), run.interruption.check) as on_batch:
      logits = predict_split(run, split, on_batch=on_batch)
    found[name] = {'logits': logits, 'labels': split.labels, 'ids': split.ids}
  path = run.workdir / 'predictions.npz'
  disk.check_there(run.workdir)
  save_predictions(path, run.model.exit_names, found, _identifier(position), run.config.task)
  return load_predictions(path)


def write_outcome(
  run: Run, position: Position, predictions: Mapping[str, np.ndarray], *, brief: bool = False
) -> dict[str, Any]:
  """Writes the report of a run.

  Args:
    run: with the model that was evaluated.
    position: of the run.
    predictions: of the model, as in predictions.npz.
    brief: print no table, draw no picture and write no page, for the run of a teacher.

  Returns:
    the summary, which is also in summary.json.

  Raises:
    UserError: no operating point meets the target in `evaluation`; nothing is written then.
  """
  disk.check_there(run.workdir)
  with_page = run.config.report.page and not brief
  line = ''
  with doing(run.console, 'writing the report'):
    choice = None
    if with_page and run_report.has_early_exits(run):
      choice = run_report.choose(run, predictions)
    run.interruption.check()
    brief_names = (TASKS[run.config.task].shown.column,)
    found = exit_metrics(predicted(predictions, TEST), None if with_page else brief_names)
    summary = _summary(run, position, predictions, found)
    with replacing(run.workdir, () if choice or brief else _policy(run)) as folder:
      if not brief:
        _draw(run, summary, folder / 'report')
        run.interruption.check()
        summary['curriculum'] |= curriculum_report.write(run, folder / 'report')
      run.interruption.check()
      if with_page:
        line = run_report.write(run, summary, predictions, found, choice, folder)
      write_checked_json(folder / 'summary.json', summary)
      run.interruption.check()
  if not summary['complete']:
    run.console.print(f'training has not ended; these are the results at step {position.total}')
  if not brief:
    run.console.print(exit_table(summary))
  if line:
    run.console.print(line, soft_wrap=True)
  run.console.print(f'report, pictures and predictions: {run.workdir}', soft_wrap=True)
  return summary


def _policy(run: Run) -> list[str]:
  """Returns the name of policy.json, unless it is a file that `evaluation` names."""
  policy, named = run.workdir / 'policy.json', run.config.evaluation.policy_file
  return [] if named and pathlib.Path(named).resolve() == policy.resolve() else [policy.name]


def _draw(run: Run, summary: Mapping[str, Any], folder: pathlib.Path) -> None:
  draw_exit_curve(summary, folder / 'exits.png')
  overview.draw(run, folder)
  records = read_metrics(run.workdir / 'metrics.jsonl')
  if any('loss' in record for record in records):
    rows = training_rows(records, run.model.exit_names)
    save(training_curves(rows, run_report.shown_of(run)), folder / 'training.png')


def _summary(
  run: Run,
  position: Position,
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
) -> dict[str, Any]:
  config, costs = run.config, exit_costs(run.model, run.dataset.image_shape)
  task = TASKS[config.task]
  validation = exit_metrics(predicted(predictions, VALIDATION), (task.shown.column,))
  rows = {
    name: exit_rows(of_split, run.model.exit_names, costs, task)
    for name, of_split in ((VALIDATION, validation), (TEST, found))
  }
  curriculum = next(plan for plan in run.plans if plan.phase.curriculum)
  settings = config.curriculum
  ordered, scored = settings.order != 'none', needs_scores(config)
  weighted = settings.sample_weights in STRENGTHENED
  return {
    'dataset': run.dataset.name,
    'backbone': config.model.backbone,
    'strategy': config.strategy,
    'seed': config.seed,
    'complete': position.phase == len(run.plans),
    'steps': position.total,
    'examples_seen': position.total * config.batch_size,
    'wall_seconds': round(position.wall_seconds, 1),
    'label_noise': config.data.label_noise or _share(run.dataset.flipped),
    'distillation': config.distillation.weight,
    'curriculum': {
      'order': settings.order,
      'pacing': _pacing(settings) if ordered else None,
      'per_exit': settings.per_exit if ordered else None,
      'max_share': settings.max_share if ordered else None,
      'sample_weights': settings.sample_weights,
      'easy_strength': settings.easy_strength if weighted else None,
      'contradicted': settings.contradicted,
      'teacher': settings.teacher if scored else None,
      'measure': settings.measure if scored else None,
      'teacher_steps': _teacher_steps(run),
      'visible_at_start': _visible_at_start(run, curriculum),
    },
    'learning_rates': rates_file.summary_of(run),
    'exits': rows[TEST],
    'validation': rows[VALIDATION],
    'evaluation': {
      name: config.evaluation[name] for name in (task.shown.target, *TARGETS_OF_SUMMARY)
    },
    'version': __version__,
    **({} if task is CLASSIFICATION else {'task': task.name, 'units': run.dataset.units}),
  }


def _visible_at_start(run: Run, plan: PhasePlan) -> float | None:
  """Returns a share of the training split; None if it is unknown how many images are dropped."""
  size, path = len(run.dataset.train), run.workdir / 'difficulty.npz'
  shown = size
  if plan.contradicted == 'drop':
    dropped = Difficulty.load(path).contradicted if path.exists() else None
    if dropped is None:
      return None
    shown -= int(dropped.sum())
  return visible_count(plan.pacing(0), shown, run.config.batch_size) / size


def _share(flipped: np.ndarray | None) -> float:
  """Returns the share of wrong training labels, 0 if none is known to be wrong."""
  return 0.0 if flipped is None else float(flipped.mean())


def _teacher_steps(run: Run) -> int:
  """Returns the steps of the teacher's runs, which are not part of `steps`."""
  patterns = ('teacher/summary.json', 'teacher/*/summary.json')
  found = (path.parent for pattern in patterns for path in run.workdir.glob(pattern))
  return sum(summary['steps'] for summary in map(read_summary, found) if summary)


def _pacing(settings: ConfigDict) -> str:
  """Returns the name of the pacing, or those of all exits, 'final' last."""
  return settings.exit_pacings if settings.per_exit == 'own' else settings.pacing
