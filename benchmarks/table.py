"""Writes the tables of README.md and docs/deploy.md from benchmarks/results/.

  python -m benchmarks.table [--results=benchmarks/results] [--readme=README.md]
                             [--deployment=docs/deploy.md] [--check]

The files come from `benchmarks.record`, `.training`, `.convolutions`, `.accelerator` and `.deploy`.
With --check nothing is written, and the exit code is 1 if a document is not up to date.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
import json
import pathlib
import sys
from typing import Any, NamedTuple

from benchmarks import accelerator, convolutions, deploy, deploy_table, record, training
from experiments.blocks import with_block
from mecl_jax.errors import UserError
from mecl_jax.files import write_text

BLOCK = 'speed'
NOT_YET = (
  'No GPU or TPU has been measured with this version yet. One command does it:'
  ' `python -m benchmarks.accelerator`.'
)


Measured = Mapping[str, Any]  # the content of a file, or a part of it: facts and result


class Found(NamedTuple):
  """The contents of files: recorded runs, CPUs beside PyTorch, accelerators, and bundles."""

  runs: list[Measured]
  cpus: list[Measured]
  convolutions: list[Measured]
  accelerators: list[Measured]
  bundles: list[Measured]


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='table'
  )
  parser.add_argument('--results', type=pathlib.Path, default=pathlib.Path('benchmarks/results'))
  parser.add_argument('--readme', type=pathlib.Path, default=pathlib.Path('README.md'))
  parser.add_argument('--deployment', type=pathlib.Path, default=pathlib.Path('docs/deploy.md'))
  parser.add_argument('--check', action='store_true', help='write nothing, compare the text')
  flags = parser.parse_args(argv)
  try:
    found = read(flags.results)
    texts = {
      flags.readme: with_block(flags.readme, BLOCK, block(found)),
      flags.deployment: with_block(
        flags.deployment, deploy_table.BLOCK, deploy_table.block(found.bundles)
      ),
    }
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  old = [path for path, text in texts.items() if text != path.read_text()]
  for path in old:
    if flags.check:
      print(f'{path} is not up to date; run python -m benchmarks.table')
    else:
      write_text(path, texts[path])
  return int(flags.check and bool(old))


def read(folder: pathlib.Path) -> Found:
  """Reads a folder of results.

  Raises:
    UserError: a file is not one of results.
  """
  found = Found([], [], [], [], [])
  modules = (record, training, convolutions, accelerator, deploy)
  kinds: dict[Any, list] = {
    (module.FORMAT, module.VERSION): files for module, files in zip(modules, found, strict=True)
  }
  for path in sorted(folder.glob('*.json')):
    try:
      content = json.loads(path.read_text())
      kinds[content['format'], content['version']].append(content)
    except (ValueError, KeyError, TypeError):
      raise UserError(f'{path} is not a file of results of this version') from None
  return found


def block(found: Found) -> str:
  """Returns the block of the README."""
  wholes = found.runs + [a['parts']['recipe'] for a in found.accelerators if 'recipe' in a['parts']]
  wholes.sort(key=lambda m: (m['facts']['platform'] != 'cpu', _name(m['result'])))
  lines = ['Accuracy on the test split, one seed. The time is that of the whole command without']
  lines += ['the loading of the data; the compilation, in brackets, is a part of it.', '']
  lines += ['| configuration | accuracy of the exits | time | hardware | measured with |']
  lines += ['| --- | --- | --- | --- | --- |', *map(_whole_row, wholes), '']
  lines += [line for on_cpu in found.cpus for line in _beside_torch(on_cpu)]
  lines += [line for on_cpu in found.convolutions for line in _convolutions(on_cpu)]
  for measured in found.accelerators:
    lines += _accelerator(measured)
  return '\n'.join(lines if found.accelerators else [*lines, NOT_YET]).rstrip() + '\n'


def _name(result: Measured) -> str:
  return pathlib.PurePath(result['config']).name


def _whole_row(measured: Measured) -> str:
  found, result = measured['facts'], measured['result']
  exits = ', '.join(f'{row["accuracy"]:.1%}' for row in result['exits'])
  seconds = result['seconds']
  time = f'{_duration(seconds["run"])} ({_duration(seconds["compile"])})'
  network = f'`{_name(result)}`, {result["backbone"]} on {result["dataset"]}'
  return f'| {network} | {exits} | {time} | {_hardware(found)} | {_versions(found)} |'


def _beside_torch(measured: Measured) -> Iterator[str]:
  """Yields the sentence on the joint step of the default network on a CPU."""
  found, result = measured['facts'], measured['result']
  for side, ratio in result['ratio'].items():
    speed = result['images_per_second'][side]['median']
    low, middle, high = (ratio[key] for key in ('min', 'median', 'max'))
    yield (
      f'The joint step of the default network on {_hardware(found)}, with {side}: {speed:,.0f}'
      f' images/s, {middle:.2f} ({low:.2f} to {high:.2f}) of {result["ratio_to"]}.'
    )
  yield ''


def _convolutions(measured: Measured) -> Iterator[str]:
  """Yields the sentence on the convolutions of the default network's joint step on a CPU."""
  network = convolutions.totals(measured)

  def each(time: Callable[[Mapping[str, float]], float]) -> str:
    return ', '.join(f'{time(times):.0f}' for times in network.values())

  def rewritten(times: Mapping[str, float]) -> float:
    return min(t for form, t in times.items() if not form.startswith(('JAX', 'PyTorch')))

  theirs = ''
  if all('PyTorch' in times for times in network.values()):
    theirs = f' In PyTorch they take {each(lambda times: times["PyTorch"])} ms.'
  yield (
    f'Its convolutions ({", ".join(network)}) take {each(lambda times: times["JAX"])} ms.{theirs}'
    f' Rewritten in JAX, they take {each(rewritten)} ms or more'
    ' (`python -m benchmarks.convolutions`).'
  )
  yield ''


