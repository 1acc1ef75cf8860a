"""The layers of a network in PyTorch, run eagerly to the last exit, with random weights."""

import re
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.deployed.timing import Call, Test, in_batches, mean_ms, read_test
from benchmarks.peers.common import Classifier, ConvNorm
from benchmarks.peers.resnet import small_resnet

FEW, TRIALS = 8, 3  # images and trials for the choice of a layout; the fastest trial counts

_layouts: dict[str, 'Whole'] = {}
_fastest: dict[int, str] = {}  # layout by batch size
_test: Test


class Whole(nn.Module):
  """A network that normalises uint8 images [B, H, W, C] and returns logits [B, classes]."""

  def __init__(self, depth: int, width: int, channels: int, classes: int):
    super().__init__()
    stages = small_resnet(depth, width) | {'stem': ConvNorm(channels, width, 3)}
    self.layers = nn.Sequential(*stages.values(), Classifier([], 4 * width, classes))

  def forward(self, images):
    return self.layers(((images.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2))


def open_network(network: dict[str, Any], folder: str, threads: int) -> dict[str, Any]:
  """Builds the network with the layers of a run; returns the version of PyTorch.

  Args:
    network: what `jax_side.open_run` returns.
    folder: of the test images.
    threads: of PyTorch.

  Raises:
    ValueError: there is no such network here.
  """
  global _test
  _test = read_test(folder)
  depth = re.fullmatch(r'resnet(8|14|20|32|44|56|110)', network['backbone'])
  as_they_are = network['channels'] == _test.images.shape[-1] and not network['image_size']
  if not depth or not as_they_are:
    raise ValueError(f'{network["backbone"]} with these settings is not among the peers')
  torch.set_num_threads(threads)
  sizes = int(depth[1]), network['width'], network['channels'], network['classes']
  _layouts['contiguous'] = Whole(*sizes).eval()
  _layouts['channels last'] = Whole(*sizes).eval().to(memory_format=torch.channels_last)
  return {'torch': torch.__version__}


def _call(layout: str) -> Call:
  module = _layouts[layout]

  def call(images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
      return module(torch.from_numpy(images)).numpy()

  return call


def prepare(kind: str, name: str, batch: int, calls: int) -> dict[str, str]:
  """Finds the faster memory layout of the weights for a batch size."""
  batches = in_batches(_test.first(max(batch, FEW)).images, batch)
  times = {
    layout: min(mean_ms(_call(layout), batches) for _ in range(TRIALS)) for layout in _layouts
  }
  _fastest[batch] = min(times, key=lambda layout: times[layout])
  return {'layout': _fastest[batch]}


def measure(kind: str, name: str, batch: int, calls: int) -> float:
  """Returns the mean milliseconds of some batches; see `onnx_side.measure`."""
  batches = in_batches(_test.first(batch * calls).images, batch)
  return mean_ms(_call(_fastest[batch]), batches)
