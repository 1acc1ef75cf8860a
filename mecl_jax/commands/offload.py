"""The command `offload`: compares ways to split a bundle between a device and a server."""

import pathlib
from typing import Any

from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax.commands.session import restored_run
from mecl_jax.data import Dataset, Parts
from mecl_jax.data.dataset import Split
from mecl_jax.deploy import loopback
from mecl_jax.deploy.installed import check_can_serve
from mecl_jax.deploy.link import Link
from mecl_jax.deploy.offload import Side, Watts, Way, World, simulate, summary
from mecl_jax.deploy.offload_choice import Found, Target, best, choose, parse_target, setting
from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.wire import body_length
from mecl_jax.deploy.sides import predict_sides
from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import TEST, VALIDATION
from mecl_jax.files import write_checked_json
from mecl_jax.report.figures.offload import draw_offload
from mecl_jax.report.pages import offload as page
from mecl_jax.report.pages.page import check_page, write_page
from mecl_jax.report.rows import Row, row
from mecl_jax.report.style import evenly, save_png
from mecl_jax.report.tables.offload import policy_table, real_table
from mecl_jax.training.checkpoints import Position
from mecl_jax.training.log import doing, make_console, work
from mecl_jax.training.run import Run

FOLDER = 'bundle'  # of float32, as `commands.export` names it
MEASURED_SECONDS = 2.0  # of the segments, on each side


def offload(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
) -> dict[str, Any]:
  """Simulates how the bundle of a run is split, and measures it with two processes.

  Args:
    workdir, config, console, data, keep_target: as of `evaluate`.

  Returns:
    the fields of offload.json, which are also in offload/index.html.

  Raises:
    UserError: as `evaluate`; or the run has no bundle of its newest checkpoint, the target cannot
      be read, or a package is missing.
    RunError: as `evaluate`; or the server does not start.
  """
  console = console or make_console()
  if config is not None:
    parse_target(config.offload.target)  # an error in it is reported before anything is loaded
  opened = restored_run(
    pathlib.Path(workdir), config, console, data=data, keep_target=keep_target, mode='offload'
  )
  with opened as (run, position):
    settings = run.config.offload
    target, folder = parse_target(settings.target), run.workdir / FOLDER
    if settings.real_images or not settings.request_ms:
      check_can_serve('--mode=offload')
    check_page(run.workdir / 'offload')
    try:
      network = loopback.SlowNetwork(folder, settings.threads, settings.device_slowdown)
      server = Network(folder, settings.threads)
    except BundleError as error:
      again = f'--mode=export --workdir={run.workdir} writes the bundle'
      raise UserError(f'{error}; {again}') from None
    _check_same_checkpoint(run, position, network)
    sides = [
      _side(run, server, name, split)
      for name, split in ((VALIDATION, run.dataset.validation), (TEST, run.dataset.test))
    ]
    world = _world(run, network, server)
    found = choose(sides[0], world, target)
    policies = _policy_rows(run, found, target, sides[1], world)
    real = _real_rows(run, network, found, sides[1], world) if settings.real_images else []
    fields = {
      'settings': dict(settings),
      'exits': [each['name'] for each in network.bundle['exits']],
      'device_ms': np.median(world.device_ms, axis=0).tolist(),
      'server_ms': np.median(world.server_ms, axis=0).tolist(),
      'request_ms': float(np.median(world.request_ms)),
      'sizes': [_size(run, world, way) for way in world.sizes],
      'policies': policies,
      'real': real,
    }
    _write(run, fields)
    return fields


def _check_same_checkpoint(run: Run, position: Position, network: Network) -> None:
  made = network.bundle['run']
  if (made.get('digest'), made.get('steps')) != (run.digest, position.total):
    raise UserError(
      f'{run.workdir / FOLDER} is not of the newest checkpoint; --mode=export'
      f' --workdir={run.workdir} writes it again'
    )


def _side(run: Run, network: Network, name: str, split: Split) -> Side:
  """Returns what device and server predict for at most `offload.images` images of a split."""
  settings = run.config.offload
  images, labels = (evenly(values, settings.images) for values in (split.images, split.labels))
  title = f'predicting {name} on both sides'
  with work(run.console, title, len(images), run.interruption.check) as on_batch:
    return predict_sides(network, name, images, labels, _ways(run, network), on_batch)


