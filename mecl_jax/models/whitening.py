"""A first convolution that whitens the patches of images, and its kernel from training images."""

from collections.abc import Iterable

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
import numpy as np

from mecl_jax.models.layers import parameter_dtype
from mecl_jax.models.multi_exit import MultiExit

EPSILON = 5e-4  # added to the variances, so that directions without signal are not amplified
IMAGES = 5000  # of the training split; more change the covariance of their patches little
CHUNK = 250  # images whose patches are in memory at once


class PatchStatistic(nnx.BatchStat):
  """A kernel made from the training images; saved in checkpoints, never trained."""


class Whitening(nnx.Module):
  """A convolution without padding whose outputs are uncorrelated; [B, H, W, C] -> [B, H', W', K].

  Its K = 2 * size * size * C filters are the eigenvectors of the covariance of the patches of the
  images, scaled to variance 1, and their negatives. Only the bias is trained. It must be the first
  layer of a network. `fit_to_images` sets the filters; until then they are 0.

  Args:
    in_channels: C.
    size: height and width of the patches.
    dtype: of the computation; kernel and bias are at least float32.

  References:
    Page, "How to Train Your ResNet", 2018.
    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.
  """

  def __init__(self, in_channels: int, *, size: int = 2, dtype: DTypeLike):
    filters = 2 * size * size * in_channels
    parameters = parameter_dtype(dtype)
    self.kernel = PatchStatistic(jnp.zeros((size, size, in_channels, filters), parameters))
    self.bias = nnx.Param(jnp.zeros(filters, parameters))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
    layout = ('NHWC', 'HWIO', 'NHWC')
    x = x.astype(self.dtype)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=layout) + bias


def whitening_kernel(chunks: Iterable[np.ndarray], size: int) -> np.ndarray:
  """Returns the filters of `Whitening`, float64 [size, size, C, 2 * size * size * C].

  Args:
    chunks: parts of the images, normalised, float [n, H, W, C] each.
    size: height and width of the patches.
  """
  moments, count, channels = np.zeros(()), 0, 0
  for images in chunks:
    channels = images.shape[-1]
    patches = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size * size * channels)
    rows = rows.astype(np.float64)
    moments, count = moments + rows.T @ rows, count + len(rows)
  variances, vectors = np.linalg.eigh(moments / count)
  filters = vectors / np.sqrt(np.maximum(variances, 0) + EPSILON)
  return np.concatenate([filters, -filters], axis=1).reshape(size, size, channels, -1)


def fit_to_images(model: MultiExit, images: np.ndarray) -> None:
  """Sets the kernels of the `Whitening` layers of a network from training images, in place.

  Args:
    model: nothing changes if it has no such layer.
    images: uint8 [N, H, W, C]; the first 5,000 are used.
  """
  parts = [images[start : start + CHUNK] for start in range(0, min(len(images), IMAGES), CHUNK)]
  for _, layer in nnx.iter_graph(model):
    if isinstance(layer, Whitening):
      old = layer.kernel[...]
      pixels = (np.asarray(model.preprocess(part)) for part in parts)
      kernel = whitening_kernel(pixels, old.shape[0]).astype(old.dtype)
      layer.kernel[...] = jax.device_put(kernel, old.sharding)
