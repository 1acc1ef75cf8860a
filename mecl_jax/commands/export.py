"""The command `export`: writes a bundle that answers early without JAX."""

import pathlib
from typing import Any

from flax import nnx
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax.commands import bottlenecks
from mecl_jax.commands.outcome import predictions_of
from mecl_jax.commands.replacement import replacing
from mecl_jax.commands.session import restored_run
from mecl_jax.data import Dataset, Parts
from mecl_jax.data.dataset import Split
from mecl_jax.deploy import bundle, check, points, quantise
from mecl_jax.deploy.convert import Codec, Model, convert
from mecl_jax.deploy.predict import predict
from mecl_jax.evaluation import calibration
from mecl_jax.evaluation.costs import make_costs
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.predict import predict as predict_in_jax
from mecl_jax.evaluation.predictions import TEST, VALIDATION, Predicted, predicted
from mecl_jax.models import MultiExit, exit_costs
from mecl_jax.report.pictures.bundle import draw_bundle
from mecl_jax.report.style import evenly
from mecl_jax.report.tables.bundle import bottleneck_table, exit_table, point_table
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.log import doing, make_console, work
from mecl_jax.training.run import Run, build_model

FOLDER = 'bundle'  # of float32; others have the precision after a hyphen


def export(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
) -> dict[str, Any]:
  """Writes the newest checkpoint of a run as a bundle, after a check against the network.

  The bundle is the folder bundle/, bundle-float16/ or bundle-int8/ of the work directory. An
  earlier one stays until the new one is whole.

  Args:
    workdir, config, console, data, keep_target: as of `evaluate`.

  Returns:
    the fields of bundle.json.

  Raises:
    UserError: as `evaluate`; or a part of the network cannot be converted, or no policy meets a
      target of `export.points`.
    RunError: as `evaluate`; or the bundle differs from the network.
  """
  console = console or make_console()
  if config is not None:
    points.parse(config.export.points)  # an error in it is reported before anything is loaded
  opened = restored_run(
    pathlib.Path(workdir), config, console, data=data, keep_target=keep_target, mode='export'
  )
  with opened as (run, position):
    targets = points.parse(run.config.export.points)
    model = _in_float32(run)
    images = np.asarray(evenly(run.dataset.validation.images, check.IMAGES))
    models = _converted(run, model)
    codecs = bottlenecks.converted(run, position, model, models)
    expected = predict_in_jax(model, images)
    difference = check.check_logits(model.exit_names, expected, predict(models, images))
    if run.config.export.quantise != quantise.NONE:
      models = _quantised(run, models)
      expected = predict(models, images)
    figures = {
      'images': len(images),
      'largest_difference': difference,
      'tolerance': check.TOLERANCE,
    }
    content = _content(run, position, models, codecs, targets, figures)
    name = '-'.join((FOLDER, *([] if content.precision == 'float32' else [content.precision])))
    with replacing(run.workdir) as folder:
      (folder / name).mkdir()
      fields = bundle.write_bundle(folder / name, content, draw_bundle)
      with doing(console, 'checking the answers of the bundle'):
        ties = check.check_answers(folder / name, content.policies, images, expected)
      run.interruption.check()
    console.print(exit_table(fields))
    console.print(point_table(fields, ties))
    if any(each['bottlenecks'] for each in fields['exits']):
      console.print(bottleneck_table(fields))
    console.print(f'bundle: {run.workdir / name}', soft_wrap=True)
    return fields


def _in_float32(run: Run) -> MultiExit:
  """Returns the network of a run, computing in float32."""
  if run.config.model.dtype == 'float32':
    return run.model
  config = run.config.copy_and_resolve_references()
  config.model.dtype = 'float32'
  shape, classes = run.dataset.image_shape, run.dataset.num_classes
  model = build_model(config, shape, classes, run.pixel_mean, run.pixel_std, run.mesh)
  nnx.update(model, nnx.state(run.model))
  return model


def _converted(run: Run, model: MultiExit) -> list[Model]:
  found, exits = list[Model](), len(model.exit_names)
  with work(run.console, 'converting', exits, run.interruption.check) as on_segment:
    for converted in convert(model, run.dataset.image_shape):
      found.append(converted)
      on_segment(len(found))
  return found


def _quantised(run: Run, models: list[Model]) -> list[Model]:
  settings = run.config.export
  if settings.quantise == quantise.FLOAT16:
    with doing(run.console, 'converting to float16'):
      return quantise.to_float16(models)
  images = evenly(run.dataset.validation.images, settings.calibration_images)
  with work(run.console, 'quantising', len(models), run.interruption.check) as on_segment:
    return quantise.to_int8(models, images, on_segment)


def _content(
  run: Run,
  position: Position,
  models: list[Model],
  codecs: list[list[Codec]],
  targets: dict[str, Target],
  figures: dict[str, Any],
) -> bundle.Content:
  """Returns the content of a bundle, with policies for what these models predict."""
  validation, test = (
    _predicted(run, models, name, split)
    for name, split in ((VALIDATION, run.dataset.validation), (TEST, run.dataset.test))
  )
  ours = predictions_of(run, position)
  exits = exit_costs(run.model, run.dataset.image_shape)
  costs = make_costs(exits)
  quantised = run.config.export.quantise
  return bundle.Content(
    models=models,
    bottlenecks=bottlenecks.measured(run, models, codecs),
    precision='float32' if quantised == quantise.NONE else quantised,
    image_shape=run.dataset.image_shape,
    class_names=run.dataset.class_names,
    exits=exits,
    costs=costs.macs,
    temperatures=calibration.fit(validation.logits, validation.labels),
    validation=validation,
    test=test,
    checkpoint=(predicted(ours, VALIDATION), predicted(ours, TEST)),
    targets=targets,
    policies=points.choose(targets, validation, test, costs),
    check=figures,
    run={
      'dataset': run.dataset.name,
      'backbone': run.config.model.backbone,
      'strategy': run.config.strategy,
      'seed': run.config.seed,
      'steps': position.total,
      'complete': position.phase == len(run.plans),
      'digest': run.digest,
    },
  )


def _predicted(run: Run, models: list[Model], name: str, split: Split) -> Predicted:
  title = f'predicting {name} with the bundle'
  with work(run.console, title, len(split), run.interruption.check) as on_batch:
    return Predicted(name, predict(models, split.images, on_batch), split.labels)
