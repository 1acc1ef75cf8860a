"""A backbone with a head at some of its stages."""

from collections.abc import Iterable, Mapping, Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import choose
from mecl_jax.models.backbones.backbone import Backbone, Features, feature_map
from mecl_jax.models.layers import parameter_dtype

FINAL = 'final'  # name of the last exit, the backbone's own classifier


class PixelStatistic(nnx.Variable):
  """Of the training images; part of every checkpoint, never trained."""


class MultiExit(nnx.Module):
  """A network with several exits (BranchyNet, Teerapittayanon et al. 2016, arXiv 1709.01686).

  Args:
    backbone: its stages.
    heads: exit name -> head [B, H, W, C] -> [B, classes], earliest exit first.
    exit_stages: per exit the stage whose feature map its head takes.
    channels: that the backbone takes; gray images are repeated to as many.
    mean, std: per channel of the images, pixels in 0..1.
    dtype: of the computation.

  Attributes:
    exit_names: earliest first; the last is 'final'.
    exit_stages: as given.
    segments: per exit, the stages that it needs beyond those of the exit before it.

  State paths are ('backbone', 'stages', <stage>, ..), ('heads', <exit>, ..), ('mean',), ('std',).
  """

  def __init__(
    self,
    backbone: Backbone,
    heads: Mapping[str, nnx.Module],
    exit_stages: Sequence[str],
    *,
    channels: int,
    mean: ArrayLike,
    std: ArrayLike,
    dtype: DTypeLike,
  ):
    self.backbone = backbone
    self.heads = nnx.Dict(heads)
    self.exit_names = tuple(heads)
    self.exit_stages = tuple(exit_stages)
    self.segments = _segments(backbone.stage_names, self.exit_stages)
    self.channels = channels
    self.dtype = dtype
    self.mean = PixelStatistic(jnp.asarray(mean, parameter_dtype(dtype)))
    self.std = PixelStatistic(jnp.asarray(std, parameter_dtype(dtype)))

  def __call__(self, images: jax.Array, exits: Sequence[str] | None = None) -> jax.Array:
    """Logits of the exits; stages that none of them needs do not run.

    Args:
      images: uint8, or float from 0 to 255, [B, H, W, C].
      exits: names of the exits wanted, in the wanted order; None: all, earliest first.

    Returns:
      float32 [B, exits, classes]; float64 where the model computes in it.

    Raises:
      UserError: no such exit.
    """
    return self.classify(self.features(images, exits), exits)

  def features(
    self, images: jax.Array, exits: Sequence[str] | None = None
  ) -> tuple[jax.Array, ...]:
    """The feature map that each exit's head takes, [B, H, W, C] in the compute dtype."""
    wanted = [self.exit_names.index(name) for name in self._chosen(exits)]
    x: Features = self._preprocess(images)
    maps = []
    for segment in self.segments[: max(wanted) + 1]:
      for name in segment:
        x = self.backbone.stages[name](x)
      maps.append(feature_map(x))
    return tuple(maps[index] for index in wanted)

  def classify(
    self, features: Sequence[jax.Array], exits: Sequence[str] | None = None
  ) -> jax.Array:
    """Logits [B, exits, classes] from the feature maps of the same exits."""
    pairs = zip(self._chosen(exits), features, strict=True)
    return jnp.stack([self.heads[name](x) for name, x in pairs], axis=1)

  def _chosen(self, exits: Sequence[str] | None) -> tuple[str, ...]:
    names = self.exit_names if exits is None else exits
    return tuple(choose('exit', name, self.exit_names) for name in names)

  def _preprocess(self, images: jax.Array) -> jax.Array:
    pixels = images.astype(self.mean.dtype) / 255
    x = ((pixels - self.mean[...]) / self.std[...]).astype(self.dtype)
    return jnp.repeat(x, self.channels // x.shape[-1], axis=-1)


def _segments(
  stage_names: Sequence[str], exit_stages: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
  cuts = [0, *(stage_names.index(stage) + 1 for stage in exit_stages)]
  return tuple(tuple(stage_names[start:stop]) for start, stop in itertools.pairwise(cuts))


def set_trainable(model: MultiExit, prefixes: Iterable[Sequence[str]]) -> None:
  """Puts the parts under the given paths into training mode and everything else out of it.

  In training mode batch norm uses the statistics of the batch and moves its averages; out of it the
  averages are used and stay as they are, bit for bit. Which parameters move is the optimiser's
  affair.

  Args:
    model: changed in place; the mode is static and survives `nnx.split` and `nnx.merge`.
    prefixes: of state paths, as `('backbone',)`, `('backbone', 'stages', 'stem')`,
      `('heads', 'final')`.

  Raises:
    ValueError: a prefix is no part of the model.
  """
  model.eval()
  for prefix in prefixes:
    part: object = model
    for name in prefix:
      part = getattr(part, name, None)
    if not isinstance(part, nnx.Module):
      raise ValueError(f'the model has no part {"/".join(prefix)}')
    part.train()
