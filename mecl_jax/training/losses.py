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


def weighted_sum(losses: jax.Array, weights: jax.Array) -> jax.Array:
  """Sums over exits, means over the batch: `sum(weights * losses) / batch`.

  Args:
    losses: [batch, exits].
    weights: [batch, exits]; exit weights, sample weights and who counts where, all in one array.
  """
  return jnp.sum(weights * losses) / losses.shape[0]
