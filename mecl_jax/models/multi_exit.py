"""The multi-exit network: a backbone with heads at some of its stages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from mecl_jax.errors import choose
from mecl_jax.models.backbones.backbone import (
  Backbone,
  Features,
  check_batch_norm,
  feature_map,
)
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import parameter_dtype
from mecl_jax.models.named import Named
from mecl_jax.models.resizing import resize

# (number of the exit from 0, feature map) -> feature map for its head, and for the next stage.
Link = Callable[[int, jax.Array], tuple[jax.Array, jax.Array]]

FINAL = 'final'  # name of the last exit, whose head is the classifier of the backbone


class PixelStatistic(nnx.Variable):
  """Mean or standard deviation of pixels; saved in checkpoints, never trained."""


class TargetStatistic(nnx.Variable):
  """Mean or standard deviation of the targets; saved in checkpoints, never trained."""


class MultiExit(nnx.Module):
  """A network with several exits.

  State paths are ('backbone', 'stages', <stage>, ..), ('heads', <exit>, ..), ('mean',), ('std',).

  Args:
    backbone: the stages.
    heads: exit name -> head, earliest exit first.
    exit_stages: name of the stage of every exit.
    head_kinds: kind of head of every exit, for example 'conv'.
    channels: channels of the input of the backbone; grayscale images are repeated.
    image_size: side in pixels to which images are resized; 0 for no resizing.
    mean, std: float [channels], of pixel values in 0..1, to normalise images with.
    dtype: of the computation.
    remat: whether the backward pass computes the inside of every stage again, instead of keeping
      it from the forward pass; this saves memory and costs time.
    standardised: number of outputs whose heads predict standardised targets, which become outputs
      in the unit of the targets by `target_mean` and `target_std`, [outputs]; 0: heads predict
      logits.

  Raises:
    UserError: a head is a Linen module with batch norm.

  Attributes:
    exit_names: earliest first; the last is 'final'.
    exit_stages, head_kinds: as given.
    segments: for every exit, names of the stages after the exit before it and up to this exit.
    final_must_train: whether the final exit is of no use before it is trained, since its head is
      new, or predicts numbers in their unit and not standardised ones.

  References:
    Teerapittayanon et al., "BranchyNet: Fast Inference via Early Exiting from Deep Neural
    Networks", ICPR 2016, arXiv 1709.01686.
    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174: `remat`.
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
    remat: bool = False,
    standardised: int = 0,
  ):
    check_batch_norm(heads, 'head')
    self.backbone = backbone
    self.heads = Named(heads)
    self.exit_names = tuple(heads)
    self.exit_stages, self.head_kinds = tuple(exit_stages), tuple(head_kinds)
    self.segments = _segments(backbone.stage_names, self.exit_stages)
    self.channels = channels
    self.image_size = image_size
    self.dtype = dtype
    self.remat = remat
    self.mean = PixelStatistic(jnp.asarray(mean, parameter_dtype(dtype)))
    self.std = PixelStatistic(jnp.asarray(std, parameter_dtype(dtype)))
    self.standardised = False
    if standardised:
      self.standardise(standardised)
    self.final_must_train = False

  def standardise(self, outputs: int) -> None:
    """Makes heads predict standardised numbers; the unit of the targets is set later."""
    kept = parameter_dtype(self.dtype)
    self.target_mean = TargetStatistic(jnp.zeros(outputs, kept))
    self.target_std = TargetStatistic(jnp.ones(outputs, kept))
    self.standardised = True

  def __call__(
    self, images: jax.Array, exits: Sequence[str] | None = None, link: Link | None = None
  ) -> jax.Array:
    """Returns the logits of exits; stages after the last of these exits do not run.

    Args:
      images: uint8 or float [B, H, W, C], pixel values in 0..255.
      exits: names of exits, in any order; None for all, earliest first.
      link: changes how gradients flow at the exits; None: they flow unchanged.

    Returns:
      float32 [B, exits, classes], in the order of `exits`; float64 if the model computes in it.

    Raises:
      UserError: an exit is unknown.
    """
    return self.classify(self.features(images, exits, link), exits)

  def input_shape(self, image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns (height, width, channels) of the input of the first stage for images of a shape."""
    height, width, _ = image_shape
    return self.image_size or height, self.image_size or width, self.channels

  def needed(self, exits: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the names of the exits whose heads run for a prediction at `exits`, earliest first.

    These are `exits` and, for a cascade head, the exit before it.
    """
    wanted = set(self._chosen(exits))
    for before, name in reversed([*itertools.pairwise(self.exit_names)]):
      if name in wanted and isinstance(self.heads[name], CascadeHead):
        wanted.add(before)
    return tuple(name for name in self.exit_names if name in wanted)

  def features(
    self, images: jax.Array, exits: Sequence[str] | None = None, link: Link | None = None
  ) -> tuple[jax.Array, ...]:
    """Returns the feature maps [B, H, W, C] of the `needed` exits, in the compute dtype."""
    wanted = [self.exit_names.index(name) for name in self.needed(exits)]
    x: Features = self.preprocess(images)
    maps = []
    for number, segment in enumerate(self.segments[: max(wanted) + 1]):
      for name in segment:
        with jax.named_scope(name):  # for profiles
          x = self._run_stage(self.backbone.stages[name], x)
      of_head = feature_map(x)
      if link is not None:
        of_head, following = link(number, of_head)
        x = (*x[:-1], following) if isinstance(x, tuple) else following
      maps.append(of_head)
    return tuple(maps[index] for index in wanted)

  def classify(
    self, features: Sequence[jax.Array], exits: Sequence[str] | None = None
  ) -> jax.Array:
    """Returns logits [B, exits, classes] from the result of `features` for the same exits."""
    return self.read(self.summarise(features, exits), exits)

  def summarise(
    self, features: Sequence[jax.Array], exits: Sequence[str] | None = None
  ) -> tuple[jax.Array, ...]:
    """Returns `Head.summarise` of the feature maps of the `needed` exits."""
    needed = self.needed(exits)
    summaries = []
    for name, x in zip(needed, features, strict=True):
      with jax.named_scope(exit_scope(name)):
        summaries.append(self.heads[name].summarise(x))
    return tuple(summaries)

  def read(self, summaries: Sequence[jax.Array], exits: Sequence[str] | None = None) -> jax.Array:
    """Returns logits [B, exits, classes] from the result of `summarise` for the same exits."""
    return self._logits(summaries, exits, lambda head, *inputs: head.read(*inputs))

  def read_embedded(
    self, summaries: Sequence[jax.Array], exits: Sequence[str] | None = None
  ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the result of `read`, and `Head.embed` of the `needed` exits, [B, N] each."""
    embedded = list[jax.Array]()

    def read(head, summary, *before):
      embedded.append(head.embed(summary))
      return head.answer(embedded[-1], *before)

    return self._logits(summaries, exits, read), tuple(embedded)

  def _logits(self, summaries, exits, read: Callable[..., jax.Array]) -> jax.Array:
    """Returns logits [B, exits, classes] by `read(head, summary, [logits of the exit before])`."""
    needed, logits = self.needed(exits), list[jax.Array]()
    for name, x in zip(needed, summaries, strict=True):
      head = self.heads[name]
      before = logits[-1:] if isinstance(head, CascadeHead) else ()
      with jax.named_scope(exit_scope(name)):
        logits.append(read(head, x, *before))
    return self.in_units(
      jnp.stack([logits[needed.index(name)] for name in self._chosen(exits)], axis=1)
    )

  def in_units(self, logits: jax.Array) -> jax.Array:
    """Returns what heads predict, [.., outputs], in the unit of the targets; logits as they are."""
    if not self.standardised:
      return logits
    return logits * self.target_std[...] + self.target_mean[...]

  def out_of_units(self, outputs: jax.Array) -> jax.Array:
    """Returns what heads predicted, [.., outputs]: the inverse of `in_units`."""
    if not self.standardised:
      return outputs
    return (outputs - self.target_mean[...]) / self.target_std[...]

  def _chosen(self, exits: Sequence[str] | None) -> tuple[str, ...]:
    names = self.exit_names if exits is None else exits
    return tuple(choose('exit', name, self.exit_names) for name in names)

  def _run_stage(self, stage: nnx.Module, x: Features) -> Features:
    return nnx.remat(lambda stage, x: stage(x))(stage, x) if self.remat else stage(x)

  def preprocess(self, images: ArrayLike) -> jax.Array:
    """Returns the input of the first stage, [B, H, W, C], for images as those of `__call__`."""
    pixels = jnp.asarray(images).astype(self.mean.dtype) / 255
    x = ((pixels - self.mean[...]) / self.std[...]).astype(self.dtype)
    if self.image_size:
      x = resize(x, self.image_size, self.image_size, 'bilinear')
    repeats = self.channels // x.shape[-1]  # of grayscale images
    return x if repeats == 1 else jnp.repeat(x, repeats, axis=-1)


def exit_scope(name: str) -> str:
  """Returns the scope of the head of an exit in compiled programs, for profiles."""
  return f'exit_{name}'


def _segments(
  stage_names: Sequence[str], exit_stages: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
  cuts = [0, *(stage_names.index(stage) + 1 for stage in exit_stages)]
  return tuple(tuple(stage_names[start:stop]) for start, stop in itertools.pairwise(cuts))


def set_trainable(model: MultiExit, prefixes: Iterable[Sequence[str]]) -> None:
  """Sets training mode for the parts with the given paths, and evaluation mode for all others.

  In training mode, batch norm uses the statistics of the batch and updates its moving averages. In
  evaluation mode, it uses the moving averages and does not change them. This function does not
  select the parameters that an optimiser updates.

  Args:
    model: changed in place; the mode is static and `nnx.split` and `nnx.merge` keep it.
    prefixes: beginnings of state paths, for example `('backbone',)`,
      `('backbone', 'stages', 'stem')` or `('heads', 'final')`.

  Raises:
    ValueError: the model has no part with such a path.
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
  """Sets the random keys of all dropout layers, in place.

  Keys are not saved in checkpoints; every training step derives them from its own number.

  Args:
    model: changed in place.
    key: from which every layer gets a different key.
  """
  keys, form = jax.tree.flatten(nnx.state(model, nnx.RngKey))
  drawn = [jax.random.fold_in(key, index) for index in range(len(keys))]
  nnx.update(model, jax.tree.unflatten(form, drawn))
  # Reset the counts as well, because flax derives its random numbers from key and count.
  nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.RngCount)))
