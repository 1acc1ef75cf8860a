import json
import pathlib
import shutil

import pytest

from mecl_jax.errors import DamagedFile, UserError
from mecl_jax.files import read_json, write_checked_json
from mecl_jax.training import learning_speed
from mecl_jax.training.workdir import claim, clear_unstarted_run, read_identity, read_summary


def test_workdir_that_cannot_be_made_is_rejected(tmp_path):
  (tmp_path / 'file').write_text('')
  with (
    pytest.raises(UserError, match='cannot be used as a work directory'),
    claim(tmp_path / 'file/w'),
  ):
    pass


@pytest.mark.parametrize('name', ['w[1]', 'a*/w', 'w?'])
def test_workdir_with_a_pattern_in_its_path_is_rejected(tmp_path, name):
  """Orbax looks for the parts of a checkpoint by a pattern, and would lose them."""
  message = 'its path must not have the characters'
  with pytest.raises(UserError, match=message), claim(tmp_path / name):
    pass
  assert not list(tmp_path.iterdir())


LEFT = (
  *(
    '.summary.json.abcd_123.tmp',
    'report/.index.html.0123abcd.tmp',
    'teacher/.config.json.a1b2c3d4.tmp',
  ),
  *('checkpoints/7.orbax-checkpoint-tmp/model/x', 'teacher/checkpoints/7.orbax-checkpoint-tmp-1/x'),
)
OTHERS = ('.notes.tmp', 'summary.json.abcd_123.tmp', 'report/.a.b.tmp', 'checkpoints/7/x', '.lock')


def fill(workdir, names):
  for name in names:
    (workdir / name).parent.mkdir(parents=True, exist_ok=True)
    (workdir / name).write_text('')


def files_of(workdir):
  return {str(p.relative_to(workdir)) for p in workdir.rglob('*') if p.is_file()}


def test_files_of_killed_processes_are_removed(tmp_path):
  fill(tmp_path, (*LEFT, *OTHERS, 'teacher/.lock'))
  with claim(tmp_path):
    assert files_of(tmp_path) == {*OTHERS, 'teacher/.lock'}
  assert not list(tmp_path.rglob('*.orbax-checkpoint-tmp*'))


def test_unreadable_checkpoints_keep_the_description(own, monkeypatch):
  """Otherwise the run would count as one that never began, and its config.json be removed."""
  shutil.rmtree(own / 'teacher', ignore_errors=True)
  for name in ('difficulty.npz', 'summary.json'):
    (own / name).unlink()
  iterdir = pathlib.Path.iterdir

  def denied(path):
    if path.name == 'checkpoints':
      raise PermissionError(13, 'Permission denied', str(path))
    return iterdir(path)

  monkeypatch.setattr(pathlib.Path, 'iterdir', denied)
  with pytest.raises(UserError, match='checkpoints cannot be read: Permission denied'):
    clear_unstarted_run(own)
  assert (own / 'config.json').exists() and (own / 'identity.json').exists()


def test_files_of_a_running_process_are_kept(tmp_path):
  fill(tmp_path, LEFT)
  with claim(tmp_path / 'teacher'):
    fill(tmp_path, LEFT)
    with claim(tmp_path):
      assert files_of(tmp_path / 'teacher') == {
        *('.lock', '.config.json.a1b2c3d4.tmp', 'checkpoints/7.orbax-checkpoint-tmp-1/x')
      }
      with pytest.raises(UserError, match='another process uses'), claim(tmp_path):
        pass


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is not a JSON file: .*; choose another --workdir'),
    ('{"name": "a"}', 'it lacks fingerprint'),
    ('{"name": 1, "fingerprint": "b", "digest": "c"}', 'damaged: name is 1; choose'),
  ],
)
def test_damaged_identity_is_rejected(own, text, message):
  (own / 'identity.json').write_text(text)
  with pytest.raises(UserError, match=message):
    read_identity(own)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is not a JSON file'),
    ('{"dataset": "a"}', 'it lacks backbone'),
    (None, 'damaged: steps is None'),
  ],
)
def test_damaged_summary_is_rejected(own, text, message):
  path = own / 'summary.json'
  fields = json.loads(path.read_text()) | {'steps': None}
  del fields['checksum']
  path.write_text(text or json.dumps(fields))
  with pytest.raises(
    DamagedFile, match=f'{message}.*; --mode=evaluate --workdir=.*own writes it again'
  ):
    read_summary(own)


@pytest.mark.parametrize('row', [None, {}, {'name': 3}])
def test_damaged_row_of_a_summary_is_rejected(own, row):
  fields = read_json(own / 'summary.json') | {'exits': [row]}
  write_checked_json(own / 'summary.json', fields)
  with pytest.raises(DamagedFile, match=r'summary\.json is damaged: (it lacks name|name is 3)'):
    read_summary(own)


def test_missing_record_is_rejected(tmp_path):
  with pytest.raises(UserError, match=r'learning_speed\.npz'):
    learning_speed.load(tmp_path, [])
