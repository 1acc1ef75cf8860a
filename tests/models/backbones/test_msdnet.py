import functools
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models import BACKBONES, stage_costs
from mecl_jax.models.backbones.msdnet import (
  MSDNETS,
  Layer,
  MSDNet,
  Stem,
  Transition,
  even_blocks,
  growing_blocks,
  scales_after,
)
from tests.models.networks import IMAGES, build, call, quick_jit, slow_except

NONE = {'dtype': jnp.float32, 'rngs': nnx.Rngs(0)}


def maps(channels, side=8, seed=0):
  """Returns feature maps with the given numbers of channels, finest first."""
  rng = np.random.default_rng(seed)
  shapes = [(2, side >> i, side >> i, c) for i, c in enumerate(channels)]
  return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


@functools.cache
def exits(name, num_classes):
  """Returns cumulative (MACs, parameters) of every published exit, with all heads up to it."""
  make = functools.partial(BACKBONES[name], 3, width=16, dtype=jnp.float32)
  costs = stage_costs(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), (32, 32, 3))
  total, found = np.zeros(2, np.int64), []
  groups = itertools.groupby(costs, lambda cost: cost.name.partition('_')[0])
  for group, stages in groups:
    for stage in stages:
      total += stage.macs, stage.parameters
    if group != 'stem':
      total += head_cost(stage.shape, num_classes)
      found.append(tuple(total.tolist()))
  return found


def head_cost(shape, num_classes):
  """Returns MACs and parameters of two 3x3 convolutions with stride 2 and a dense layer."""
  side, _, channels = shape
  first, second, dense = 9 * channels * 128, 9 * 128 * 128, 128 * num_classes
  macs = (side // 2) ** 2 * first + (side // 4) ** 2 * second + dense
  return macs, first + second + 4 * 128 + dense + num_classes


# In millions. The numbers of the authors' code, and those of later papers for msdnet7_16, include
# every input of a ReLU or pooling, and biases: 0.3 to 1.2 % more than products alone.
@pytest.mark.parametrize(
  ('name', 'num_classes', 'published'),
  slow_except(
    ('msdnet5_growing',),
    [
      ('msdnet7_16', 100, [56.43, 101.00, 155.31, 198.10, 249.53, 298.05, 340.64]),
      ('msdnet5_growing', 100, [6.86, 14.35, 27.54, 41.71, 58.48]),
      ('msdnet10', 10, [15.13, 25.48, 37.75, 52.02, 62.12, 74.00, 87.65, 99.95, 110.02, 121.56]),
    ],
  ),
)
def test_macs_of_the_published_exits(name, num_classes, published):
  macs, _ = zip(*exits(name, num_classes), strict=True)
  assert len(macs) == len(published)
  more = np.array(published) * 1e6 / macs - 1
  assert more.min() > 0.003
  assert more.max() < 0.012


@pytest.mark.parametrize(
  ('name', 'num_classes', 'first', 'last'),
  slow_except(
    ('msdnet5_growing',),
    [
      ('msdnet7_16', 100, (56_029_696, 898_996), (339_549_696, 7_362_348)),  # 0.90 M, 7.36 M
      ('msdnet5_growing', 100, (6_792_704, 299_704), (58_087_936, 2_078_924)),
      ('msdnet10', 10, (14_955_776, 422_266), (120_971_776, 4_839_544)),
    ],
  ),
)
def test_exact_macs_and_parameters(name, num_classes, first, last):
  found = exits(name, num_classes)
  assert (found[0], found[-1]) == (first, last)


def test_layers_per_group():
  assert even_blocks(7, base=4, step=2) == (4, 2, 2, 2, 2, 2, 2)
  assert growing_blocks(4) == (1, 2, 3, 4)
  assert sum(MSDNETS['msdnet10'][0]) == 22


def test_each_part_of_the_layers_drops_a_scale():
  assert [scales_after(layer, 16, 3)[0] for layer in range(17)] == [0] * 7 + [1] * 6 + [2] * 4
  assert scales_after(16, 16, 3) == range(2, 3)


def run(net, x):
  """Returns the output of every stage by name."""
  found = {}
  for name in net.stage_names:
    x = found[name] = net.stages[name](x)
  return found


def shapes_of(blocks, width):
  """Returns (side, channels) of all scales after every stage, for 8x8 images."""
  make = functools.partial(MSDNet, 3, blocks=blocks, width=width, dtype=jnp.float32)
  net = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
  found = nnx.eval_shape(run, net, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))
  return {name: [(y.shape[1], y.shape[-1]) for y in x] for name, x in found.items()}


