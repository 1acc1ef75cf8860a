"""Augmentation of the training images: anew in every step, or as copies with cached features."""

import dataclasses

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.data.augment import augment
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run

_SIDE = 2**31  # of the key that draws the first side of an image; no copy has this number


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """The augmentation of a run; hashable. The first three attributes are the fields of `augment`.

  Attributes:
    fill: colour of pixels that cutout erases, per channel.
    alternates: whether copies with an odd number are mirrored where the others are not.
  """

  crop: int
  flip: bool
  cutout: int
  fill: tuple[int, ...]
  alternates: bool = False

  @classmethod
  def of(cls, run: Run) -> 'Augmentation':
    """Returns the augmentation of a run."""
    settings = run.config.augment
    return cls(
      *(settings.crop, settings.flip, settings.cutout),
      fill=tuple(np.round(255 * run.pixel_mean).astype(int).tolist()),
      alternates=settings.flip and settings.flip_alternates,
    )

  def __call__(self, key: jax.Array, images: jax.Array, mirrored: jax.Array | None) -> jax.Array:
    """Returns augmented images, see `augment`."""
    fill = jnp.array(self.fill, jnp.uint8)
    return augment(
      key, images, mirrored, crop=self.crop, flip=self.flip, cutout=self.cutout, fill=fill
    )

  def of_copy(self, images: jax.Array, ids: jax.Array, copy: jax.Array) -> jax.Array:
    """Returns augmented copies of images.

    A copy depends only on its image, the row of that image in the split, and the number of the
    copy. So runs with other seeds, batches and devices have the same copies.

    Args:
      images: uint8 [B, H, W, C].
      ids: int [B], rows of the split.
      copy: int [B], numbers of the copies, from 0.

    Returns:
      uint8 [B, H, W, C].
    """

    def one(image, row, number):
      of_image, mirrored = jax.random.fold_in(jax.random.key(0), row), None
      if self.alternates:
        first = jax.random.bernoulli(jax.random.fold_in(of_image, _SIDE))
        mirrored = (first ^ (number % 2 == 1))[None]
      return self(jax.random.fold_in(of_image, number), image[None], mirrored)[0]

    return jax.vmap(one)(images, ids, copy)


@dataclasses.dataclass(frozen=True)
class Copy:
  """One of the augmented copies of a split.

  Attributes:
    augmentation: how they are made.
    number: of this one, from 0.
    count: of all copies.
  """

  augmentation: Augmentation
  number: int
  count: int


def augments(config: ConfigDict, plan: PhasePlan) -> bool:
  """Returns whether a phase augments its images anew in every step; cached features are fixed."""
  settings = config.augment
  cached = plan.phase.frozen_backbone and config.cache_features
  return bool(settings.crop or settings.flip or settings.cutout) and not cached


def copies_of(config: ConfigDict, plan: PhasePlan) -> int:
  """Returns how many augmented copies of every image a phase trains on; 0: it has no copies."""
  return config.augment.copies if plan.phase.frozen_backbone and config.cache_features else 0
