"""Measurement of latencies on the present device, and of the time that early exit saves."""

from collections.abc import Callable, Mapping, Sequence
import itertools
import time
from typing import Any

import jax
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import make_costs
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.predict import predict
from mecl_jax.evaluation.rules import FIXED, LEARNED, RULES, Rule
from mecl_jax.inference.cover import ladder
from mecl_jax.inference.early_exit import Answers, EarlyExit
from mecl_jax.inference.latency import Latency, Row, Rows, device_name
from mecl_jax.inference.segments import Chain, Part, cut, prefix
from mecl_jax.models import FINAL, MultiExit, exit_costs

# Function of images, uint8 [B, height, width, channels]; images and result are on the host.
Call = Callable[[np.ndarray], Any]

TRIALS = 3  # calls of a size; the fastest counts
CALLS = (5, 1000)  # calls of one exit at one batch size, at least and at most
IN_A_ROW = 16  # batches before the next program: with single batches, caches would be cold


def measure(
  model: MultiExit,
  images: np.ndarray,
  *,
  batch_sizes: Sequence[int] = (1, 32, 256),
  seconds: float = 2,
  rules: Sequence[str] = RULES,
  on_progress: Callable[[str], None] = lambda now: None,
) -> Latency:
  """Measures the times of the network up to each exit, of its segments, and of early exit.

  A call takes images from the host's memory and ends when the logits are there too. All calls
  alternate after a warm-up, so disturbances of the machine affect all of them. Early exit is
  measured at the smallest batch size: the time until all images of a batch leave at each exit, by
  each rule, with the decisions at all exits before, and with every exit fixed. Each of these calls
  follows another one of the same program, as in use, so that caches favour none.

  Args:
    model: is put into evaluation mode.
    images: uint8 [N, height, width, channels]; repeated where a batch is larger.
    batch_sizes: batch sizes to measure.
    seconds: total time for the calls of an exit at a batch size, of 5 to 1000 calls; early exit
      takes as much time again.
    rules: names of the exit rules, those of the task of the network.
    on_progress: is called with what is measured next.

  Returns:
    latencies without savings. `compile_seconds` are short where JAX had the program in its cache.

  Raises:
    UserError: there are no images.
  """
  if not len(images):
    raise UserError('there are no images to measure latencies on; give at least one')
  rows, segments, answers = Rows(), Rows(), Rows()
  for batch in batch_sizes:
    on_progress(f'batch size {batch}')
    chosen = images[np.arange(batch) % len(images)]
    prefixes = [_timed_compile(prefix(model, name), chosen) for name in model.exit_names]
    chain = Chain(cut(model), chosen.shape)
    paths = _paths(model, batch, rules) if batch == min(batch_sizes) else {}
    spent, of_paths = _rounds([call for call, _ in prefixes], chain, paths, chosen, seconds)
    p50, p99 = np.quantile(spent, (0.5, 0.99), axis=0).tolist()
    answers += [
      {'rule': rule, 'exit': name, 'batch': batch, 'p50_ms': ms}
      for (rule, name), ms in zip(paths, np.median(of_paths, axis=0).tolist(), strict=True)
    ]
    for k, name in enumerate(model.exit_names):
      rows.append(
        {
          'exit': name,
          'batch': batch,
          'calls': len(spent),
          'p50_ms': p50[0][k],
          'p99_ms': p99[0][k],
          'images_per_second': 1000 * batch / p50[0][k],
          'compile_seconds': prefixes[k][1],
        }
      )
      segments.append({'exit': name, 'batch': batch, 'p50_ms': p50[1][k]})
  dtype = np.dtype(model.dtype).name
  where = device_name(), jax.__version__
  macs = tuple(cost.macs for cost in exit_costs(model, images.shape[1:]))
  names = model.exit_names
  return Latency(*where, dtype, images.shape[1:], names, macs, rows, segments, answers=answers)


