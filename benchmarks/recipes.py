"""Whole trainings of configurations: accuracy of every exit, and seconds."""

from collections.abc import Mapping, Sequence
import functools
import pathlib
import tempfile
import time
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console
from scipy import stats

from mecl_jax import data, load_config
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.evaluation import accuracy, predict
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.run import Run, set_up_run
from mecl_jax.training.sources import phase_source
from mecl_jax.training.strategies import needs_scores

COMPILING = '/jax/core/compile/backend_compile_duration'  # an event that JAX reports
OF_EXIT = ('name', 'accuracy', 'accuracy_low', 'accuracy_high', 'macs')  # kept of a summary


def load(config: str, changes: Mapping[str, Any]) -> ConfigDict:
  """Returns a resolved configuration.

  Args:
    config: see `load_config`.
    changes: fields to change, by their full names.
  """
  c = load_config(config)
  try:
    c.update_from_flattened_dict(dict(changes))
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f'{config}: a field cannot be changed: {error}') from None
  return resolve(c)


def load_data(c: ConfigDict) -> Dataset:
  """Loads the data of a configuration."""
  others = ('placement', 'image_size')  # fields of the source and the network
  return data.load(**{key: v for key, v in c.data.items() if key not in others})


def whole(config: str, changes: Mapping[str, Any]) -> dict[str, Any]:
  """Trains and evaluates a configuration by the program, in an empty work directory.

  Programs are compiled anew, without JAX's cache on disk.

  Args:
    config, changes: see `load`.

  Returns:
    `exits`: name, test accuracy and MACs of each; `steps`; and `seconds`: `data` for loading them,
    `compile` (a part of `run`), and `run` from the first line to the report.
  """
  jax.config.update('jax_enable_compilation_cache', False)
  compiling = list[float]()

  def on_event(event: str, duration_secs: float, **_: str | int) -> None:
    if event == COMPILING:
      compiling.append(duration_secs)

  jax.monitoring.register_event_duration_secs_listener(on_event)
  c, start = load(config, changes), time.perf_counter()
  dataset = load_data(c)
  loaded = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    summary = train(c, pathlib.Path(folder) / 'run', data=dataset)
  return {
    'config': config,
    'changes': {k: v for k, v in changes.items() if k not in ('data.data_dir', 'data.arrays')},
    'dataset': summary['dataset'],
    'backbone': summary['backbone'],
    'exits': [{k: row[k] for k in OF_EXIT} for row in summary['exits']],
    'steps': summary['steps'],
    'seconds': {
      'data': loaded - start,
      'compile': sum(compiling),
      'run': time.perf_counter() - loaded,
    },
  }


def phase_alone(config: str, changes: Mapping[str, Any], seed: int) -> dict[str, Any]:
  """Trains a joint phase with one seed, and times its steps.

  Data are on the device before the clock starts. The time has all that a step does, and ends when
  the last parameters are there; it has no validation and no checkpoints. The first call in a
  process also compiles.

  Args:
    config, changes: see `load`; the strategy must be joint, without scores of a teacher.
    seed: of the training.

  Returns:
    facts of the configuration; `accuracies`, the name and test accuracy of each exit; `seconds`;
    and `set_up_seconds`, to build the network, to whiten its first layer, and to put the images on
    the device.
  """
  c, dataset = _loaded(config, tuple(sorted(changes.items())))
  (before, seconds), run, logits = _trained(c, dataset, seed)
  of_exits = (float(accuracy(x, dataset.test.labels)) for x in np.moveaxis(logits, 1, 0))
  return {
    'facts': {
      'config': config,
      'dataset': dataset.name,
      'backbone': c.model.backbone,
      'steps': run.plans[0].steps,
      'batch_size': c.batch_size,
    },
    'accuracies': dict(zip(run.model.exit_names, of_exits, strict=True)),
    'seconds': seconds,
    'set_up_seconds': before,
  }


def of_seeds(first: Mapping[str, Any], trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns means and intervals of several trainings.

  Args:
    first: what `phase_alone` returned at its first call, which compiles.
    trainings: what it returned for every seed.

  Returns:
    facts of the configuration; `exits`: name, and the test accuracies of all seeds with their mean
    and 95 % interval; `seconds`: those of all seeds; `set_up_seconds`: their median; and
    `first_seconds`, of the first training.
  """
  found = first['facts']
  spent = [training['seconds'] for training in trainings]
  return {
    **found,
    'exits': [
      {'name': name, **with_interval([training['accuracies'][name] for training in trainings])}
      for name in first['accuracies']
    ],
    'images_per_second': found['steps'] * found['batch_size'] / float(np.median(spent)),
    'first_seconds': first['seconds'],
    'set_up_seconds': float(np.median([training['set_up_seconds'] for training in trainings])),
    'seconds': with_interval(spent),
  }


def with_interval(values: list[float]) -> dict[str, Any]:
  """Returns `values` with their `mean` and its 95 % `interval`, which needs two of them."""
  found = np.array(values)
  interval = None
  if len(found) > 1:
    half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
    interval = [float(found.mean() - half), float(found.mean() + half)]
  return {'values': values, 'mean': float(found.mean()), 'interval': interval}


@functools.cache
def _loaded(config: str, changes: tuple[tuple[str, Any], ...]) -> tuple[ConfigDict, Dataset]:
  """Returns the configuration of a joint phase, and its data."""
  c = load(config, dict(changes))
  if c.strategy != 'joint' or needs_scores(c):
    raise UserError(f'{config}: the strategy must be joint, without scores of a teacher')
  return c, load_data(c)


def _trained(
  c: ConfigDict, dataset: Dataset, seed: int
) -> tuple[tuple[float, float], Run, np.ndarray]:
  """Returns the seconds before and of the phase, its run, and the logits on the test split."""
  c = c.copy_and_resolve_references()
  with c.unlocked():
    c.seed = seed
  began, console = time.perf_counter(), Console(quiet=True)
  run = set_up_run(c.lock(), pathlib.Path('unused'), console, Interruption(), dataset)
  (plan,) = run.plans
  source = jax.block_until_ready(phase_source(run, plan))
  curriculum, easiness = make_curriculum(run, plan, None)
  start = time.perf_counter()
  steps = PhaseSteps(run, plan, curriculum, easiness, source)
  for _ in steps.take():
    pass
  jax.block_until_ready(steps.state)
  end = time.perf_counter()
  steps.update_model()
  logits = predict(run.model, dataset.test.images, mesh=run.mesh)
  return (start - began, end - start), run, logits
