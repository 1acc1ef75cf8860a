"""A profiler trace of a few training steps, and a table of where their time goes."""

from collections import Counter
from collections.abc import Iterable, Iterator
import pathlib
import re
import time
from typing import NamedTuple

import jax
from rich.console import Console

from mecl_jax.files import write_json
from mecl_jax.models import quantity
from mecl_jax.terminal import FittedTable
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.step import StepMetrics

FORMAT, VERSION = 'mecl_jax profile', 1
SKIPPED = 3  # calls before the trace: the first one compiles, the next ones fill queues and caches
TRACED = 10  # calls to the device that are traced
OTHER = 'other'

_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?([\w.-]+) = .*?[\]})] ([\w-]+)\(')
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.-]+) \(')
_SCOPE, _CALLED = re.compile(r'op_name="([^"]*)"'), re.compile(r'calls=%?([\w.-]+)')
_CONTAINERS = ('while', 'call', 'conditional')  # their time is that of the instructions within


class Place(NamedTuple):
  """A part of the training step: a stage, an exit head, or another named scope."""

  part: str
  backward: bool


def profiled(
  phase: PhaseSteps, start: int, folder: pathlib.Path, console: Console
) -> Iterator[tuple[range, StepMetrics]]:
  """Takes the steps of a phase as `PhaseSteps.take`, and traces a few of them.

  Afterwards it prints where their time went, and writes it to `profile.json` in the folder, beside
  the trace, which TensorBoard (with its profile plugin) and Perfetto can show.

  Args:
    phase: whose steps are taken.
    start: first step.
    folder: to write to.
    console: to print to.

  Yields:
    as `PhaseSteps.take`.
  """
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # it would slow the host down
  calls, traced, began, tracing = 0, 0, 0.0, False
  try:
    for taken, metrics in phase.take(start):
      calls += 1
      traced += len(taken) if tracing else 0
      if calls == SKIPPED:
        jax.block_until_ready(metrics)
        jax.profiler.start_trace(str(folder), profiler_options=options)
        began, tracing = time.perf_counter(), True
      elif calls == SKIPPED + TRACED:
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - began
        jax.profiler.stop_trace()
        tracing = False
        _report(phase, traced, seconds, folder, console)
      yield taken, metrics
  finally:
    if tracing:
      jax.profiler.stop_trace()
    if calls < SKIPPED + TRACED:
      console.print(f'no profile: there were fewer than {SKIPPED + TRACED} calls to the device')


def _report(
  phase: PhaseSteps, steps: int, seconds: float, folder: pathlib.Path, console: Console
) -> None:
  """Prints and writes where the time of traced steps went."""
  program, parts = phase.lower().compile(), ('batch', *phase.parts, 'update')
  places = instruction_places(program.as_text() or '', parts)
  spent = device_time(newest_trace(folder), places)
  # XLA counts the body of a scan once, and so one step of a call with several.
  cost, memory = program.cost_analysis() or {}, program.memory_analysis()
  flops, traffic = cost.get('flops', 0.0), cost.get('bytes accessed', 0.0)
  temporary = memory.temp_size_in_bytes if memory else 0
  facts = {
    'steps': steps,
    'ms_per_step': 1e3 * seconds / steps,
    'examples_per_second': phase.batch_size * steps / seconds,
    'flops_per_step': flops,
    'bytes_accessed_per_step': traffic,
    'temporary_bytes': temporary,
    'device_ms_per_step': {
      f'{part} {"backward" if backward else "forward"}': 1e3 * value / steps
      for (part, backward), value in spent.items()
    },
  }
  write_json(folder / 'profile.json', {'format': FORMAT, 'version': VERSION, **facts})
  rate = flops * steps / seconds
  console.print(
    f'profile of {steps} steps: {facts["ms_per_step"]:.2f} ms each,'
    f' {facts["examples_per_second"]:,.0f} images/s; by the count of XLA'
    f' {quantity(flops)}FLOP and {quantity(traffic)}B of memory traffic a'
    f' step ({quantity(rate)}FLOP/s), {quantity(temporary)}B of temporary memory',
    soft_wrap=True,
  )
  console.print(_table(spent, steps, parts))
  if jax.default_backend() == 'cpu':
    console.print('on a CPU, the trace does not name the threads that compute convolutions')
  else:
    busy = sum(spent.values()) / (seconds * jax.local_device_count())
    console.print(
      f'{busy:.0%} of the time of the devices; for the rest they waited, or the trace'
      ' does not name the instruction'
    )
  console.print(f'trace: {folder}', soft_wrap=True)


def _table(spent: dict[Place, float], steps: int, parts: tuple[str, ...]) -> FittedTable:
  """Returns the table of device time per step: first `parts`, and then the parts of no stage."""
  rows, numbers = list[tuple[str, ...]](), ('forward', 'backward', 'share')

  def add_row(name: str, places: Iterable[Place]) -> None:
    ways = [sum(spent[p] for p in places if p.backward == way) for way in (False, True)]
    times = (f'{1e3 * value / steps:.2f}' for value in ways)
    rows.append((name, *times, f'{sum(ways) / (sum(spent.values()) or 1.0):.0%}'))

  for part in dict.fromkeys((*parts, *(place.part for place in spent))):
    if mine := [place for place in spent if place.part == part]:
      add_row(part, mine)
  rows.append(())
  add_row('sum', list(spent))
  return FittedTable('device time of a step, in ms', ('part', *numbers), rows, right=numbers)


def newest_trace(folder: pathlib.Path) -> pathlib.Path:
  """Returns the file of the newest trace in a folder."""
  return max(folder.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)


def instruction_places(program: str, parts: tuple[str, ...]) -> dict[str, Place]:
  """Returns the place of every instruction of a compiled program that takes time itself.

  A fusion without a scope of its own gets the most frequent place within it.

  Args:
    program: text of the compiled HLO.
    parts: names of scopes; anything else is `OTHER`.
  """
  places: dict[str, Place] = {}
  inside: dict[str, Counter[Place]] = {}
  open_fusions: dict[str, str] = {}
  computation = ''
  for line in program.splitlines():
    if header := _COMPUTATION.match(line):
      computation = header[1]
    elif found := _INSTRUCTION.match(line):
      name, operation = found.groups()
      if operation in _CONTAINERS:
        continue
      if scope := _SCOPE.search(line):
        places[name] = place_of(scope[1], parts)
        inside.setdefault(computation, Counter())[places[name]] += 1
      elif called := _CALLED.search(line):
        open_fusions[name] = called[1]
      else:
        places[name] = Place(OTHER, False)
  for name, called_name in open_fusions.items():
    common = inside.get(called_name, Counter()).most_common(1)
    places[name] = common[0][0] if common else Place(OTHER, False)
  return places


def place_of(scope: str, parts: tuple[str, ...]) -> Place:
  """Returns the place that a scope path of JAX names.

  >>> place_of('jit(step)/transpose(jvp(stem))/conv_general_dilated', ('stem',))
  Place(part='stem', backward=True)
  """
  words = re.findall(r'[\w.-]+', scope)
  return Place(next((word for word in words if word in parts), OTHER), 'transpose(' in scope)


def device_time(trace: pathlib.Path, places: dict[str, Place]) -> dict[Place, float]:
  """Returns the seconds that the device, or the threads of a CPU, spent on every place.

  Args:
    trace: file of a profiler trace.
    places: of instructions; others are not counted.
  """
  on_accelerator = jax.default_backend() != 'cpu'
  spent = dict.fromkeys(places.values(), 0.0)
  for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
    if on_accelerator and not plane.name.startswith('/device:'):
      continue  # the host's threads launch the same instructions
    for line in plane.lines:
      for event in line.events:
        name = next((v for k, v in event.stats if k == 'hlo_op'), None)
        if name in places and not event.name.startswith('end: '):
          spent[places[name]] += event.duration_ns / 1e9
  return {place: seconds for place, seconds in spent.items() if seconds}
