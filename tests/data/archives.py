"""Small archives in the published formats of CIFAR and MNIST, and what TFDS prepares from them."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import tensorflow_datasets as tfds

from mecl_jax.data import published
from tests.data import tiny_sets

SIZES = {'train': 60, 'test': 30}
LABELS = {'cifar100': {'coarse_label': 20, 'label': 100}}  # of the others: {'label': 10}
_CIFAR_NAMES = {
  'cifar10': {'label': 'batches.meta.txt'},
  'cifar100': {'coarse_label': 'coarse_label_names.txt', 'label': 'fine_label_names.txt'},
}
_MNIST_FILES = {'train': 'train', 'test': 't10k'}


def arrays(name):
  """Returns {split: {'image': .., 'label': .., ..}} in the published order."""
  shape = (32, 32, 3) if name in _CIFAR_NAMES else (28, 28, 1)
  content = {}
  for seed, (split, size) in enumerate(SIZES.items()):
    labels = {
      label: (np.arange(size) % min(classes, 10)).astype(np.uint8)
      for label, classes in LABELS.get(name, {'label': 10}).items()
    }
    content[split] = {'image': tiny_sets.images(size, shape, seed), **labels}
  return content


def write(name, folder):
  """Writes the archives of a data set as its authors publish it."""
  folder.mkdir(parents=True, exist_ok=True)
  content = arrays(name)
  if name in _CIFAR_NAMES:
    _write_tar(folder / f'cifar-{name[5:]}-binary.tar.gz', _cifar_members(name, content))
    return
  for split, prefix in _MNIST_FILES.items():
    columns = content[split]
    for array, kind in ((columns['image'][..., 0], 'images'), (columns['label'], 'labels')):
      header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>u4').tobytes()
      path = folder / f'{prefix}-{kind}-idx{array.ndim}-ubyte.gz'
      path.write_bytes(gzip.compress(header + array.tobytes()))


def _cifar_members(name, content):
  members = {
    file: '\n'.join(class_names(name, label)).encode() + b'\n\n'
    for label, file in _CIFAR_NAMES[name].items()
  }
  for split, columns in content.items():
    labels = [columns[label] for label in _CIFAR_NAMES[name]]
    planes = columns['image'].transpose(0, 3, 1, 2).reshape(len(columns['image']), -1)
    rows = np.column_stack([*labels, planes])
    if name == 'cifar100':
      members[f'{split}.bin'] = rows.tobytes()
    elif split == 'test':
      members['test_batch.bin'] = rows.tobytes()
    else:
      for i in (3, 1, 5, 2, 4):  # the order in an archive is arbitrary
        members[f'data_batch_{i}.bin'] = rows[12 * (i - 1) : 12 * i].tobytes()
  return members


def _write_tar(path, members):
  with tarfile.open(path, 'w:gz') as archive:
    folder = tarfile.TarInfo('folder')
    folder.type = tarfile.DIRTYPE
    archive.addfile(folder)
    for name, content in members.items():
      info = tarfile.TarInfo(f'folder/{name}')
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))


def class_names(name, label):
  """Returns the class names of the small CIFAR sets, or those in TFDS."""
  if name in _CIFAR_NAMES:
    return [f'{label}{i}' for i in range(LABELS.get(name, {'label': 10})[label])]
  return tfds.builder(name).info.features[label].names


def write_checksums(path, url, folder):
  """Writes a registry of the archives in `folder/NAME`, served at `url`."""
  lines = []
  for name in published.NAMES:
    for file in sorted(folder.glob(f'{name}/*')):
      key = f'{name}/{file.name}'
      lines.append(f'{key} {hashlib.sha256(file.read_bytes()).hexdigest()} {url}{key}')
  path.write_text('\n'.join(lines))


def prepare(name, data_dir):
  """Lets the stock builder of TFDS write the data set of `arrays`."""
  builder = tfds.builder(name, data_dir=data_dir)
  features = builder.info.features
  for label in LABELS.get(name, {'label': 10}):
    features[label].names = class_names(name, label)

  def records(split, columns):
    for i, image in enumerate(columns['image']):
      record = {label: int(array[i]) for label, array in columns.items() if label != 'image'}
      record |= {'id': f'{split}_{i:05d}'} if 'id' in features else {}
      yield i, {'image': tiny_sets.png(image), **record}

  builder._split_generators = lambda _: {k: records(k, v) for k, v in arrays(name).items()}
  builder.download_and_prepare(
    file_format='array_record',
    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
  )
