import jax
from jax import lax
import jax.numpy as jnp
import pytest

from mecl_jax.models import count_macs, exit_costs, macs, stage_costs
from mecl_jax.models.macs import quantity
from tests.models.networks import build

pytestmark = pytest.mark.stacks

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
# MACs of ResNet-20 at 32x32, by hand: pixels, kernel, channels in and out.
STEM = 32 * 32 * 9 * 3 * 16
GROUP1 = 6 * 32 * 32 * 9 * 16 * 16
GROUP2 = 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32)
GROUP3 = 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64)
HEAD1 = 16 * 16 * 9 * 16 * 64 + 64 * 10
HEAD2 = 8 * 8 * 9 * 32 * 64 + 64 * 10
# Parameters of kernels, and scale and bias of every batch norm.
PARAMETERS1 = 9 * 3 * 16 + 6 * 9 * 16 * 16 + 7 * 32
PARAMETERS2 = 9 * (16 * 32 + 5 * 32 * 32) + 6 * 64
PARAMETERS3 = 9 * (32 * 64 + 5 * 64 * 64) + 6 * 128


@pytest.fixture(scope='module')
def resnet20():
  return build(backbone='resnet20', width=16, head_width=64, num_classes=10)


def test_exits_of_resnet20_equal_hand_counts(resnet20):
  first, second, final = exit_costs(resnet20, (32, 32, 3))
  assert (first.name, second.name, final.name) == ('stage1', 'stage2', 'final')
  assert first.macs == STEM + GROUP1 + HEAD1
  assert second.macs == STEM + GROUP1 + GROUP2 + HEAD2
  assert final.macs == STEM + GROUP1 + GROUP2 + GROUP3 + 64 * 10 == 40_551_040
  assert first.parameters == PARAMETERS1 + 9 * 16 * 64 + 128 + 650
  assert final.parameters == PARAMETERS1 + PARAMETERS2 + PARAMETERS3 + 650 == 269_722


def test_sum_of_stages_equals_final_exit(resnet20):
  stages = stage_costs(resnet20.backbone, (32, 32, 3))
  assert [stage.name for stage in stages] == list(resnet20.backbone.stage_names)
  assert stages[0].macs == STEM
  assert stages[4].shape == (16, 16, 32)
  assert sum(stage.macs for stage in stages) == 40_551_040 - 640
  assert sum(stage.parameters for stage in stages) == 269_722 - 650


def test_equal_blocks_are_counted_once(resnet20):
  macs._traced.cache_clear()
  first = stage_costs(resnet20.backbone, (32, 32, 3))
  # The stem, the first group's blocks, and in each other group the first block and the rest.
  assert macs._traced.cache_info().misses == 6
  assert stage_costs(resnet20.backbone, (32, 32, 3)) == first
  assert macs._traced.cache_info().misses == 6
  smaller = stage_costs(resnet20.backbone, (16, 16, 3))
  assert [4 * cost.macs for cost in smaller] == [cost.macs for cost in first]


def test_counting_does_not_change_statistics():
  model = build()
  model.train()
  before = model.backbone.stages['stem'].norm.mean[...]
  exit_costs(model, (8, 8, 3))
  assert model.backbone.stages['stem'].norm.mean[...] is before


@pytest.mark.parametrize(
  ('function', 'macs'),
  [
    (lambda a, b: a @ b, 60),
    (lambda a, b: jnp.exp(a).sum() + b.sum(), 0),
    (jax.jit(lambda a, b: jax.jit(jnp.matmul)(a, b) + a @ b), 120),
    (jax.checkpoint(lambda a, b: jnp.sin(a @ b)), 60),
    (lambda a, b: jax.nn.relu(a @ b), 60),
    (lambda a, b: lax.scan(lambda c, _: (c + a @ b, None), jnp.zeros((3, 5)), length=7), 420),
    (lambda a, b: lax.cond(a[0, 0] > 0, lambda: (a @ b).sum(), lambda: (a @ b @ b.T).sum()), 120),
    (lambda a, b: lax.while_loop(lambda c: c < 9, lambda c: c + 1, 0.0) * (a @ b), 60),
  ],
)
def test_counts_products_in_nested_programs(function, macs):
  assert count_macs(function, A, B) == macs


def test_counts_batched_products():
  assert count_macs(jax.vmap(jnp.matmul), jnp.ones((6, 3, 4)), jnp.ones((6, 4, 5))) == 360


@pytest.mark.parametrize(
  ('stride', 'groups', 'macs'),
  [(1, 1, 8 * 8 * 9 * 4 * 6), (2, 1, 4 * 4 * 9 * 4 * 6), (1, 2, 8 * 8 * 9 * 2 * 6)],
)
def test_counts_strided_and_grouped_convolutions(stride, groups, macs):
  def conv(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )  # fmt: skip

  assert count_macs(conv, jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4 // groups, 6))) == macs


def test_while_loop_with_products_is_rejected():
  def loop(a):
    return lax.while_loop(lambda a: a.sum() < 9, lambda a: a @ a, a)

  with pytest.raises(ValueError, match='while_loop'):
    count_macs(loop, jnp.ones((3, 3)))


@pytest.mark.parametrize(
  ('number', 'expected'),
  [
    (0, '0'),
    (999, '999'),
    (1000, '1.00 k'),
    (999_499, '999 k'),
    (999_500, '1.00 M'),
    (31_119_616, '31.1 M'),
    (4_291_365_888, '4.29 G'),
    (252_893_440, '253 M'),
  ],
)
def test_quantity_has_three_digits_and_a_unit(number, expected):
  assert quantity(number) == expected
