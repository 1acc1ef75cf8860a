import gzip
import io
import struct
import tarfile

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from mecl_jax.data import official


def _decode(record):
  return np.asarray(Image.open(io.BytesIO(record['image'])))


def _features(**classes):
  return tfds.features.FeaturesDict(
    {name: tfds.features.ClassLabel(num_classes=count) for name, count in classes.items()}
  )


def _write_tar(path, members):
  with tarfile.open(path, 'w:gz') as archive:
    for name, content in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))


def test_cifar100_has_two_labels_and_planes_of_colour(tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
  rows = [bytes([i, 10 * i]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images)]
  coarse, fine = ('\n'.join(f'{kind}{i}' for i in range(n)) for kind, n in (('c', 20), ('f', 100)))
  members = {
    'train.bin': b''.join(rows),
    'test.bin': rows[2],
    'coarse_label_names.txt': coarse.encode(),
    'fine_label_names.txt': (fine + '\n\n').encode(),
  }
  _write_tar(tmp_path / 'a.tar.gz', {f'cifar-100-binary/{k}': v for k, v in members.items()})
  features = _features(coarse_label=20, label=100)
  splits = official.SOURCES['cifar100'].splits({'archive': tmp_path / 'a.tar.gz'}, features)
  records = list(splits['train'])
  assert [key for key, _ in records] == [0, 1, 2]
  assert [record['id'] for _, record in records] == ['train_00000', 'train_00001', 'train_00002']
  assert [(r['coarse_label'], r['label']) for _, r in records] == [(0, 0), (1, 10), (2, 20)]
  for image, (_, record) in zip(images, records, strict=True):
    np.testing.assert_array_equal(_decode(record), image)
  ((_, last),) = splits['test']
  assert last['id'] == 'test_00000' and last['label'] == 20
  assert features['label'].names[99] == 'f99' and features['coarse_label'].names[0] == 'c0'


def _write_idx(path, array):
  header = struct.pack('>BBBB', 0, 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape)
  path.write_bytes(gzip.compress(header + array.tobytes()))


def test_mnist_reads_idx_files(tmp_path):
  source = official.SOURCES['fashion_mnist']
  assert source.urls['test_labels-idx1'].endswith('.com/t10k-labels-idx1-ubyte.gz')
  images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
  labels = np.array([3, 1, 4, 1], np.uint8)
  paths = {key: tmp_path / key for key in source.urls}
  for key, path in paths.items():
    count = 4 if key.startswith('train') else 2
    _write_idx(path, (images if 'images' in key else labels)[:count])
  splits = {k: list(v) for k, v in source.splits(paths, {}).items()}
  assert [record['label'] for _, record in splits['train']] == [3, 1, 4, 1]
  assert [key for key, _ in splits['test']] == [0, 1]
  np.testing.assert_array_equal([_decode(r) for _, r in splits['train']], images)


def test_sources_are_stock_sets_with_the_urls_tfds_knows():
  for name, source in official.SOURCES.items():
    known = tfds.builder_cls(name).url_infos
    assert set(source.urls.values()) <= set(known), name
