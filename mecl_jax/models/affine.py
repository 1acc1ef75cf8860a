"""Batch norm as a factor and an offset per channel, for networks that are not trained any more."""

from typing import TypeVar

from flax import nnx
import jax

from mecl_jax.models.layers import BatchNorm

Network = TypeVar('Network', bound=nnx.Module)


class Affine(nnx.Module):
  """Multiplies every channel by a factor and adds an offset; [.., C] -> [.., C].

  Args:
    norm: the batch norm whose result with its moving averages this is.
  """

  def __init__(self, norm: BatchNorm):
    factor = jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    if norm.scale is not None:
      factor = norm.scale[...] * factor
    self.factor = nnx.Param(factor)
    self.offset = nnx.Param(norm.bias[...] - norm.mean[...] * factor)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x.astype(self.factor.dtype) * self.factor[...] + self.offset[...]
    return y.astype(x.dtype)


def for_export(model: Network) -> Network:
  """Returns a copy of a network in evaluation mode that other programs can convert.

  Batch norms are `Affine`, which a converter folds into the convolution before. Convolutions are
  those of `jax.lax`, without what makes their gradients and XLA's compiler for the CPU fast.
  """
  model = nnx.clone(model)
  model.eval()
  for _, part in list(nnx.iter_graph(model)):
    if isinstance(part, nnx.Conv):
      part.conv_general_dilated = jax.lax.conv_general_dilated
    elif isinstance(part, nnx.Module):
      for name, inner in list(vars(part).items()):
        if isinstance(inner, BatchNorm):
          setattr(part, name, Affine(inner))
  return model
