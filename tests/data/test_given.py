import errno
import io
import os

import numpy as np
from PIL import Image
import pytest

from mecl_jax import data
from mecl_jax.data import given, rows
from mecl_jax.errors import UserError

GRAY = np.arange(16, dtype=np.uint8).reshape(4, 4)
PAIRS = [(GRAY, 0), (GRAY + 1, 1), (GRAY + 2, 0), (GRAY + 3, 1)]


class Labels:
  names = ('cat', 'dog')


class HuggingFace:
  """Has the interface of a Hugging Face data set whose images differ in size."""

  def __init__(self, mode='RGB'):
    self._mode, self.features = mode, {'label': Labels}

  def __len__(self):
    return 6

  def __getitem__(self, index):
    if not isinstance(index, int) or not 0 <= index < 6:
      raise IndexError(index)
    return {'image': Image.new(self._mode, (5 + index, 6), 'white'), 'label': index % 2}


def test_pairs_of_arrays_and_labels():
  parts = data.from_source(PAIRS, PAIRS[:2], class_names=['a', 'b'])
  np.testing.assert_array_equal(parts.train.images[..., 0], [image for image, _ in PAIRS])
  assert parts.train.labels.tolist() == [0, 1, 0, 1] and parts.class_names == ('a', 'b')
  assert parts.test.ids.tolist() == ['test_00000', 'test_00001'] and parts.validation is None


def test_hugging_face_images_of_several_sizes():
  parts = data.from_source(HuggingFace(), HuggingFace(), HuggingFace(), size=8)
  assert parts.train.images.shape == (6, 8, 8, 3) and parts.class_names == ('cat', 'dog')
  found = data.load(name='own', parts=parts, validation_size=2)
  assert len(found.validation) == 6 and found.given


@pytest.mark.parametrize('classes', [('a', 'b'), np.array(['a', 'b'])])
def test_class_names_of_torchvision(classes):
  source = type('Set', (list,), {'classes': classes})(PAIRS)
  assert data.from_source(source, PAIRS).class_names == ('a', 'b')


@pytest.mark.parametrize('features', [['label'], np.zeros((4, 3))])
def test_features_that_are_no_columns_have_no_names(features):
  source = type('Set', (list,), {'features': features})(PAIRS)
  assert data.from_source(source, PAIRS).class_names == ('0', '1')


def test_class_names_of_several_lengths_are_one_line():
  with pytest.raises(UserError, match='class_names cannot be read: ') as error:
    data.from_source(PAIRS, PAIRS, class_names=[['a'], ['b', 'c']])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('kind', 'labels', 'expected', 'names'),
  [
    ('numbers', [1, 2.5, 3, 4], [[1], [2.5], [3], [4]], ('target',)),
    ('numbers', [(0, 1.5)] * 4, [[0, 1.5]] * 4, ('0', '1')),
    ('binary', [[0, 1, 1], [True, False, True]] * 2, [[0, 1, 1], [1, 0, 1]] * 2, ('0', '1', '2')),
  ],
)
def test_labels_that_are_no_classes(kind, labels, expected, names):
  pairs = [(image, label) for (image, _), label in zip(PAIRS, labels, strict=True)]
  parts = data.from_source(pairs, pairs[:2], kind=kind, units='cm')
  assert parts.train.labels.tolist() == expected and parts.class_names == names
  found = data.load(name='own', parts=parts, kind=kind, validation_size=1)
  assert found.kind == kind and found.units == ('cm' if kind == 'numbers' else '')
  other = 'classes' if kind == 'binary' else 'binary'
  with pytest.raises(UserError, match=f'given data are {kind}, and the task needs {other}: give'):
    data.load(name='own', parts=parts, kind=other, validation_size=1)


@pytest.mark.parametrize(
  ('kind', 'labels', 'message'),
  [
    ('numbers', [1, 'two', 3, 4], r'train\[1\] has the label .two.; labels must be numbers'),
    ('numbers', [1, [2, 3], 4, 5], r'train\[1\] has 2 labels, and the images before it have 1'),
    ('numbers', [1, np.nan, 3, 4], 'train: 1 of 4 values of labels are not finite'),
    ('binary', [[0, 2]] * 4, 'train: 4 of 8 values of labels are neither 0 nor 1'),
    ('binary', [[[0, 1]]] * 4, r'train\[0\] has the label .*labels must be binary'),
    ('number', [1] * 4, "kind is 'number'; choose one of: classes, binary, numbers"),
  ],
)
def test_label_of_another_kind_is_one_line(kind, labels, message):
  pairs = [(image, label) for (image, _), label in zip(PAIRS, labels, strict=True)]
  with pytest.raises(UserError, match=message):
    data.from_source(pairs, pairs, kind=kind)


def test_splits_have_as_many_labels():
  few, many = ([(GRAY, [0.0] * count)] * 2 for count in (1, 3))
  with pytest.raises(UserError, match='must have as many values; they have: train 1, test 3'):
    data.from_source(few, many, kind='numbers')


