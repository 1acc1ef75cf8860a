"""The segments of a network as a chain, with what each passes on to the next."""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.inference.segments import Segment, cut
from mecl_jax.models import MultiExit
from mecl_jax.models.affine import for_export


@dataclasses.dataclass(frozen=True, eq=False)
class Link:
  """A segment and the shapes of its inputs for one image.

  Attributes:
    exit_name: of the exit at its end.
    segment: the segment.
    x: shapes of the images, or of the features of the segment before.
    before: shape of the logits of the exit before; None if the segment does not take them.
    following: shapes of its features.
    used: for each leaf of `x`, whether the segment computes with it.
  """

  exit_name: str
  segment: Segment
  x: Any
  before: Any
  following: Any
  used: tuple[bool, ...]

  @property
  def inputs(self) -> list[Any]:
    """Shapes of the leaves of `x` that are used."""
    return self.read(self.x)

  def read(self, x: Any) -> list[Any]:
    """Returns the leaves of an input that the segment computes with."""
    return list(itertools.compress(jax.tree.leaves(x), self.used))

  def filled(self, arrays: Sequence[jax.Array]) -> Any:
    """Returns an input from the leaves that the segment computes with; all others are 0."""
    given, batch = iter(arrays), arrays[0].shape[0]
    leaves, form = jax.tree.flatten(self.x)
    return jax.tree.unflatten(
      form,
      [
        next(given) if used else jnp.zeros((batch, *leaf.shape[1:]), leaf.dtype)
        for leaf, used in zip(leaves, self.used, strict=True)
      ],
    )


def chain(model: MultiExit, image_shape: Sequence[int]) -> list[Link]:
  """Returns the segments of a network, first to last, without what only training needs.

  Args:
    model: not changed.
    image_shape: (height, width, channels) of the uint8 images.
  """
  x: Any = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
  logits, links = None, list[Link]()
  for exit_name, segment in zip(model.exit_names, cut(for_export(model)), strict=True):
    before = logits if segment.is_cascade else None
    following, logits = jax.eval_shape(segment.run, segment.leaves, x, before)
    links.append(Link(exit_name, segment, x, before, following, _used(segment, x, before)))
    x = following
  return links


def _used(segment: Segment, x: Any, before: Any) -> tuple[bool, ...]:
  """Returns which leaves of `x` a segment computes with; of others, it needs the shape at most."""
  traced = jax.make_jaxpr(lambda x: segment.run(segment.leaves, x, _zeros(before)))(x).jaxpr
  read = {id(one) for equation in traced.eqns for one in equation.invars}
  read |= {id(one) for one in traced.outvars}
  return tuple(id(one) in read for one in traced.invars)


def _zeros(before: Any) -> jax.Array | None:
  """Returns logits of a shape, all 0; None for None."""
  return None if before is None else jnp.zeros(before.shape, before.dtype)
