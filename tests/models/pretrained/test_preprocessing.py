import pytest

from mecl_jax.errors import UserError
from mecl_jax.models.pretrained import PREPROCESSING, default_preprocessing, is_workdir


@pytest.mark.parametrize(
  ('source', 'backbone', 'expected'),
  [
    ('', 'resnet8', 'dataset'),
    ('imagenet', 'resnet50', 'caffe'),
    ('a/b.safetensors', 'vit_b16', 'tf'),
    ('a/b.weights.h5', 'densenet121', 'torch'),
    ('runs/first', 'resnet8', 'run'),
  ],
)
def test_default_of_each_source(source, backbone, expected):
  assert default_preprocessing(source, backbone) == expected
  assert expected in PREPROCESSING


def test_unpublished_backbone_is_rejected():
  with pytest.raises(UserError, match='resnet8'):
    default_preprocessing('imagenet', 'resnet8')


def test_only_other_sources_are_work_directories():
  assert is_workdir('runs/first')
  assert not any(map(is_workdir, ('', 'imagenet', 'x.weights.h5', 'x.safetensors')))
