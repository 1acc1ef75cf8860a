import pytest

from mecl_jax.errors import UserError
from mecl_jax.training import learning_speed
from mecl_jax.training.workdir import claim, read_identity, read_summary


def test_workdir_that_cannot_be_made_is_rejected(tmp_path):
  (tmp_path / 'file').write_text('')
  with (
    pytest.raises(UserError, match='cannot be used as a work directory'),
    claim(tmp_path / 'file/w'),
  ):
    pass


@pytest.mark.parametrize(('text', 'message'), [('{', 'damaged'), ('{"name": "a"}', 'it lacks dig')])
def test_damaged_identity_is_rejected(own, text, message):
  (own / 'identity.json').write_text(text)
  with pytest.raises(UserError, match=message):
    read_identity(own)


def test_damaged_summary_is_rejected(own):
  (own / 'summary.json').write_text('{')
  with pytest.raises(UserError, match=r'damaged .*--mode=evaluate --workdir=.*own writes it again'):
    read_summary(own)


def test_missing_record_is_rejected(tmp_path):
  with pytest.raises(UserError, match=r'learning_speed\.npz'):
    learning_speed.load(tmp_path, [])
