"""A backbone with a head at some of its stages."""

from collections.abc import Iterable, Mapping, Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import choose
from mecl_jax.models.backbones.backbone import Backbone, Features, feature_map
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.head import Head
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
    head_kinds: per exit what people call its head, as 'conv'.
    channels: that the backbone takes; gray images are repeated to as many.
    image_size: side in pixels that images are resized to; 0: they stay as they are.
    mean, std: per channel of the images, pixels in 0..1.
    dtype: of the computation.

  Attributes:
    exit_names: earliest first; the last is 'final'.
    exit_stages, head_kinds: as given.
    segments: per exit, the stages that it needs beyond those of the exit before it.

  State paths are ('backbone', 'stages', <stage>, ..), ('heads', <exit>, ..), ('mean',), ('std',).
  """

  def __init__(
    self,
    backbone: Backbone,
    heads: Mapping[str, Head | CascadeHead],
    exit_stages: Sequence[str],
    head_kinds: Sequence[str],
    *,
    channels: int,
    image_size: int = 0,
    mean: ArrayLike,
    std: ArrayLike,
    dtype: DTypeLike,
  ):
    self.backbone = backbone
    self.heads = nnx.Dict(heads)
    self.exit_names = tuple(heads)
    self.exit_stages, self.head_kinds = tuple(exit_stages), tuple(head_kinds)
    self.segments = _segments(backbone.stage_names, self.exit_stages)
    self.channels = channels
    self.image_size = image_size
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

  def input_shape(self, image_shape: Sequence[int]) -> tuple[int, int, int]:
    """(height, width, channels) that the first stage sees of images of such a shape."""
    height, width, _ = image_shape
    return self.image_size or height, self.image_size or width, self.channels

  def needed(self, exits: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the exits whose heads run for an answer at these, earliest first.

    Those themselves and, where one of them is a cascade, the exit before it.
    """
    wanted = set(self._chosen(exits))
    for before, name in reversed([*itertools.pairwise(self.exit_names)]):
      if name in wanted and isinstance(self.heads[name], CascadeHead):
        wanted.add(before)
    return tuple(name for name in self.exit_names if name in wanted)

  def features(
    self, images: jax.Array, exits: Sequence[str] | None = None
  ) -> tuple[jax.Array, ...]:
    """The feature maps of the `needed` exits, [B, H, W, C] each in the compute dtype."""
    wanted = [self.exit_names.index(name) for name in self.needed(exits)]
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
    """Logits [B, exits, classes] from what `features` returns for the same exits."""
    return self.read(self.summarise(features, exits), exits)

  def summarise(
    self, features: Sequence[jax.Array], exits: Sequence[str] | None = None
  ) -> tuple[jax.Array, ...]:
    """What the heads make of `features` before anything is learnt, see `Head.summarise`."""
    needed = self.needed(exits)
    return tuple(self.heads[n].summarise(x) for n, x in zip(needed, features, strict=True))

  def read(self, summaries: Sequence[jax.Array], exits: Sequence[str] | None = None) -> jax.Array:
    """Logits [B, exits, classes] from what `summarise` returns for the same exits."""
    needed, said = self.needed(exits), list[jax.Array]()
    for name, x in zip(needed, summaries, strict=True):
      head = self.heads[name]
      said.append(head.read(x, said[-1]) if isinstance(head, CascadeHead) else head.read(x))
    return jnp.stack([said[needed.index(name)] for name in self._chosen(exits)], axis=1)

  def _chosen(self, exits: Sequence[str] | None) -> tuple[str, ...]:
    names = self.exit_names if exits is None else exits
    return tuple(choose('exit', name, self.exit_names) for name in names)

  def _preprocess(self, images: jax.Array) -> jax.Array:
    pixels = images.astype(self.mean.dtype) / 255
    x = ((pixels - self.mean[...]) / self.std[...]).astype(self.dtype)
    if self.image_size:
      x = jax.image.resize(x, (len(x), self.image_size, self.image_size, x.shape[-1]), 'bilinear')
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


def draw_dropout(model: MultiExit, key: jax.Array) -> None:
  """Lets dropout leave out what `key` says, in place; every layer draws by itself.

  The keys are no part of a checkpoint: a step sets them from its own number.
  """
  keys, form = jax.tree.flatten(nnx.state(model, nnx.RngKey))
  drawn = [jax.random.fold_in(key, index) for index in range(len(keys))]
  nnx.update(model, jax.tree.unflatten(form, drawn))
  # How often each has been used since: flax draws from both.
  nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.RngCount)))
