import jax
import numpy as np
import pytest

from mecl_jax.data.augment import augment

pytestmark = pytest.mark.stacks

KEY = jax.random.key(0)
JITTED = jax.jit(augment, static_argnames=('crop', 'flip', 'cutout'))


def _images(batch=16, height=8, width=6, channels=3):
  """Returns images with values 1..255, so that 0 can only be padding or cutout."""
  shape = (batch, height, width, channels)
  return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


def _run(images, key=KEY, **options):
  return np.asarray(JITTED(key, images, **options))


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('cutout', [0, 3])
def test_shape_and_dtype_are_kept(channels, cutout):
  out = _run(_images(channels=channels), cutout=cutout)
  assert out.shape == (16, 8, 6, channels) and out.dtype == np.uint8


def test_no_augmentation_changes_nothing():
  np.testing.assert_array_equal(_run(_images(), crop=0, flip=False), _images())


def test_crops_are_windows_of_the_padded_image():
  images = _images(batch=200)
  out = _run(images, crop=2, flip=False)
  padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
  seen = set()
  for source, cropped in zip(padded, out, strict=True):
    windows = {
      (y, x) for y in range(5) for x in range(5) if (source[y : y + 8, x : x + 6] == cropped).all()
    }
    assert len(windows) == 1
    seen |= windows
  assert len(seen) == 25  # in 200 draws, each of 25 offsets occurs


def test_flips_mirror_half_of_the_images():
  images = _images(batch=2000, height=2, width=4)
  out = _run(images, crop=0)
  same = (out == images).all((1, 2, 3))
  mirrored = (out == images[:, :, ::-1]).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 900 < mirrored.sum() < 1100  # within 4.5 standard deviations of 1000


def test_crop_and_flip_are_independent():
  images = np.zeros((2000, 5, 5, 1), np.uint8)
  images[:, 2, 0] = 1  # one dot, whose column shows both draws
  out = _run(images, crop=1)
  columns = np.argmax(out.sum(1)[..., 0], axis=1)[out.any((1, 2, 3))]
  counts = np.bincount(columns, minlength=5)
  assert (counts > 150).nonzero()[0].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize('side', [3, 4])
def test_cutout_is_a_square_clipped_at_the_border(side):
  images = _images(batch=500, height=9, width=9)
  blank = (_run(images, crop=0, flip=False, cutout=side) == 0).all(-1)
  np.testing.assert_array_equal(blank, (_run(images, crop=0, flip=False, cutout=side) == 0).any(-1))
  area = blank.sum((1, 2))
  heights, widths = blank.any(2).sum(1), blank.any(1).sum(1)
  np.testing.assert_array_equal(area, heights * widths)
  assert area.max() == side**2
  assert (
    heights.min() == widths.min() == side - side // 2
  )  # the centre is on the first or last line
  assert blank.any(0).all()  # every pixel is reached, also in the corners


def test_cutout_centre_is_uniform():
  images = _images(batch=3000, height=6, width=6)
  blank = (_run(images, crop=0, flip=False, cutout=1) == 0).all(-1)
  counts = blank.sum(0)
  assert counts.sum() == 3000
  assert counts.min() > 40 and counts.max() < 130  # 83 on average, deviation 9


def test_cutout_fills_only_the_square():
  fill = np.array([7, 8, 9], np.uint8)
  images = _images()
  out = _run(images, crop=0, flip=False, cutout=4, fill=fill)
  blank = (_run(images, crop=0, flip=False, cutout=4) == 0).all(-1)
  np.testing.assert_array_equal(out[blank], np.broadcast_to(fill, (blank.sum(), 3)))
  np.testing.assert_array_equal(out[~blank], images[~blank])


def test_result_depends_on_key_and_position():
  images = _images()
  options = {'crop': 2, 'cutout': 3}
  whole = _run(images, **options)
  np.testing.assert_array_equal(whole, _run(images, **options))
  np.testing.assert_array_equal(whole[:5], _run(images[:5], **options))
  assert (whole != _run(images, key=jax.random.key(1), **options)).any()
  same = _run(np.broadcast_to(images[:1], images.shape), **options)
  assert len({image.tobytes() for image in same}) > 12  # copies of one image get different results


def test_given_flips_mirror_exactly_these_images():
  images, mirrored = _images(), np.arange(16) % 3 == 0
  out = np.asarray(augment(KEY, images, mirrored, crop=0))
  np.testing.assert_array_equal(out[mirrored], images[mirrored][:, :, ::-1])
  np.testing.assert_array_equal(out[~mirrored], images[~mirrored])


def test_given_flips_change_no_other_draw():
  drawn = _run(_images(), crop=2)
  flips = _run(_images(), crop=0)
  mirrored = (flips == _images()[:, :, ::-1]).all((1, 2, 3))
  np.testing.assert_array_equal(augment(KEY, _images(), mirrored, crop=2), drawn)
