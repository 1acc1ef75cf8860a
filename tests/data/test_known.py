import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.data import published
from mecl_jax.data.dataset import validation_count
from mecl_jax.data.known import NAMES, known


def test_published_sets_are_known():
  assert set(NAMES) == set(published.NAMES)
  for name in NAMES:
    facts = known(name, 'label', 'train', 'test')
    classes = published._MNIST.get(name, ())
    assert facts and len(classes) in (0, facts.classes)


def test_facts_are_those_of_the_data(tmp_path):
  loaded = data.load(name='digits', data_dir=tmp_path, validation_size=0.25)
  facts = known('digits', 'label', 'train', 'test')
  assert facts.image_shape == loaded.image_shape and facts.classes == loaded.num_classes
  assert (facts.train, facts.test) == (1438, len(loaded.test))
  assert len(loaded.validation) == validation_count(0.25, facts.train) == 360
  assert len(loaded.train) + len(loaded.validation) == facts.train
  assert np.bincount(loaded.validation.labels).min() >= 34


@pytest.mark.parametrize(
  ('name', 'label', 'train_split', 'test_split'),
  [
    ('cifar10', 'coarse_label', 'train', 'test'),
    ('cifar10', 'label', 'train[:50%]', 'test'),
    ('mnist', 'other', 'train', 'test'),
    ('my_images', 'label', 'train', 'test'),
  ],
)
def test_other_sets_labels_and_parts_are_not_known(name, label, train_split, test_split):
  assert known(name, label, train_split, test_split) is None
