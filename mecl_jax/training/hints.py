"""Hints: early exits imitate the features before the last dense layer of the final exit."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.models import MultiExit
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import parameter_dtype

Adapters = dict[str, dict[str, jax.Array]]  # exit -> kernel [N of the exit, N of the final], bias


def new_adapters(
  model: MultiExit, exits: Sequence[str], image_shape: Sequence[int], key: jax.Array
) -> Adapters:
  """Returns the initial adapters, one dense layer for each early exit.

  They train with the network, and are not a part of it.

  Args:
    model: the network.
    exits: names of the exits, the final one last.
    image_shape: (height, width, channels) of the images.
    key: of the initial kernels.

  Raises:
    UserError: the head of an exit has no `embed`.
  """
  for name in exits:
    head = getattr(model.heads[name], 'head', model.heads[name])  # that within a cascade
    if getattr(type(head), 'embed', Head.embed) is Head.embed:
      raise UserError(
        'distillation.feature_weight needs the features before the last dense layer of each head:'
        f' the head of exit {name}, {type(head).__name__}, has no `embed`'
      )
  graphdef, state = nnx.split(model)

  def embedded(state, images):
    network = nnx.merge(graphdef, state)
    maps = network.features(images, exits)
    return network.read_embedded(network.summarise(maps, exits), exits)[1]

  *early, final = jax.eval_shape(embedded, state, np.zeros((1, *image_shape), np.uint8))
  dtype, initial = parameter_dtype(model.dtype), jax.nn.initializers.lecun_normal()
  keys = jax.random.split(key, len(early))
  return {
    name: {
      'kernel': initial(key, (features.shape[1], final.shape[1]), dtype),
      'bias': jnp.zeros(final.shape[1], dtype),
    }
    for name, features, key in zip(exits[:-1], early, keys, strict=True)
  }


def hint_losses(
  embedded: Sequence[jax.Array], adapters: Mapping[str, Any], exits: Sequence[str]
) -> jax.Array:
  """Returns the squared distances of adapted features from those of the final exit.

  Args:
    embedded: features before the last dense layer of each exit, [batch, N]; no gradient flows into
      those of the final exit.
    adapters: see `new_adapters`.
    exits: names of the exits, the final one last.

  Returns:
    [batch, exits], as a mean over the features, so that one weight fits networks of any width (the
    paper has the sum); 0 for the final exit.

  References:
    Zhang et al., "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via
    Self Distillation", ICCV 2019, arXiv 1905.08094: the loss from hints.
  """
  *early, final = embedded
  target = jax.lax.stop_gradient(final)
  distances = [
    jnp.square(x @ adapters[name]['kernel'] + adapters[name]['bias'] - target).mean(axis=-1)
    for name, x in zip(exits[:-1], early, strict=True)
  ]
  return jnp.stack([*distances, jnp.zeros_like(distances[0])], axis=1)
