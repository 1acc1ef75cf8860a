"""The compiled training step: gather, augment, forward, sum of exit losses, backward, update."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from mecl_jax.compiler import compiler_options
from mecl_jax.models import MultiExit
from mecl_jax.training import learning_speed, lookahead, weight_network
from mecl_jax.training.objective import Arrays, Objective, make_gradient


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
    weight_rate: float32 [S], learning rate of `weight_network`; None: there is none.
    copy: int32 [S, B], numbers of the augmented copies; None: the phase has no copies.
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
  weight_rate: Any = None
  copy: Any = None


class TrainState(NamedTuple):
  """The state that a step updates.

  Attributes:
    params: trainable parameters.
    batch_stats: moving averages of batch norm in the trainable parts.
    opt_state: of the optimiser.
    extra: `temperature` of distillation, the arrays of `learning_speed.empty_record` and of
      `own_confidence.empty_record`, `slow` parameters and batch statistics of lookahead, `adapters`
      of `hints`, which train with the parameters, `weight_network`, or nothing.
  """

  params: Arrays
  batch_stats: Arrays
  opt_state: Any
  extra: Arrays


class StepMetrics(NamedTuple):
  """Measurements of every step.

  Attributes:
    loss: [S], the weighted sum, before the update.
    exit_loss: [S, E], mean loss of the batch, without weights.
    accuracy: [S, E], on the batch; the mean quality of another task.
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
  augment_copy: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None = None,
) -> Step:
  """Makes the jitted function `step(state, frozen, source, key, batches)`; `state` is donated.

  Args and returned function: see `make_update`, of which it takes S steps in one call.
  """
  one = make_update(graphdef, optimizer, objective, augment=augment, augment_copy=augment_copy)

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
  augment_copy: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None = None,
) -> Step:
  """Makes the function `(state, frozen, source, key, batch)` of one step, not compiled.

  Args:
    graphdef: of the model, in the mode of the phase.
    optimizer: gives the direction; the learning rate is part of the batches.
    objective: to minimise.
    augment: `(key, images, mirrored) -> images`, or None.
    augment_copy: `(images, ids, copy) -> images`, for images whose batches have `copy`, or None.

  Returns:
    the function. `source` holds `images` (or `summaries`, one array per exit, and with distillation
    `teacher`, the final exit's logits) and `labels` of the whole split, which `batches.ids` index;
    those of augmented copies, [copies, N, ...], are indexed by `batches.copy` too. It is empty if
    the batches hold the examples.
  """

  def move(params, grads, state, batch):
    """Returns the parameters and the optimiser's state after a step."""
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    if batch.head_rates is not None:
      updates = _at_head_rates(updates, batch.head_rates, objective.exits)
    moved = jax.tree.map(
      lambda p, u: (p - batch.learning_rate * u).astype(p.dtype), params, updates
    )
    return moved, opt_state

  gradient, learn_weights = make_gradient(graphdef, objective, lambda *args: move(*args)[0])

  def one(state, frozen, source, key, batch):
    with jax.named_scope('batch'):  # scopes are for profiles
      examples = batch.examples
      if examples is None:
        copied = batch.copy is not None and 'summaries' in source
        at = (batch.copy, batch.ids) if copied else batch.ids
        examples = jax.tree.map(lambda rows: rows.at[at].get(mode='clip'), source)
      if batch.copy is not None and augment_copy is not None:
        images = augment_copy(examples['images'], batch.ids, batch.copy)
        examples = {**examples, 'images': images}
      elif augment is not None:
        augment_key = jax.random.fold_in(key, batch.step)
        images = augment(augment_key, examples['images'], batch.mirrored)
        examples = {**examples, 'images': images}
    if batch.strengths is not None:
      examples = {**examples, 'ids': batch.ids, 'strengths': batch.strengths}
    dropout_key = jax.random.fold_in(key, ~batch.step)  # augmentation never uses this number
    params, adapters = state.params, 'adapters' in state.extra
    if adapters:
      params = {**params, 'adapters': state.extra['adapters']}
    if objective.sample_weights == weight_network.METHOD:
      network = learn_weights(
        state.extra['weight_network'], params, state, frozen, examples, batch, dropout_key
      )
      state = state._replace(extra={**state.extra, 'weight_network': network})
    grads, (loss, batch_stats, extra, exit_loss, correct) = gradient(
      params, state, frozen, examples, batch.weights, dropout_key
    )
    if batch.epoch is not None:
      extra = {**extra, **learning_speed.updated(extra, batch.ids, batch.epoch, ~correct[:, -1])}
    with jax.named_scope('update'):
      params, opt_state = move(params, grads, state, batch)
      if adapters:
        extra = {**extra, 'adapters': params.pop('adapters')}
      if batch.slow_share is not None:
        fast, slow = lookahead.pull((params, batch_stats), extra['slow'], batch.slow_share)
        (params, batch_stats), extra = fast, {**extra, 'slow': slow}
    finite = jnp.isfinite(loss + optax.tree.norm((params, batch_stats)))
    metrics = StepMetrics(loss, exit_loss, correct.mean(axis=0), finite)
    return TrainState(params, batch_stats, opt_state, extra), metrics

  return one


def _at_head_rates(updates: Arrays, rates: jax.Array, exits: Sequence[str]) -> Arrays:
  """Returns updates in which those of the head of every exit are multiplied by its factor."""
  heads = {
    name: jax.tree.map(lambda u, rate=rate: rate.astype(u.dtype) * u, updates['heads'][name])
    for name, rate in zip(exits, rates, strict=True)
  }
  return {**updates, 'heads': {**updates['heads'], **heads}}
