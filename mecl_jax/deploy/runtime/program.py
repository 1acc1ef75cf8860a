"""The program: image files, options and what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
import io
import itertools
import json
import math
import os
import sys
from typing import Any

import numpy as np

from mecl_jax.deploy.runtime.benchmark import benchmark
from mecl_jax.deploy.runtime.errors import BundleError, first_line, need
from mecl_jax.deploy.runtime.files import read_bundle
from mecl_jax.deploy.runtime.network import HERE, Answer, Network
from mecl_jax.deploy.runtime.remote import ANSWERED, add_server_options, server_of
from mecl_jax.deploy.runtime.rules import sure_policy
from mecl_jax.deploy.runtime.spending import add_options, check_options, make_spending

INTERRUPTED, PIPE_CLOSED = 130, 141  # exit codes that shells know


def read_image(path: Any, shape: list[int]) -> np.ndarray:
  """Reads an image file: a centred crop, resized to uint8 [height, width, channels]."""
  try:
    from PIL import Image, ImageOps
  except ImportError as error:
    raise BundleError(f'{first_line(error)}: pip install pillow') from None
  height, width, channels = shape
  need(channels in (1, 3), f'image files have 1 or 3 channels, the bundle takes {channels}')
  try:
    with Image.open(path) as file:
      need(file.mode[0] not in 'IF', 'it has more than 8 bits per channel')
      image = ImageOps.exif_transpose(file).convert('L' if channels == 1 else 'RGB')
  except Exception as error:  # Pillow raises many kinds for damaged files
    raise BundleError(f'{path} cannot be read as an image: {first_line(error)}') from None
  scale = min(image.width / width, image.height / height)
  crop_width, crop_height = max(1, round(scale * width)), max(1, round(scale * height))
  left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
  # In two steps: a `box` of `resize` would mix in pixels beside the crop.
  image = image.crop((left, top, left + crop_width, top + crop_height))
  return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)


def policy_rows(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields what is expected of each policy on the test images."""
  for name, each in bundle['policies'].items():
    test, is_default = each['test'], name == bundle['default_policy']
    expected = {'accuracy': test['accuracy'], 'macs': test['macs'], 'share': test['share']}
    yield {'policy': name, 'default': is_default, **expected, 'meaning': each['meaning']}


