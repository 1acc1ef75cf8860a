"""Exits on networks of other people; the same network without exits is the reference."""

import functools

from flax import linen, nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.inference.segments import cut
from mecl_jax.models import count_macs, draw_dropout, exit_costs, set_trainable, stage_costs
from mecl_jax.models.own.add_exits import add_exits
from tests.models.networks import slow_except
from tests.models.own.networks import CLASSES, CNN, NETWORKS, SHAPE, LinenCNN, ResNet, make

pytestmark = pytest.mark.stacks

RANDOM = ('vit', 'unet')  # with dropout
IMAGES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), np.uint8)
SOME = slow_except(('cnn', 'unet'), NETWORKS)
PIXELS = jnp.asarray(IMAGES / 255, jnp.float32)


def with_exits(network, after, **settings):
  given = {'head': 'linear', 'image_shape': SHAPE, 'num_classes': CLASSES, **settings}
  return add_exits(network, after, **given)


def flat(tree):
  """Returns the arrays of a network with exits by their names in the network without."""
  found = {}
  for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
    keys = [key.key for key in path]
    keys = ['_'.join(key) if isinstance(key, tuple) else str(key) for key in keys]
    skipped = {'backbone': 3, 'heads': 2}.get(keys[0], 0)
    found['.'.join(keys[skipped:])] = np.asarray(value)
  return found


def trained(model, images):
  """Returns the batch statistics after one call in training mode, and the gradient of a loss."""
  form, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
  params, stats, rest = map(nnx.to_pure_dict, states)

  def loss(params):
    network = nnx.merge(form, params, stats, rest)
    logits = network(images)
    logits = logits[:, -1] if logits.ndim == 3 else logits
    return logits.var(), nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

  return jax.jit(jax.grad(loss, has_aux=True))(params)


def cut_logits(model):
  """Returns the logits of all exits, by the segments that early exit runs."""
  x, logits = IMAGES, []
  for segment in cut(model):
    x, answer = jax.jit(segment.run)(segment.leaves, x, None)
    logits.append(answer)
  return np.stack(logits, axis=1)


def macs(network):
  form, state = nnx.split(network)
  arrays = nnx.to_pure_dict(state)
  return count_macs(lambda arrays, x: nnx.merge(form, arrays)(x), arrays, jnp.zeros((1, *SHAPE)))


@pytest.fixture(scope='module')
def cuts():
  """Returns a function from a name to a network and the same with exits."""
  kept = {}

  def of(name):
    if name not in kept:
      network = make(name)
      kept[name] = network, with_exits(network, NETWORKS[name][1])
    return kept[name]

  return of


@pytest.mark.parametrize('name', SOME)
def test_final_exit_is_the_network(cuts, name):
  _, model = cuts(name)
  network = make(name)
  network.eval()
  form, state = nnx.split(network)
  logits = jax.jit(lambda state, x: nnx.merge(form, state)(x))(nnx.to_pure_dict(state), PIXELS)
  ours = cut_logits(model)
  assert model.head_kinds[-1] == 'own' and len(model.exit_names) == len(NETWORKS[name][1]) + 1
  np.testing.assert_allclose(ours[:, -1], logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
  'name', slow_except(('cnn', 'spectral'), [name for name in NETWORKS if name not in RANDOM])
)
def test_training_moves_the_same_statistics_by_the_same_gradients(cuts, name):
  network, model = make(name), nnx.clone(cuts(name)[1])
  network.train()
  set_trainable(model, [('backbone',), ('heads', 'final')])
  results = list(zip(trained(network, PIXELS), trained(model, IMAGES), strict=True))
  for (theirs, ours), tolerance in zip(results, (1e-4, 0), strict=True):  # gradients sum more
    theirs, ours = flat(theirs), flat(ours)
    assert theirs.keys() <= ours.keys()
    for path, value in theirs.items():
      np.testing.assert_allclose(ours[path], value, atol=1e-6, rtol=1e-6 + tolerance, err_msg=path)


