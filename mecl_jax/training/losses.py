"""Losses per example and exit, [batch, exits], and their weighted sum."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
  """Returns the cross-entropy of every exit.

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


def survival(logits: jax.Array, seen: jax.Array) -> jax.Array:
  """Returns weights that are larger for examples of which all earlier exits are unsure.

  Exit j passes an example on with probability 1 - its highest class probability. The weight at
  exit k is the product of these over j < k, divided by its mean over the examples of the batch that
  carry loss at exit k. All examples have weight 1 at the first exit.

  Args:
    logits: [batch, exits, classes], earliest exit first; no gradient flows through them.
    seen: bool [batch, exits], whether the example carries loss at the exit.

  Returns:
    [batch, exits], with mean 1 over `seen` (0 if no example is passed on).
  """
  passed = 1 - jax.nn.softmax(jax.lax.stop_gradient(logits)).max(axis=-1)
  reached = jnp.cumprod(jnp.concatenate([jnp.ones_like(passed[:, :1]), passed[:, :-1]], 1), axis=1)
  mean = (reached * seen).sum(axis=0) / jnp.maximum(seen.sum(axis=0), 1)
  return reached / jnp.maximum(mean, jnp.finfo(reached.dtype).tiny)


def weighted_sum(losses: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the sum over exits and mean over the batch, `sum(weights * losses) / batch`.

  Args:
    losses: [batch, exits].
    weights: [batch, exits], the product of exit weights, sample weights and visibility.
  """
  return jnp.sum(weights * losses) / losses.shape[0]
