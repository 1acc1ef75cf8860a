"""The networks of the benchmarks in PyTorch, with the same layers in the same order."""

from benchmarks.networks import CLASSES, Network
from benchmarks.peers import densenet, msdnet, resnet, wide_resnet
from benchmarks.peers.common import Peer

STAGES = {
  'resnet8': lambda width, stem: resnet.small_resnet(8, width),
  'resnet20': lambda width, stem: resnet.small_resnet(20, width),
  'resnet18': lambda width, stem: resnet.resnet18(4 * width),
  'wrn10_1': lambda width, stem: wide_resnet.wide_resnet(10, 1, width),
  'wrn16_4': lambda width, stem: wide_resnet.wide_resnet(16, 4, width),
  'densenet_bc40_12': lambda width, stem: densenet.densenet(40, round(12 * width / 16)),
  'densenet_bc100_12': lambda width, stem: densenet.densenet(100, round(12 * width / 16)),
  'msdnet3': lambda width, stem: msdnet.msdnet((2, 1, 1), width),
  'msdnet7': lambda width, stem: msdnet.msdnet((4, *(2,) * 6), width),
}


def make(network: Network, classes: int = CLASSES) -> Peer:
  """Builds a network of the benchmarks in PyTorch."""
  stages = STAGES[network.backbone](network.width, network.stem)
  final = 'msdnet' if network.backbone.startswith('msdnet') else 'linear'
  return Peer(stages, network.exits, (network.head, final), network.head_width, classes)