@pytest.mark.parametrize('name', SOME)
def test_macs_of_stages_are_those_of_the_network(cuts, name):
  _, model = cuts(name)
  network = make(name)
  network.eval()
  whole = macs(network)
  costs = exit_costs(model, SHAPE)
  assert costs[-1].macs == whole
  stages = stage_costs(model.backbone, SHAPE)
  assert sum(stage.macs for stage in stages) + costs[-1].head_macs == whole
  assert 0 < stages[0].macs < whole


@pytest.mark.parametrize('name', ['cnn', 'linen'])
def test_parts_keep_their_names_and_kinds(cuts, name):
  if name == 'linen':
    model = linen_with_exits()[2]
    path = ('backbone', 'stages', 'bn0', 'bn0')
  else:
    model, path = cuts(name)[1], ('backbone', 'stages', 'bn1', 'bn1')
  found = {
    kind.__name__: {key for key, _ in nnx.to_flat_state(nnx.state(model, kind))}
    for kind in (nnx.Param, nnx.BatchStat)
  }
  assert {(*path, 'scale'), ('heads', 'final', 'fc', 'kernel')} <= found['Param']
  assert {(*path, 'mean'), (*path, 'var')} <= found['BatchStat']


@functools.cache
def linen_with_exits():
  """Returns a Linen module, its variables, and the same with an exit."""
  network = LinenCNN(CLASSES)
  init = jax.jit(lambda key: network.init(key, PIXELS, train=False))
  variables = init(jax.random.key(0))
  return network, variables, with_exits(network, ['bn0'], variables=variables)


def test_linen_module_has_both_modes():
  network, variables, model = linen_with_exits()
  model = nnx.clone(model)
  logits = jax.jit(lambda v: network.apply(v, PIXELS, train=False))(variables)
  np.testing.assert_allclose(model(IMAGES)[:, -1], logits, atol=1e-6)
  set_trainable(model, [('backbone',), ('heads', 'final')])
  model(IMAGES)
  keys = {'dropout': jax.random.key(1)}
  settings = {'train': True, 'mutable': ['batch_stats'], 'rngs': keys}
  _, moved = jax.jit(lambda v: network.apply(v, PIXELS, **settings))(variables)
  for stage, name in (('bn0', 'bn0'), ('rest', 'bn1')):
    ours = getattr(model.backbone.stages[stage], name)
    for path in ('mean', 'var'):
      theirs = moved['batch_stats'][name][path]
      np.testing.assert_allclose(getattr(ours, path)[...], theirs, atol=1e-6)
  draw_dropout(model, jax.random.key(2))
  first = model(IMAGES)
  draw_dropout(model, jax.random.key(3))
  assert np.abs(first - model(IMAGES)).max() > 1e-3  # dropout is drawn in training mode


def test_dropouts_of_two_stages_have_masks_of_their_own(cuts):
  model = nnx.clone(cuts('unet')[1])
  set_trainable(model, [('backbone',)])
  draw_dropout(model, jax.random.key(0))
  keys = jax.tree.leaves(nnx.state(model, nnx.RngKey))
  assert len(keys) == 2 and not (jax.random.key_data(keys[0]) == jax.random.key_data(keys[1])).all()
  assert np.abs(model(IMAGES) - model(IMAGES)).max() > 1e-3  # the counts move
  model.eval()
  np.testing.assert_array_equal(model(IMAGES), model(IMAGES))


def test_network_and_its_arrays_are_not_changed():
  network = make('cnn')
  before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(network)))
  model = with_exits(network, ['bn1'])
  set_trainable(model, [('backbone',)])
  model(IMAGES)
  for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)):
    leaf.delete()  # as training does, which donates them
  jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(network)))


class Headless(CNN):
  def __call__(self, x):
    return nnx.relu(self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x))))))


@pytest.mark.parametrize('kind, classes', [(CNN, 7), (Headless, CLASSES)])
def test_new_final_head(kind, classes):
  model = with_exits(kind(CLASSES, nnx.Rngs(0)), ['bn1'], num_classes=classes)
  assert model.head_kinds == ('linear', 'linear') and model(IMAGES).shape == (6, 2, classes)
  names = {'.'.join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))}
  assert not any('fc' in name for name in names)


