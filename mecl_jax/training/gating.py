"""Weights of the examples at every exit by what the exits before it predict, [batch, exits]."""

import jax
import jax.numpy as jnp

BY_EARLIER_EXITS = ('survivors', 'cgt_hard', 'cgt_soft')  # values of `curriculum.sample_weights`


def weights_by_earlier_exits(
  method: str, logits: jax.Array, labels: jax.Array, seen: jax.Array, threshold: float
) -> jax.Array:
  """Returns the weights of a method of `BY_EARLIER_EXITS`.

  Args:
    method: its name.
    logits: [batch, exits, classes], earliest exit first; no gradient flows through them.
    labels: int [batch].
    seen: bool [batch, exits], whether the example carries loss at the exit.
    threshold: see `hard_gate` and `soft_gate`.

  Returns:
    [batch, exits]; 1 for all examples at the first exit.
  """
  logits = jax.lax.stop_gradient(logits)
  if method == 'survivors':
    return survival(logits, seen)
  return (hard_gate if method == 'cgt_hard' else soft_gate)(logits, labels, threshold)


def survival(logits: jax.Array, seen: jax.Array) -> jax.Array:
  """Returns weights that are larger for examples of which all earlier exits are unsure.

  Exit j passes an example on with probability 1 - its highest class probability. The weight at
  exit k is the product of these over j < k, divided by its mean over the examples of the batch that
  carry loss at exit k.

  Args:
    logits: [batch, exits, classes], earliest exit first.
    seen: bool [batch, exits], whether the example carries loss at the exit.

  Returns:
    [batch, exits], with mean 1 over `seen` (0 if no example is passed on).
  """
  reached = _product_before(1 - jax.nn.softmax(logits).max(axis=-1))
  mean = (reached * seen).sum(axis=0) / jnp.maximum(seen.sum(axis=0), 1)
  return reached / jnp.maximum(mean, jnp.finfo(reached.dtype).tiny)


def hard_gate(logits: jax.Array, labels: jax.Array, threshold: float) -> jax.Array:
  """Returns 0 for examples that an earlier exit solves, and 1 for all others.

  An exit solves an example if it predicts the label with at least the probability `threshold`.

  Args:
    logits: [batch, exits, classes], earliest exit first.
    labels: int [batch].
    threshold: from 0 to 1.

  Returns:
    [batch, exits].

  References:
    Mokssit et al., "Confidence-Gated Training for Efficient Early-Exit Neural Networks", 2025,
    arXiv 2509.17885: HardCGT.
  """
  probabilities = jax.nn.softmax(logits)
  right = probabilities.argmax(axis=-1) == labels[:, None]
  solved = right & (probabilities.max(axis=-1) >= threshold)
  return _product_before(1 - solved.astype(logits.dtype))


def soft_gate(logits: jax.Array, labels: jax.Array, threshold: float) -> jax.Array:
  """Returns weights that fall with the probability that earlier exits give to the label.

  The weight at exit k is the product of `1 - sigmoid(p_j - threshold)` over j < k, with the
  probability p_j that exit j gives to the label.

  Args:
    logits: [batch, exits, classes], earliest exit first.
    labels: int [batch].
    threshold: from 0 to 1.

  Returns:
    [batch, exits].

  References:
    As `hard_gate`: SoftCGT, in the form of the public program of the method, without its
    stabilisers: a constant of 0.001 and weights that sum to 1 over the exits of each example.
  """
  probabilities = jax.nn.softmax(logits)
  of_label = jnp.take_along_axis(probabilities, labels[:, None, None], axis=-1)[..., 0]
  return _product_before(1 - jax.nn.sigmoid(of_label - threshold))


def _product_before(factors: jax.Array) -> jax.Array:
  """Returns for every exit the product of the factors of the exits before it, [batch, exits]."""
  shifted = jnp.concatenate([jnp.ones_like(factors[:, :1]), factors[:, :-1]], axis=1)
  return jnp.cumprod(shifted, axis=1)
