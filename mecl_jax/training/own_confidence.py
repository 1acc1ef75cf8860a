"""Weights by what each exit itself can learn: a record of its own confidence in the labels.

The record has a moving average of the probability of the label for every training example and exit.
It changes each time that an example is in a batch, lies on the device beside the optimiser's state,
and is saved and restored with it. The probabilities are those of the training step: in training
mode, of augmented images, before the update.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NAME = 'confidence'  # of the record in `TrainState.extra`
_NOT_SEEN = -1.0


def empty_record(size: int, exits: int) -> dict[str, np.ndarray]:
  """Returns the record before the first step, float32 [N, exits]."""
  return {NAME: np.full((size, exits), _NOT_SEEN, np.float32)}


def averaged(
  record: jax.Array, ids: jax.Array, logits: jax.Array, labels: jax.Array, decay: float
) -> jax.Array:
  """Returns the moving averages of a batch's examples after its probabilities have been added.

  An average is `decay * average + (1 - decay) * probability`, and the probability itself at the
  first time. Laine and Aila average the predictions for an example in this form.

  Args:
    record: float32 [N, exits], before the batch.
    ids: int32 [batch], rows of the training split.
    logits: [batch, exits, classes]; no gradient flows through them.
    labels: int [batch].
    decay: share of the earlier average, in [0, 1).

  Returns:
    float32 [batch, exits].

  References:
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv 1610.02242.
  """
  probabilities = jax.nn.softmax(jax.lax.stop_gradient(logits))
  own = jnp.take_along_axis(probabilities, labels[:, None, None], axis=-1)[..., 0]
  own, before = own.astype(record.dtype), record[ids]
  return jnp.where(before == _NOT_SEEN, own, decay * before + (1 - decay) * own)


def updated(record: jax.Array, ids: jax.Array, averages: jax.Array) -> jax.Array:
  """Returns the record after a batch.

  An example that is in the batch twice, at the end of one pass and the start of the next, keeps the
  larger average, so that the result does not depend on the order in which the device writes.
  """
  return record.at[ids].set(_NOT_SEEN).at[ids].max(averages)


def weighted(
  weights: jax.Array,
  extra: Mapping[str, Any],
  examples: Mapping[str, jax.Array],
  logits: jax.Array,
  decay: float,
) -> tuple[jax.Array, dict[str, Any]]:
  """Returns the weights of a batch, see `favour_confident`, and the updated `TrainState.extra`.

  Args:
    weights: [batch, exits] of the losses, at least 0.
    extra: of the train state, with the record.
    examples: `ids`, `labels` and `strengths` of the batch.
    logits: [batch, exits, classes].
    decay: see `averaged`.
  """
  record, ids = extra[NAME], examples['ids']
  averages = averaged(record, ids, logits, examples['labels'], decay)
  weights = favour_confident(weights, averages, examples['strengths'])
  return weights, {**extra, NAME: updated(record, ids, averages)}


def favour_confident(weights: jax.Array, averages: jax.Array, strengths: jax.Array) -> jax.Array:
  """Multiplies weights by `1 + strength * (2 * rank - 1)` and keeps their sum over the batch.

  The rank of an example is from 0, the lowest average of the batch at the exit, to 1, the highest.
  Only examples that carry loss at the exit count. Equal averages have the mean of their ranks.

  Args:
    weights: [batch, exits] of the losses, at least 0.
    averages: [batch, exits], see `averaged`.
    strengths: [exits], in [-1, 1].

  Returns:
    [batch, exits].
  """
  seen = weights > 0
  lower = ((averages[None] < averages[:, None]) & seen[None]).sum(axis=1)
  equal = ((averages[None] == averages[:, None]) & seen[None]).sum(axis=1)
  last = seen.sum(axis=0) - 1
  ranks = jnp.where(last > 0, (lower + (equal - 1) / 2) / jnp.maximum(last, 1), 0.5)
  product = weights * (1 + strengths * (2 * ranks - 1))
  total = jnp.maximum(product.sum(axis=0), jnp.finfo(product.dtype).tiny)
  return product * weights.sum(axis=0) / total
