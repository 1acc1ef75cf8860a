"""Times the curriculum over a ranking of a billion examples, and counts what it shows.

  python benchmarks/sampler.py [--examples=1_000_000_000] [--hosts=256] [--batch_size=65536]

Writes a ranking (int32, 4 GB for a billion) to a temporary .npy, which is deleted at the end, and
opens it memory-mapped. Everything runs on one core. The file is read once before anything is timed,
so that it lies in the page cache: with a cold disk, its random reads would take all of the time.
The machine needs that much free memory.

Measured:
  - ids per second, with the lookup in the ranking, as the median of several interleaved rounds;
  - the median time of batch_ids(0), batch_ids(1), .. against batch_ids(10_000_000), .. in turns;
    several steps, since the number of repeated permutations differs a little from step to step;
  - anonymous memory (RssAnon, where /proc has it) that drawing adds, without the mapped file;
  - by counting, over one whole pass of the prefix with the parts of all hosts: every example of the
    prefix is shown exactly once, and none from outside of the prefix;
  - evenness if no pass is ever finished, since the prefix changes at every step: the variance of
    how often examples are shown, relative to that of independent draws (which is 1), on 100,000
    examples.
"""

import argparse
from collections.abc import Callable
import json
import math
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np

from mecl_jax.curriculum import Curriculum, pacing
from mecl_jax.curriculum.pacing import Pacing

FAR = 10_000_000
CHUNK = 1 << 22


def write_ranking(path: pathlib.Path, size: int) -> tuple[int, int]:
  """Writes the ranking `(i * a + c) mod size`, with a coprime to size; returns a and c."""
  factor, offset = int(size * 0.618) | 1, size // 3
  while math.gcd(factor, size) > 1:
    factor += 2
  ranking = np.lib.format.open_memmap(path, 'w+', np.int32, (size,))
  for start in range(0, size, CHUNK):
    end = min(start + CHUNK, size)
    ranking[start:end] = (np.arange(start, end) * factor + offset) % size
  ranking.flush()
  return factor, offset


def read_through(path: pathlib.Path) -> None:
  """Reads a file once, so that it lies in the page cache."""
  with path.open('rb', buffering=0) as file:
    while file.read(1 << 24):
      pass


def anonymous_mib() -> float | None:
  """Returns the anonymous memory of this process in MiB; None if the system does not report it."""
  try:
    status = pathlib.Path('/proc/self/status').read_text()
  except OSError:
    return None
  found = [line.split()[1] for line in status.splitlines() if line.startswith('RssAnon')]
  return int(found[0]) / 1024 if found else None


def ids_per_second(draws: dict[str, Callable[[int], int]], rounds: int) -> dict[str, float]:
  """Returns the median speed of each of `draws`, which map a round to a number of ids."""
  speeds: dict[str, list[float]] = {name: [] for name in draws}
  for draw in draws.values():
    draw(rounds)  # warm-up, on other steps
  for number in range(rounds):
    for name, draw in draws.items():
      began = time.perf_counter()
      drawn = draw(number)
      speeds[name].append(drawn / (time.perf_counter() - began))
  return {name: statistics.median(values) for name, values in speeds.items()}


def at_once(curriculum: Curriculum, steps: int, calls: int) -> Callable[[int], int]:
  """Returns a draw of `calls` calls for `steps` steps each."""

  def draw(number: int) -> int:
    first = number * calls * steps
    return sum(
      curriculum.batch_ids(range(first + call * steps, first + (call + 1) * steps)).size
      for call in range(calls)
    )

  return draw


def one_by_one(curriculum: Curriculum, calls: int) -> Callable[[int], int]:
  """Returns a draw of `calls` calls for one step each."""
  return lambda number: sum(
    curriculum.batch_ids(number * calls + call).size for call in range(calls)
  )


