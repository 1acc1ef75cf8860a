import numpy as np
import pytest

from mecl_jax.errors import DamagedFile, UserError
from mecl_jax.evaluation import predictions
from mecl_jax.files import write_npz
from tests.evaluation.predictions import make


def test_split_is_read_from_saved_arrays():
  validation = make(n=7)
  file = {'validation_logits': validation.logits, 'validation_labels': validation.labels}
  split = predictions.predicted(file, 'validation')
  assert split.name == 'validation' and split.exits == 4 and split.logits is validation.logits
  with pytest.raises(UserError, match='no test split'):
    predictions.predicted(file, 'test')


def test_file_of_other_arrays_is_rejected(tmp_path):
  write_npz(tmp_path / 'predictions.npz', {'test_logits': np.zeros(3)})
  with pytest.raises(DamagedFile, match='it lacks exits; --mode=evaluate --workdir='):
    predictions.load_predictions(tmp_path / 'predictions.npz')


def test_right_agrees_with_argmax():
  split = make(n=50, exits=3)
  for i, k in np.ndindex(50, 3):
    assert split.right()[i, k] == (np.argmax(split.logits[i, k]) == split.labels[i])


@pytest.mark.parametrize(
  ('logits', 'labels', 'message'),
  [
    ((0, 3, 5), 0, 'validation split is empty'),
    ((4, 5), 4, r'has logits \[4, 5\]'),
    ((4, 3, 5), 3, r'labels \[3\]'),
  ],
)
def test_mismatched_shapes_are_rejected(logits, labels, message):
  with pytest.raises(UserError, match=message):
    predictions.Predicted('validation', np.zeros(logits), np.zeros(labels, int))
