"""One shape for every loss: per example and per exit, reduced by explicit weights."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
  """Cross-entropy of every exit.

  Args:
    logits: [batch, exits, classes].
    labels: int [batch].
    label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).

  Returns:
    [batch, exits], in nats.
  """
  targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
  return optax.softmax_cross_entropy(logits, targets[:, None, :].astype(logits.dtype))


def distillation(logits: jax.Array, teacher: jax.Array, temperature: jax.Array) -> jax.Array:
  """Cross-entropy between softened predictions, `T^2 H(softmax(teacher/T), softmax(logits/T))`.

  Summed over classes, not averaged: an average would weaken it by their number.

  Args:
    logits: [batch, exits, classes].
    teacher: logits [batch, classes]; nothing is learnt through them.
    temperature: T, above 0.

  Returns:
    [batch, exits], in nats.

  References:
    Phuong and Lampert, "Distillation-Based Training for Multi-Exit Architectures", ICCV 2019.
  """
  targets = jax.nn.softmax(jax.lax.stop_gradient(teacher) / temperature)
  return temperature**2 * optax.softmax_cross_entropy(logits / temperature, targets[:, None, :])


def survival(logits: jax.Array, seen: jax.Array) -> jax.Array:
  """Weights each example for an exit by how unsure all the exits before it are.

  The probability that exit j passes an example on is taken as 1 - its highest probability; exit k
  gets the product over j < k, divided by its mean over what the exit sees of the batch. The first
  exit counts all alike.

  Args:
    logits: [batch, exits, classes], earliest exit first; nothing is learnt through them.
    seen: bool [batch, exits], which examples count for which exit.

  Returns:
    [batch, exits], of mean 1 over what an exit sees (0 where no example is passed on at all).
  """
  passed = 1 - jax.nn.softmax(jax.lax.stop_gradient(logits)).max(axis=-1)
  reached = jnp.cumprod(jnp.concatenate([jnp.ones_like(passed[:, :1]), passed[:, :-1]], 1), axis=1)
  mean = (reached * seen).sum(axis=0) / jnp.maximum(seen.sum(axis=0), 1)
  return reached / jnp.maximum(mean, jnp.finfo(reached.dtype).tiny)


def weighted_sum(losses: jax.Array, weights: jax.Array) -> jax.Array:
  """Sums over exits, means over the batch: `sum(weights * losses) / batch`.

  Args:
    losses: [batch, exits].
    weights: [batch, exits]; exit weights, sample weights and who counts where, all in one array.
  """
  return jnp.sum(weights * losses) / losses.shape[0]
