"""The page of a split between device and server, made from tables alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mecl_jax.report.cells import milliseconds, percent
from mecl_jax.report.pages.blocks import Block, Drawing, Listing, Section, Text

SIMULATED = (
  *('policy', 'setting', 'chosen', 'accuracy', 'mean_ms', 'p95_ms', 'bytes', 'energy_mj'),
  *('sent', 'in_time'),
)
MEASURED = (
  *('policy', 'mean_ms_simulated', 'mean_ms_real', 'real_difference', 'p95_ms_simulated'),
  *('p95_ms_real', 'bytes_real', 'same_class'),
)
HOW = """Segments up to an exit run on the device. An image that is not sure there may be sent on,
as a feature map, and a later exit answers on the server. Every policy is chosen on the validation
split, with its exits and its threshold (the largest probability with which an image leaves); the
values are those of the test split.

A simulation adds the measured times of the segments on both sides (an image has those of one
measured round), what a request takes beside them, the round trip, and the time that its bytes
occupy the link. Server predictions are of features in the precision in which they are sent, or of
those that the server restores from the codes of a bottleneck. Energy is that of the device: its
time to compute, to send and to wait, times the power of each."""
REAL = """The same policies, answered image by image by a device and a server that are two
processes on this machine. A proxy between them delays what it forwards: by the time that the bytes
occupy the link, and by half of the round trip in each direction. Difference: measured mean time
over the simulated one, minus 1."""


def facts(fields: Mapping[str, Any]) -> dict[str, str]:
  """Returns the facts at the top of the page.

  Args:
    fields: of offload.json.
  """
  settings = fields['settings']
  times = (
    ' + '.join(milliseconds(ms) for ms in fields[name]) for name in ('device_ms', 'server_ms')
  )
  device, server = times
  sizes = dict[str, list[str]]()
  for each in fields['sizes']:
    sizes.setdefault(each['after'], []).append(f'{each["bytes"]:,} ({each["send_as"]})')
  return {
    'link': f'{settings["bandwidth"]:g} Mbit/s, round trip {settings["round_trip"]:g} ms',
    'device': f'{device} ms per segment, {settings["device_slowdown"]:g} times those here',
    'server': f'{server} ms per segment, and {milliseconds(fields["request_ms"])} ms per request',
    'bytes sent after': '; '.join(f'{name} {", ".join(each)}' for name, each in sizes.items()),
    'deadline': f'{settings["deadline"]:g} ms',
    'power': f'{settings["compute_watts"]:g} W computing, {settings["send_watts"]:g} W sending,'
    f' {settings["wait_watts"]:g} W waiting',
    'target': settings['target'],
  }


def sections(figure: Figure, has_real: bool) -> Sequence[Section]:
  """Returns the sections of the page.

  Args:
    figure: of the policies.
    has_real: whether two processes were measured.
  """
  tables = ('policies', 'real') if has_real else ('policies',)
  hollow = ' Hollow marks: the mean of two processes, at the same height.' if has_real else ''
  caption = f'Accuracy against latency and bytes. The line of a mark ends at its p95.{hollow}'
  found = [
    Section(
      'Policies',
      (
        Text(HOW),
        Drawing(figure, caption, tables),
        Listing('policies', 'Simulated, by policy.', SIMULATED),
      ),
    )
  ]
  if has_real:
    blocks: tuple[Block, ...] = (Text(REAL), Listing('real', 'Simulated and measured.', MEASURED))
    found.append(Section('Two processes', blocks))
  return found


def verdict(fields: Mapping[str, Any]) -> str:
  """Returns a sentence that names the best policy.

  Args:
    fields: of offload.json.
  """
  target = fields['settings']['target']
  for row in fields['policies']:
    if row['chosen']:
      return (
        f'best for {target}: {row["policy"]} ({row["setting"]}), {percent(row["accuracy"])} %'
        f' of the test images right, {milliseconds(row["mean_ms"])} ms, {row["bytes"]:,.0f} bytes,'
        f' {milliseconds(row["energy_mj"])} mJ'
      )
  return f'no policy meets {target} on validation; each row is the nearest of its kind'
