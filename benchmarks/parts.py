"""The parts of the accelerator benchmark: what each measures, and the time that it may take."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
import time
from typing import Any, NamedTuple, TextIO

from benchmarks.turns import (
  Worker,
  WorkerError,
  WorkerTimeout,
  ratio,
  spread,
  take_turns,
  workers_in_turns,
)

JAX, TORCH, RECIPES = 'benchmarks.jax_side', 'benchmarks.torch_side', 'benchmarks.recipes'
KINDS = {JAX: 'jax', TORCH: 'torch'}  # names of the sides in results

# The JAX process takes less than half of the accelerator's memory, so that both sides fit.
OF_JAX = {'XLA_PYTHON_CLIENT_MEM_FRACTION': '0.4'}

AGAIN = 45.0  # seconds to prepare PyTorch again without compilation, if that took too long

OWN_PACINGS = 'root full_after=90%, linear full_after=50%, constant start=1'
ARMS: dict[str, dict[str, Any]] = {
  'none': {},
  'easy_first': {'curriculum.order': 'easy_first'},
  'easy_weighted': {'curriculum.sample_weights': 'easy_weighted'},
  'per_exit': {
    'curriculum.order': 'easy_first',
    'curriculum.per_exit': 'own',
    'curriculum.exit_pacings': OWN_PACINGS,
  },
}


class Sizes(NamedTuple):
  """Sizes of the measurements.

  Attributes:
    small: whether networks and data are small.
    batch_size: images per step.
    dtype: of the computation.
    images: on the device.
    matrix: side of the matrices whose product is measured.
    seconds: of one measurement of one side.
    rounds: measurements of each side.
  """

  small: bool
  batch_size: int
  dtype: str
  images: int
  matrix: int
  seconds: float
  rounds: int


FULL = Sizes(False, 256, 'bfloat16', 50_000, 8192, 1.0, 5)
SMALL = Sizes(True, 32, 'float32', 2048, 512, 0.1, 3)


class Bench:
  """The two sides, started when they are first used.

  Args:
    sizes: of the measurements.
    torch_python: interpreter that has PyTorch.
    log: file for what the sides print.
    changes: fields of the configurations of whole trainings.
    fast_config: configuration of the part `fast`.
    recipe_config: configuration of the part `recipe`.
    seeds: of the part `fast`.
  """

  def __init__(
    self,
    sizes: Sizes,
    torch_python: str,
    log: TextIO,
    *,
    changes: Mapping[str, Any],
    fast_config: str,
    recipe_config: str,
    seeds: int,
  ):
    self.sizes, self._torch_python, self.log = sizes, torch_python, log
    self.changes, self.seeds = dict(changes), seeds
    self.fast_config, self.recipe_config = fast_config, recipe_config
    self._workers: dict[str, Worker] = {}
    self._peaks: dict[str, float] = {}
    self.no_torch = ''  # why PyTorch is left out

  def worker(self, side: str) -> Worker:
    """Returns the process of a side."""
    if side not in self._workers:
      torch = side == TORCH
      arguments = {'python': self._torch_python} if torch else {'environment': OF_JAX}
      self._workers[side] = Worker(**arguments, log=self.log)  # type: ignore[arg-type]
    return self._workers[side]

  def end(self, side: str) -> None:
    """Ends the process of a side; the next use starts a new one."""
    if side in self._workers:
      self._workers.pop(side).close()

  def close(self) -> None:
    """Ends all processes."""
    for side in list(self._workers):
      self.end(side)

  def peak(self, side: str) -> float:
    """Returns FLOP/s of a matrix product on a side, measured once."""
    if side not in self._peaks:
      sizes = self.sizes
      self._peaks[side] = self.worker(side).call(
        f'{side}:matrix_peak', 120, size=sizes.matrix, dtype=sizes.dtype
      )
    return self._peaks[side]


class Part(NamedTuple):
  """A part of the benchmark.

  Attributes:
    measure: (bench, seconds that it may take) -> result.
    least: seconds that must be left on an accelerator; with less, the part is left out.
    most: seconds that it may take.
    needs_data: whether it trains on CIFAR-10.
  """

  measure: Callable[[Bench, float], dict[str, Any]]
  least: float
  most: float
  needs_data: bool = False


def training(name: str, times: int = 1) -> Callable[[Bench, float], dict[str, Any]]:
  """Returns the part that measures training of one network, beside PyTorch.

  Args:
    name: of the network.
    times: factor of the batch size.
  """

  def run(bench: Bench, seconds: float) -> dict[str, Any]:
    sizes, end = bench.sizes, time.monotonic() + seconds
    sizes = sizes._replace(batch_size=times * sizes.batch_size)
    sides = [JAX] if bench.no_torch else [JAX, TORCH]
    peaks = {side: bench.peak(side) for side in sides}
    found = _prepared(bench, name, sizes, sides, end - 3 * sizes.rounds * sizes.seconds)
    sides = [side for side in sides if 'left_out' not in found[KINDS[side]]]

    def speed(worker: Worker, side: str) -> float:
      return worker.call(f'{side}:measure', 120, key=name, seconds=sizes.seconds)

    calls = {side: (bench.worker(side), functools.partial(speed, side=side)) for side in sides}
    speeds, waiting = workers_in_turns(calls, sizes.rounds, until=end)
    for side in sides:
      rate = spread(speeds[side])
      found[KINDS[side]] |= {
        'images_per_second': rate,
        'matrix_flops_per_second': peaks[side],
        # Backward passes cost twice the forward pass, and a MAC is two FLOPs.
        'share_of_matrix_peak': 6 * found['jax']['macs'] * rate['median'] / peaks[side],
      }
      bench.worker(side).call(f'{side}:release', 60)
    if TORCH in sides:
      found['ratio'] = ratio(speeds[JAX], speeds[TORCH])
    settings = {'batch_size': sizes.batch_size, 'dtype': sizes.dtype}
    return found | settings | {'rounds': len(speeds[JAX]), 'waiting_used_of_a_core': waiting}

  return run


def _prepared(
  bench: Bench, name: str, sizes: Sizes, sides: Sequence[str], end: float
) -> dict[str, Any]:
  """Compiles a network on one side after the other.

  Both compilers choose between kernels by their time on the device, so that the other side must not
  use it meanwhile.

  Returns:
    what each side returned, or `left_out` with the reason. JAX must not fail.
  """
  found = dict[str, Any](torch={'left_out': bench.no_torch})
  common = {'key': name, 'name': name, 'small': sizes.small, 'batch_size': sizes.batch_size}
  common |= {'dtype': sizes.dtype}

  def left() -> float:
    return max(1.0, end - time.monotonic())

  def of_torch(limit: float, forms: Sequence[str] | None = None) -> dict[str, Any]:
    made = bench.worker(TORCH).call(
      f'{TORCH}:prepare',
      limit,
      **common,
      images=sizes.images,
      seconds=limit / 2,
      forms=forms,
    )
    choosing = max(10.0, end - time.monotonic() + sizes.rounds * sizes.seconds)
    return made | bench.worker(TORCH).call(
      f'{TORCH}:choose', choosing, key=name, seconds=sizes.seconds / 4
    )

  found['jax'] = bench.worker(JAX).call(f'{JAX}:prepare', left(), **common, analyse=True)
  if TORCH not in sides:
    return found
  try:
    found['torch'] = of_torch(max(10.0, left() - AGAIN))
  except WorkerError as error:
    bench.end(TORCH)
    found['torch'] = {'left_out': str(error)}
    # A compilation may take too long, and a failed capture can spoil the whole process.
    slow = isinstance(error, WorkerTimeout)
    forms = ['eager', 'eager, CUDA graph' if slow else 'compiled']
    try:
      found['torch'] = of_torch(max(10.0, left()), forms) | {'at_first': str(error)}
    except WorkerError:
      bench.end(TORCH)  # the next part starts a new process
  return found


def curriculum(bench: Bench, seconds: float) -> dict[str, Any]:
  """Measures what curricula cost, in turns within one process."""
  sizes, end = bench.sizes, time.monotonic() + seconds
  worker = bench.worker(JAX)
  for arm, changes in ARMS.items():
    worker.call(
      f'{JAX}:prepare',
      max(1.0, end - time.monotonic()),
      key=arm,
      name='resnet20',
      small=sizes.small,
      batch_size=sizes.batch_size,
      dtype=sizes.dtype,
      changes=changes,
    )

  def timed(arm: str) -> Callable[[], float]:
    return lambda: worker.call(f'{JAX}:measure', 60, key=arm, seconds=sizes.seconds / 2)

  speeds = take_turns({arm: timed(arm) for arm in ARMS}, 2 * sizes.rounds, until=end)
  worker.call(f'{JAX}:release', 60)
  return {
    'network': 'resnet20',
    'rounds': len(speeds['none']),
    'images_per_second': {arm: spread(values) for arm, values in speeds.items()},
    'ms_per_step': {
      arm: 1000 * sizes.batch_size / spread(values)['median'] for arm, values in speeds.items()
    },
    'ratio': {arm: ratio(speeds[arm], speeds['none']) for arm in ARMS if arm != 'none'},
  }


def _in_jax(function: str, **arguments: Any) -> Callable[[Bench, float], dict[str, Any]]:
  def run(bench: Bench, seconds: float) -> dict[str, Any]:
    sizes = bench.sizes
    worker, common = bench.worker(JAX), {'small': sizes.small, 'dtype': sizes.dtype}
    found = worker.call(f'{JAX}:{function}', seconds, name='resnet20', **common, **arguments)
    worker.call(f'{JAX}:release', 60)
    return {'network': 'resnet20', **found}

  return run


def fast(bench: Bench, seconds: float) -> dict[str, Any]:
  """Measures the time and accuracy of the configuration that trains fast.

  A first training, with another seed, compiles. Seeds that are finished are kept if the time is up
  or a training fails.
  """
  end = time.monotonic() + seconds

  def trained(seed: int) -> dict[str, Any]:
    left = max(1.0, end - time.monotonic())
    arguments = {'config': bench.fast_config, 'changes': bench.changes, 'seed': seed}
    return bench.worker(JAX).call(f'{RECIPES}:phase_alone', left, **arguments)

  first, done, ended = trained(bench.seeds), list[dict[str, Any]](), ''
  for seed in range(bench.seeds):
    try:
      done.append(trained(seed))
    except WorkerError as error:
      if not done:
        raise
      ended = str(error)
      bench.end(JAX)
      break
  found = bench.worker(JAX).call(f'{RECIPES}:of_seeds', 120, first=first, trainings=done)
  return found | {'ended': ended}


def recipe(bench: Bench, seconds: float) -> dict[str, Any]:
  """Trains the whole recipe of CIFAR-10."""
  worker = Worker(environment=OF_JAX, log=bench.log)  # without the caches of the parts before
  with contextlib.closing(worker):
    return worker.call(
      f'{RECIPES}:whole', seconds, config=bench.recipe_config, changes=bench.changes
    )


# In the order in which they run: what the goals need comes first, slow compilations come last.
PARTS: dict[str, Part] = {
  'training/resnet20': Part(training('resnet20'), 25, 90),
  'curriculum': Part(curriculum, 15, 60),
  'fast': Part(fast, 40, 120, needs_data=True),
  'training/resnet18': Part(training('resnet18'), 25, 90),
  'training/wrn16_4': Part(training('wrn16_4'), 25, 90),
  'early_exit': Part(_in_jax('early_exit', seconds=0.3), 30, 100),
  'scoring': Part(_in_jax('scoring'), 10, 45),
  'training/resnet20, batch x 4': Part(training('resnet20', 4), 20, 90),
  'training/densenet_bc100_12': Part(training('densenet_bc100_12'), 40, 180),
  'training/msdnet7': Part(training('msdnet7'), 40, 180),
  'recipe': Part(recipe, 150, 480, needs_data=True),
}


def chosen(names: str) -> list[str]:
  """Returns the parts with these names, 'training,curriculum' or 'training/resnet20'.

  Raises:
    ValueError: a name is unknown.
  """
  wanted = [name.strip() for name in names.split(',') if name.strip()]
  for name in wanted:
    if not any(part == name or part.startswith(f'{name}/') for part in PARTS):
      known = ', '.join(dict.fromkeys([*(p.partition('/')[0] for p in PARTS), *PARTS]))
      raise ValueError(f'there is no part {name!r}; choose from: {known}')
  return [
    part for part in PARTS if not wanted or part in wanted or part.partition('/')[0] in wanted
  ]
