"""The networks in PyTorch compute what ours do."""

from flax import nnx
import jax
import numpy as np
import pytest

from benchmarks.networks import CLASSES, NETWORKS, SIDE, SMALL
from mecl_jax import models
from mecl_jax.models import exit_costs
from mecl_jax.models.layers import BatchNorm
from tests.models.networks import call

torch = pytest.importorskip('torch', reason='PyTorch is not installed')


def build(network):
  from benchmarks.peers.common import MEAN, STD

  return models.build(
    **network.fields(),
    num_classes=CLASSES,
    image_shape=(SIDE, SIDE, 3),
    mean=np.array(MEAN, np.float32),
    std=np.array(STD, np.float32),
    seed=0,
  )


@pytest.mark.parametrize('name', NETWORKS)
def test_parameters_and_macs_are_equal(name):
  """At full size, from shapes alone."""
  from torch.utils.flop_counter import FlopCounterMode

  from benchmarks.peers import make

  model = nnx.eval_shape(lambda: build(NETWORKS[name]))
  costs = exit_costs(model, (SIDE, SIDE, 3))
  with torch.device('meta'), torch.no_grad():
    peer, image = make(NETWORKS[name]), torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    for number, cost in enumerate(costs):
      with FlopCounterMode(display=False) as counter:
        peer.at(image, number)
      assert counter.get_total_flops() == 2 * cost.macs, cost.name
  ours = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert sum(p.numel() for p in peer.parameters()) == ours


def test_batch_norm_counts_no_batches():
  from benchmarks.peers import make

  peer = make(SMALL['resnet20'])
  assert not [name for name, _ in peer.named_buffers() if 'num_batches' in name]
  peer.train()(torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8))


def our_layers(model):
  """Yields convolutions, batch norms and dense layers in the order of their definition."""
  parts = [model.backbone.stages[name] for name in model.backbone.stage_names]
  for part in [*parts, *(model.heads[name] for name in model.exit_names)]:
    yield from layers_of(part)


def layers_of(module):
  if isinstance(module, nnx.Conv | nnx.Linear | BatchNorm):
    yield module
  elif isinstance(module, nnx.Module):
    for inner in vars(module).values():
      yield from layers_of(inner)


def copy(ours, theirs):
  def put(tensor, value):
    tensor.data.copy_(torch.from_numpy(np.array(value)))

  if isinstance(ours, BatchNorm):
    pairs = ((theirs.weight, ours.scale), (theirs.bias, ours.bias))
    pairs += ((theirs.running_mean, ours.mean), (theirs.running_var, ours.var))
    for tensor, variable in pairs:
      put(tensor, variable[...])
  elif isinstance(ours, nnx.Linear):
    put(theirs.weight, ours.kernel[...].T)
    put(theirs.bias, ours.bias[...])
  else:
    put(theirs.weight, ours.kernel[...].transpose(3, 2, 0, 1))


@pytest.mark.parametrize('name', SMALL)
def test_logits_are_equal(name):
  from benchmarks.peers import make

  model, peer = build(SMALL[name]), make(SMALL[name])
  rng = np.random.default_rng(0)
  for layer in our_layers(model):
    if isinstance(layer, BatchNorm):
      size = layer.mean[...].shape
      layer.mean[...] = jax.numpy.asarray(rng.normal(0, 0.1, size), 'float32')
      layer.var[...] = jax.numpy.asarray(rng.uniform(0.5, 2, size), 'float32')
  kinds = torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.Linear
  theirs = [module for module in peer.modules() if isinstance(module, kinds)]
  for ours, other in zip(our_layers(model), theirs, strict=True):
    copy(ours, other)
  images = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
  with torch.no_grad():
    other = torch.stack(peer.eval()(torch.from_numpy(images)), dim=1).numpy()
  np.testing.assert_allclose(call(model, images), other, rtol=1e-4, atol=1e-4)
