"""What a run leaves behind: predictions, summary, pictures and the table of its exits."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
import numpy as np

import mecl_jax
from mecl_jax.commands import curriculum_report, run_report
from mecl_jax.commands import overview as describe
from mecl_jax.curriculum import visible_count
from mecl_jax.errors import UserError
from mecl_jax.evaluation import predict
from mecl_jax.evaluation.exit_metrics import NAMES, exit_metrics
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import (
  TEST,
  VALIDATION,
  load_predictions,
  predicted,
  save_predictions,
)
from mecl_jax.files import write_json
from mecl_jax.models import exit_costs
from mecl_jax.report.figures import training as figures_training
from mecl_jax.report.pictures import plots
from mecl_jax.report.tables.run import training_rows
from mecl_jax.report.tables.summary import exit_rows, exit_table
from mecl_jax.teachers import scoring as teachers
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.log import read_metrics, work
from mecl_jax.training.run import Run
from mecl_jax.training.workdir import read_summary

IN_SUMMARY = ('accuracy',)  # whose interval summary.json has


def predict_splits(run: Run) -> dict[str, np.ndarray]:
  """What the run's model says of validation and test; it is also in predictions.npz."""
  splits = {VALIDATION: run.dataset.validation, TEST: run.dataset.test}
  said = {}
  for name, split in splits.items():
    with work(run.console, name, len(split), run.interruption.check) as on_batch:
      logits = predict(run.model, split.images, mesh=run.mesh, on_batch=on_batch)
    said[name] = {'logits': logits, 'labels': split.labels, 'ids': split.ids}
  path = run.workdir / 'predictions.npz'
  save_predictions(path, run.model.exit_names, said)
  return load_predictions(path)


def predictions_of(run: Run, position: Position) -> dict[str, np.ndarray]:
  """As `predict_splits`, but those that are there if they are of this position."""
  summary = read_summary(run.workdir)
  if summary is None or summary['steps'] != position.total:
    return predict_splits(run)
  found = load_predictions(run.workdir / 'predictions.npz')
  expected = {'exits': np.array(run.model.exit_names)}
  for name, split in ((VALIDATION, run.dataset.validation), (TEST, run.dataset.test)):
    expected |= {f'{name}_ids': split.ids, f'{name}_labels': split.labels}
  same = all(key in found and np.array_equal(found[key], expected[key]) for key in expected)
  return found if same else predict_splits(run)


def write_outcome(
  run: Run, position: Position, predictions: Mapping[str, np.ndarray], *, brief: bool = False
) -> dict[str, Any]:
  """Writes the report of a run.

  Args:
    run: its model is what was evaluated.
    position: where training stands.
    predictions: of the model, as in predictions.npz.
    brief: print no table, draw no picture and write no page: of a run that is there to teach.

  Returns:
    the summary, which is also in summary.json: the report of a run is complete once that is there.

  Raises:
    UserError: `evaluation` wishes for what cannot be had; all but the page is there then.
  """
  with_page = run.config.report.page and not brief
  found = exit_metrics(predicted(predictions, TEST), NAMES if with_page else IN_SUMMARY)
  summary = _summary(run, position, predictions, found)
  if not brief:
    _draw(run, summary)
    summary['curriculum'] |= curriculum_report.write(run)
  chosen, problem = None, None
  if with_page:
    try:
      chosen = run_report.write(run, summary, predictions, found)
    except UserError as error:
      problem = error
  if not chosen and not brief:
    run_report.forget(run)
  write_json(run.workdir / 'summary.json', summary)
  if not brief:
    run.console.print(exit_table(summary))
  if chosen:
    run.console.print(chosen, soft_wrap=True)
  if not summary['complete']:
    run.console.print(f'training has not ended: this is step {position.total}')
  run.console.print(f'report, pictures and predictions: {run.workdir}', soft_wrap=True)
  if problem:
    run.console.print(f'the page is not written; --mode=evaluate --workdir={run.workdir} does it')
    raise problem
  return summary


def _draw(run: Run, summary: Mapping[str, Any]) -> None:
  folder = run.workdir / 'report'
  plots.exit_curve(summary, folder / 'exits.png')
  describe.draw(run)
  records = read_metrics(run.workdir / 'metrics.jsonl')
  if any('loss' in record for record in records):
    rows = training_rows(records, run.model.exit_names)
    plots.save(figures_training.training(rows), folder / 'training.png')


def _summary(
  run: Run,
  position: Position,
  predictions: Mapping[str, np.ndarray],
  found: Mapping[str, Interval],
) -> dict[str, Any]:
  config, costs = run.config, exit_costs(run.model, run.dataset.image_shape)
  validation = exit_metrics(predicted(predictions, VALIDATION), IN_SUMMARY)
  rows = {
    name: exit_rows(of_split, run.model.exit_names, costs)
    for name, of_split in ((VALIDATION, validation), (TEST, found))
  }
  curriculum = next(plan for plan in run.plans if plan.phase.curriculum)
  size = len(run.dataset.train)
  settings = config.curriculum
  ordered, taught = settings.order != 'none', teachers.wanted(config)
  weighted = settings.sample_weights == 'easy_weighted'
  first = visible_count(curriculum.pacing(0), size, config.batch_size)
  return {
    'dataset': run.dataset.name,
    'backbone': config.model.backbone,
    'strategy': config.strategy,
    'seed': config.seed,
    'complete': position.phase == len(run.plans),
    'steps': position.total,
    'examples_seen': position.total * config.batch_size,
    'wall_seconds': round(position.wall_seconds, 1),
    'label_noise': config.data.label_noise,
    'distillation': config.distillation.weight,
    'curriculum': {
      'order': settings.order,
      'pacing': _pacing(settings) if ordered else None,
      'per_exit': settings.per_exit if ordered else None,
      'max_share': settings.max_share if ordered else None,
      'sample_weights': settings.sample_weights,
      'easy_strength': settings.easy_strength if weighted else None,
      'teacher': settings.teacher if taught else None,
      'measure': settings.measure if taught else None,
      'teacher_steps': _teacher_steps(run),
      'visible_at_start': first / size,  # share of the training split
    },
    'exits': rows[TEST],
    'validation': rows[VALIDATION],
    'version': mecl_jax.__version__,
  }


def _teacher_steps(run: Run) -> int:
  """Of the plain run that was made first, or of those of all folds; they are not in `steps`."""
  patterns = ('teacher/summary.json', 'teacher/*/summary.json')
  found = (path.parent for pattern in patterns for path in run.workdir.glob(pattern))
  return sum(summary['steps'] for summary in map(read_summary, found) if summary)


def _pacing(settings: ConfigDict) -> str:
  """Its name, or what every exit has, 'final' last."""
  return settings.exit_pacings if settings.per_exit == 'own' else settings.pacing
