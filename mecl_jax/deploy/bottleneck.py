"""Learned bottlenecks: few channels of 8 bits that stand for the features of a segment.

A linear map turns every patch of 2x2 positions into a code, and a small network restores the patch.
Both are trained for the predictions of the later exits, while the network stays as it is.

References:
  Eshratifar, Esmaili and Pedram, "BottleNet: A Deep Learning Architecture for Intelligent Mobile
  Cloud Computing Services", ISLPED 2019, arXiv 1902.01000. There the whole network is trained.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mecl_jax.compiler import compiler_options
from mecl_jax.deploy.links import Link

LEVELS = 255  # of a code, from 0
PATCH = 2  # height and width of the part of a feature map that one code stands for
SPREAD = 6.0  # standard deviations that the codes span before training
FIRST_IMAGES, PATCHES = 512, 100_000  # at most, that the principal components are computed from
LEARNING_RATE = 0.001  # of Adam, falling to 0 as a cosine

# Arrays by name, one dict for each feature map that the next segment takes.
Weights = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Bottleneck:
  """What is sent instead of the features of a segment.

  Attributes:
    link: the segment that continues.
    channels: of the codes of each feature map.
    weights: float32, for each feature map with D numbers in a patch: `encode` [D, channels] and
      `encode_bias`, `decode` [channels, D] and `decode_bias`, `hidden` [channels, 2 D],
      `hidden_bias` and `restore` [2 D, D].
  """

  link: Link
  channels: int
  weights: Weights

  def encode(self, features: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns codes, uint8 [B, .., channels] each, of feature maps [B, .., C]."""
    return [jnp.round(LEVELS * each).astype(jnp.uint8) for each in _shares(self.weights, features)]

  def decode(self, codes: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns the feature maps, float32 [B, .., C] each, that codes stand for."""
    shares = [code.astype(jnp.float32) / LEVELS for code in codes]
    return _restored(self.weights, shares, self.link)


def fits(link: Link, channels: int) -> bool:
  """Returns whether codes before a segment have fewer numbers than the features that it takes."""
  return all(channels < _depth(one.shape) for one in link.inputs)


def _depth(shape: Sequence[int]) -> int:
  """Returns how many numbers of features [B, .., C] one code stands for."""
  return shape[-1] * (PATCH**2 if _has_patches(shape) else 1)


def _has_patches(shape: Sequence[int]) -> bool:
  """Returns whether features are a map that can be cut into patches; tokens are not."""
  return len(shape) == 4 and not (shape[1] % PATCH or shape[2] % PATCH)


def _patches(x: jax.Array) -> jax.Array:
  """Returns features [B, H, W, C] as [B, H / 2, W / 2, 4 C]; others as they are."""
  if not _has_patches(x.shape):
    return x
  _, height, width, channels = x.shape
  rows, columns = height // PATCH, width // PATCH
  x = x.reshape(-1, rows, PATCH, columns, PATCH, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, PATCH**2 * channels)


def _whole(x: jax.Array, shape: Sequence[int]) -> jax.Array:
  """Returns patches as the features [B, *shape[1:]] that they are of."""
  if not _has_patches(shape):
    return x
  _, height, width, channels = shape
  x = x.reshape(-1, height // PATCH, width // PATCH, PATCH, PATCH, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


def _shares(weights: Weights, features: Sequence[jax.Array]) -> list[jax.Array]:
  """Returns codes as numbers from 0 to 1 that are not rounded."""
  return [
    (_patches(x) @ each['encode'] + each['encode_bias']).clip(0, 1)
    for each, x in zip(weights, features, strict=True)
  ]


def _restored(weights: Weights, shares: Sequence[jax.Array], link: Link) -> list[jax.Array]:
  found = list[jax.Array]()
  for each, z, like in zip(weights, shares, link.inputs, strict=True):
    hidden = jax.nn.relu(z @ each['hidden'] + each['hidden_bias'])
    patches = z @ each['decode'] + each['decode_bias'] + hidden @ each['restore']
    found.append(_whole(patches, like.shape))
  return found


def _rounded(share: jax.Array) -> jax.Array:
  """Returns a share as its code has it, with the gradient of the share."""
  return share + jax.lax.stop_gradient(jnp.round(LEVELS * share) / LEVELS - share)


def features(links: Sequence[Link], start: int, images: np.ndarray) -> list[np.ndarray]:
  """Returns the features that a segment takes, float [N, .., C] each, of images uint8."""
  leaves = [link.segment.leaves for link in links]
  run = jax.jit(
    lambda leaves, images: links[start].read(_inputs(links, leaves, start, images)[0]),
    compiler_options=compiler_options(),
  )
  return [np.asarray(one) for one in run(leaves, images)]


def train(
  links: Sequence[Link],
  start: int,
  channels: int,
  images: np.ndarray,
  *,
  steps: int,
  batch_size: int,
  seed: int = 0,
  on_step: Callable[[int], None] = lambda done: None,
) -> Bottleneck:
  """Trains a bottleneck before a segment.

  It starts from the principal components of the features. The loss is the Kullback-Leibler
  divergence of the predictions of the later exits from those that they have without it.

  Args:
    links: the segments of a network, see `links.chain`; they are not changed.
    start: number of the segment, from 1.
    channels: of the codes, see `fits`.
    images: uint8 [N, height, width, channels], of the training split.
    steps: of the optimiser.
    batch_size: images of a step.
    seed: of the weights and of the order of the images.
    on_step: is called with the number of steps done.
  """
  leaves = [link.segment.leaves for link in links]
  optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, max(1, steps)))

  def loss(weights: Weights, leaves: Any, images: jax.Array) -> jax.Array:
    x, before = _inputs(links, leaves, start, images)
    given = links[start].read(x)
    restored = _restored(
      weights, [_rounded(each) for each in _shares(weights, given)], links[start]
    )
    wanted = [jax.nn.log_softmax(z) for z in _later(links, leaves, start, given, before)]
    found = [jax.nn.log_softmax(z) for z in _later(links, leaves, start, restored, before)]
    pairs = zip(found, wanted, strict=True)
    return jnp.stack([optax.losses.kl_divergence_with_log_targets(*pair) for pair in pairs]).mean()

  @functools.partial(jax.jit, donate_argnums=(0, 1), compiler_options=compiler_options())
  def step(weights: Weights, state: Any, leaves: Any, images: jax.Array) -> tuple[Weights, Any]:
    updates, state = optimizer.update(jax.grad(loss)(weights, leaves, images), state)
    return optax.apply_updates(weights, updates), state

  draw = np.random.default_rng(seed)
  first = features(links, start, images[_batch(draw, len(images), FIRST_IMAGES)])
  weights = [_components(np.asarray(_patches(jnp.asarray(one))), channels, draw) for one in first]
  state = optimizer.init(weights)
  for done in range(1, steps + 1):
    weights, state = step(weights, state, leaves, images[_batch(draw, len(images), batch_size)])
    on_step(done)
  return Bottleneck(links[start], channels, jax.tree.map(np.asarray, weights))


def _batch(draw: np.random.Generator, count: int, size: int) -> np.ndarray:
  """Returns the ascending numbers of some of `count` images."""
  return np.sort(draw.choice(count, min(size, count), replace=False))


def _inputs(
  links: Sequence[Link], leaves: Any, start: int, images: jax.Array
) -> tuple[Any, jax.Array | None]:
  """Returns the input of a segment, and the logits of the exit before if it takes them."""
  x: Any = images
  logits = None
  for link, own in zip(links[:start], leaves[:start], strict=True):
    x, logits = link.segment.run(own, x, logits if link.segment.is_cascade else None)
  return x, logits if links[start].segment.is_cascade else None


def _later(
  links: Sequence[Link],
  leaves: Any,
  start: int,
  given: Sequence[jax.Array],
  before: jax.Array | None,
) -> Iterator[jax.Array]:
  """Yields the logits of the exits from a segment on."""
  x = links[start].filled(given)
  for link, own in zip(links[start:], leaves[start:], strict=True):
    x, before = link.segment.run(own, x, before if link.segment.is_cascade else None)
    yield before


def _components(
  patches: np.ndarray, channels: int, draw: np.random.Generator
) -> dict[str, jax.Array]:
  """Returns weights of the principal components; the hidden layer adds nothing yet."""
  rows = patches.reshape(-1, patches.shape[-1])
  rows = rows[:: max(1, len(rows) // PATCHES)].astype(np.float64)
  mean = rows.mean(axis=0)
  values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))  # ascending
  basis = vectors[:, : -channels - 1 : -1]
  span = SPREAD * np.sqrt(values[: -channels - 1 : -1].clip(1e-12))
  width, hidden = rows.shape[1], 2 * rows.shape[1]
  weights = {
    'encode': basis / span,
    'encode_bias': 0.5 - mean @ basis / span,
    'decode': span[:, None] * basis.T,
    'decode_bias': mean - (0.5 * span) @ basis.T,
    'hidden': draw.normal(0, np.sqrt(2 / channels), (channels, hidden)),
    'hidden_bias': draw.uniform(-1, 1, hidden),
    'restore': np.zeros((hidden, width)),
  }
  return {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()}
