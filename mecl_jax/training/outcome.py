"""What a run leaves behind: predictions, summary, pictures and the table of its exits."""

from typing import Any

from ml_collections import ConfigDict

import mecl_jax
from mecl_jax.curriculum import visible_count
from mecl_jax.evaluation import predict
from mecl_jax.evaluation.predictions import save_predictions
from mecl_jax.files import write_json
from mecl_jax.models import exit_costs
from mecl_jax.report import plots
from mecl_jax.report.exit_table import exit_rows, exit_table
from mecl_jax.training import curriculum_report, describe, teachers
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.log import read_metrics, work
from mecl_jax.training.run import Run
from mecl_jax.training.workdir import read_summary


def write_outcome(run: Run, position: Position, *, brief: bool = False) -> dict[str, Any]:
  """Evaluates the run's model on validation and test and writes the report.

  Args:
    run: its model is what is evaluated.
    position: where training stands.
    brief: print no table.

  Returns:
    the summary, which is also in summary.json: the report of a run is complete once that is there.
  """
  splits = {'validation': run.dataset.validation, 'test': run.dataset.test}
  predictions = {}
  for name, split in splits.items():
    with work(run.console, name, len(split), run.interruption.check) as on_batch:
      logits = predict(run.model, split.images, mesh=run.mesh, on_batch=on_batch)
    predictions[name] = {'logits': logits, 'labels': split.labels, 'ids': split.ids}
  save_predictions(run.workdir / 'predictions.npz', run.model.exit_names, predictions)
  summary = _summary(run, position, predictions)
  folder = run.workdir / 'report'
  plots.exit_curve(summary, folder / 'exits.png')
  describe.draw(run)
  records = read_metrics(run.workdir / 'metrics.jsonl')
  if any('loss' in record for record in records):
    plots.training_curves(records, run.model.exit_names, folder / 'training.png')
  summary['curriculum'] |= curriculum_report.write(run)
  write_json(run.workdir / 'summary.json', summary)
  if not brief:
    run.console.print(exit_table(summary))
  if not summary['complete']:
    run.console.print(f'training has not ended: this is step {position.total}')
  run.console.print(f'report, pictures and predictions: {run.workdir}', soft_wrap=True)
  return summary


def _summary(run: Run, position: Position, predictions: dict[str, Any]) -> dict[str, Any]:
  config, costs = run.config, exit_costs(run.model, run.dataset.image_shape)
  rows = {
    name: exit_rows(v['logits'], v['labels'], run.model.exit_names, costs)
    for name, v in predictions.items()
  }
  curriculum = next(plan for plan in run.plans if plan.phase.curriculum)
  size = len(run.dataset.train)
  settings = config.curriculum
  ordered, taught = settings.order != 'none', teachers.wanted(config)
  plain = read_summary(run.workdir / 'teacher') or {}
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
      'teacher': settings.teacher if taught else None,
      'measure': settings.measure if taught else None,
      'teacher_steps': plain.get('steps', 0),  # of a plain run made first, not in `steps`
      'visible_at_start': first / size,  # share of the training split
    },
    'exits': rows['test'],
    'validation': rows['validation'],
    'version': mecl_jax.__version__,
  }


def _pacing(settings: ConfigDict) -> str:
  """Its name, or what every exit has, 'final' last."""
  return settings.exit_pacings if settings.per_exit == 'own' else settings.pacing
