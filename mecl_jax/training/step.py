"""The compiled training step: look up, augment, forward, sum of exit losses, backward, update."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from mecl_jax.compiler import compiler_options
from mecl_jax.models import MultiExit
from mecl_jax.training.losses import cross_entropy, weighted_sum

Arrays = dict[str, Any]  # nested, of arrays


class Batches(NamedTuple):
  """What the host sends for the steps of one call; S steps, B examples each, E exits with loss.

  Attributes:
    ids: int32 [S, B], rows of the examples that lie on the device.
    weights: float32 [S, B, E] of the losses.
    learning_rate: float32 [S].
    step: uint32 [S], steps of the phase; they seed the augmentation.
    examples: the examples themselves, [S, B, ...], where they are too many for the device.
  """

  ids: Any
  weights: Any
  learning_rate: Any
  step: Any
  examples: Any = None


class Moving(NamedTuple):
  """What a step changes."""

  params: Arrays
  statistics: Arrays  # moving averages of batch norm, in the parts that train
  optimizer: Any


class Metrics(NamedTuple):
  """What is measured at every step.

  Attributes:
    loss: [S], the weighted sum, before the update.
    exit_loss: [S, E], mean cross-entropy of the batch.
    accuracy: [S, E], on the batch.
    finite: bool [S], whether loss and everything that moved are numbers after the update.
  """

  loss: jax.Array
  exit_loss: jax.Array
  accuracy: jax.Array
  finite: jax.Array


def split(
  model: MultiExit, trainable: Sequence[tuple[str, ...]], optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, Moving, Arrays]:
  """Parts a model into its form, what a phase moves, and what it leaves as it is.

  Args:
    model: already in the mode of the phase.
    trainable: path prefixes of what moves.
    optimizer: whose state starts anew.
  """

  def moves(path, _) -> bool:
    return any(path[: len(prefix)] == prefix for prefix in trainable)

  graphdef, *states = nnx.split(
    model, nnx.All(nnx.Param, moves), nnx.All(nnx.BatchStat, moves), ...
  )
  params, statistics, frozen = map(nnx.to_pure_dict, states)
  return graphdef, Moving(params, statistics, optimizer.init(params)), frozen


def make_step(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  *,
  exits: Sequence[str],
  label_smoothing: float,
  augment: Callable[[jax.Array, jax.Array], jax.Array] | None,
) -> Callable[[Moving, Arrays, Arrays, jax.Array, Batches], tuple[Moving, Metrics]]:
  """Compiles `step(moving, frozen, source, key, batches)`; `moving` is donated.

  Args:
    graphdef: of the model, in the mode of the phase.
    optimizer: gives the direction; the learning rate comes with the batch.
    exits: names of the exits that carry loss.
    label_smoothing: see `losses.cross_entropy`.
    augment: `(key, images) -> images`, or None.

  Returns:
    a jitted function. `source` holds `images` (or `features`, one array per exit) and `labels` of
    the whole split, from which `batches.ids` picks; it is empty where the examples come along.
  """

  def objective(params, statistics, frozen, examples, weights):
    model = nnx.merge(graphdef, params, statistics, frozen)
    if 'features' in examples:
      logits = model.classify(examples['features'], exits)
    else:
      logits = model(examples['images'], exits)
    losses = cross_entropy(logits, examples['labels'], label_smoothing)
    loss = weighted_sum(losses, weights.astype(losses.dtype))
    correct = logits.argmax(axis=-1) == examples['labels'][:, None]
    moved = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return loss, (_like(moved, statistics), (loss, losses.mean(axis=0), correct.mean(axis=0)))

  def one(moving, frozen, source, key, batch):
    examples = batch.examples
    if examples is None:
      examples = jax.tree.map(lambda rows: rows.at[batch.ids].get(mode='clip'), source)
    if augment is not None:
      key = jax.random.fold_in(key, batch.step)
      examples = {**examples, 'images': augment(key, examples['images'])}
    gradient = jax.grad(objective, has_aux=True)
    grads, (statistics, (loss, exit_loss, accuracy)) = gradient(
      moving.params, moving.statistics, frozen, examples, batch.weights
    )
    updates, state = optimizer.update(grads, moving.optimizer, moving.params)
    params = jax.tree.map(
      lambda p, u: (p - batch.learning_rate * u).astype(p.dtype), moving.params, updates
    )
    finite = jnp.isfinite(loss + optax.tree.norm((params, statistics)))
    return Moving(params, statistics, state), Metrics(loss, exit_loss, accuracy, finite)

  def step(moving, frozen, source, key, batches):
    if len(batches.learning_rate) == 1:
      # Without a scan: XLA on the CPU runs a convolution's gradient inside one many times slower.
      moving, metrics = one(moving, frozen, source, key, jax.tree.map(lambda x: x[0], batches))
      return moving, jax.tree.map(lambda x: x[None], metrics)
    return jax.lax.scan(lambda m, b: one(m, frozen, source, key, b), moving, batches)

  return jax.jit(step, donate_argnums=0, compiler_options=compiler_options())


def _like(values: Arrays, template: Arrays) -> Arrays:
  """The part of a nested dict that has the template's keys."""
  return {
    key: _like(values[key], inner) if isinstance(inner, dict) else values[key]
    for key, inner in template.items()
  }