def measure_saving(
  model: MultiExit,
  policy: Policy,
  images: np.ndarray,
  *,
  batch_size: int = 256,
  turns: int = 5,
  on_progress: Callable[[str], None] = lambda now: None,
) -> Row:
  """Measures the time saved by early exit, and the saving that the times of the segments allow.

  Three programs take turns on every batch: the whole network compiled without early heads, early
  exit, and the segments one by one. The result of a batch is its median over the turns; the row has
  the mean over the batches.

  Args:
    model: is put into evaluation mode.
    policy: decides where images leave.
    images: uint8 [N, height, width, channels], of the data that the policy is for, since the saving
      depends on where they leave. Images after the last full batch are not used.
    batch_size: of all three programs.
    turns: measurements of every batch.
    on_progress: is called with what is measured next.

  Returns:
    a row of `Latency.savings`. Milliseconds are per batch. `static_ms` is of the whole network,
    `dynamic_ms` of early exit; `allowed_ms` is the sum of the segments' times, each times the share
    of the images that reach it, and for a fixed exit it is `dynamic_ms`. Savings are shares of
    `static_ms`, `macs_saving` of the MACs of the final exit. `share_reached` is measured_saving /
    allowed_saving, None if no saving is allowed.
    `disagreements` counts images whose class or exit differs from the policy on `predict`.

  Raises:
    UserError: there are fewer images than a batch, or the policy is of another number of exits.
  """
  images = images[: len(images) // batch_size * batch_size]
  if not len(images):
    raise UserError(
      f'there are fewer images than a batch of {batch_size}; use a smaller batch size'
    )
  on_progress(f'early exit at batch size {batch_size}')
  early = EarlyExit(model, policy, batch_size=batch_size)
  answers = early(images)
  spent = _take_turns(model, early, images.reshape(-1, batch_size, *images.shape[1:]), turns)
  exits = answers.exits.reshape(-1, batch_size, 1)
  reached = (exits >= np.arange(policy.exits)).mean(axis=1)  # [batches, exits], shares
  # Medians of sums, not sums of medians: rare delays of single segments are common in the whole.
  times = np.stack([spent[..., 0], spent[..., 1], (reached * spent[..., 2:]).sum(axis=-1)])
  static, dynamic, allowed = np.median(times, axis=1).mean(axis=1).tolist()
  if policy.fixed_exit is not None:  # no early head runs, with which the segments were measured
    allowed = dynamic
  can, does = 1 - allowed / static, 1 - dynamic / static
  costs = exit_costs(model, images.shape[1:])
  macs = float(make_costs(costs).macs.of(policy.rule.name)[answers.exits].mean() / costs[-1].macs)
  return {
    'batch': batch_size,
    'images': len(images),
    'static_ms': static,
    'allowed_ms': allowed,
    'dynamic_ms': dynamic,
    'allowed_saving': can,
    'measured_saving': does,
    'share_reached': does / can if can > 0 else None,
    'macs_saving': 1 - macs,
    'disagreements': disagreements(answers, policy, predict(model, images)),
  }


def disagreements(answers: Answers, policy: Policy, logits: np.ndarray) -> int:
  """Counts answers whose class or exit differs from the policy on the logits of all exits.

  Args:
    answers: of N images.
    policy: the policy of the answers.
    logits: float [N, exits, classes], of the same images.
  """
  exits = policy.leaves_at(logits)
  classes = logits[np.arange(len(exits)), exits].argmax(axis=-1)
  return int(((answers.exits != exits) | (answers.classes != classes)).sum())


def _timed_compile(part: Part, images: np.ndarray) -> tuple[Call, float]:
  """Compiles a part of a network for such images; returns it and the seconds this took."""
  began = time.perf_counter()
  compiled = part.compile(jax.ShapeDtypeStruct(images.shape, images.dtype))
  seconds = time.perf_counter() - began
  return lambda images: np.asarray(compiled(part.leaves, images)), seconds


def _paths(
  model: MultiExit, batch_size: int, rules: Sequence[str] = RULES
) -> dict[tuple[str, str], Call]:
  """Returns calls with all images leaving at each exit, by rule and exit; `FIXED` is the first.

  A network with a single exit has none. All rules share one compiled network.
  """
  names = model.exit_names
  if len(names) == 1:
    return {}
  never = Policy(Rule(rules[0]), np.full(len(names) - 1, np.inf))
  early = EarlyExit(model, never, batch_size=batch_size)

  def leave_at(policy: Policy) -> Call:
    def call(images: np.ndarray) -> Answers:
      early.policy = policy
      return early(images)

    return call

  found: dict[tuple[str, str], Call] = {
    (FIXED, name): EarlyExit(model, fixed(k, len(names)), batch_size=batch_size)
    for k, name in enumerate(names)
  }
  for name in rules:
    rule = Rule(name)
    if name in LEARNED:  # its coefficients do not matter for its time
      features = LEARNED[name].features
      rule = Rule(name, features, ((0.0,) * (len(features) + 1),) * len(names))
    for k, exit_name in enumerate(names):
      thresholds = np.where(np.arange(len(names) - 1) == k, -np.inf, np.inf)
      found[name, exit_name] = leave_at(Policy(rule, thresholds))
  return found


def _rounds(
  prefixes: Sequence[Call],
  chain: Chain,
  paths: Mapping[Any, Call],
  images: np.ndarray,
  seconds: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns milliseconds of prefixes and segments, [rounds, 2, exits], and of paths."""
  spent = list[tuple[list[float], np.ndarray]]()
  of_paths = list[list[float]]()
  least, most = CALLS
  end = np.inf
  while len(spent) <= least or (time.perf_counter() < end and len(spent) <= most):
    spent.append(([_ms(call, images) for call in prefixes], _segments_ms(chain, images)))
    of_paths.append([_second_ms(call, images) for call in paths.values()])
    if len(spent) == 1:  # the warm-up
      end = time.perf_counter() + len(prefixes) * seconds * (2 if paths else 1)
  return np.array(spent[1:]), np.array(of_paths[1:])


def _take_turns(model: MultiExit, early: EarlyExit, batches: np.ndarray, turns: int) -> np.ndarray:
  """Returns milliseconds [turns, batches, 2 + exits]: whole network, early exit, and segments.

  Early exit uses the fastest sizes of calls, so the whole network is given its fastest size, too.
  """
  size, whole = _fastest(model, batches[0])
  chain = Chain(cut(model), (size, *batches.shape[2:]))
  kinds: list[tuple[slice, Callable[[np.ndarray], Any]]] = [
    (slice(0, 1), lambda images: _ms(whole, images)),
    (slice(1, 2), lambda images: _ms(early, images)),
    (slice(2, None), lambda images: sum(_segments_ms(chain, p) for p in _pieces(images, size))),
  ]
  for _, kind in kinds:
    kind(batches[0])  # warm-up
  spent = np.empty((turns, len(batches), 2 + early.policy.exits))
  orders = itertools.cycle(itertools.permutations(kinds))  # no fixed predecessor
  for turn, start in itertools.product(range(turns), range(0, len(batches), IN_A_ROW)):
    for columns, kind in next(orders):
      for number in range(start, min(start + IN_A_ROW, len(batches))):
        spent[turn, number, columns] = kind(batches[number])
  return spent


def _fastest(model: MultiExit, images: np.ndarray) -> tuple[int, Call]:
  """Finds the fastest size of calls for a batch of the whole network; returns it and the calls."""
  part, batch = prefix(model, FINAL), len(images)
  found = list[tuple[float, int, Call]]()
  for size in sorted({batch, *(s for s in ladder(batch) if batch % s == 0)}):
    call, _ = _timed_compile(part, images[:size])
    calls = _in_pieces(call, size)
    spent = [_ms(calls, images) for _ in range(1 + TRIALS)]
    found.append((min(spent[1:]), size, calls))
  _, size, calls = min(found, key=lambda one: one[0])
  return size, calls


def _in_pieces(call: Call, size: int) -> Call:
  return lambda images: [call(piece) for piece in _pieces(images, size)]


def _pieces(images: np.ndarray, size: int) -> list[np.ndarray]:
  return [images[start : start + size] for start in range(0, len(images), size)]


def _ms(call: Call, images: np.ndarray) -> float:
  began = time.perf_counter()
  call(images)
  return (time.perf_counter() - began) * 1000


def _second_ms(call: Call, images: np.ndarray) -> float:
  call(images)
  return _ms(call, images)


def _segments_ms(chain: Chain, images: np.ndarray) -> np.ndarray:
  spent, began = list[float](), time.perf_counter()
  for logits in chain(images):
    np.asarray(logits)
    now = time.perf_counter()
    spent.append((now - began) * 1000)
    began = now
  return np.array(spent)
