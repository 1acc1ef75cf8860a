from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import BACKBONES
from mecl_jax.models.heads.convolutional import ConvHead, LinearHead
from tests.models.networks import IMAGES, build


def test_early_exits_have_the_head_asked_for_and_the_final_one_is_linear():
  model = build(head='conv')
  kinds = [type(model.heads[name]) for name in model.exit_names]
  assert kinds == [ConvHead, ConvHead, LinearHead]
  assert {type(head) for head in build(head='linear').heads.values()} == {LinearHead}


def test_exits_by_share_sit_at_blocks():
  model = build(backbone='resnet20', image_shape=(32, 32, 3), exits=(0.3, 0.7))
  # 1 % for the stem, then about 12, 12, 12, 9, 12, 12 and so on.
  assert model.exit_names == ('stage1_block2', 'stage2_block3', 'final')


def test_the_seed_decides_the_parameters():
  a, b, c = (jax.tree.leaves(nnx.state(build(seed=seed))) for seed in (1, 1, 2))
  for left, right in zip(a, b, strict=True):
    np.testing.assert_array_equal(left, right)
  assert any(not np.array_equal(left, right) for left, right in zip(a, c, strict=True))


def test_every_depth_of_the_paper_is_there():
  resnets = [name for name in BACKBONES if name.startswith('resnet')]
  assert resnets == [f'resnet{depth}' for depth in (8, 14, 20, 32, 44, 56, 110)]


def test_odd_and_oblong_images_work():
  model = build(image_shape=(9, 13, 3))
  assert model(np.resize(IMAGES, (2, 9, 13, 3))).shape == (2, 3, 5)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'backbone': 'resnet21'}, 'model.backbone.*resnet21.*resnet8, resnet14, resnet20'),
    ({'head': 'cone'}, 'model.head.*cone.*linear, conv'),
    ({'dtype': 'float16'}, 'model.dtype.*float16.*float32, bfloat16, float64'),
    ({'dtype': 'float64'}, 'JAX_ENABLE_X64'),
    ({'exits': ('stage4',)}, 'model.exits.*stage4.*stage1, stage2'),
    ({'image_shape': (7, 8, 3)}, '7x8.*8x8'),
    ({'input_channels': 1}, 'model.input_channels is 1.*have 3.*0 or 3'),
  ],
)
def test_bad_fields_are_refused_in_one_line(changes, message):
  with pytest.raises(UserError, match=message) as error:
    build(**changes)
  assert '\n' not in str(error.value)


def test_every_exit_can_have_its_own_head():
  net = build(exits=('stage1=vit', '0.8=linear', 'stage2_block1'), backbone='resnet14')
  kinds = {name: type(head).__name__ for name, head in net.heads.items()}
  assert kinds == {
    'stage1': 'ViTHead', 'stage3_block1': 'LinearHead', 'stage2_block1': 'ConvHead',
    'final': 'LinearHead',
  }  # fmt: skip
  assert net.exit_names == ('stage1', 'stage2_block1', 'stage3_block1', 'final')


def test_a_misspelt_head_of_an_exit_is_an_error():
  with pytest.raises(UserError, match=r"head of exit stage1 in model\.exits is 'vitt'.*mixer"):
    build(exits=('stage1=vitt',))
