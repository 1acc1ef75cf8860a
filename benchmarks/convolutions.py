"""Times the convolutions of the default network on a CPU, beside PyTorch: the profile of its step.

  pip install torch          # the peer; its CPU build is enough
  python -m benchmarks.convolutions [--rounds=10] [--also=PYTHON] [--results=FILE]

For every convolution of the network, in float32 with a batch of 128: the forward pass, the gradient
of the input, and the gradient of the kernel, in JAX, in other formulations of the same value, and
in PyTorch. The other formulations show whether a rewritten convolution would be faster: channels
first, one matrix product over the patches of the image, zeros inserted explicitly for a stride of
2, a sum over four parts of the batch, and a matrix product per position of the kernel, also in
bfloat16. Each side has a process of its own. A time is the shortest of all rounds, and a total
counts each convolution as often as it occurs. --also=PYTHON, which may be repeated, adds the JAX of
another interpreter.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import facts
from benchmarks.turns import Worker, WorkerError
from mecl_jax.files import write_json

FORMAT, VERSION = 'mecl_jax convolution benchmark', 1
BATCH = 128
PASSES = ('forward', 'input gradient', 'kernel gradient')
DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def shapes() -> list[list[int]]:
  """Returns [side, in, out, kernel side, stride, count] of the convolutions, largest side first."""
  import jax
  import jax.numpy as jnp

  from mecl_jax import config, models
  from mecl_jax.commands.resolve import resolve
  from mecl_jax.models.macs import sub_jaxprs

  def convolutions(jaxpr) -> Iterator[tuple[int, ...]]:
    for equation in jaxpr.eqns:
      if equation.primitive.name == 'conv_general_dilated':
        (_, side, _, inputs), (kernel, _, _, outputs) = (v.aval.shape for v in equation.invars)
        yield side, inputs, outputs, kernel, equation.params['window_strides'][0]
      for inner in sub_jaxprs(equation.params):
        yield from convolutions(inner)

  fields = resolve(config.default()).model
  model = models.build(
    backbone=fields.backbone,
    exits=fields.exits,
    head=fields.head,
    num_classes=10,
    image_shape=(32, 32, 3),
    mean=0.5,
    std=0.25,
    seed=0,
  )
  traced = jax.make_jaxpr(model)(jnp.zeros((1, 32, 32, 3), jnp.uint8))
  return [[*shape, n] for shape, n in sorted(Counter(convolutions(traced.jaxpr)).items())[::-1]]


def shortest(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """Returns the shortest time of every function in ms; they take turns."""
  times = dict.fromkeys(functions, float('inf'))
  for _ in range(rounds + 2):  # the first calls compile
    for name, function in functions.items():
      start = time.perf_counter()
      function()
      times[name] = min(times[name], 1e3 * (time.perf_counter() - start))
  return times


def formulations(shape: list[int]) -> dict[str, dict[str, Callable]]:
  """Returns {pass: {name: function of images, kernel and gradient}} of a convolution in JAX."""
  import jax
  from jax import lax
  import jax.numpy as jnp

  _, inputs, outputs, size, stride = shape
  pad = size // 2

  def conv(x, kernel, strides=(stride, stride)):
    padding = ((pad, pad), (pad, pad))
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=DIMENSIONS)

  def patches(x, like):
    """Returns the images [B, H, W, in] under each position of the kernel."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    ends = [stride * (n - 1) + 1 for n in like.shape[1:3]]
    starts = [(i, j) for i in range(size) for j in range(size)]
    return [x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i, j in starts]

  def one_product(x, kernel, g):
    return jnp.concatenate(patches(x, g), axis=-1) @ kernel.reshape(-1, outputs)

  def input_gradient(x, kernel, g):
    return jax.vjp(lambda x: conv(x, kernel), x)[1](g)[0]

  def zeros_inserted(x, kernel, g):
    b, h, w, c = g.shape
    wide = jnp.zeros((b, h, stride, w, stride, c)).at[:, :, 0, :, 0].set(g)
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return conv(wide.reshape(b, stride * h, stride * w, c), flipped, (1, 1))

  def kernel_gradient(x, kernel, g):
    return jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](g)[0]

  def four_parts(x, kernel, g):
    parts = zip(jnp.split(x, 4), jnp.split(g, 4), strict=True)
    return sum(kernel_gradient(x, kernel, g) for x, g in parts)

  def per_position(x, kernel, g, dtype=jnp.float32):
    rows = g.reshape(-1, outputs).astype(dtype)
    taps = [patch.reshape(-1, inputs).astype(dtype) for patch in patches(x, g)]
    product = functools.partial(jnp.einsum, 'nc,no->co', preferred_element_type=jnp.float32)
    return jnp.stack([product(tap, rows) for tap in taps]).reshape(kernel.shape)

  found: dict[str, dict[str, Callable]] = {
    'forward': {'JAX': lambda x, k, g: conv(x, k), 'product over patches': one_product},
    'input gradient': {'JAX': input_gradient},
    'kernel gradient': {
      'JAX': kernel_gradient,
      'four parts': four_parts,
      'product per position': per_position,
      '.. in bfloat16': functools.partial(per_position, dtype=jnp.bfloat16),
    },
  }
  if stride > 1:
    found['input gradient']['zeros inserted'] = zeros_inserted
  return found


