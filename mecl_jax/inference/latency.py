"""Measured latencies of a network on a device, and latency.json."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import pathlib
import platform

import jax
import numpy as np

from mecl_jax.errors import DamagedFile, UserError, first_line
from mecl_jax.evaluation.costs import UnitCosts
from mecl_jax.evaluation.rules import FIXED
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.files import read_json, write_checked_json

FORMAT, VERSION = 'mecl_jax latency', 2

Row = dict[str, str | int | float | bool | None]
Rows = list[Row]

LATENCY = (*('exit', 'batch', 'calls', 'p50_ms', 'p99_ms', 'images_per_second', 'compile_seconds'),)
SEGMENTS = ('exit', 'batch', 'p50_ms')
ANSWERS = ('rule', 'exit', 'batch', 'p50_ms')
SAVINGS = (
  *('batch', 'images', 'static_ms', 'allowed_ms', 'dynamic_ms', 'allowed_saving'),
  *('measured_saving', 'share_reached', 'macs_saving', 'disagreements'),
)


@dataclasses.dataclass(frozen=True)
class Latency:
  """Times of a network on one device; milliseconds are per batch.

  Attributes:
    device: name of the device, see `device_name`.
    jax: version of JAX.
    dtype: dtype in which the network computes.
    image_shape: (height, width, channels).
    exits: names of the exits, earliest first.
    macs: MACs of each exit alone, which identify the network.
    rows: times of the network up to each exit, compiled as a whole, for each batch size; columns
      `LATENCY`.
    segments: times of the segment before each exit, for each batch size; columns `SEGMENTS`.
    savings: time saved by early exit with one policy, see `measure_saving`; columns `SAVINGS`.
    policy: digest of that policy; empty without savings.
    answers: times until images leave at each exit, for the smallest batch size: by each rule with
      all heads and decisions before, and by the rule `FIXED` with neither; columns `ANSWERS`. Empty
      in files of version 1, and for a single exit.
  """

  device: str
  jax: str
  dtype: str
  image_shape: tuple[int, ...]
  exits: tuple[str, ...]
  macs: tuple[int, ...]
  rows: Rows
  segments: Rows
  savings: Rows = dataclasses.field(default_factory=list)
  policy: str = ''
  answers: Rows = dataclasses.field(default_factory=list)

  def prefix_ms(self, batch: int = 1) -> np.ndarray:
    """Returns the median time of the network up to each exit, in ms, float64 [exits].

    Raises:
      UserError: nothing was measured at this batch size.
    """
    return self._times(self.rows, batch)

  def segment_ms(self, batch: int = 1) -> np.ndarray:
    """Returns the median time of the segment before each exit, in ms, float64 [exits].

    Raises:
      UserError: nothing was measured at this batch size.
    """
    return self._times(self.segments, batch)

  def tail_ms(self, batch: int = 1) -> np.ndarray:
    """Returns the 99th percentile of the times of `prefix_ms`, in ms, float64 [exits].

    It is at most that of any later exit, which contains the stages of this one: on a busy machine
    the measured percentiles may be in another order.

    Raises:
      UserError: nothing was measured at this batch size.
    """
    tails = self._times(self.rows, batch, 'p99_ms')
    return np.minimum.accumulate(tails[::-1])[::-1]

  def per_image(self) -> UnitCosts | None:
    """Returns the milliseconds of an image that leaves at each exit, at the smallest batch size.

    Returns:
      the times of each exit alone and of early exit by each rule; None if those of early exit were
      not measured.
    """
    batch, early = self.smallest_batch, dict[str, np.ndarray]()
    for rule in dict.fromkeys(str(row['rule']) for row in self.answers):
      of_rule = [row for row in self.answers if row['rule'] == rule]
      early[rule] = self._times(of_rule, batch) / batch
    return UnitCosts(early.pop(FIXED), early) if early else None

  @property
  def smallest_batch(self) -> int:
    """Smallest batch size measured, from which the latency of one image is taken; usually 1."""
    return min(int(row['batch'] or 0) for row in self.rows)

  def _times(self, rows: Rows, batch: int, column: str = 'p50_ms') -> np.ndarray:
    times = {row['exit']: row[column] for row in rows if row['batch'] == batch}
    if set(times) != set(self.exits):
      measured = sorted({str(row['batch']) for row in rows}, key=int)
      raise UserError(
        f'latency was not measured at a batch size of {batch}, but at {", ".join(measured)};'
        f' add {batch} to evaluation.batch_sizes for --mode=latency'
      )
    return np.array([times[name] for name in self.exits], np.float64)


def device_name() -> str:
  """Returns the name of the default device: 'cpu, <model>, <n> cores', or the accelerator."""
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    return device.device_kind
  return f'cpu, {_cpu_model()}, {os.cpu_count()} cores'


def save_latency(path: str | os.PathLike, latency: Latency) -> None:
  """Writes latencies as JSON."""
  header = {'format': FORMAT, 'version': VERSION}
  write_checked_json(path, header | dataclasses.asdict(latency))


def load_latency(path: str | os.PathLike, exits: Sequence[str]) -> Latency:
  """Reads a file that `save_latency` wrote, on this device or on another one.

  Args:
    path: file to read.
    exits: names of the exits of the network that the latencies will be used for.

  Returns:
    the latencies; `device` is where they were measured.

  Raises:
    DamagedFile: the file is not what was written.
    UserError: it does not exist, or is of another version or of other exits.
  """
  again = '--mode=latency measures again'
  read = read_json(path, again=again)
  if read.get('format') != FORMAT:
    raise UserError(f'{path} is not a file of latencies; {again}')
  if read.get('version') not in (1, VERSION):
    raise UserError(f'{path} has version {read.get("version")!s:.80}, not 1 or {VERSION}; {again}')
  fields = {name: value for name, value in read.items() if name not in ('format', 'version')}
  try:
    lists = ('image_shape', 'exits', 'macs')
    latency = Latency(**fields | {name: tuple(fields[name]) for name in lists})
    _check(latency)
  except (KeyError, OverflowError, TypeError, ValueError) as error:
    raise DamagedFile(f'{path} is damaged: {first_line(error)}; {again}') from None
  if latency.exits != tuple(exits):
    raise UserError(f'{path} has exits {", ".join(latency.exits)}, not {", ".join(exits)}; {again}')
  return latency


def _check(latency: Latency) -> None:
  """Raises TypeError or ValueError if the values cannot come from a measurement."""
  if not latency.rows or not latency.segments:
    raise ValueError('it has no times')
  names = latency.device, latency.jax, latency.dtype, latency.policy, *latency.exits
  for kind, values in ((str, names), (int, (*latency.image_shape, *latency.macs))):
    if wrong := [value for value in values if type(value) is not kind]:
      raise TypeError(f'{wrong[0]!r:.80} is not of type {kind.__name__}')
  for rows, columns in (
    (latency.rows, LATENCY),
    (latency.segments, SEGMENTS),
    (latency.savings, SAVINGS),
    (latency.answers, ANSWERS),
  ):
    for row in rows:
      if not isinstance(row, Mapping) or tuple(row) != columns:
        raise ValueError(f'a row has {row!r:.80}, not the columns {", ".join(columns)}')
      if 'exit' in row and row['exit'] not in latency.exits:
        raise ValueError(f'there is no exit {row["exit"]}')
      for name, value in row.items():
        if name != 'exit' and not _possible(name, value):
          raise ValueError(f'{name} is {value!r:.80}')
  timed = {row['rule'] for row in latency.answers}
  of_tasks = ((FIXED, *task.rules) for task in TASKS.values())
  missing = min(([r for r in rules if r not in timed] for rules in of_tasks), key=len)
  if latency.answers and missing:
    raise ValueError(f'it has no times of {missing[0]}')


def _possible(column: str, value: object) -> bool:
  """Returns whether a column can have this value."""
  if column in ('batch', 'calls', 'images'):
    return type(value) is int and value > 0
  if column == 'rule':
    return isinstance(value, str)
  if column.endswith('_ms'):
    return isinstance(value, float) and 0 < value < math.inf
  return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _cpu_model() -> str:
  """Returns the name of the CPU from Linux, or from Python on other systems."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = []
  names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
  return names[0] if names else platform.processor() or platform.machine()
