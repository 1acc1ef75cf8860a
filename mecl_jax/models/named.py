"""Modules with names."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from flax import nnx

Part = TypeVar('Part', bound=nnx.Module)


class Named(nnx.Module, Mapping[str, Part]):
  """A mapping from names to modules, which is a module itself.

  The state paths contain the names, as those of `nnx.Dict`, which flax has only since 0.12. The
  order of the names is lost when the network is split and merged.

  Args:
    parts: name -> module.
  """

  def __init__(self, parts: Mapping[str, Part]):
    for name, part in parts.items():
      setattr(self, name, part)

  def __getitem__(self, name: str) -> Part:
    if name not in vars(self):
      raise KeyError(name)
    return getattr(self, name)

  def __iter__(self) -> Iterator[str]:
    return (name for name, part in vars(self).items() if isinstance(part, nnx.Module))

  def __len__(self) -> int:
    return sum(1 for _ in self)

  # A module is compared by identity, not by its content.
  __eq__ = object.__eq__
  __hash__ = object.__hash__
