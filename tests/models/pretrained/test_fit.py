import re

import jax
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models.pretrained import fit, named
from tests.models.networks import build


def arrays_of(model):
  return {name: np.asarray(variable[...]) for name, variable in named(model).items()}


def test_takes_all_weights_of_an_equal_network():
  model, other = build(seed=0), build(seed=1, mean=[0.1, 0.2, 0.3])
  pixels = np.asarray(model.mean[...])
  report = fit(model, arrays_of(other), skip=(), source='x')
  assert (report.taken, report.fresh) == (len(named(model)), ())
  for name, array in arrays_of(other).items():
    np.testing.assert_array_equal(named(model)[name][...], array)
  np.testing.assert_array_equal(model.mean[...], pixels)  # statistics of pixels are settings


def test_skipped_arrays_keep_initial_values():
  model, other = build(seed=0), build(seed=1, num_classes=7)
  before, given = arrays_of(model), arrays_of(other)
  del given['stage3_block1.conv1.kernel']
  report = fit(model, given, skip=('heads.*', 'stage3_*'), source='x')
  fresh = {name for name in before if name.startswith('heads.')}
  fresh.add('stage3_block1.conv1.kernel')
  assert set(report.fresh) == fresh
  assert report.taken == len(before) - len(fresh)
  for name, array in arrays_of(model).items():
    np.testing.assert_array_equal(array, (before if name in fresh else given)[name])


def test_takes_whole_heads_only():
  model = build(seed=0)
  given = arrays_of(build(seed=1, exits=('stage1=msdnet', 'stage2')))
  fresh = set(fit(model, given, skip=('heads.*',), source='x').fresh)
  assert fresh == {name for name in arrays_of(model) if name.startswith('heads.stage1.')}


def test_no_matching_array_is_rejected():
  with pytest.raises(UserError, match='x has no array that matches'):
    fit(build(), {'a.weight': np.zeros(2)}, skip=('*',), source='x')


def test_keeps_dtypes_and_devices():
  model = build()
  device = jax.devices()[-1]
  variable = named(model)['stem.conv.kernel']
  variable[...] = jax.device_put(variable[...], device)
  given = {name: array.astype(np.float16) for name, array in arrays_of(model).items()}
  fit(model, given, skip=(), source='x')
  found = named(model)['stem.conv.kernel'][...]
  assert found.dtype == np.float32
  assert found.devices() == {device}


def test_lists_all_mismatches_in_one_line():
  model = build()
  before, given = arrays_of(model), arrays_of(build(seed=1))
  del given['stem.conv.kernel']
  given['fc.weight'] = np.zeros(2)
  given['counter'] = np.zeros(2)
  given['stage2_block1.norm1.mean'] = np.zeros(3)
  with pytest.raises(UserError) as caught:
    fit(model, given, skip=('heads.*',), source='a.safetensors')
  assert str(caught.value) == (
    'model.pretrained=a.safetensors does not match: 1 are missing (stem.conv.kernel); 2 are unused'
    ' (fc.weight, counter); 1 have another shape (stage2_block1.norm1.mean (3,) for (8,)); to skip'
    ' these arrays, set model.pretrained_skip=heads.*,stem.*,fc.*,counter,stage2_block1.*'
  )
  for name, array in arrays_of(model).items():
    np.testing.assert_array_equal(array, before[name])
  skip = ('heads.*', 'stem.*', 'fc.*', 'counter', 'stage2_block1.*')
  fresh = fit(model, given, skip=skip, source='x').fresh
  assert set(fresh) == {'stem.conv.kernel', 'stage2_block1.norm1.mean'}


def test_long_lists_are_shortened():
  model = build()
  given = {name: array for name, array in arrays_of(model).items() if 'norm' in name}
  with pytest.raises(UserError, match=r'^.*\(\S+, \S+, \S+ and \d+ more\).*$'):
    fit(model, given, skip=(), source='x')


def test_weights_of_another_network_are_rejected():
  message = 'x has none of the weights of this network; it has a.weight, but the network needs'
  with pytest.raises(UserError, match=message):
    fit(build(), {'a.weight': np.zeros(2)}, skip=('heads.*',), source='x')


def test_unused_pattern_is_rejected():
  model = build()
  with pytest.raises(UserError, match=re.escape("the pattern 'head.*' matches no name")):
    fit(model, arrays_of(model), skip=('head.*',), source='x')
