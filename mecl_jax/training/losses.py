"""Losses per example and exit, [batch, exits], and their weighted sum."""

import jax
import jax.numpy as jnp
import optax

from mecl_jax.evaluation.tasks.classification import cross_entropy

__all__ = ['cross_entropy', 'distillation', 'weighted_sum']


def distillation(logits: jax.Array, teacher: jax.Array, temperature: jax.Array) -> jax.Array:
  """Returns `T^2 H(softmax(teacher/T), softmax(logits/T))`, the cross-entropy of soft predictions.

  It is a sum over classes. (An average would make it weaker by the number of classes.)

  Args:
    logits: [batch, exits, classes].
    teacher: logits [batch, classes]; no gradient flows through them.
    temperature: T, above 0.

  Returns:
    [batch, exits], in nats.

  References:
    Phuong and Lampert, "Distillation-Based Training for Multi-Exit Architectures", ICCV 2019.
  """
  targets = jax.nn.softmax(jax.lax.stop_gradient(teacher) / temperature)
  return temperature**2 * optax.softmax_cross_entropy(logits / temperature, targets[:, None, :])


def weighted_sum(losses: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the sum over exits and mean over the batch, `sum(weights * losses) / batch`.

  Args:
    losses: [batch, exits].
    weights: [batch, exits], the product of exit weights, sample weights and visibility.
  """
  return jnp.sum(weights * losses) / losses.shape[0]