def test_shapes_of_all_stages():
  assert shapes_of((1, 2, 1), 16) == {
    'stem': [(8, 16), (4, 32), (2, 64)],
    'stage1_block1': [(8, 22), (4, 44), (2, 88)],
    'stage2_block1': [(8, 28), (4, 56), (2, 112)],
    'stage2_block2': [(4, 68), (2, 136)],
    'stage2_transition1': [(4, 34), (2, 68)],
    'stage3_block1': [(4, 46), (2, 92)],
  }


def test_width_scales_the_growth():
  for width, growth in ((1, 1), (4, 2), (8, 3), (32, 12)):
    assert shapes_of((1,), width)['stage1_block1'][0] == (8, width + growth)


def test_stem_computes_each_scale_from_the_one_before():
  stem = Stem(3, 4, 3, **NONE)
  x = maps((3,))[0]
  first, second, third = call(stem, x)
  np.testing.assert_allclose(second, call(stem.scales['scale1'], first), atol=1e-5)
  np.testing.assert_allclose(third, call(stem.scales['scale2'], second), atol=1e-5)


def test_half_of_new_channels_use_the_finer_scale():
  layer = Layer(4, 2, taken=range(3), left=range(3), **NONE)
  x = maps((4, 8, 16))
  before = call(layer, x)
  for old, new in zip(x, before, strict=True):
    np.testing.assert_array_equal(new[..., : old.shape[-1]], old)
  finest, middle, coarsest = call(layer, (x[0] + 1, *x[1:]))
  assert not np.allclose(finest, before[0])
  assert not np.allclose(middle[..., 8:10], before[1][..., 8:10])
  np.testing.assert_array_equal(middle[..., 10:], before[1][..., 10:])
  np.testing.assert_array_equal(coarsest, before[2])


def test_bottleneck_widths():
  scales = Layer(16, 6, taken=range(3), left=range(3), **NONE).scales

  def inner(part):
    return part.reduce.conv.kernel.shape[-1]

  # New channels: 6; 6 and 6; 12 and 12. The factor is that of the input scale: 1, 2 or 4.
  assert inner(scales['scale0'].same) == 6
  assert (inner(scales['scale1'].down), inner(scales['scale1'].same)) == (6, 2 * 6)
  assert (inner(scales['scale2'].down), inner(scales['scale2'].same)) == (2 * 12, 4 * 12)
  narrow = Layer(4, 6, taken=range(3), left=range(3), **NONE).scales
  assert narrow['scale2'].same.reduce.conv.kernel.shape == (1, 1, 16, 16)


def test_dropped_scale_is_still_an_input():
  layer = Layer(4, 2, taken=range(3), left=range(1, 3), **NONE)
  x = maps((4, 8, 16))
  before, after = call(layer, x), call(layer, (x[0] + 1, *x[1:]))
  assert [y.shape[-1] for y in before] == [12, 24]
  assert not np.allclose(before[0], after[0])


def test_transition_keeps_scales_separate():
  transition = Transition(4, 2, range(1, 3), **NONE)
  x = maps((8, 16))
  first, second = call(transition, x)
  assert (first.shape[-1], second.shape[-1]) == (4, 8)
  np.testing.assert_array_equal(call(transition, (x[0], x[1] + 1))[0], first)


def test_exits_use_the_coarsest_scale():
  model = build(
    backbone='msdnet3', exits=('stage1', 'stage2'), head='msdnet', width=8, dtype='bfloat16'
  )
  assert model.exit_stages == ('stage1_block2', 'stage2_transition1', 'stage3_block1')
  found = nnx.eval_shape(lambda model, x: model.features(x), model, IMAGES)
  assert {x.dtype for x in found} == {jnp.dtype('bfloat16')}
  assert [x.shape for x in found] == [(4, 2, 2, 56), (4, 2, 2, 32), (4, 2, 2, 44)]


def test_all_parameters_get_gradients():
  net = MSDNet(3, blocks=(1, 1), scales=2, width=1, **NONE)
  net.train()
  graphdef, params, rest = nnx.split(net, nnx.Param, ...)
  x = maps((3,))[0]

  @quick_jit
  @jax.grad
  def gradient(params):
    *_, last = run(nnx.merge(graphdef, params, rest, copy=True), x).values()
    return sum(jnp.square(y - jnp.arange(y.shape[-1])).sum() for y in last)

  for path, value in nnx.to_flat_state(gradient(params)):
    flat = np.asarray(value[...])
    assert np.isfinite(flat).all()
    assert flat.any() or path[:2] == ('stages', 'stage1_block1'), path