def answer_rows(network: Network, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """Yields the answer to each image file."""
  exits, deadline = network.bundle['exits'], options.deadline_ms
  server = server_of(options, network.bundle)
  policy = options.policy if options.sure is None else sure_policy(options.sure, len(exits))
  if deadline is not None:
    network.prepare(deadline, server)
  if server is not None:
    last = network.policy(policy).last
    never = f'all images leave at {exits[last]["name"]}, so that none is sent'
    need(last >= server.start, f'{never}; choose another --policy, or --sure')
  spending = make_spending(network, options)
  for number, path in enumerate(options.images):
    image = read_image(path, network.bundle['image_shape'])
    answer: Answer | None
    if spending:
      answer = spending.answer(number, image, deadline)
    else:
      answer = network.answer(image, deadline, policy, server=server)
    row = {'image': path, **_answered(answer, exits)}
    if answer and deadline is not None:
      row.update(in_time=answer.in_time, deadline_ms=deadline)
      row.update(first_exit_ms=network.segment_ms[0])
    if spending:
      row.update(spending.columns())
    if answer and server is not None:
      row.update(server=answer.server)
    yield row
  if server is not None:
    server.close()


def _answered(answer: Answer | None, exits: list[dict[str, Any]]) -> dict[str, Any]:
  """Returns the columns of an answer; they are None for an image that was missed."""
  if answer is None:
    return dict.fromkeys(('class', 'probability', 'exit', 'exit_name', 'ms'))
  row = {'class': answer.class_name, 'probability': answer.probability, 'exit': answer.exit}
  return {**row, 'exit_name': exits[answer.exit]['name'], 'ms': answer.elapsed_ms}


def print_answers(rows: Iterable[dict[str, Any]]) -> None:
  """Prints a line for each answer."""
  for row in rows:
    if row['exit'] is None:
      line = f'{row["image"]}: missed, the first exit costs {row["first_exit_cost"]:.6g}'
    else:
      line = f'{row["image"]}: {row["class"]} {row["probability"]:.1%}'
      line = f'{line}, exit {row["exit_name"]}, {row["ms"]:.2f} ms'
    if row.get('server'):
      is_there = row['server'] == ANSWERED
      line += ', by the server' if is_there else f', not by the server: {row["server"]}'
    if 'left' in row:
      line += f', {row["left"]:.6g} left'
    if not row.get('in_time', True):
      line += ', late'
      if row['first_exit_ms'] > row['deadline_ms']:
        line += f': the first exit alone takes {row["first_exit_ms"]:.2f} ms'
    print(line, flush=True)


def print_tables(rows: Iterable[dict[str, Any]]) -> None:
  """Prints rows as tables; a new table begins where the names of the columns change."""
  for names, group in itertools.groupby(rows, tuple):
    cells = [names, *(tuple(map(_text, row.values())) for row in group)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
      print('  '.join(map(str.ljust, line, widths)).rstrip())
    print(flush=True)


def _text(value: Any) -> str:
  if isinstance(value, list):
    return ' '.join(map(_text, value))
  if isinstance(value, float):
    return f'{value:,.0f}' if value >= 1000 else f'{value:.3f}'
  return {True: 'yes', False: 'no'}[value] if isinstance(value, bool) else str(value)


class _Parser(argparse.ArgumentParser):
  """A parser whose errors are one line."""

  def error(self, message: str) -> Any:
    raise BundleError(f'{message}; --help lists the options')


def _options(arguments: list[str] | None) -> argparse.Namespace:
  parser = _Parser(prog='early_exit.py', description='Answers images by a mecl_jax bundle.')
  parser.add_argument('images', nargs='*', help='image files')
  parser.add_argument('--policy', help='name of a policy, see --list')
  parser.add_argument('--deadline-ms', type=float, help='answer as deep as this allows')
  add_options(parser)
  parser.add_argument('--threads', type=int, help='processor threads of a segment')
  add_server_options(parser)
  parser.add_argument('--bundle', default=HERE, help='folder; default: that of this file')
  actions = parser.add_mutually_exclusive_group()
  actions.add_argument('--benchmark', action='store_true', help='measure this device')
  actions.add_argument('--list', action='store_true', help='list the policies')
  parser.add_argument('--seconds', type=float, default=5, help='of the benchmark; default: 5')
  parser.add_argument('--json', action='store_true', help='print lines of JSON')
  options = parser.parse_intermixed_args(arguments)  # options may also stand between images
  alone = options.benchmark or options.list
  need(not math.isnan(options.deadline_ms or 0), '--deadline-ms is nan; it must be a number')
  need(0 < options.seconds < math.inf, f'--seconds is {options.seconds}; it must be above 0')
  need(options.images or alone, 'there is no image file; --help lists the options')
  is_probability = options.sure is None or 0 <= options.sure <= 1
  need(is_probability, f'--sure is {options.sure}; it must be from 0 to 1')
  need(options.sure is None or options.policy is None, 'set only one of --sure and --policy')
  need(not (options.server and alone), '--benchmark and --list use no server')
  without_costs = options.costs is None or (options.server is None and options.sure is None)
  need(without_costs, '--costs goes with a policy on this device, without --server and --sure')
  need(not (options.images and alone), '--benchmark and --list take no image files')
  check_options(options)
  return options


def _rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  if options.list:
    return policy_rows(read_bundle(options.bundle)[0])
  network = Network(options.bundle, options.threads)
  network.policy(options.policy)  # an unknown name is an error before an image is read
  if options.benchmark:
    names = [options.policy] if options.policy else network.bundle['policies']
    return benchmark(network, options.seconds, names)
  return answer_rows(network, options)


def main(arguments: list[str] | None = None) -> int:
  """Runs the program; returns its exit code, 2 for input that cannot be used."""
  try:
    options = _options(arguments)
    rows = _rows(options)
    if options.json:
      for row in rows:
        print(json.dumps(row), flush=True)
    else:
      (print_answers if options.images else print_tables)(rows)
  except BundleError as error:
    sys.stderr.write(f'early_exit.py: {error}\n')
    return 2
  except KeyboardInterrupt:
    return INTERRUPTED
  except BrokenPipeError:  # the reader, as `head`, has read enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
    return PIPE_CLOSED
  return 0


if __name__ == '__main__':
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='backslashreplace')  # for class names outside its encoding
  sys.exit(main())
