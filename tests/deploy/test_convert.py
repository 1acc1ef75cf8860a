import collections

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import HEADS
from mecl_jax.models.own.add_exits import add_exits
from tests.deploy import networks
from tests.models.own import networks as own

pytest.importorskip('jax2onnx', reason='the extra export is not installed')
import onnx

from mecl_jax.deploy.convert import BEFORE, LOGITS, convert
from mecl_jax.deploy.predict import predict, session

SIDE = 16
FAMILIES = {  # one of each family: backbone, smallest side
  'wrn10_1': 16,
  'densenet_bc40_12': 16,
  'densenet121': 32,
  'vgg11': 32,
  'resnet18': 32,
  'resnet50_v1_5': 32,
  'mobilenet_v1': 32,
  'mobilenet_v2_torch': 32,
  'efficientnet_b0': 32,
  'efficientnet_lite0': 32,
  'inception_v3': 75,
  'msdnet3': 16,
  'msdnet4_growing': 32,
  'vit9_cifar': 32,
  'speedrun': 32,
}


def converted(model, side=SIDE):
  return list(convert(model, (side, side, 3)))


def operators(models):
  graphs = (onnx.load_from_string(model.data).graph for model in models)
  return collections.Counter(node.op_type for graph in graphs for node in graph.node)


@pytest.mark.parametrize(
  'head',
  [
    *('conv', 'mixed_pool', 'cascade_linear'),
    *(
      pytest.param(head, marks=pytest.mark.slow)
      for head in HEADS
      if head not in ('conv', 'mixed_pool', 'cascade_linear')
    ),
  ],
)
def test_head_predicts_the_same(head):
  model, again = networks.build(head=head), networks.build(head=head)
  models = converted(model)
  weights, unchanged = (nnx.state(one, nnx.Not(nnx.RngState)) for one in (model, again))
  jax.tree.map(np.testing.assert_array_equal, weights, unchanged)
  assert [one.takes_before for one in models[:2]] == [False, head.startswith('cascade_')]
  assert networks.difference(model, models, networks.images_for(SIDE)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('backbone', FAMILIES)
def test_backbone_predicts_the_same(backbone):
  side = FAMILIES[backbone]
  model = networks.build(backbone, 'linear', (0.5,), side)
  assert networks.difference(model, converted(model, side), networks.images_for(side)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('name', ['cnn', 'resnet', 'vit', 'tuples'])
def test_network_of_a_user_predicts_the_same(name):
  settings = {'image_shape': own.SHAPE, 'num_classes': own.CLASSES}
  model = add_exits(own.make(name), own.NETWORKS[name][1], head='linear', **settings)
  images = np.random.default_rng(2).integers(0, 256, (5, *own.SHAPE), dtype=np.uint8)
  assert networks.difference(model, list(convert(model, own.SHAPE)), images) < 1e-5


class Passing(nnx.Module):
  """A network with a vector that passes two cuts."""

  def __init__(self, kind, rngs):
    self.a, self.b = (nnx.Conv(*ends, (3, 3), rngs=rngs) for ends in ((1, 4), (4, 4)))
    self.c, self.fc = nnx.Conv(4, 4, (3, 3), rngs=rngs), nnx.Linear(8, own.CLASSES, rngs=rngs)
    self.kind = kind

  def __call__(self, x):
    x = self.a(x)
    passing = x.mean((1, 2)).astype(self.kind)
    x = nnx.relu(self.c(nnx.relu(self.b(x))))
    return self.fc(jnp.concatenate([x.mean((1, 2)), passing.astype(x.dtype)], axis=-1))


def with_passing(kind):
  settings = {'head': 'linear', 'image_shape': own.SHAPE, 'num_classes': own.CLASSES}
  return add_exits(Passing(kind, nnx.Rngs(0)), ('b', 'c'), **settings)


def test_vector_that_passes_two_cuts_predicts_the_same():
  model = with_passing('float32')
  images = np.random.default_rng(2).integers(0, 256, (5, *own.SHAPE), dtype=np.uint8)
  models = list(convert(model, own.SHAPE))
  assert [len(one.features) for one in models] == [2, 2, 0]
  assert networks.difference(model, models, images) < 1e-5


def test_type_that_cannot_pass_a_cut_is_one_line():
  with pytest.raises(UserError, match='after exit b has the type int32, and a bundle can pass on'):
    list(convert(with_passing('int32'), own.SHAPE))


def test_resized_images_predict_the_same():
  for size in (24, 12):
    model = networks.build('resnet8', 'linear', ('stage1',), image_size=size)
    assert networks.difference(model, converted(model), networks.images_for(SIDE)) < 1e-5


def test_one_grayscale_image_predicts_the_same():
  model = networks.build('resnet8', 'linear', ('stage1',))
  images = networks.images_for(SIDE, count=1)
  assert networks.difference(model, converted(model), images) < 1e-5


def test_batch_norms_are_folded_into_convolutions():
  found = operators(converted(networks.build(head='conv')))
  # A batch norm that is left is a product and a sum; products are by pixels and means alone.
  assert found['Conv'] == 9
  assert found['Relu'] == 9
  assert not {'BatchNormalization', 'Sqrt', 'Tile', 'Expand', 'Max'} & set(found)
  assert found['Mul'] <= 3


@pytest.mark.slow
def test_limited_relu_is_one_operator():
  found = operators(converted(networks.build('mobilenet_v1', 'linear', (0.5,), 32), 32))
  assert found['Clip'] == found['Conv'] == 27
  assert not found['Max'] + found['Min']


@pytest.mark.slow
def test_feature_that_the_next_segment_ignores_is_no_output():
  # A vision transformer passes tokens on, and a feature map for heads.
  models = converted(networks.build('vit9_cifar', 'linear', (0.5,), 32), 32)
  assert [len(model.features) for model in models] == [1, 0]
  assert len(session(models[1].data).get_inputs()) == 1


def test_names_and_shapes_of_inputs_and_outputs():
  models = converted(networks.build(head='cascade_linear'))
  first, second, last = (session(model.data) for model in models)
  assert [one.name for one in first.get_inputs()] == ['images']
  assert first.get_inputs()[0].shape[1:] == [SIDE, SIDE, 3]
  assert first.get_inputs()[0].type == 'tensor(uint8)'
  assert [one.name for one in second.get_inputs()] == [models[0].features[0].name, BEFORE]
  assert [one.name for one in last.get_outputs()] == [LOGITS]
  assert models[0].features[0].shape == (4, SIDE, SIDE)
  assert models[1].features[0].shape == (8, SIDE // 2, SIDE // 2)


def test_operation_that_cannot_be_converted_names_its_exit():
  class Transformed(nnx.Module):
    def __call__(self, x):
      return jnp.fft.fft(x).real

  model = networks.build()
  model.backbone.stages.stage1_block1 = Transformed()
  with pytest.raises(UserError, match=r'exit stage1 cannot be converted to ONNX: .*choose another'):
    predict(converted(model), networks.images_for(SIDE))