def near_and_far(curriculum: Curriculum, repeats: int) -> tuple[float, float]:
  """Returns the median seconds of the steps from 0 and of those from 10,000,000."""
  seconds: dict[int, list[float]] = {0: [], FAR: []}
  for repeat in range(repeats + 3):
    for first, each in seconds.items():
      began = time.perf_counter()
      curriculum.batch_ids(first + repeat)
      each.append(time.perf_counter() - began)
  near, far = (statistics.median(each[3:]) for each in seconds.values())
  return near, far


def count_a_pass(
  order: np.ndarray,
  line: tuple[int, int],
  share: float,
  batch_size: int,
  hosts: int,
  counts: np.ndarray,
) -> dict[str, int]:
  """Counts the examples that all hosts show in the first pass of the prefix.

  Args:
    order: int32 [N], the ranking.
    line: factor and offset of the ranking, to compute the rank of an example.
    share: of the ranking that is visible.
    batch_size: examples per step over all hosts.
    hosts: number of hosts, all of which are simulated.
    counts: uint8 [visible], zeros; overwritten.

  Returns:
    numbers of examples: of the prefix, shown, shown once, never and more often, and from outside.
  """
  factor, offset = line
  back, size, part = pow(factor, -1, len(order)), len(order), batch_size // hosts
  visible, shown, outside = len(counts), 0, 0
  steps = range(-(-visible // batch_size))
  for host in range(hosts):
    curriculum = Curriculum(order, pacing.constant(share), batch_size, 0, host, hosts)
    ids = curriculum.batch_ids(steps)
    # The last batch reaches into the next pass.
    in_pass = np.array(steps)[:, None] * batch_size + host * part + np.arange(part) < visible
    ranks = (ids[in_pass].astype(np.int64) - offset) * back % size
    shown += len(ranks)
    inside = ranks < visible
    outside += int(len(ranks) - inside.sum())
    np.add.at(counts, ranks[inside], 1)
  return {
    'prefix': visible,
    'shown': shown,
    'once': int((counts == 1).sum()),
    'never': int((counts == 0).sum()),
    'more_often': int((counts > 1).sum()),
    'outside': outside,
  }


def unevenness(pace: Pacing, steps: int, size: int = 100_000, batch_size: int = 128) -> float:
  """Returns the variance of how often examples are shown, relative to independent draws."""
  curriculum = Curriculum(np.arange(size), pace, batch_size, seed=0)
  counts = np.zeros(size)
  due, variance = np.zeros(size + 1), np.zeros(size + 1)
  for first in range(0, steps, 1000):
    each = range(first, min(first + 1000, steps))
    counts += np.bincount(curriculum.batch_ids(each).ravel(), minlength=size)
    visible = np.array([curriculum.visible(step) for step in each])
    # What a step adds to all examples below `visible`; the sum over steps follows below.
    np.add.at(due, visible, batch_size / visible)
    np.add.at(variance, visible, batch_size / visible * (1 - 1 / visible))
  due, variance = (np.cumsum(x[::-1])[::-1][1:] for x in (due, variance))
  return float(((counts - due) ** 2).sum() / variance.sum())


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--examples', type=int, default=1_000_000_000, help='below 2^31')
  parser.add_argument('--hosts', type=int, default=256)
  parser.add_argument('--batch_size', type=int, default=65536, help='over all hosts')
  parser.add_argument('--share', type=float, default=0.04, help='of the ranking, visible at first')
  parser.add_argument('--rounds', type=int, default=7, help='of the speeds')
  parser.add_argument('--repeats', type=int, default=101, help='of the near and the far step')
  parser.add_argument('--directory', help='where the ranking is written (default: the system temp)')
  args = parser.parse_args()
  if not 0 < args.examples < 2**31:
    parser.error(f'--examples is {args.examples}; choose 1 to {2**31 - 1}')
  began = time.perf_counter()
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  with tempfile.TemporaryDirectory(dir=args.directory) as folder:
    path = pathlib.Path(folder) / 'ranking.npy'
    print(f'writing {args.examples * 4 / 1e9:.2f} GB to {path}, deleted at the end', flush=True)
    line = write_ranking(path, args.examples)
    read_through(path)
    print(f'ready after {time.perf_counter() - began:.0f} s', flush=True)
    result = measure(np.load(path, mmap_mode='r'), line, args)
  result['wall_seconds'] = round(time.perf_counter() - began, 1)
  print(json.dumps(result))


def measure(order: np.ndarray, line: tuple[int, int], args: argparse.Namespace) -> dict:
  """Measures, prints the table, and returns the content of the JSON line."""
  part = args.batch_size // args.hosts

  def made(pace: Pacing, hosts: int = args.hosts) -> Curriculum:
    return Curriculum(order, pace, args.batch_size, 0, host=hosts // 2, hosts=hosts)

  start, everything = pacing.constant(args.share), pacing.constant(1.0)
  grows = lambda step: min(args.share + step * 1e-6, 1.0)  # noqa: E731
  whole_start = made(start, hosts=1)
  counts = np.ones(whole_start.visible(0), np.uint8)
  counts[:] = 0  # written now, so that it is not counted as memory that drawing adds
  ids_per_second({'': one_by_one(made(start), 2)}, 1)
  before = anonymous_mib()

  speeds = ids_per_second(
    {
      'one host, 256 steps a call': at_once(made(start), 256, 16),
      'one host, 256 steps a call, all visible': at_once(made(everything), 256, 16),
      'one host, 256 steps a call, prefix grows every step': at_once(made(grows), 256, 1),
      'one host, a step a call': one_by_one(made(start), 256),
      'whole batches, a step a call': one_by_one(whole_start, 16),
      'whole batches, a step a call, all visible': one_by_one(made(everything, hosts=1), 16),
    },
    args.rounds,
  )
  print(f'\n{args.examples:,} examples, batch {args.batch_size:,}, {args.hosts} hosts, {part} each')
  print(f'{"":54}million ids/s')
  for name, speed in speeds.items():
    print(f'{name:54}{speed / 1e6:13.2f}')

  print(f'\n{"":22}from step 0, ms  from step {FAR:,}, ms  ratio')
  times = {}
  for name, curriculum in {'whole batch': whole_start, 'part of one host': made(start)}.items():
    near, far = near_and_far(curriculum, args.repeats)
    times[name] = {'near_ms': near * 1e3, 'far_ms': far * 1e3, 'ratio': far / near}
    print(f'{name:22}{near * 1e3:15.3f}  {far * 1e3:24.3f}  {far / near:5.2f}')

  passed = count_a_pass(order, line, args.share, args.batch_size, args.hosts, counts)
  exact = passed['once'] == passed['shown'] == passed['prefix'] and not passed['outside']
  after = anonymous_mib()
  growth = None if before is None or after is None else after - before
  print(f'\nanonymous memory added: {"unknown" if growth is None else f"{growth:.1f} MiB"}')
  print(f'one pass of all {args.hosts} hosts: {passed}: {"exact" if exact else "WRONG"}')

  even = {
    'constant 4 %': unevenness(lambda step: 0.04, 10_000),
    'x 1.9 every 100 steps': unevenness(pacing.fixed_exponential(), 10_000),
    'linear, 4 % to 100 %': unevenness(lambda step: 0.04 + 0.96 * step / 10_000, 10_000),
  }
  print('\nvariance of times shown / that of independent draws, 100,000 examples, batch 128')
  for name, ratio in even.items():
    print(f'{name:24}{ratio:7.4f}')
  return {
    'examples': args.examples,
    'hosts': args.hosts,
    'batch_size': args.batch_size,
    'ids_per_second': speeds,
    'far_step': times,
    'anonymous_mib_added': growth,
    'pass': {**passed, 'exact': exact},
    'variance_ratio': even,
  }


if __name__ == '__main__':
  main()
