from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import images_per_call
from mecl_jax.models import BACKBONES
from mecl_jax.models.heads.convolutional import ConvHead, LinearHead
from tests.models.networks import IMAGES, build, call


def test_final_head_is_linear():
  model = build(head='conv')
  kinds = [type(model.heads[name]) for name in model.exit_names]
  assert kinds == [ConvHead, ConvHead, LinearHead]
  assert {type(head) for head in build(head='linear').heads.values()} == {LinearHead}


def test_exits_by_share():
  model = build(backbone='resnet20', image_shape=(32, 32, 3), exits=(0.3, 0.7))
  # The stem has 1 % of the MACs, the blocks about 12, 12, 12, 9, 12, 12 % and so on.
  assert model.exit_names == ('stage1_block2', 'stage2_block3', 'final')


def test_seed_determines_parameters():
  a, b, c = (jax.tree.leaves(nnx.state(build(seed=seed))) for seed in (1, 1, 2))
  for left, right in zip(a, b, strict=True):
    np.testing.assert_array_equal(left, right)
  assert any(not np.array_equal(left, right) for left, right in zip(a, c, strict=True))


def test_published_resnet_depths_exist():
  assert set(BACKBONES) >= {f'resnet{depth}' for depth in (8, 14, 20, 32, 44, 56, 110)}


def test_cifar_stem_keeps_four_times_the_size():
  sides = {}
  for stem in ('auto', 'cifar', 'imagenet'):
    model = nnx.eval_shape(
      lambda stem=stem: build(
        backbone='mobilenet_v1', stem=stem, image_shape=(32, 32, 3), exits=(), width=1
      )
    )
    sides[stem] = nnx.eval_shape(lambda m: m.features(np.zeros((1, 32, 32, 3))), model)[0].shape[1]
  assert sides == {'auto': 1, 'cifar': 4, 'imagenet': 1}


def test_network_resizes_images():
  model = build(image_size=16)
  features = nnx.eval_shape(lambda model: model.features(IMAGES), model)
  assert [x.shape[1:3] for x in features] == [(16, 16), (8, 8), (4, 4)]
  plain = build(image_shape=(16, 16, 3))
  larger = np.repeat(np.repeat(IMAGES[:, :1, :1], 16, 1), 16, 2)  # every image has one colour
  resized, expected = call(model, larger[:, :8, :8]), call(plain, larger)
  np.testing.assert_allclose(resized, expected, rtol=1e-4, atol=1e-5)


def test_batch_of_large_images_is_smaller():
  counts = [images_per_call(build(image_size=side), (8, 8, 3)) for side in (0, 64, 128, 224, 2048)]
  assert counts == [512, 512, 128, 41, 16]


def test_repeated_channels_have_their_own_statistics():
  model = build(image_shape=(8, 8, 1), input_channels=3)
  gray = IMAGES[..., :1]
  np.testing.assert_array_equal(model(gray), build()(np.repeat(gray, 3, axis=-1)))


def test_odd_and_oblong_images_are_valid():
  model = build(image_shape=(9, 13, 3))
  assert call(model, np.resize(IMAGES, (2, 9, 13, 3))).shape == (2, 3, 5)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'backbone': 'resnet21'}, 'model.backbone.*resnet21.*resnet8, resnet14, resnet20'),
    ({'head': 'cone'}, 'model.head.*cone.*linear, conv'),
    ({'stem': 'cifar'}, 'model.stem is .cifar.*resnet8 has only one stem'),
    ({'stem': 'small'}, 'model.stem.*small.*auto, cifar, imagenet'),
    ({'backbone': 'mobilenet_v1_cifar', 'stem': 'imagenet'}, '8x8.*32x32'),
    ({'dtype': 'float16'}, 'model.dtype.*float16.*float32, bfloat16, float64'),
    ({'dtype': 'float64'}, 'JAX_ENABLE_X64'),
    ({'exits': ('stage4',)}, 'model.exits.*stage4.*stage1, stage2'),
    ({'image_shape': (7, 8, 3)}, '7x8.*8x8.*data.image_size=8'),
    ({'image_shape': (9, 9, 3), 'image_size': 7}, '7x7.*8x8'),
    (
      {'backbone': 'mobilenet_v1', 'image_size': 32, 'exits': ('stage5_block1',)},
      'exit stage5_block1.* is 1x1, but head conv needs at least 2x2',
    ),
    ({'input_channels': 1}, 'model.input_channels is 1.*have 3 channels.*0 or 3'),
  ],
)
def test_invalid_fields_are_rejected_in_one_line(changes, message):
  with pytest.raises(UserError, match=message) as error:
    build(**changes)
  assert '\n' not in str(error.value)


def test_exits_can_have_different_heads():
  net = build(exits=('stage1=vit', '0.8=linear', 'stage2_block1'), backbone='resnet14')
  kinds = {name: type(head).__name__ for name, head in net.heads.items()}
  assert kinds == {
    'stage1': 'ViTHead', 'stage3_block1': 'LinearHead', 'stage2_block1': 'ConvHead',
    'final': 'LinearHead',
  }  # fmt: skip
  assert net.exit_names == ('stage1', 'stage2_block1', 'stage3_block1', 'final')


@pytest.mark.parametrize('own', ['', ' '])
def test_empty_head_is_rejected(own):
  with pytest.raises(UserError, match=r"head of exit stage1 in model\.exits is ''"):
    build(exits=(f'stage1={own}',))


def test_unknown_head_of_an_exit_is_rejected():
  with pytest.raises(UserError, match=r"head of exit stage1 in model\.exits is 'vitt'.*mixer"):
    build(exits=('stage1=vitt',))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'width': 4096},
      r'parameters of resnet8 with a width of 4096 take \d+ GB, and this machine has',
    ),
    ({'head': 'vit', 'head_width': 65536}, 'parameters of the heads with a width of 65536'),
  ],
)
def test_network_larger_than_memory_is_rejected_before_it_is_made(changes, message, monkeypatch):
  monkeypatch.setattr('os.sysconf', lambda name: {'SC_PAGE_SIZE': 4096}.get(name, 10**5))
  with pytest.raises(UserError, match=message):
    build(**changes)