def _duration(seconds: float) -> str:
  return f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:.1f} min'


def _hardware(found: Mapping[str, Any]) -> str:
  count = f'{found["devices"]} x ' if found['devices'] > 1 else ''
  return f'{count}{found["device"]}'


def _versions(found: Mapping[str, Any]) -> str:
  return f'jax {found["jax"]}, {found["commit"][:7]}, {found["date"][:10]}'


def _accelerator(found: Measured) -> Iterator[str]:
  """Yields the lines of one file of the accelerator benchmark."""
  parts = found['parts']
  trained = {n.partition('/')[2]: p for n, p in parts.items() if n.startswith('training/')}
  for where in dict.fromkeys(map(_measured_with, trained.values())):  # parts may be of several runs
    yield f'Training of all exits together on one {where},'
    yield '32x32 pixels, cropped and mirrored.'
    yield from ('', '| network | images/s | PyTorch | ratio |', '| --- | --- | --- | --- |')
    for name, part in trained.items():
      if _measured_with(part) == where:
        yield _training_row(name, part['result'])
    yield ''
  if 'fast' in parts:
    yield from _fast(parts['fast'])


def _measured_with(part: Measured) -> str:
  found, result = part['facts'], part['result']
  torch = f', torch {found["torch"]}' if found['torch'] else ''
  sizes = f'{result["dtype"]}, batches of {result["batch_size"]}'
  return f'{found["device"]}, {_versions(found)}{torch}; {sizes}'


def _training_row(name: str, result: Mapping[str, Any]) -> str:
  speed, peer = result['jax']['images_per_second']['median'], result['torch']
  beside, ratio = 'not measured', ''
  if 'images_per_second' in peer:
    beside = f'{peer["images_per_second"]["median"]:,.0f} ({peer["form"]})'
    low, middle, high = (result['ratio'][key] for key in ('min', 'median', 'max'))
    ratio = f'{middle:.2f} ({low:.2f} to {high:.2f})'
  return f'| {name}, {result["jax"]["exits"]} exits | {speed:,.0f} | {beside} | {ratio} |'


def _fast(part: Measured) -> Iterator[str]:
  found, result = part['facts'], part['result']
  exits = ', '.join(f'{row["mean"]:.2%}' for row in result['exits'])
  seconds = result['seconds']
  yield (
    f'`{_name(result)}` trains in {seconds["mean"]:.2f} s on one'
    f' {found["device"]}, to accuracies of {exits} (means of {len(seconds["values"])} seeds,'
    f' {_versions(found)}). Compilation is apart, and so are {result["set_up_seconds"]:.2f} s to'
    ' build the network, whiten its first layer and move the images to the device.'
  )
  yield ''


if __name__ == '__main__':
  sys.exit(main())
