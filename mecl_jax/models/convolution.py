"""Convolutions that are fast on the CPU too."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp


def conv_general_dilated(x: jax.Array, kernel: jax.Array, *args: Any, **settings: Any) -> jax.Array:
  """Computes `lax.conv_general_dilated` with its inputs in memory for the kernel gradient.

  XLA's compiler for the CPU transposes both inputs of the kernel gradient, and computes everything
  elementwise before them again within the transposition: in a residual network these are the batch
  norms of all blocks before. A barrier makes it read both from memory instead. Values and other
  devices are unchanged.

  Args:
    x: [B, ..], images.
    kernel: see `lax.conv_general_dilated`.
    *args, **settings: other arguments of `lax.conv_general_dilated`.

  Returns:
    the result of `lax.conv_general_dilated`.
  """

  def plain(x, kernel):
    return lax.conv_general_dilated(x, kernel, *args, **settings)

  def kernel_gradient(x, kernel, grad):
    return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](grad)[0]

  def from_memory(x, kernel, grad):
    # Not one barrier for both, at which x would wait for the gradient.
    read = lax.optimization_barrier
    return kernel_gradient(read(x), kernel, read(grad))

  def backward(operands, grad):
    x, kernel = operands
    (grad_x,) = jax.vjp(lambda x: plain(x, kernel), x)[1](grad)
    return grad_x, lax.platform_dependent(x, kernel, grad, cpu=from_memory, default=kernel_gradient)

  conv = jax.custom_vjp(plain)
  conv.defvjp(lambda *operands: (plain(*operands), operands), backward)
  return conv(x, kernel)


def depthwise(
  x: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  **settings: Any,
) -> jax.Array:
  """Computes the depthwise `lax.conv_general_dilated`, in which every channel has its own kernel.

  XLA's compiler for the CPU has no fast depthwise convolution. There it is a sum over the pixels of
  the kernel, in at least float32. Other devices are unchanged.

  Args:
    x: [B, H, W, C].
    kernel: [height, width, 1, C].
    strides: in both directions.
    padding: 'SAME', 'VALID', or the pixels on both sides in both directions.
    **settings: other arguments of `lax.conv_general_dilated`; there is no dilation.

  Returns:
    the result of `lax.conv_general_dilated`, [B, H', W', C].
  """

  def plain(x, kernel):
    return lax.conv_general_dilated(x, kernel, strides, padding, **settings)

  def by_pixels(x, kernel):
    size = kernel.shape[:2]
    pads = padding
    if isinstance(pads, str):
      pads = lax.padtype_to_pads(x.shape[1:3], size, strides, pads)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    # Positions of one pixel of the kernel: the last is that of the last pixel of the output.
    spans = [length - pixels + 1 for length, pixels in zip(padded.shape[1:3], size, strict=True)]
    total = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    for row in range(size[0]):
      for column in range(size[1]):
        rows = slice(row, row + spans[0], strides[0])
        columns = slice(column, column + spans[1], strides[1])
        total += padded[:, rows, columns].astype(total.dtype) * kernel[row, column, 0]
    return total.astype(x.dtype)

  return lax.platform_dependent(x, kernel, cpu=by_pixels, default=plain)
