"""How the gradients of several exits become one update of the backbone that they share.

`equilibrium` and `partition` change how gradients flow at every exit; `pcgrad` and `cagrad` need
the gradient of every exit by itself, and weight them by their inner products.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from mecl_jax.models.multi_exit import Link

PER_EXIT = ('pcgrad', 'cagrad')  # these take a backward pass per exit
KEPT = 0.5  # share of the channels through which 'partition' lets the gradients of later exits

_ITERATIONS = 200  # of the search for CAGrad's weights, on a matrix [exits, exits]


def make_link(method: str, exits: int) -> Link | None:
  """Returns what happens to the feature map at an exit; None: nothing.

  Args:
    method: a value of the field `gradients`.
    exits: number of exits.

  References:
    Li et al., "Improved Techniques for Training Adaptive Deep Networks", ICCV 2019, arXiv
    1908.06294: 'equilibrium'.
    Gong et al., "Deep Feature Surgery: Towards Accurate and Efficient Multi-Exit Networks", ECCV
    2024, arXiv 2407.13986: 'partition', the feature partitioning without the feature referencing.
  """
  if method == 'equilibrium':
    return functools.partial(_equilibrium, exits)
  return _partition if method == 'partition' else None


def _equilibrium(exits: int, number: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Gives every stage the mean of the gradients of the exits after it, and not their sum."""
  x = _scaled(x, 1 / (exits - number))
  return x, _scaled(x, exits - number - 1)


def _scaled(x: jax.Array, factor: float) -> jax.Array:
  """Returns x, bit for bit, with its gradient multiplied by a factor."""
  return x + (factor - 1) * (x - jax.lax.stop_gradient(x))


def _partition(number: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Keeps the gradients of later exits away from the last channels, which this exit trains."""
  kept = round(KEPT * x.shape[-1])
  own = jax.lax.stop_gradient(x[..., kept:])
  return x, jnp.concatenate([x[..., :kept], own], axis=-1)


def combine(gradients: list, method: str, key: jax.Array, radius: float):
  """Returns one gradient of the parameters.

  Args:
    gradients: of the loss of every exit, nested dicts with the part `backbone`.
    method: one of `PER_EXIT`.
    key: of the random order of PCGrad.
    radius: c of CAGrad, from 0 to below 1; 0 is the sum.

  Returns:
    the weighted sum of the gradients in the backbone, and their sum in all other parts, which have
    one exit each.
  """
  shared = [gradient['backbone'] for gradient in gradients]
  vectors = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in shared]
  products = jnp.stack([jnp.stack([a @ b for b in vectors]) for a in vectors])
  weights = pcgrad(products, key) if method == 'pcgrad' else cagrad(products, radius)
  summed = jax.tree.map(lambda *parts: sum(parts), *gradients)

  def weighted(*parts):
    return sum(weight.astype(p.dtype) * p for weight, p in zip(weights, parts, strict=True))

  return {**summed, 'backbone': jax.tree.map(weighted, *shared)}


def pcgrad(products: jax.Array, key: jax.Array) -> jax.Array:
  """Returns the weights of the gradients in PCGrad's update.

  Each gradient loses its component against every other one that it conflicts with, in a random
  order; the update is the sum of what is left.

  Args:
    products: inner products of the gradients, [exits, exits].
    key: of the order.

  Returns:
    [exits].

  References:
    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782.
  """
  exits = len(products)
  squares = jnp.maximum(jnp.diag(products), jnp.finfo(products.dtype).tiny)

  def project(number, key):
    def one(left, other):
      product = left @ products[:, other]
      conflict = (other != number) & (product < 0)
      return left.at[other].add(-jnp.where(conflict, product / squares[other], 0)), None

    start = jax.nn.one_hot(number, exits, dtype=products.dtype)
    return jax.lax.scan(one, start, jax.random.permutation(key, exits))[0]

  return jax.vmap(project)(jnp.arange(exits), jax.random.split(key, exits)).sum(axis=0)


def cagrad(products: jax.Array, radius: float) -> jax.Array:
  """Returns the weights of the gradients in CAGrad's update.

  The update maximises the least improvement of any exit within a ball around the mean gradient, of
  `radius` times its length. It is divided by 1 + radius^2 and multiplied by the number of exits, as
  in the authors' code, so that a radius of 0 gives the sum.

  Args:
    products: inner products of the gradients, [exits, exits].
    radius: c in the paper, from 0 to below 1.

  Returns:
    [exits].

  References:
    Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, arXiv
    2110.14048.
  """
  exits = len(products)
  tiny = jnp.finfo(products.dtype).tiny
  # The weights do not depend on the length of all gradients together.
  products = products / jnp.maximum(jnp.trace(products) / exits, tiny)
  mean = jnp.full(exits, 1 / exits, products.dtype)
  reach = radius * _length(products, mean)

  largest = jnp.maximum(jnp.abs(products).sum(axis=0).max(), tiny)  # at least any eigenvalue

  def descend(_, state):  # accelerated projected gradients; the objective is convex
    w, ahead, pace = state
    length = _length(products, ahead)
    slope = products @ mean * length + reach * (products @ ahead)
    moved = optax.projections.projection_simplex(ahead - slope / (reach * largest + tiny))
    faster = (1 + jnp.sqrt(1 + 4 * pace**2)) / 2
    return moved, moved + (pace - 1) / faster * (moved - w), faster

  w, *_ = jax.lax.fori_loop(0, _ITERATIONS, descend, (mean, mean, jnp.ones_like(reach)))
  return exits * (mean + reach / _length(products, w) * w) / (1 + radius**2)


def _length(products: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the length of a weighted sum of gradients, above 0."""
  square = weights @ products @ weights
  return jnp.sqrt(jnp.maximum(square, jnp.finfo(products.dtype).eps ** 2))
