import numpy as np
from PIL import Image
import pytest

from mecl_jax.data import pictures


def _saved(tmp_path, image, name='a.png', **options):
  image.save(tmp_path / name, **options)
  return tmp_path / name


def test_orientation_of_a_camera_is_applied(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
  exif = Image.Exif()
  exif[0x0112] = 6  # turned by 90 degrees
  path = _saved(tmp_path, Image.fromarray(pixels), exif=exif)
  assert pictures.read_header(path) == (6, 4, 3)
  upright = np.rot90(pixels, -1)
  np.testing.assert_array_equal(pictures.read_pixels(path, 6, 4, 3), upright)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA'])
def test_transparent_pixels_are_white(tmp_path, mode):
  image = Image.new('RGBA', (4, 4), (0, 0, 0, 0))
  image.putpixel((0, 0), (0, 0, 0, 255))
  pixels = pictures.flatten(image.convert(mode), 3)
  assert pixels.shape == (4, 4, 3)
  assert (pixels[0, 0] == 0).all() and (pixels.reshape(-1, 3)[1:] == 255).all()


def test_palette_with_a_transparent_colour_is_flattened(tmp_path):
  image = Image.new('P', (2, 1))
  image.putpalette([10, 20, 30, 40, 50, 60])
  image.putpixel((1, 0), 1)
  path = _saved(tmp_path, image, transparency=0)
  assert pictures.read_pixels(path, 1, 2, 3).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_gray_of_16_bits_is_rounded_down(tmp_path):
  values = np.array([[0, 255, 256, 65535]], np.uint16)
  path = _saved(tmp_path, Image.fromarray(values))
  assert pictures.read_header(path).channels == 1
  assert pictures.read_pixels(path, 1, 4, 1)[..., 0].tolist() == [[0, 0, 1, 255]]


def test_colours_of_print_become_red_green_and_blue(tmp_path):
  path = _saved(tmp_path, Image.new('CMYK', (4, 4), (0, 255, 255, 0)), 'a.jpg')
  assert pictures.read_header(path).channels == 3
  red, green, blue = pictures.read_pixels(path, 4, 4, 3)[0, 0].tolist()
  assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_the_centre_is_resized(channels):
  """The shorter side is 4: of 12x4 pixels the middle third is taken, and enlarged twice."""
  pixels = np.zeros((12, 4, channels), np.uint8)
  pixels[4:8] = 200
  fitted = pictures.fit(pixels, 8, 8)
  assert fitted.shape == (8, 8, channels) and (fitted[2:6] > 190).all()
  assert pictures.fit(pixels, 12, 4) is pixels


def test_large_jpeg_is_near_to_all_of_its_pixels_resized(tmp_path):
  """It is decoded in a smaller size, which must not change what is seen."""
  small = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
  large = Image.fromarray(small.repeat(64, 0).repeat(64, 1))
  path = _saved(tmp_path, large, 'a.jpg', quality=95)
  with Image.open(path) as image:
    resized = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC), int)
  assert np.abs(pictures.read_pixels(path, 8, 8, 3) - resized).mean() < 4
