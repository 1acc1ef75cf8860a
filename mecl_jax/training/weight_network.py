"""A small network that learns the weights of examples at every exit by looking one step ahead.

The method is L2W-DEN. The weights of a batch follow from the losses of its examples at all exits.
In each step the network that predicts them learns first: one half of the batch trains the exits by
one step that is not kept, and the other half judges the result, each exit by the examples that
would leave there. The weights are those that improve this judgement. Then the whole batch trains
the exits, with the new weights.

The authors' program takes two kept steps per batch instead, one with each half. One step makes all
methods equal in steps and in examples per step.

References:
  Han et al., "Learning to Weight Samples for Dynamic Early-exiting Networks", ECCV 2022, arXiv
  2209.08310.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mecl_jax.training.losses import cross_entropy

METHOD = 'l2w_den'  # value of `curriculum.sample_weights`
STRENGTH = 0.8  # of the weights, as for CIFAR
HIDDEN = 500  # units of the hidden layer
LEAVE = 0.75  # ratio of the shares of the examples that leave at an exit and at the one before
OPTIMIZER = optax.chain(optax.add_decayed_weights(1e-4), optax.scale_by_adam())

Arrays = dict[str, Any]


def new_network(exits: int, key: jax.Array) -> Arrays:
  """Returns the initial `params` and `opt_state`: a dense layer, ReLU, a dense layer, tanh."""
  params = {
    name: _dense(key, inputs, outputs)
    for name, key, inputs, outputs in zip(
      ('hidden', 'output'), jax.random.split(key), (exits, HIDDEN), (HIDDEN, exits), strict=True
    )
  }
  return {'params': params, 'opt_state': OPTIMIZER.init(params)}


def _dense(key: jax.Array, inputs: int, outputs: int) -> Arrays:
  """Returns a kernel and a bias, uniform within 1 / sqrt(inputs), as those of the authors."""
  keys, bound = jax.random.split(key), inputs**-0.5
  return {
    'kernel': jax.random.uniform(keys[0], (inputs, outputs), minval=-bound, maxval=bound),
    'bias': jax.random.uniform(keys[1], (outputs,), minval=-bound, maxval=bound),
  }


def learning_rates(steps: int, highest: float) -> np.ndarray:
  """Returns the learning rates of the weight network: a cosine to 0, float32 [steps]."""
  return (highest * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2).astype(np.float32)


def predicted_weights(params: Arrays, losses: jax.Array) -> jax.Array:
  """Returns the weights of examples: 1 + STRENGTH (u - mean u), with the outputs u of the network.

  Args:
    params: of the weight network.
    losses: [batch, exits]; no gradient flows through them.

  Returns:
    [batch, exits], with mean 1.
  """
  hidden, output = params['hidden'], params['output']
  x = jax.nn.relu(jax.lax.stop_gradient(losses) @ hidden['kernel'] + hidden['bias'])
  x = jnp.tanh(x @ output['kernel'] + output['bias'])
  return 1 + STRENGTH * (x - x.mean())


def leaving(logits: jax.Array) -> jax.Array:
  """Returns at which exit each example would leave, bool [batch, exits].

  Exit k takes the share `LEAVE^k` (normalised over the exits) of the batch: those examples that no
  earlier exit takes, of which it is surest. The last exit takes the rest.

  Args:
    logits: [batch, exits, classes].
  """
  count, exits, _ = logits.shape
  shares = LEAVE ** np.arange(1, exits + 1)
  sizes = np.floor(count * shares / shares.sum()).astype(int)
  surest = jax.nn.softmax(jax.lax.stop_gradient(logits)).max(axis=-1)
  left, taken = jnp.ones(count, bool), []
  for number, size in enumerate(sizes[:-1]):
    order = jnp.argsort(jnp.where(left, -surest[:, number], jnp.inf))
    taken.append(jnp.zeros(count, bool).at[order[:size]].set(True))
    left &= ~taken[-1]
  return jnp.stack([*taken, left], axis=1)


def judgement(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the sum over the exits of the mean cross-entropy of the examples that leave there.

  Args:
    logits: [batch, exits, classes].
    labels: int [batch].
  """
  here = leaving(logits)
  total = (cross_entropy(logits, labels) * here).sum(axis=0)
  return (total / jnp.maximum(here.sum(axis=0), 1)).sum()


def make_learn(loss_of: Callable, logits_of: Callable, move: Callable) -> Callable:
  """Makes `learn(network, params, state, frozen, examples, batch, key) -> network`.

  Args:
    loss_of: `(params, network, state, frozen, examples, weights, key) -> loss`.
    logits_of: `(params, state, frozen, examples, key) -> logits`.
    move: `(params, gradients, state, batch) -> params` after a step that is not kept.

  Returns:
    the function. It returns `params` and `opt_state` of the weight network after one step.
  """

  def learn(network, params, state, frozen, examples, batch, key):
    first, second = (jax.tree.map(lambda x, k=k: x[k::2], examples) for k in (0, 1))

    def after_a_step(trained):
      loss = (trained, state, frozen, first, batch.weights[::2], key)
      ahead = move(params, jax.grad(loss_of)(params, *loss), state, batch)
      return judgement(logits_of(ahead, state, frozen, second, key), second['labels'])

    gradients = jax.grad(after_a_step)(network['params'])
    updates, opt_state = OPTIMIZER.update(gradients, network['opt_state'], network['params'])
    trained = jax.tree.map(lambda p, u: p - batch.weight_rate * u, network['params'], updates)
    return {'params': trained, 'opt_state': opt_state}

  return learn
