"""The JAX side: training steps, early exit and scoring, as functions that a worker runs."""

from collections.abc import Iterator
import functools
import pathlib
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from benchmarks.networks import CLASSES, SIDE, network
from mecl_jax import compiler, config
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset, Split
from mecl_jax.data.dataset import position_ids
from mecl_jax.evaluation import Policy, Rule, predict
from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.inference import measure as measure_latency
from mecl_jax.inference import measure_saving
from mecl_jax.inference.latency import device_name
from mecl_jax.models import FINAL, exit_costs
from mecl_jax.models.macs import count_parameters
from mecl_jax.training import devices
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.features import cached_features
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps, steps_per_dispatch
from mecl_jax.training.run import Run, set_up_run
from mecl_jax.training.sources import resident
from mecl_jax.training.step import StepMetrics
from mecl_jax.training.strategies import needs_scores

IMAGES = {False: 50_000, True: 2048}  # at full size and small
STEPS = 160_000  # of a phase; more than are measured

_prepared: dict[str, 'Timed'] = {}


class Timed:
  """Calls to the device that train, and how many images each of them takes.

  Args:
    calls: yields the steps of a call and their metrics, which may still be in computation.
    batch_size: images per step.
  """

  def __init__(self, calls: Iterator[tuple[range, StepMetrics]], batch_size: int):
    self._calls, self._batch_size = calls, batch_size
    self._seconds = 0.0  # of a call

  def loss(self) -> float:
    """Makes one call; returns its last loss."""
    return float(next(self._calls)[1].loss[-1])

  def images_per_second(self, seconds: float) -> float:
    """Trains for about `seconds`; returns the speed."""
    count = max(1, round(seconds / self._seconds)) if self._seconds else 1
    images, start = 0, time.perf_counter()
    for _ in range(count):
      steps, metrics = next(self._calls)
      images += len(steps) * self._batch_size
    jax.block_until_ready(metrics)
    spent = time.perf_counter() - start
    self._seconds = spent / count
    return images / spent


def facts() -> dict[str, Any]:
  """Returns the device and the versions."""
  import flax
  import jaxlib

  device = jax.local_devices()[0]
  return {
    'python': platform.python_version(),
    'device': device_name(),
    'platform': device.platform,
    'devices': jax.local_device_count(),
    'platform_version': device.client.platform_version.replace('\n', '; '),
    'jax': jax.__version__,
    'jaxlib': jaxlib.__version__,
    'flax': flax.__version__,
  }


def matrix_peak(size: int, dtype: str) -> float:
  """Measures a product of two random matrices of `size` x `size`; returns FLOP/s."""
  a, b = (jax.random.normal(jax.random.key(k), (size, size), dtype) for k in range(2))
  product, spent = jax.jit(jnp.matmul), list[float]()
  for _ in range(13):
    start = time.perf_counter()
    product(a, b).block_until_ready()
    spent.append(time.perf_counter() - start)
  return 2 * size**3 / float(np.median(spent[3:]))


@functools.cache
def random_dataset(images: int) -> Dataset:
  """Returns a data set of noise of different contrast, whose splits are the same images."""
  rng = np.random.default_rng(0)
  contrast = rng.uniform(0.1, 1, (images, 1, 1, 1)).astype(np.float32)
  pixels = rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8) * contrast
  labels = rng.integers(0, CLASSES, images).astype(np.int32)
  split = Split(pixels.astype(np.uint8), labels, position_ids('train', images))
  return Dataset('noise', tuple(map(str, range(CLASSES))), split, split, split)


def joint_config(name: str, *, small: bool, batch_size: int, dtype: str) -> ConfigDict:
  """Returns the configuration of a joint phase of a network, without a curriculum."""
  c = config.default()
  c.model.update(network(name, small=small).fields())
  c.model.dtype, c.batch_size = dtype, batch_size
  c.strategy, c.curriculum.order = 'joint', 'none'
  c.phases.joint.duration, c.phases.joint.schedule = f'{STEPS} steps', 'constant'
  c.phases.joint.warmup, c.phases.joint.learning_rate = '0 steps', 0.01
  return c


def joint_steps(c: ConfigDict, images: int) -> tuple[Run, PhaseSteps]:
  """Sets up the steps of a joint phase on noise, as in a run."""
  dataset, quiet = random_dataset(images), Console(quiet=True)
  run = set_up_run(resolve(c), pathlib.Path('unused'), quiet, Interruption(), dataset)
  (plan,) = run.plans
  scores = None
  if needs_scores(run.config):
    score = np.random.default_rng(3).random(images)
    scores = Difficulty(dataset.train.ids, score, 'noise', 'noise', '', '')
  source = resident(dataset.train, 'device', run.mesh)
  return run, PhaseSteps(run, plan, *make_curriculum(run, plan, scores), source)


