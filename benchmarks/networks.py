"""The networks of the benchmarks: fields of a configuration, at full size and small.

Both sides read them, so that this file imports neither JAX nor PyTorch.
"""

from typing import Any, NamedTuple

CLASSES = 10
SIDE = 32  # pixels


class Network(NamedTuple):
  """A multi-exit network.

  Attributes:
    backbone: its name in the package.
    exits: groups of stages with an exit at their end.
    head: kind of the heads of the early exits.
    head_width: channels inside a head.
    stem: first layers.
    width: 16 for the published network; see the field `model.width`.
  """

  backbone: str
  exits: tuple[str, ...]
  head: str = 'conv'
  head_width: int = 64
  stem: str = 'auto'
  width: int = 16

  def fields(self) -> dict[str, Any]:
    """Returns the fields of a configuration, by their names in the group `model`."""
    return self._asdict()


_THREE = ('stage1', 'stage2', 'stage3')
_MSDNET = tuple(f'stage{group}' for group in range(1, 7))

NETWORKS = {
  'resnet20': Network('resnet20', _THREE[:2]),
  # As in experiments/configs/published.py.
  'resnet18': Network('resnet18', _THREE, head='separable', stem='cifar'),
  'wrn16_4': Network('wrn16_4', _THREE[:2]),
  'densenet_bc100_12': Network('densenet_bc100_12', _THREE[:2]),
  'msdnet7': Network('msdnet7', _MSDNET, head='msdnet', head_width=128),
}

# One of every family, so small that a CPU compiles it in seconds.
_TINY: dict[str, Any] = {'width': 4, 'head_width': 8}
SMALL = {
  'resnet20': Network('resnet8', _THREE[:2], **_TINY),
  'resnet18': Network('resnet18', _THREE, head='separable', stem='cifar', **_TINY),
  'wrn16_4': Network('wrn10_1', _THREE[:2], **_TINY),
  'densenet_bc100_12': Network('densenet_bc40_12', _THREE[:2], **_TINY),
  'msdnet7': Network('msdnet3', _THREE[:2], head='msdnet', **_TINY),
}


def network(name: str, *, small: bool) -> Network:
  """Returns a network by its name."""
  return (SMALL if small else NETWORKS)[name]