def _ways(run: Run, network: Network) -> list[Way]:
  """Returns the ways to continue on the server that are compared."""
  starts, send_as = range(len(network.bundle['exits'])), run.config.offload.send_as
  return [*(Way(start, send_as) for start in starts), *loopback.bottleneck_ways(network.bundle)]


def _world(run: Run, network: Network, server: Network) -> World:
  """Measures both sides, and returns all that the simulation depends on."""
  settings, bundle = run.config.offload, network.bundle
  with doing(run.console, 'measuring device and server'):
    device_ms, server_ms = (each.measure(MEASURED_SECONDS) for each in (network, server))
    encoding, decoding = (loopback.coding_ms(each) for each in (network, server))
    request_ms = np.array([settings.request_ms])
    if not settings.request_ms:
      with loopback.serving(run.workdir / FOLDER, settings.threads) as port:
        request_ms = loopback.request_ms(network, port, server_ms)
  run.interruption.check()
  return World(
    device_ms=device_ms,
    server_ms=server_ms,
    request_ms=request_ms,
    link=Link(settings.bandwidth, settings.round_trip),
    sizes={way: body_length(bundle, *way) for way in _ways(run, network)},
    coding_ms={
      way: (settings.device_slowdown * encoding[way][0], decoding[way][1]) for way in encoding
    },
    answer_size=4 * len(bundle['class_names']),
    watts=Watts(settings.compute_watts, settings.send_watts, settings.wait_watts),
    deadline_ms=settings.deadline,
  )


def _size(run: Run, world: World, way: Way) -> Row:
  """Returns what is sent after an exit, in bytes, and the times of a bottleneck."""
  encoding, decoding = world.coding_ms.get(way, (None, None))
  return row(
    {
      'after': ('image', *run.model.exit_names)[way.start],
      'send_as': way.send_as if way.start else 'uint8',
      'bytes': world.sizes[way],
      'encoding_ms': encoding,
      'decoding_ms': decoding,
    }
  )


def _policy_rows(
  run: Run, found: dict[str, Found], target: Target, test: Side, world: World
) -> list[Row]:
  """Returns a row per kind of policy, with its values on test."""
  names, chosen = run.model.exit_names, best(found, target)
  return [
    row(
      {
        'policy': kind,
        'setting': setting(each.plan, names),
        'chosen': each is chosen,
        'meets_target': each.meets,
        'validation_accuracy': each.validation['accuracy'],
        **summary(simulate(each.plan, test, world), test.labels, world.deadline_ms),
      }
    )
    for kind, each in found.items()
  ]


def _real_rows(
  run: Run, network: Network, found: dict[str, Found], test: Side, world: World
) -> list[Row]:
  """Returns a row per kind of policy, with simulated and measured values of the same images."""
  settings, rows = run.config.offload, list[Row]()
  kept = evenly(np.arange(len(test.labels)), settings.real_images)
  side, images = test.only(kept), evenly(run.dataset.test.images, settings.images)[kept]
  total = len(found) * len(kept)
  with (
    loopback.serving(run.workdir / FOLDER, settings.threads) as port,
    work(run.console, 'answering by two processes', total, run.interruption.check) as on_image,
  ):
    for number, (kind, each) in enumerate(found.items()):
      on_image(number * len(kept))
      real = loopback.answer_all(network, port, world, each.plan, images)
      compared = loopback.compare(real, simulate(each.plan, side, world), side.labels, world)
      rows.append(row({'policy': kind, 'images': len(kept), **compared}))
  return rows


def _write(run: Run, fields: dict[str, Any]) -> None:
  """Writes offload.json, the page and its picture, and prints the tables."""
  policies, real = fields['policies'], fields['real']
  write_checked_json(run.workdir / 'offload.json', fields)
  tables = {'policies': policies, **({'real': real} if real else {})}
  folder = run.workdir / 'offload'
  figure = draw_offload(policies, real)
  title = f'Split between device and server: {run.dataset.name}'
  write_page(folder, title, page.facts(fields), [], page.sections(figure, bool(real)), tables)
  save_png(figure, folder / 'offload.png')
  run.console.print(policy_table(fields))
  if real:
    run.console.print(real_table(real))
  run.console.print(page.verdict(fields), soft_wrap=True)
  run.console.print(f'page: {folder / "index.html"}', soft_wrap=True)
