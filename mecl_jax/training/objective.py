"""The loss that a step minimises, and its gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS, LossSettings
from mecl_jax.models import FINAL, MultiExit, draw_dropout
from mecl_jax.training import gradients, own_confidence, weight_network
from mecl_jax.training.gating import BY_EARLIER_EXITS, weights_by_earlier_exits
from mecl_jax.training.hints import hint_losses
from mecl_jax.training.losses import distillation, weighted_sum

Arrays = dict[str, Any]  # nested dicts of arrays


class Objective(NamedTuple):
  """The loss that a step minimises.

  Attributes:
    exits: names of the exits that carry loss.
    label_smoothing: see `losses.cross_entropy`.
    sample_weights: by which the weights are multiplied in the step: one of
      `gating.BY_EARLIER_EXITS`, `weight_network.METHOD`, or 'none'.
    gate: threshold of `gating.hard_gate` and `gating.soft_gate`.
    distilled: C of `(1 - C) cross-entropy + C distillation` from the final exit; 0: none.
    growth, growth_above: the temperature, kept in `TrainState.extra`, is multiplied by `growth`
      after a batch whose mean highest probability at the final exit is above `growth_above`.
    hint: weight of `hints.hint_losses`, which is added; 0: none.
    gradients: how the exits share the backbone, a value of the field of this name.
    radius: see `gradients.cagrad`.
    decay: see `own_confidence.averaged`.
    task: name of the task, whose losses these are.
    huber_delta: see `LossSettings`.
  """

  exits: tuple[str, ...]
  label_smoothing: float = 0.0
  sample_weights: str = 'none'
  gate: float = 0.0
  distilled: float = 0.0
  growth: float = 1.0
  growth_above: float = 1.0
  hint: float = 0.0
  gradients: str = 'sum'
  radius: float = 0.0
  decay: float = 0.0
  task: str = CLASSIFICATION.name
  huber_delta: float = 1.0


class Gradient(NamedTuple):
  """Functions of the trained parameters: those of the network, and `adapters` of `hints`.

  Attributes:
    gradient: `(params, state, frozen, examples, weights, key) -> (gradients, rest)`. `rest` is the
      loss, the batch statistics, the new `TrainState.extra`, the mean loss of each exit [E], and
      whether its prediction is right [B, E], or its quality in another task.
    learn_weights: see `weight_network.make_learn`.
  """

  gradient: Callable
  learn_weights: Callable


def make_gradient(graphdef: nnx.GraphDef, objective: Objective, move: Callable) -> Gradient:
  """Makes the functions of an objective.

  Args:
    graphdef: of the model, in the mode of the phase.
    objective: to minimise.
    move: see `weight_network.make_learn`.
  """

  task = TASKS[objective.task]

  def model_of(params, state, frozen, key):
    params = {name: part for name, part in params.items() if name != 'adapters'}
    model = nnx.merge(graphdef, params, state.batch_stats, frozen)
    draw_dropout(model, key)
    return model

  def losses_of(params, state, frozen, examples, weights, key):
    """Returns losses and their weights, [B, E] each, and what else a step needs."""
    model, extra = model_of(params, state, frozen, key), state.extra
    labels = examples['labels']
    logits, teacher, embedded = _predictions(model, examples, objective)
    scale = model.target_std[...] if model.standardised else 1.0
    settings = LossSettings(objective.label_smoothing, objective.huber_delta, scale)
    losses = task.losses(logits, labels, settings)
    minimised = losses
    if teacher is not None:
      taught = np.array([name != FINAL for name in objective.exits])
      soft = distillation(logits, teacher, extra['temperature']) * taught
      minimised = (1 - objective.distilled) * losses + objective.distilled * soft
      extra = {**extra, 'temperature': _next_temperature(extra, teacher, objective)}
    if embedded:
      hints = hint_losses(embedded, params['adapters'], objective.exits)
      minimised = minimised + objective.hint * hints
    if objective.sample_weights in BY_EARLIER_EXITS:
      weights = weights * weights_by_earlier_exits(
        objective.sample_weights, logits, labels, weights > 0, objective.gate
      )
    if 'strengths' in examples:
      weights, extra = own_confidence.weighted(weights, extra, examples, logits, objective.decay)
    if objective.sample_weights == weight_network.METHOD:
      network = extra['weight_network']['params']
      weights = weights * weight_network.predicted_weights(network, losses)
    correct = task.quality(logits, labels)
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

  def loss_with(params, network, state, *args):
    extra = {**state.extra, 'weight_network': {'params': network}}
    return loss_of(params, state._replace(extra=extra), *args)[0]

  def logits_of(params, state, frozen, examples, key):
    return _predictions(model_of(params, state, frozen, key), examples, objective)[0]

  return Gradient(gradient, weight_network.make_learn(loss_with, logits_of, move))


def _predictions(
  model: MultiExit, examples: Arrays, objective: Objective
) -> tuple[jax.Array, jax.Array | None, tuple[jax.Array, ...]]:
  """Returns logits [B, exits, classes], and what early exits imitate.

  With distillation that is the final exit's logits [B, classes], from `exits`, from cached logits,
  or from an additional forward pass through its head. With hints it is `Head.embed` of all exits.
  """
  exits = objective.exits
  if 'summaries' in examples:
    logits = model.read(examples['summaries'], exits)
    own = logits[:, -1] if objective.distilled and FINAL in exits else None
    return logits, examples.get('teacher', own), ()
  link = gradients.make_link(objective.gradients, len(exits))
  if objective.hint:
    summaries = model.summarise(model.features(examples['images'], exits, link), exits)
    logits, embedded = model.read_embedded(summaries, exits)
    return logits, logits[:, -1] if objective.distilled else None, embedded
  if not objective.distilled:
    return model(examples['images'], exits, link), None, ()
  if FINAL in exits:
    logits = model(examples['images'], exits, link)
    return logits, logits[:, -1], ()
  logits = model(examples['images'], (*exits, FINAL))
  return logits[:, :-1], logits[:, -1], ()


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