def time_jax(shape: list[int], rounds: int) -> dict[str, dict[str, float]]:
  """Returns {pass: {formulation: ms}} of a convolution in JAX."""
  import jax
  from jax import lax
  import jax.numpy as jnp

  from mecl_jax.compiler import compiler_options

  side, inputs, outputs, size, stride = shape
  made = formulations(shape)
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (BATCH, side, side, inputs))
  kernel = jax.random.normal(keys[1], (size, size, inputs, outputs))
  g = jax.random.normal(keys[2], made['forward']['JAX'](x, kernel, None).shape)
  nchw = x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)

  def channels_first(x, kernel):
    padding = [(size // 2, size // 2)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding)

  def ready(function: Callable, *arrays) -> Callable[[], Any]:
    compiled = jax.jit(function, compiler_options=compiler_options())
    return lambda: jax.block_until_ready(compiled(*arrays))

  found = {}
  for name, forms in made.items():
    first = ready(forms['JAX'], x, kernel, g)()
    for form in forms.values():  # all compute the same value
      error = jnp.abs(ready(form, x, kernel, g)() - first).max()
      assert error < 0.02 * jnp.abs(first).max(), f'{name}: {error}'
    calls = {form: ready(function, x, kernel, g) for form, function in forms.items()}
    if name == 'forward':
      calls['channels first'] = ready(channels_first, *nchw)
    found[name] = shortest(calls, rounds)
  return found


def time_torch(shape: list[int], rounds: int) -> dict[str, dict[str, float]]:
  """Returns {pass: {'PyTorch': ms}} of a convolution, in the layout channels last."""
  import torch
  from torch.nn import functional

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  side, inputs, outputs, size, stride = shape
  last = torch.channels_last
  x = torch.randn(BATCH, inputs, side, side).to(memory_format=last)
  kernel = torch.randn(outputs, inputs, size, size).to(memory_format=last)
  strides, pads = [stride] * 2, [size // 2] * 2

  def forward():
    return functional.conv2d(x, kernel, stride=strides, padding=pads)

  g = torch.randn_like(forward())

  def backward(of_x: bool, of_kernel: bool):
    wanted = [of_x, of_kernel, False]
    return torch.ops.aten.convolution_backward(
      g, x, kernel, None, strides, pads, [1, 1], False, [0, 0], 1, wanted
    )

  calls = (forward, lambda: backward(True, False), lambda: backward(False, True))
  return {
    name: shortest({'PyTorch': call}, rounds) for name, call in zip(PASSES, calls, strict=True)
  }


def totals(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
  """Returns {pass: {formulation: ms}} of all convolutions of the network.

  Where a formulation does not exist for a convolution, it counts with JAX's own.
  """
  found: dict[str, dict[str, float]] = {}
  for name in PASSES:
    rows = [(row['count'], row['ms'][name]) for row in record['convolutions']]
    forms = dict.fromkeys(form for _, times in rows for form in times)
    found[name] = {
      form: sum(count * times.get(form, times['JAX']) for count, times in rows) for form in forms
    }
  return found


def table(record: Mapping[str, Any]) -> Table:
  """Returns the table of the times, and their total over the network."""
  rows, network = record['convolutions'], totals(record)
  title = 'ms of a convolution: side in pixels, channels in and out, stride, how often it occurs'
  out = Table(title=title, title_justify='left')
  out.add_column('pass', no_wrap=True)
  out.add_column('formulation', no_wrap=True)
  for row in rows:
    side, inputs, outputs, _, stride = row['shape']
    heading = f'{side}, {inputs} to {outputs}\nstride {stride}\n{row["count"]} x'
    out.add_column(heading, justify='right', no_wrap=True)
  out.add_column('network', justify='right', no_wrap=True)
  for name in PASSES:
    for form, total in network[name].items():
      times = [row['ms'][name].get(form) for row in rows]
      out.add_row(name, form, *(f'{t:.1f}' if t else '' for t in times), f'{total:.0f}')
    out.add_section()
  return out


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='convolutions'
  )
  parser.add_argument('--rounds', type=int, default=10)
  parser.add_argument('--also', action='append', default=[], metavar='PYTHON')
  parser.add_argument('--results', metavar='FILE', help='JSON to write')
  options = parser.parse_args(argv)
  console = Console(highlight=False, width=160)
  with contextlib.ExitStack() as stack:
    # Threads of OpenMP that spin while they wait would slow the other side down.
    ours = stack.enter_context(Worker())
    peer = stack.enter_context(Worker(environment={'OMP_WAIT_POLICY': 'passive'}))
    others = {path: stack.enter_context(Worker(path)) for path in options.also}
    rows = []
    for *shape, count in ours.call('benchmarks.convolutions:shapes'):
      settings = {'shape': shape, 'rounds': options.rounds}
      ms = ours.call('benchmarks.convolutions:time_jax', **settings)
      for worker in others.values():
        version = worker.call('benchmarks.jax_side:facts')['jax']
        for name, times in worker.call('benchmarks.convolutions:time_jax', **settings).items():
          ms[name][f'JAX {version}'] = times['JAX']
      try:
        for name, times in peer.call('benchmarks.convolutions:time_torch', **settings).items():
          ms[name] |= times
      except WorkerError as error:
        console.print(f'without PyTorch: {error}')
      rows.append({'shape': shape, 'count': count, 'ms': ms})
      console.print(f'{len(rows)} convolutions timed')
    record = {
      'format': FORMAT,
      'version': VERSION,
      'facts': facts.of_this_process() | ours.call('benchmarks.jax_side:facts'),
      'convolutions': rows,
    }
  console.print(table(record))
  if options.results:
    write_json(options.results, record)
  return 0


if __name__ == '__main__':
  sys.exit(main())
