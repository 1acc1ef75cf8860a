"""The compiled training step: look up, augment, forward, sum of exit losses, backward, update."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mecl_jax.compiler import compiler_options
from mecl_jax.models import FINAL, MultiExit, draw_dropout
from mecl_jax.training import record
from mecl_jax.training.losses import cross_entropy, distillation, survival, weighted_sum

Arrays = dict[str, Any]  # nested, of arrays


class Objective(NamedTuple):
  """What a step minimises.

  Attributes:
    exits: names of the exits that carry loss.
    label_smoothing: see `losses.cross_entropy`.
    survivors: whether the weights are multiplied by `losses.survival`.
    distilled: C of `(1 - C) cross-entropy + C distillation` from the final exit; 0: none.
    growth, growth_above: the temperature, kept in `Moving.memory`, grows by this factor after a
      batch in which the final exit's highest probability at it exceeds this on average.
  """

  exits: tuple[str, ...]
  label_smoothing: float = 0.0
  survivors: bool = False
  distilled: float = 0.0
  growth: float = 1.0
  growth_above: float = 1.0


class Batches(NamedTuple):
  """What the host sends for the steps of one call; S steps, B examples each, E exits with loss.

  Attributes:
    ids: int32 [S, B], rows of the examples that lie on the device.
    weights: float32 [S, B, E] of the losses.
    learning_rate: float32 [S].
    step: uint32 [S], steps of the phase; they seed the augmentation.
    examples: the examples themselves, [S, B, ...], where they are too many for the device.
    epoch: int32 [S, B], of each example, where it is noted which are predicted right; -1: not this.
  """

  ids: Any
  weights: Any
  learning_rate: Any
  step: Any
  examples: Any = None
  epoch: Any = None


class Moving(NamedTuple):
  """What a step changes."""

  params: Arrays
  statistics: Arrays  # moving averages of batch norm, in the parts that train
  optimizer: Any
  memory: Arrays  # `temperature` of distillation; the record of `record.begin`; or nothing


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
  model: MultiExit,
  trainable: Sequence[tuple[str, ...]],
  optimizer: optax.GradientTransformation,
  memory: Arrays | None = None,
) -> tuple[nnx.GraphDef, Moving, Arrays]:
  """Parts a model into its form, what a phase moves, and what it leaves as it is.

  Args:
    model: already in the mode of the phase.
    trainable: path prefixes of what moves.
    optimizer: whose state starts anew.
    memory: see `Moving`; None: nothing.
  """

  def moves(path, _) -> bool:
    return any(path[: len(prefix)] == prefix for prefix in trainable)

  graphdef, *states = nnx.split(
    model, nnx.All(nnx.Param, moves), nnx.All(nnx.BatchStat, moves), ...
  )
  params, statistics, frozen = map(nnx.to_pure_dict, states)
  return graphdef, Moving(params, statistics, optimizer.init(params), memory or {}), frozen


def make_step(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  objective: Objective,
  *,
  augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Callable[[Moving, Arrays, Arrays, jax.Array, Batches], tuple[Moving, Metrics]]:
  """Compiles `step(moving, frozen, source, key, batches)`; `moving` is donated.

  Args:
    graphdef: of the model, in the mode of the phase.
    optimizer: gives the direction; the learning rate comes with the batch.
    objective: what is minimised.
    augment: `(key, images) -> images`, or None.

  Returns:
    a jitted function. `source` holds `images` (or `summaries`, one array per exit, and with
    distillation `teacher`, the final exit's logits) and `labels` of the whole split, from which
    `batches.ids` picks; it is empty where the examples come along.
  """

  def loss_of(params, moving, frozen, examples, weights, key):
    model, memory = nnx.merge(graphdef, params, moving.statistics, frozen), moving.memory
    draw_dropout(model, key)
    logits, teacher = _predictions(model, examples, objective)
    losses = cross_entropy(logits, examples['labels'], objective.label_smoothing)
    minimised = losses
    if teacher is not None:
      taught = np.array([name != FINAL for name in objective.exits])
      soft = distillation(logits, teacher, memory['temperature']) * taught
      minimised = (1 - objective.distilled) * losses + objective.distilled * soft
      memory = {**memory, 'temperature': _next_temperature(memory, teacher, objective)}
    if objective.survivors:
      weights = weights * survival(logits, weights > 0)
    loss = weighted_sum(minimised, weights.astype(losses.dtype))
    correct = logits.argmax(axis=-1) == examples['labels'][:, None]
    moved = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return loss, (_like(moved, moving.statistics), memory, (loss, losses.mean(axis=0), correct))

  def one(moving, frozen, source, key, batch):
    examples = batch.examples
    if examples is None:
      examples = jax.tree.map(lambda rows: rows.at[batch.ids].get(mode='clip'), source)
    if augment is not None:
      drawn = jax.random.fold_in(key, batch.step)
      examples = {**examples, 'images': augment(drawn, examples['images'])}
    dropped = jax.random.fold_in(key, ~batch.step)  # a number that augmentation never takes
    gradient = jax.grad(loss_of, has_aux=True)
    grads, (statistics, memory, (loss, exit_loss, correct)) = gradient(
      moving.params, moving, frozen, examples, batch.weights, dropped
    )
    if batch.epoch is not None:
      memory = {**memory, **record.noted(memory, batch.ids, batch.epoch, ~correct[:, -1])}
    updates, state = optimizer.update(grads, moving.optimizer, moving.params)
    params = jax.tree.map(
      lambda p, u: (p - batch.learning_rate * u).astype(p.dtype), moving.params, updates
    )
    finite = jnp.isfinite(loss + optax.tree.norm((params, statistics)))
    metrics = Metrics(loss, exit_loss, correct.mean(axis=0), finite)
    return Moving(params, statistics, state, memory), metrics

  def step(moving, frozen, source, key, batches):
    if len(batches.learning_rate) == 1:
      # Without a scan: XLA on the CPU runs a convolution's gradient inside one many times slower.
      moving, metrics = one(moving, frozen, source, key, jax.tree.map(lambda x: x[0], batches))
      return moving, jax.tree.map(lambda x: x[None], metrics)
    return jax.lax.scan(lambda m, b: one(m, frozen, source, key, b), moving, batches)

  return jax.jit(step, donate_argnums=0, compiler_options=compiler_options())


def _predictions(
  model: MultiExit, examples: Arrays, objective: Objective
) -> tuple[jax.Array, jax.Array | None]:
  """Logits of the exits [B, exits, classes], and, if they are taught, the final one's [B, classes].

  The final exit may be among them, may have been asked once for all, or else runs only to teach.
  """
  exits = objective.exits
  if 'summaries' in examples:
    return model.read(examples['summaries'], exits), examples.get('teacher')
  if not objective.distilled:
    return model(examples['images'], exits), None
  if FINAL in exits:
    logits = model(examples['images'], exits)
    return logits, logits[:, -1]
  logits = model(examples['images'], (*exits, FINAL))
  return logits[:, :-1], logits[:, -1]


def _next_temperature(memory: Arrays, teacher: jax.Array, objective: Objective) -> jax.Array:
  temperature = memory['temperature']
  sure = jax.nn.softmax(teacher / temperature).max(axis=-1).mean()
  return jnp.where(sure > objective.growth_above, temperature * objective.growth, temperature)


def _like(values: Arrays, template: Arrays) -> Arrays:
  """The part of a nested dict that has the template's keys."""
  return {
    key: _like(values[key], inner) if isinstance(inner, dict) else values[key]
    for key, inner in template.items()
  }