def test_stages_are_modules_and_functions():
  rngs = nnx.Rngs(0)
  conv, fc = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.Linear(4, CLASSES, rngs=rngs)
  parts = {'stem': conv, 'act': nnx.relu, 'end': nnx.Sequential(lambda x: x.mean((1, 2)), fc)}
  model = with_exits(None, ['act'], stages=parts)
  assert model.segments == (('stem', 'act'), ('end',)) and model.head_kinds[-1] == 'own'
  np.testing.assert_allclose(model(IMAGES)[:, -1], parts['end'](nnx.relu(conv(PIXELS))), atol=1e-6)
  params = nnx.to_flat_state(nnx.state(model.heads.final, nnx.Param))
  assert {path[-1] for path, _ in params} == {'kernel', 'bias'}


GLOBAL = [nnx.Linear(4, CLASSES, rngs=nnx.Rngs(0))]


class Owner(nnx.Module):
  def __init__(self):
    self.fc = GLOBAL[0]

  def end(self, x):
    return self.fc(x.mean((1, 2)))


def uses_local():
  layer = GLOBAL[0]
  return lambda x: layer(x.mean((1, 2)))


@pytest.mark.parametrize(
  'end, variable',
  [
    (uses_local(), 'layer'),
    (lambda x: GLOBAL[0](x.mean((1, 2))), 'GLOBAL'),
    (lambda x, fc=GLOBAL[0]: fc(x.mean((1, 2))), 'fc'),
    (Owner().end, 'self'),
  ],
)
def test_stage_that_is_a_function_of_a_layer_is_rejected(end, variable):
  parts = {'stem': nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)), 'end': end}
  with pytest.raises(UserError, match=f'stage end .* uses the module {variable}, .*Sequential'):
    with_exits(None, ['stem'], stages=parts)


class Renamed(nnx.Module):
  """Calls convolutions of given names."""

  def __init__(self, *names):
    self.names = names
    for name in names:
      setattr(self, name, nnx.Conv(1, 1, (3, 3), rngs=nnx.Rngs(0)))
    self.b = nnx.data([nnx.Conv(1, 1, (3, 3), rngs=nnx.Rngs(0))])
    self.fc = nnx.Linear(1, CLASSES, rngs=nnx.Rngs(0))

  def __call__(self, x):
    x = self.b[0](x)
    for name in self.names:
      x = nnx.relu(getattr(self, name)(x))
    return self.fc(x.mean((1, 2)))


def test_part_with_the_name_of_the_last_stage():
  model = with_exits(Renamed('rest', 'rest2'), ['rest'])
  assert model.segments == (('rest',), ('rest3',)) and model.exit_names == ('rest', 'final')


@pytest.mark.parametrize(
  'after, message',
  [
    (['final'], 'no early exit after final, .* the name of the last exit'),
    (['b.0', 'b_0'], 'parts b.0 and b_0 .* both be the stage b_0'),
  ],
)
def test_names_of_parts_that_are_rejected(after, message):
  with pytest.raises(UserError, match=message):
    with_exits(Renamed('b_0', 'final'), after)


class Flow(CNN):
  def __call__(self, x):
    return super().__call__(-x if x.mean() > 0 else x)


class Random(CNN):
  def __call__(self, x):
    return super().__call__(x * np.random.rand())


class Counting(CNN):
  def __init__(self, classes, rngs):
    super().__init__(classes, rngs)
    self.count = nnx.Variable(jnp.zeros(()))

  def __call__(self, x):
    self.count[...] += 1
    return super().__call__(x)


class Twice(CNN):
  def __call__(self, x):
    return super().__call__(self.bn1(self.conv1(x))[..., :1])


class Folded(CNN):
  def __call__(self, x):
    x = self.bn1(self.conv1(x.reshape(-1, 4, 4, 1)))
    return self.fc(self.bn2(self.conv2(x)).mean((1, 2)).reshape(-1, 4, 8).mean(1))