def test_gray_images_among_colours_become_colours():
  colour = (np.stack([GRAY] * 3, axis=-1), 1)
  parts = data.from_source([PAIRS[0], colour, PAIRS[2]], [PAIRS[1], PAIRS[0]])
  assert parts.train.images.shape == (3, 4, 4, 3) and parts.test.images.shape == (2, 4, 4, 3)
  np.testing.assert_array_equal(parts.train.images[0], parts.train.images[1])
  assert parts.train.images[2, 0, 0].tolist() == [2, 2, 2]


@pytest.mark.parametrize('channels', [2, 4, 300])
def test_any_number_of_channels(channels):
  image = np.random.default_rng(0).integers(0, 255, (4, 6, channels), dtype=np.uint8)
  parts = data.from_source([(image, 0), (image, 1)], [(image, 0)], size=4)
  assert parts.train.images.shape == (2, 4, 4, channels)
  np.testing.assert_array_equal(parts.train.images[0], image[:, 1:5])


def test_large_sources_stay_in_a_file(monkeypatch, tmp_path):
  monkeypatch.setattr(rows, 'MOST_MEMORY', 0)
  parts = data.from_source(PAIRS, PAIRS)
  assert isinstance(parts.train.images, rows.FileRows)
  np.testing.assert_array_equal(parts.train.images[:][..., 0], [image for image, _ in PAIRS])
  assert not list((tmp_path / 'cache/mecl_jax/data').iterdir())  # nothing is left behind


@pytest.mark.parametrize(
  ('train', 'message'),
  [
    ([], 'train is empty'),
    (5, 'train is int; it must have a length'),
    ([GRAY], r'train\[0\] must be \(image, label\), .*; it is ndarray'),
    ([{'img': GRAY, 'label': 0}], r'train\[0\] must be .*; it has the keys img, label'),
    ([PAIRS[0], (GRAY, 'cat')], r"train\[1\] has the label 'cat'; labels must be whole numbers"),
    ([(GRAY, -1)], r'train\[0\] has the label -1; it must be from 0 to 99999'),
    ([(GRAY, 0), (GRAY, 2)], 'largest training label is 2, but there are only 2'),
    ([(GRAY / 255, 0)], r'train\[0\] is float64 \[4, 4\]; give a PIL image or uint8'),
    ([([[1, 2], [3]], 0)], r'train\[0\] cannot be read: .*; give a PIL image or uint8'),
    ([PAIRS[0], (GRAY[:3], 1)], r'train\[1\] has 3x4 pixels, .* 4x4; give size=SIDE'),
    ([PAIRS[0], (np.zeros((4, 4, 4), np.uint8), 1)], r'train\[1\] has 4 channels, .* have 1'),
  ],
)
def test_source_that_cannot_be_used_is_one_line(train, message):
  with pytest.raises(UserError, match=message) as error:
    data.from_source(train, PAIRS)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pil_images_without_a_fixed_range_are_refused(mode):
  image = Image.fromarray(GRAY).convert(mode)
  with pytest.raises(UserError, match=rf'train\[0\] has the mode {mode} of PIL, .* L or RGB'):
    data.from_source([(image, 0)], PAIRS)


def test_png_of_16_bits_is_rounded_down(tmp_path):
  Image.fromarray(GRAY.astype(np.uint16) << 8).save(tmp_path / 'a.png')
  with Image.open(tmp_path / 'a.png') as image:
    found = data.from_source([(image, 0), (GRAY, 1)], PAIRS)
  np.testing.assert_array_equal(found.train.images[0], found.train.images[1])


class _FullDisk(io.BytesIO):
  def write(self, content):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_is_one_line(monkeypatch):
  monkeypatch.setattr(given.tempfile, 'TemporaryFile', lambda **_: _FullDisk())
  with pytest.raises(UserError, match=r'cannot be written: No space left .*; set XDG_CACHE_HOME'):
    data.from_source(PAIRS, PAIRS)


def test_tensor_of_pytorch_is_refused():
  tensor = type('Tensor', (), {'__module__': 'torch'})()
  with pytest.raises(UserError, match=r'train\[0\] is a tensor of PyTorch; leave out ToTensor'):
    data.from_source([(tensor, 0)], PAIRS)


def test_splits_of_other_shapes_are_refused():
  other = [(np.zeros((4, 4, 4), np.uint8), 0)]
  with pytest.raises(UserError, match=r'\(4, 4, 1\) in training and \(4, 4, 4\) in test'):
    data.load(name='own', parts=data.from_source(PAIRS, other), validation_size=2)


@pytest.mark.parametrize('place', ['arrays', 'folder'])
def test_a_source_and_a_place_are_refused(place):
  parts = data.from_source(PAIRS, PAIRS)
  with pytest.raises(UserError, match=f'set only one of data.{place} and the argument data'):
    data.load(name='own', parts=parts, validation_size=2, **{place: 'x'})
