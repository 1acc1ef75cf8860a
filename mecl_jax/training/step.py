"""The compiled training step: gather, augment, forward, sum of exit losses, backward, update."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mecl_jax.compiler import compiler_options
from mecl_jax.models import FINAL, MultiExit, draw_dropout
from mecl_jax.training import gradients, learning_speed, lookahead, own_confidence
from mecl_jax.training.losses import cross_entropy, distillation, survival, weighted_sum

Arrays = dict[str, Any]  # nested dicts of arrays


class Objective(NamedTuple):
  """The loss that a step minimises.

  Attributes:
    exits: names of the exits that carry loss.
    label_smoothing: see `losses.cross_entropy`.
    survivors: whether the weights are multiplied by `losses.survival`.
    distilled: C of `(1 - C) cross-entropy + C distillation` from the final exit; 0: none.
    growth, growth_above: the temperature, kept in `TrainState.extra`, is multiplied by `growth`
      after a batch whose mean highest probability at the final exit is above `growth_above`.
    gradients: how the exits share the backbone, a value of the field of this name.
    radius: see `gradients.cagrad`.
    decay: see `own_confidence.averaged`.
  """

  exits: tuple[str, ...]
  label_smoothing: float = 0.0
  survivors: bool = False
  distilled: float = 0.0
  growth: float = 1.0
  growth_above: float = 1.0
  gradients: str = 'sum'
  radius: float = 0.0
  decay: float = 0.0


class Batches(NamedTuple):
  """The host's input to one call of S steps, with B examples each and E exits with loss.

  Attributes:
    ids: int32 [S, B], rows of the training split.
    weights: float32 [S, B, E] of the losses.
    learning_rate: float32 [S].
    step: uint32 [S], steps of the phase; they seed the augmentation.
    examples: the examples, [S, B, ...], if the training split is too large for the device.
    epoch: int32 [S, B] of each example, if correct predictions are recorded; -1: not recorded.
    mirrored: bool [S, B], the images to mirror, if flips alternate; None: `augment` draws them.
    slow_share: float32 [S], see `lookahead.pull`; None: no lookahead.
    head_rates: float32 [S, E], factors of the learning rate for each head; None: all are 1.
    strengths: float32 [S, E], see `own_confidence.favour_confident`; None: no such weights.
  """

  ids: Any
  weights: Any
  learning_rate: Any
  step: Any
  examples: Any = None
  epoch: Any = None
  mirrored: Any = None
  slow_share: Any = None
  head_rates: Any = None
  strengths: Any = None


class TrainState(NamedTuple):
  """The state that a step updates.

  Attributes:
    params: trainable parameters.
    batch_stats: moving averages of batch norm in the trainable parts.
    opt_state: of the optimiser.
    extra: `temperature` of distillation, the arrays of `learning_speed.empty_record` and of
      `own_confidence.empty_record`, `slow` parameters and batch statistics of lookahead; or none.
  """

  params: Arrays
  batch_stats: Arrays
  opt_state: Any
  extra: Arrays


class StepMetrics(NamedTuple):
  """Measurements of every step.

  Attributes:
    loss: [S], the weighted sum, before the update.
    exit_loss: [S, E], mean cross-entropy of the batch.
    accuracy: [S, E], on the batch.
    finite: bool [S], whether the loss and the updated parameters and batch statistics are finite.
  """

  loss: jax.Array
  exit_loss: jax.Array
  accuracy: jax.Array
  finite: jax.Array


def split(
  model: MultiExit,
  trainable: Sequence[tuple[str, ...]],
  optimizer: optax.GradientTransformation,
  extra: Arrays | None = None,
) -> tuple[nnx.GraphDef, TrainState, Arrays]:
  """Splits a model into its structure, the initial train state, and the frozen state.

  Args:
    model: already in the mode of the phase.
    trainable: path prefixes of the parameters that train.
    optimizer: whose initial state is returned.
    extra: see `TrainState`; None: nothing.
  """

  def trains(path, _) -> bool:
    return any(path[: len(prefix)] == prefix for prefix in trainable)

  graphdef, *states = nnx.split(
    model, nnx.All(nnx.Param, trains), nnx.All(nnx.BatchStat, trains), ...
  )
  params, batch_stats, frozen = map(nnx.to_pure_dict, states)
  return graphdef, TrainState(params, batch_stats, optimizer.init(params), extra or {}), frozen


Step = Callable[[TrainState, Arrays, Arrays, jax.Array, Batches], tuple[TrainState, StepMetrics]]


def make_step(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  objective: Objective,
  *,
  augment: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array] | None = None,
) -> Step:
  """Makes the jitted function `step(state, frozen, source, key, batches)`; `state` is donated.

  Args and returned function: see `make_update`, of which it takes S steps in one call.
  """
  one = make_update(graphdef, optimizer, objective, augment=augment)

  def step(state, frozen, source, key, batches):
    if len(batches.learning_rate) == 1:
      # No scan: XLA on the CPU runs a convolution's gradient many times slower inside of one.
      state, metrics = one(state, frozen, source, key, jax.tree.map(lambda x: x[0], batches))
      return state, jax.tree.map(lambda x: x[None], metrics)
    return jax.lax.scan(lambda s, b: one(s, frozen, source, key, b), state, batches)

  return jax.jit(step, donate_argnums=0, compiler_options=compiler_options())


def make_update(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  objective: Objective,
  *,
  augment: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array] | None = None,
) -> Step:
  """Makes the function `(state, frozen, source, key, batch)` of one step, not compiled.

  Args:
    graphdef: of the model, in the mode of the phase.
    optimizer: gives the direction; the learning rate is part of the batches.
    objective: to minimise.
    augment: `(key, images, mirrored) -> images`, or None.

  Returns:
    the function. `source` holds `images` (or `summaries`, one array per exit, and with distillation
    `teacher`, the final exit's logits) and `labels` of the whole split, which `batches.ids` index;
    it is empty if the batches hold the examples.
  """

  gradient = _make_gradient(graphdef, objective)

  def one(state, frozen, source, key, batch):
    with jax.named_scope('batch'):  # scopes are for profiles
      examples = batch.examples
      if examples is None:
        examples = jax.tree.map(lambda rows: rows.at[batch.ids].get(mode='clip'), source)
      if augment is not None:
        augment_key = jax.random.fold_in(key, batch.step)
        images = augment(augment_key, examples['images'], batch.mirrored)
        examples = {**examples, 'images': images}
    if batch.strengths is not None:
      examples = {**examples, 'ids': batch.ids, 'strengths': batch.strengths}
    dropout_key = jax.random.fold_in(key, ~batch.step)  # augmentation never uses this number
    grads, (loss, batch_stats, extra, exit_loss, correct) = gradient(
      state.params, state, frozen, examples, batch.weights, dropout_key
    )
    if batch.epoch is not None:
      extra = {**extra, **learning_speed.updated(extra, batch.ids, batch.epoch, ~correct[:, -1])}
    with jax.named_scope('update'):
      updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
      if batch.head_rates is not None:
        updates = _at_head_rates(updates, batch.head_rates, objective.exits)
      params = jax.tree.map(
        lambda p, u: (p - batch.learning_rate * u).astype(p.dtype), state.params, updates
      )
      if batch.slow_share is not None:
        fast, slow = lookahead.pull((params, batch_stats), extra['slow'], batch.slow_share)
        (params, batch_stats), extra = fast, {**extra, 'slow': slow}
    finite = jnp.isfinite(loss + optax.tree.norm((params, batch_stats)))
    metrics = StepMetrics(loss, exit_loss, correct.mean(axis=0), finite)
    return TrainState(params, batch_stats, opt_state, extra), metrics

  return one


def _make_gradient(graphdef: nnx.GraphDef, objective: Objective) -> Callable:
  """Makes `gradient(params, state, frozen, examples, weights, key) -> (gradients, rest)`.

  `rest` is the loss, the batch statistics, the new `TrainState.extra`, the mean loss of each exit
  [E], and whether its prediction is right [B, E].
  """

  def losses_of(params, state, frozen, examples, weights, key):
    """Returns losses and their weights, [B, E] each, and what else a step needs."""
    model, extra = nnx.merge(graphdef, params, state.batch_stats, frozen), state.extra
    draw_dropout(model, key)
    logits, teacher = _predictions(model, examples, objective)
    losses = cross_entropy(logits, examples['labels'], objective.label_smoothing)
    minimised = losses
    if teacher is not None:
      taught = np.array([name != FINAL for name in objective.exits])
      soft = distillation(logits, teacher, extra['temperature']) * taught
      minimised = (1 - objective.distilled) * losses + objective.distilled * soft
      extra = {**extra, 'temperature': _next_temperature(extra, teacher, objective)}
    if objective.survivors:
      weights = weights * survival(logits, weights > 0)
    if 'strengths' in examples:
      weights, extra = own_confidence.weighted(weights, extra, examples, logits, objective.decay)
    correct = logits.argmax(axis=-1) == examples['labels'][:, None]
    updated = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    rest = (_like(updated, state.batch_stats), extra, losses.mean(axis=0), correct)
    return (minimised, weights.astype(losses.dtype)), rest

  def loss_of(*args):
    weighted, rest = losses_of(*args)
    loss = weighted_sum(*weighted)
    return loss, (loss, *rest)

  def exit_losses_of(*args):
    (losses, weights), rest = losses_of(*args)
    return (weights * losses).sum(axis=0) / len(losses), rest

  def gradient(params, *args):
    if objective.gradients not in gradients.PER_EXIT:
      return jax.grad(loss_of, has_aux=True)(params, *args)
    losses, backward, rest = jax.vjp(lambda p: exit_losses_of(p, *args), params, has_aux=True)
    # Not `vmap`: it would make a grouped convolution of every gradient, which XLA runs slowly.
    of_exits = [backward(one)[0] for one in jnp.eye(len(losses), dtype=losses.dtype)]
    key = jax.random.fold_in(args[-1], 2**31)  # the layers of dropout use small numbers
    grads = gradients.combine(of_exits, objective.gradients, key, objective.radius)
    return grads, (losses.sum(), *rest)

  return gradient


def _predictions(
  model: MultiExit, examples: Arrays, objective: Objective
) -> tuple[jax.Array, jax.Array | None]:
  """Returns logits [B, exits, classes] and, with distillation, the final exit's [B, classes].

  The final exit's logits come from `exits`, from cached logits, or from an additional forward pass
  through its head.
  """
  exits = objective.exits
  if 'summaries' in examples:
    logits = model.read(examples['summaries'], exits)
    own = logits[:, -1] if objective.distilled and FINAL in exits else None
    return logits, examples.get('teacher', own)
  link = gradients.make_link(objective.gradients, len(exits))
  if not objective.distilled:
    return model(examples['images'], exits, link), None
  if FINAL in exits:
    logits = model(examples['images'], exits, link)
    return logits, logits[:, -1]
  logits = model(examples['images'], (*exits, FINAL))
  return logits[:, :-1], logits[:, -1]


def _at_head_rates(updates: Arrays, rates: jax.Array, exits: Sequence[str]) -> Arrays:
  """Returns updates in which those of the head of every exit are multiplied by its factor."""
  heads = {
    name: jax.tree.map(lambda u, rate=rate: rate.astype(u.dtype) * u, updates['heads'][name])
    for name, rate in zip(exits, rates, strict=True)
  }
  return {**updates, 'heads': {**updates['heads'], **heads}}


def _next_temperature(extra: Arrays, teacher: jax.Array, objective: Objective) -> jax.Array:
  temperature = extra['temperature']
  confidence = jax.nn.softmax(teacher / temperature).max(axis=-1).mean()
  return jnp.where(confidence > objective.growth_above, temperature * objective.growth, temperature)


def _like(values: Arrays, template: Arrays) -> Arrays:
  """Returns the part of a nested dict that has the template's keys."""
  return {
    key: _like(values[key], inner) if isinstance(inner, dict) else values[key]
    for key, inner in template.items()
  }
