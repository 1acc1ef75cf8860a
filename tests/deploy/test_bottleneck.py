"""Learned bottlenecks, on small networks."""

import jax
import numpy as np
import pytest

from mecl_jax.errors import RunError
from tests.deploy import networks

pytest.importorskip('jax2onnx', reason='the extra export is not installed')

from mecl_jax.deploy import bottleneck, check
from mecl_jax.deploy.convert import convert, convert_bottleneck
from mecl_jax.deploy.links import chain
from mecl_jax.deploy.predict import predict, predict_through

SIDE = 16
IMAGES = networks.images_for(SIDE, 64)
PLACES = ('stage1', 'stage2')


def trained(links, channels, steps, start=1):
  return bottleneck.train(links, start, channels, IMAGES, steps=steps, batch_size=16)


def through(links, one, start=1):
  """Returns the logits of the later exits with restored features, [exits, N, classes]."""
  codes = one.encode(bottleneck.features(links, start, IMAGES))
  leaves = [link.segment.leaves for link in links]
  return np.stack(list(bottleneck._later(links, leaves, start, one.decode(codes), None)))


def divergence(found, wanted):
  found, wanted = (jax.nn.log_softmax(z) for z in (found, wanted))
  return float((np.exp(wanted) * (wanted - found)).sum(axis=-1).mean())


def test_training_brings_the_predictions_closer():
  model = networks.build(exits=PLACES)
  links = chain(model, IMAGES.shape[1:])
  leaves = [link.segment.leaves for link in links]
  features = bottleneck.features(links, 1, IMAGES)
  wanted = np.stack(list(bottleneck._later(links, leaves, 1, features, None)))
  few, after, many = (
    divergence(through(links, trained(links, channels, steps)), wanted)
    for channels, steps in ((2, 0), (2, 60), (15, 0))
  )
  assert after < 0.85 * few
  assert many < 0.1 * few  # almost all of 16 numbers per patch


def test_codes_are_bytes_of_patches():
  links = chain(networks.build(exits=PLACES), IMAGES.shape[1:])
  one = trained(links, 3, 0)
  features = bottleneck.features(links, 1, IMAGES)
  (codes,) = one.encode(features)
  assert (codes.shape, codes.dtype) == ((64, SIDE // 2, SIDE // 2, 3), np.uint8)
  # Principal components: six standard deviations fill the range.
  assert np.asarray(codes).std(axis=(0, 1, 2)) == pytest.approx(255 / 6, rel=0.2)
  assert bottleneck.fits(links[1], 15) and not bottleneck.fits(links[1], 16)


@pytest.mark.parametrize(
  ('backbone', 'side', 'shapes'),
  [
    ('resnet8', 16, [(2, 8, 8)]),
    pytest.param('msdnet3', 16, [(2, 8, 8), (2, 4, 4), (2, 2, 2)], marks=pytest.mark.slow),
    pytest.param('vit9_cifar', 32, [(65, 2)], marks=pytest.mark.slow),  # tokens have no patches
  ],
)
def test_models_do_what_the_bottleneck_does(backbone, side, shapes):
  model = networks.build(backbone, 'linear', (0.5,), side)
  images, links = networks.images_for(side, 8), chain(model, (side, side, 3))
  models = list(convert(model, (side, side, 3)))
  one = bottleneck.train(links, 1, 2, images, steps=1, batch_size=4)
  codec = convert_bottleneck(one, models[0].features, 1)
  assert [each.shape for each in codec.codes] == shapes
  features = bottleneck.features(links, 1, images)
  check.check_codes('early', one, codec, features)
  wider = [{**each, 'encode': 1.5 * each['encode']} for each in one.weights]
  other = bottleneck.Bottleneck(one.link, 2, wider)
  with pytest.raises(RunError, match=r'behind exit early: .* of its codes differ.*no bundle is'):
    check.check_codes('early', other, codec, features)
  restored = one.decode(one.encode(features))
  leaves = [link.segment.leaves for link in links]
  (wanted,) = bottleneck._later(links, leaves, 1, restored, None)
  found = predict_through(models, codec, 1, images)[:, 0]
  np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())
  assert np.abs(found - predict(models, images)[:, 1]).max() > 0  # something is lost