class Looped(nnx.Module):
  def __init__(self, classes, rngs):
    self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
    self.bn1 = nnx.Conv(4, 4, (3, 3), rngs=rngs)
    self.fc = nnx.Linear(4, classes, rngs=rngs)

  def __call__(self, x):
    form, state = nnx.split(self.bn1)
    x, _ = jax.lax.scan(lambda x, _: (nnx.merge(form, state)(x), None), self.conv1(x), length=2)
    return self.fc(x.mean((1, 2)))


class NoMode(linen.Module):
  @linen.compact
  def __call__(self, x):
    x = linen.BatchNorm(use_running_average=True, name='bn1')(linen.Conv(4, (3, 3))(x))
    return linen.Dense(CLASSES)(x.mean((1, 2)))


def not_finite():
  network = make('cnn')
  network.conv2.kernel[...] = network.conv2.kernel[...].at[0].set(np.nan)
  return network


@pytest.mark.parametrize(
  'network, after, message',
  [
    (lambda: make('cnn'), 'bn9', 'no part .*bn9.* conv1, bn1, conv2'),
    (lambda: make('cnn'), 'fc', r'output of fc is \[B, 4\].*feature map'),
    (not_finite, 'bn1', 'conv2.kernel .* not finite'),
    (lambda: Flow(CLASSES, nnx.Rngs(0)), 'bn1', 'cannot be called .*boolean'),
    (lambda: Random(CLASSES, nnx.Rngs(0)), 'bn1', 'something else each time'),
    (lambda: Counting(CLASSES, nnx.Rngs(0)), 'bn1', 'changes count during'),
    (lambda: Twice(CLASSES, nnx.Rngs(0)), 'bn1', 'calls bn1 2 times'),
    (lambda: Folded(CLASSES, nnx.Rngs(0)), 'bn1', 'first axis is not that of the images'),
    (lambda: Looped(CLASSES, nnx.Rngs(0)), 'bn1', 'after bn1, which .* loop.*stages='),
    (NoMode, 'bn1', 'statistics .* do not change in training mode'),
    (lambda: 5, 'bn1', 'the network is int'),
  ],
)
def test_what_cannot_be_cut_is_one_clear_line(network, after, message):
  with pytest.raises(UserError, match=message) as error:
    with_exits(network(), [after])
  assert '\n' not in str(error.value)


def test_stages_that_do_not_fit_are_named_with_their_shapes():
  parts = {name: nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)) for name in ('stem', 'mid', 'end')}
  with pytest.raises(UserError, match=r'stage mid cannot take its input, \[2, 8, 8, 4\]'):
    with_exits(None, ['stem'], stages=parts)


def test_images_of_another_size_are_rejected(cuts):
  with pytest.raises(UserError, match=r'images are 4x4x1, .* cut for 8x8x1'):
    cuts('cnn')[1](IMAGES[:, :4, :4])


@pytest.mark.slow
def test_early_stages_run_alone(cuts):
  """A segment has the MACs of its own stages only, and a cut with several live arrays as well."""
  for name in ('unet', 'resnet'):
    model = cuts(name)[1]
    stages = {stage.name: stage.macs for stage in stage_costs(model.backbone, SHAPE)}
    x = jax.ShapeDtypeStruct((1, *SHAPE), np.uint8)
    for k, segment in enumerate(cut(model)):
      run = segment.run
      counted = count_macs(lambda leaves, x, run=run: run(leaves, x, None), segment.leaves, x)
      head = exit_costs(model, SHAPE)[k].head_macs
      assert counted == sum(stages[stage] for stage in model.segments[k]) + head
      x, _ = jax.eval_shape(segment.run, segment.leaves, x, None)


def test_names_of_lists_and_heads_of_exits():
  network = ResNet(CLASSES, nnx.Rngs(0), planes=(4, 4), blocks=1)
  network.layer3 = network.layer4 = nnx.data([]) if hasattr(nnx, 'data') else []
  model = with_exits(network, ['layer1=conv'])
  assert model.exit_names == ('layer1', 'final') and model.head_kinds[0] == 'conv'
  assert model.exit_stages[0] == 'layer1_0'
