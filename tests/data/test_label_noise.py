import dataclasses

import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.errors import UserError
from tests.toys import make_arrays


@pytest.fixture
def load(tmp_path):
  np.savez(tmp_path / 'toy.npz', **make_arrays(train=1040, classes=4))
  fixed = {'name': 'toy', 'arrays': tmp_path / 'toy.npz', 'validation_size': 40}
  return lambda **noise: data.load(**fixed, **noise)


def test_exact_share_is_flipped_evenly(load):
  clean, noisy = load(), load(label_noise=0.3)
  assert clean.flipped is None and clean.clean_labels is None
  assert noisy.flipped.sum() == 300
  assert np.array_equal(noisy.clean_labels, clean.train.labels)
  new = noisy.train.labels[noisy.flipped]
  assert np.bincount(new, minlength=4).min() > 50 and set(noisy.train.labels) == {0, 1, 2, 3}


def test_validation_test_and_images_are_kept(load):
  clean, noisy = load(), load(label_noise=0.3)
  for split in ('validation', 'test'):
    assert np.array_equal(getattr(clean, split).labels, getattr(noisy, split).labels)
  assert np.array_equal(clean.train.images, noisy.train.images)
  assert clean.fingerprint != noisy.fingerprint


def test_flips_depend_on_the_seed(load):
  first, again, other = (load(label_noise=0.2, noise_seed=seed) for seed in (1, 1, 2))
  assert np.array_equal(first.train.labels, again.train.labels)
  assert not np.array_equal(first.flipped, other.flipped)


def test_larger_share_includes_the_smaller_one(load):
  some, more = load(label_noise=0.2), load(label_noise=0.4)
  assert (more.flipped | ~some.flipped).all()
  assert np.array_equal(more.train.labels[some.flipped], some.train.labels[some.flipped])


def test_one_class_is_rejected(tmp_path):
  np.savez(tmp_path / 'two.npz', **make_arrays(classes=2))
  two = data.load(name='two', arrays=tmp_path / 'two.npz', validation_size=40)
  one = dataclasses.replace(two, class_names=('a',))
  with pytest.raises(UserError, match=r'only one class; set data\.label_noise to 0'):
    data.flip_labels(one, 0.1, 0)
