"""What is sent between a device and a server."""

import numpy as np
import pytest

from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.wire import body_length, pack, unpack
from tests.deploy.bundles import make_fields

BUNDLE = make_fields(cascade=1)  # features float16 [1] and float32 [2, 1]; logits of 4 classes
BEFORE = np.array([[0.1, -2, 3e9, 0]], np.float32)


def features(*values, dtype=np.float32):
  return [np.array([[7.5]], np.float16), np.array(values, dtype).reshape(1, 2, 1)]


def test_float16_is_sent_bit_by_bit():
  x = features(1.5, -0.1)
  body = pack(BUNDLE, 1, 'float16', x, BEFORE)
  assert len(body) == body_length(BUNDLE, 1, 'float16') == 2 + 4 + 16
  (half, real), before = unpack(BUNDLE, 1, 'float16', body)
  assert (half.dtype, real.dtype, before.dtype) == (np.float16, np.float32, np.float32)
  assert half.tobytes() == x[0].tobytes() and before.tobytes() == BEFORE.tobytes()
  np.testing.assert_array_equal(real, x[1].astype(np.float16).astype(np.float32))
  assert pack(BUNDLE, 1, 'float16', [half, real], before) == body


def test_int8_has_a_scale_per_feature_map():
  body = pack(BUNDLE, 1, 'int8', features(127 * 0.5, -20.1), BEFORE)
  assert len(body) == body_length(BUNDLE, 1, 'int8') == (4 + 1) + (4 + 2) + 16
  (half, real), before = unpack(BUNDLE, 1, 'int8', body)
  np.testing.assert_array_equal(real, np.array([[[63.5], [-20.0]]], np.float32))  # steps of 0.5
  assert half.dtype == np.float16 and half[0, 0] == pytest.approx(7.5, rel=1e-3)
  assert before.tobytes() == BEFORE.tobytes()
  assert pack(BUNDLE, 1, 'int8', [half, real], before)[5:] == body[5:]


def test_whole_numbers_and_images_are_sent_as_they_are():
  image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
  body = pack(BUNDLE, 0, 'int8', [image], None)
  assert body == image.tobytes() and len(body) == body_length(BUNDLE, 0, 'float16')
  (found,), before = unpack(BUNDLE, 0, 'float16', body)
  assert before is None
  np.testing.assert_array_equal(found, image)
  quantised = make_fields()
  quantised['exits'][0]['features'] = [{'name': 'x', 'dtype': 'int8', 'shape': [3]}]
  whole = np.array([[-128, 0, 127]], np.int8)
  for send_as in ('float16', 'int8'):
    body = pack(quantised, 1, send_as, [whole], None)
    assert body == whole.tobytes()
    np.testing.assert_array_equal(unpack(quantised, 1, send_as, body)[0][0], whole)


def test_large_small_and_zero_features():
  (_, real), _ = unpack(BUNDLE, 1, 'float16', pack(BUNDLE, 1, 'float16', features(1e9, 0), BEFORE))
  assert real.ravel().tolist() == [65504, 0]
  for values in ((0, 0), (1e-42, 0)):
    (_, real), _ = unpack(BUNDLE, 1, 'int8', pack(BUNDLE, 1, 'int8', features(*values), BEFORE))
    assert real.ravel().tolist() == [0, 0]


@pytest.mark.parametrize('send_as', ['float16', 'int8'])
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_features_that_are_not_finite_are_not_sent(send_as, bad):
  with pytest.raises(BundleError, match='the features are not finite'):
    pack(BUNDLE, 1, send_as, features(1, bad), BEFORE)


@pytest.mark.parametrize('scale', [0, -1, np.nan, np.inf])
def test_bad_bodies_are_rejected(scale):
  body = pack(BUNDLE, 1, 'int8', features(1, 2), BEFORE)
  with pytest.raises(BundleError, match='the body has 26 bytes; it must have 27'):
    unpack(BUNDLE, 1, 'int8', body[:-1])
  with pytest.raises(BundleError, match='it must be above 0, finite'):
    unpack(BUNDLE, 1, 'int8', np.array(scale, '<f4').tobytes() + body[4:])
