"""Training of the learned bottlenecks of a run, and bottlenecks.npz, which keeps them."""

from collections.abc import Sequence
import json
import pathlib
from typing import Any

import numpy as np

from mecl_jax.deploy import bottleneck, check
from mecl_jax.deploy.bottleneck import Bottleneck
from mecl_jax.deploy.bundle import Measured
from mecl_jax.deploy.convert import Codec, Model, convert_bottleneck
from mecl_jax.deploy.links import Link, chain
from mecl_jax.deploy.predict import predict_through
from mecl_jax.durations import to_steps
from mecl_jax.errors import DamagedFile, MissingFile, UserError
from mecl_jax.evaluation.predictions import TEST, VALIDATION, Predicted
from mecl_jax.files import read_npz, write_npz
from mecl_jax.models import MultiExit
from mecl_jax.report.style import evenly
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.log import work
from mecl_jax.training.run import Run

FILE = 'bottlenecks.npz'


def converted(
  run: Run, position: Position, model: MultiExit, models: Sequence[Model]
) -> list[list[Codec]]:
  """Returns the bottlenecks of `export.bottlenecks` behind each exit, trained and checked.

  Those that were trained before, with the same checkpoint and settings, are read from
  bottlenecks.npz of the work directory.

  Args:
    run: whose training images they are trained on.
    position: of the checkpoint.
    model: the network, in float32.
    models: its segments.

  Raises:
    UserError: one has too many channels for all exits, or cannot be converted.
    RunError: its codes differ from those of the network.
  """
  found = [list[Codec]() for _ in models]
  if not run.config.export.bottlenecks:
    return found
  links = chain(model, run.dataset.image_shape)
  wanted = _wanted(links, run.config.export.bottlenecks)
  images = evenly(run.dataset.validation.images, check.CODED_IMAGES)
  for start, each in _trained(run, position, links, wanted):
    codec = convert_bottleneck(each, models[start - 1].features, start)
    check.check_codes(
      links[start - 1].exit_name, each, codec, bottleneck.features(links, start, images)
    )
    found[start - 1].append(codec)
  return found


def measured(
  run: Run, models: Sequence[Model], codecs: Sequence[Sequence[Codec]]
) -> list[list[Measured]]:
  """Returns bottlenecks with the predictions of the exits behind them."""
  return [
    [
      Measured(codec, *(_predicted(run, models, codec, start, name) for name in (VALIDATION, TEST)))
      for codec in of_exit
    ]
    for start, of_exit in enumerate(codecs, 1)
  ]


def _predicted(run: Run, models: Sequence[Model], codec: Codec, start: int, name: str) -> Predicted:
  split = run.dataset.validation if name == VALIDATION else run.dataset.test
  title = f'predicting {name} through {codec.channels} channels'
  with work(run.console, title, len(split), run.interruption.check) as on_batch:
    logits = predict_through(models, codec, start, split.images, on_batch)
    return Predicted(name, logits, split.labels)


def _wanted(links: Sequence[Link], channels: Sequence[int]) -> list[tuple[int, int]]:
  """Returns the number of the segment and the channels of every bottleneck that is smaller.

  Raises:
    UserError: a number of channels is not smaller anywhere.
  """
  starts = range(1, len(links))
  for each in channels:
    if not any(bottleneck.fits(links[start], each) for start in starts):
      raise UserError(
        f'export.bottlenecks has {each}, but no exit has features with more numbers per patch of'
        ' 2x2 positions; choose fewer channels'
      )
  return [(k, each) for k in starts for each in channels if bottleneck.fits(links[k], each)]


def _trained(
  run: Run, position: Position, links: Sequence[Link], wanted: Sequence[tuple[int, int]]
) -> list[tuple[int, Bottleneck]]:
  """Trains what bottlenecks.npz does not have, and keeps each in it as soon as it is trained."""
  settings, train, path = run.config.export, run.dataset.train, run.workdir / FILE
  epoch = len(train) / run.config.batch_size
  duration = settings.bottleneck_duration
  steps = to_steps(duration, epoch=epoch, field='export.bottleneck_duration')
  header = {
    'digest': run.digest,
    'steps': position.total,
    'bottleneck_steps': steps,
    'batch_size': run.config.batch_size,
  }
  kept, found = _read(path, header), list[tuple[int, Bottleneck]]()
  for start, channels in wanted:
    name, weights = f'{start}/{channels}', _weights(kept, f'{start}/{channels}')
    if not weights:
      title = f'bottleneck of {channels} channels behind {links[start - 1].exit_name}'
      with work(run.console, title, steps, run.interruption.check) as on_step:
        weights = bottleneck.train(
          links,
          start,
          channels,
          train.images,
          steps=steps,
          batch_size=run.config.batch_size,
          seed=run.config.seed,
          on_step=on_step,
        ).weights
      for number, each in enumerate(weights):
        kept |= {f'{name}/{number}/{key}': value for key, value in each.items()}
      write_npz(path, {'header': np.array(json.dumps(header)), **kept})
    found.append((start, Bottleneck(links[start], channels, weights)))
  return found


def _read(path: pathlib.Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
  """Returns the arrays of bottlenecks.npz, none if it is of another checkpoint or damaged."""
  try:
    arrays = read_npz(path)
    same = json.loads(str(arrays.pop('header', '{}'))) == header
  except (MissingFile, DamagedFile):
    return {}
  return arrays if same else {}


def _weights(kept: dict[str, np.ndarray], name: str) -> bottleneck.Weights:
  """Returns the weights of a bottleneck, for each feature map; none if it is not kept."""
  found = list[dict[str, np.ndarray]]()
  while of_map := {
    key.rpartition('/')[2]: value
    for key, value in kept.items()
    if key.startswith(f'{name}/{len(found)}/')
  }:
    found.append(of_map)
  return found
