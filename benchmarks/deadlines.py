"""Measures how many deadlines are met beside other processes, and with which accuracy.

  python benchmarks/deadlines.py [--workdir=DIR] [--busy=0,2,4] [--answers=200] [--margin=1.2]

A network answers images one at a time by a deadline, at the deepest exit that should finish in
time. Busy processes run beside it. Segments are timed first, on the idle machine, and deadlines are
multiples of their total time. Answers that expect the slow-down of the last segments alternate with
answers that ignore it, image by image.

--workdir uses the network and the test images of a run, and shows accuracies. Without it, the
network is a ResNet-56 with fresh parameters and five early exits, on noise. A row is for a number
of busy processes, a deadline and a kind of answers: share of deadlines met, mean exit (from 0),
median and 99th percentile of the time, accuracy, and accuracy where a late answer counts as wrong.
"""

import argparse
from collections.abc import Iterator
import contextlib
import pathlib
import subprocess
import sys
import time

import numpy as np

from mecl_jax import compiler, models
from mecl_jax.commands.session import restored_run
from mecl_jax.inference import Answer, Anytime, measure
from mecl_jax.models import MultiExit
from mecl_jax.training.log import make_console

SHARES = (0.3, 0.6, 0.9, 1.3, 2.0, 4.0)  # deadlines, as shares of the time of all segments
KINDS: dict[str, dict[str, None]] = {'expected': {}, 'ignored': {'forget': None}}
SETTLE_SECONDS = 1.0  # until the busy processes run


def fresh_network() -> tuple[MultiExit, np.ndarray, None]:
  model = models.build(
    backbone='resnet56',
    exits=(0.12, 0.25, 0.4, 0.6, 0.8),
    head='conv',
    num_classes=10,
    image_shape=(32, 32, 3),
    mean=np.full(3, 0.5),
    std=np.full(3, 0.25),
    seed=0,
  )
  images = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), dtype=np.uint8)
  return model, images, None


def trained_network(workdir: pathlib.Path) -> tuple[MultiExit, np.ndarray, np.ndarray]:
  """Returns the newest checkpoint of a run, with its test images and labels."""
  with restored_run(workdir, None, make_console()) as (run, _):
    return run.model, run.dataset.test.images, run.dataset.test.labels


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
  """Runs processes that only compute, while the context is open."""
  others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(number)]
  try:
    time.sleep(SETTLE_SECONDS)
    yield
  finally:
    for other in others:
      other.kill()
      other.wait()


def answer_all(
  networks: dict[str, Anytime], images: np.ndarray, deadline_ms: float
) -> dict[str, list[Answer]]:
  """Returns the answers of each network to the images, one by one, in turns."""
  for network in networks.values():
    network.slowdown = 1.0  # not that of the deadline before
  answers = {kind: list[Answer]() for kind in networks}
  for number in range(len(images)):
    for kind in sorted(networks, reverse=bool(number % 2)):  # no kind is always first
      answers[kind].append(networks[kind].answer(images[number : number + 1], deadline_ms))
  return answers


def row_of(answers: list[Answer], labels: np.ndarray | None) -> str:
  in_time = np.array([answer.in_time for answer in answers])
  p50, p99 = np.quantile([answer.elapsed_ms for answer in answers], (0.5, 0.99))
  depth = np.mean([answer.exit for answer in answers])
  row = f'{in_time.mean():6.3f}{depth:11.2f}{p50:9.1f}{p99:9.1f}'
  if labels is None:
    return row
  right = np.array([answer.logits.argmax() for answer in answers]) == labels
  return row + f'{right.mean():10.3f}{(right & in_time).mean():12.3f}'


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--workdir', type=pathlib.Path)
  parser.add_argument('--busy', default='0,2,4', help='numbers of busy processes')
  parser.add_argument('--answers', type=int, default=200, help='images per row')
  parser.add_argument('--margin', type=float, default=1.2)
  options = parser.parse_args()
  compiler.use_cache()
  model, images, labels = trained_network(options.workdir) if options.workdir else fresh_network()
  images, labels = (
    images[: options.answers],
    labels if labels is None else labels[: options.answers],
  )
  expected = measure(model, images, batch_sizes=(1,)).segment_ms()
  networks = {
    kind: Anytime(model, expected, margin=options.margin, **settings)
    for kind, settings in KINDS.items()
  }
  for network in networks.values():
    network.compile(images[:1].shape)
  print(f'segments on the idle machine: {", ".join(f"{ms:.2f}" for ms in expected)} ms')
  print('busy  deadline_ms  slow-down   met  mean_exit   p50_ms   p99_ms  accuracy  if_in_time')
  for busy in map(int, options.busy.split(',')):
    with busy_processes(busy):
      for share in SHARES:
        deadline_ms = share * expected.sum()
        for kind, answers in answer_all(networks, images, deadline_ms).items():
          print(f'{busy:4}{deadline_ms:13.1f}  {kind:9}{row_of(answers, labels)}', flush=True)


if __name__ == '__main__':
  main()