def prepare(
  key: str,
  name: str,
  *,
  small: bool,
  batch_size: int,
  dtype: str,
  changes: dict[str, Any] | None = None,
  analyse: bool = False,
) -> dict[str, Any]:
  """Compiles training steps, which `measure` then times under `key`.

  Args:
    key: name of these steps.
    name: of the network.
    small: whether the network and the data set are small.
    batch_size: images per step.
    dtype: of the computation.
    changes: other fields of the configuration.
    analyse: whether XLA's analysis of the compiled step is returned too.

  Returns:
    facts of the network and of the compilation.
  """
  compiler.use_cache()
  c = joint_config(name, small=small, batch_size=batch_size, dtype=dtype)
  c.update_from_flattened_dict(changes or {})
  start = time.perf_counter()
  run, steps = joint_steps(c, IMAGES[small])
  analysis = _analysis(steps) if analyse else {}
  _prepared[key] = timed = Timed(steps.take(), batch_size)
  losses = [timed.loss() for _ in range(2)]
  compile_seconds = time.perf_counter() - start
  timed.images_per_second(0)  # sets the number of calls
  costs = exit_costs(run.model, (SIDE, SIDE, 3))
  return {
    'exits': len(costs),
    'parameters': count_parameters(run.model),
    'macs': int(dynamic_macs(costs)[-1]),
    'prepare_seconds': compile_seconds,
    'steps_per_dispatch': steps_per_dispatch(run.config, STEPS),
    'losses': losses,
    **analysis,
  }


def measure(key: str, seconds: float) -> float:
  """Trains for about `seconds`; returns images per second."""
  return _prepared[key].images_per_second(seconds)


def release() -> None:
  """Forgets all prepared steps, and frees their memory."""
  _prepared.clear()
  jax.clear_caches()


def _analysis(steps: PhaseSteps) -> dict[str, Any]:
  """Returns what XLA says about the compiled step; it counts the body of a loop once."""
  compiled = steps.lower().compile()
  cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
  return {
    'xla_flops_per_step': cost.get('flops'),
    'xla_bytes_accessed_per_step': cost.get('bytes accessed'),
    'xla_temporary_bytes': getattr(memory, 'temp_size_in_bytes', None),
  }


def early_exit(name: str, *, small: bool, dtype: str, seconds: float) -> dict[str, Any]:
  """Measures latency at batch 1, throughput at batch 256, and what early exit saves.

  The weights are random; the threshold of the first exit lets half of the images leave there, and
  no image leaves at the other early exits.
  """
  compiler.use_cache()
  batch = 32 if small else 256
  images = random_dataset(batch * 4).train.images
  run, _ = joint_steps(joint_config(name, small=small, batch_size=batch, dtype=dtype), 2048)
  model, rule = run.model, Rule('max_probability')
  logits = predict(model, images)
  confidence = rule.confidence(logits)
  thresholds = np.full(len(model.exit_names) - 1, np.inf)
  thresholds[0] = np.median(confidence[:, 0])
  policy = Policy(rule, thresholds)
  left = float((policy.leaves_at(logits) == 0).mean())
  latency = measure_latency(model, images, batch_sizes=(1, batch), seconds=seconds)
  savings = [
    measure_saving(model, policy, images[: batch * 4 if size > 1 else 64], batch_size=size)
    for size in (1, batch)
  ]
  return {'left_early': left, 'batch': batch, 'rows': latency.rows, 'savings': savings}


def scoring(name: str, *, small: bool, dtype: str) -> dict[str, Any]:
  """Measures predictions of the final exit, and features of a frozen backbone, in images/s.

  Images come from the host's memory, as in a run. Compilation does not count.

  Returns:
    the speeds of three calls each; `features` is None if they do not fit into memory.
  """
  compiler.use_cache()
  c = joint_config(name, small=small, batch_size=256, dtype=dtype)
  run, _ = joint_steps(c, 2048)
  train, mesh = random_dataset(IMAGES[small]).train, run.mesh

  def predictions() -> float:
    start = time.perf_counter()
    predict(run.model, train.images, (FINAL,), mesh=mesh)  # a NumPy array, so that it is complete
    return len(train) / (time.perf_counter() - start)

  def features() -> float | None:
    times, exits = list[float](), run.model.exit_names[:-1]

    def on_batch(done: int) -> None:
      times.append(time.perf_counter())

    made = cached_features(run.model, train, exits, mesh, on_batch=on_batch)
    if made is None:
      return None
    jax.block_until_ready(made)
    # Every call compiles, before its first batch is dispatched; that batch is computed afterwards.
    return len(train) / (time.perf_counter() - times[0])

  predictions()  # compiles
  speeds: dict[str, list[float] | None] = {'predictions': [predictions() for _ in range(3)]}
  of_features = [speed for speed in (features() for _ in range(3)) if speed is not None]
  speeds['features'] = of_features or None
  return {'images': len(train), 'devices': mesh.size, 'on_cpu': devices.on_cpu(), **speeds}
