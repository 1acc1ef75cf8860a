import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits

from mecl_jax import data
from mecl_jax.data import digits, tfds_source


def _load(folder):
  return data.load(name='digits', data_dir=folder, validation_size=150)


def test_every_digit_once(tmp_path):
  loaded = _load(tmp_path)
  assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (1288, 150, 359)
  assert loaded.image_shape == (8, 8, 1) and loaded.num_classes == 10
  splits = (loaded.train, loaded.validation, loaded.test)
  pixels = np.concatenate([split.images for split in splits])
  assert pixels.min() == 0 and pixels.max() == 255
  back = np.rint(pixels.reshape(-1, 64) / (255 / 16))
  labels = np.concatenate([split.labels for split in splits])
  want_pixels, want_labels = load_digits(return_X_y=True)
  got = sorted(map(tuple, np.column_stack([labels, back]).astype(int).tolist()))
  want = sorted(map(tuple, np.column_stack([want_labels, want_pixels]).astype(int).tolist()))
  assert got == want
  assert loaded.test.ids[0] == 'test_00000' and loaded.test.ids[-1] == 'test_00358'


def test_the_split_is_a_fifth_of_every_class():
  labels = load_digits().target
  test = digits._is_test(labels)
  share = np.bincount(labels[test]) / np.bincount(labels)
  assert (np.abs(share - 0.2) < 0.005).all()


_LOAD = (
  'import sys; from mecl_jax import data; '
  'print(data.load(name="digits", data_dir=sys.argv[1], validation_size=150).fingerprint)'
)


def _start(code, folder):
  command = [sys.executable, '-c', code, str(folder)]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once(tmp_path):
  processes = [_start(_LOAD, tmp_path) for _ in range(2)]
  outputs = [process.communicate(timeout=120) for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  assert outputs[0][0] == outputs[1][0] != ''
  assert [path.name for path in (tmp_path / 'digits').iterdir()] == ['1.0.0']


_KILLED = """
import itertools, os, signal
from mecl_jax.data import png
encode, calls = png.encode, itertools.count()
def kill(image):
  if next(calls) == 700:
    os.kill(os.getpid(), signal.SIGKILL)
  return encode(image)
png.encode = kill
"""


def test_killed_while_preparing(tmp_path):
  process = _start(_KILLED + _LOAD, tmp_path)
  process.communicate(timeout=120)
  assert process.returncode == -9
  assert any((tmp_path / 'digits').iterdir())  # it was in the middle of it
  assert tfds_source.find('digits', tmp_path) is None
  assert len(_load(tmp_path).train) == 1288
