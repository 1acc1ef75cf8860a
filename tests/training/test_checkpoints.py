import functools
import json
import logging
import shutil

from flax import nnx
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from mecl_jax.errors import RunError
from mecl_jax.files import json_checksum
from mecl_jax.training import checkpoints as checkpoints_lib
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints, Position
from tests.training.test_step import make_model

pytestmark = pytest.mark.stacks


def state(model):
  return nnx.to_pure_dict(nnx.state(model))


@pytest.fixture
def everywhere():
  return devices.replicated(devices.make_mesh(8))


def moments_of(model):
  state = optax.trace(0.9).init(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
  return {'opt_state': state, 'extra': {'temperature': np.float32(2.5)}}


@pytest.fixture(scope='module')
def save(tmp_path_factory):
  """Returns a function that saves checkpoints at steps 1, 2, .., of networks with these seeds.

  They are written once and copied into the folder of each test.
  """

  @functools.cache
  def written(*seeds):
    folder = tmp_path_factory.mktemp('saved')
    with Checkpoints(folder, keep=5) as checkpoints:
      for step, seed in enumerate(seeds, 1):
        model = make_model(seed=seed)
        checkpoints.save(Position(0, step, step, step * 1.5), model, moments_of(model))
    return folder

  return lambda folder, *seeds: shutil.copytree(written(*seeds), folder)


def restore(folder, sharding, **options):
  model = make_model(seed=99)
  with Checkpoints(folder, keep=5, **options) as checkpoints:
    return checkpoints.restore(model, sharding, lambda position: moments_of(model)), model


def truncate(folder):
  """Cuts every array file of a checkpoint short."""
  files = [path for path in folder.rglob('*') if path.is_file() and path.parent.name == 'd']
  assert files
  for path in files:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_newest_checkpoint_is_restored_bit_for_bit(save, tmp_path, everywhere):
  save(tmp_path / 'c', 1, 2)
  (position, moments), model = restore(tmp_path / 'c', everywhere)
  assert position == Position(0, 2, 2, 3.0)
  jax.tree.map(np.testing.assert_array_equal, state(model), state(make_model(seed=2)))
  jax.tree.map(np.testing.assert_array_equal, moments, moments_of(model))


def test_no_checkpoint_is_none(tmp_path, everywhere):
  assert restore(tmp_path / 'c', everywhere)[0] is None


def test_truncated_checkpoint_is_set_aside(save, tmp_path, everywhere, caplog):
  save(tmp_path / 'c', 1, 2)
  truncate(tmp_path / 'c' / '2')
  with caplog.at_level(logging.WARNING):
    (position, _), model = restore(tmp_path / 'c', everywhere)
  assert position.step == 1
  jax.tree.map(np.testing.assert_array_equal, state(model), state(make_model(seed=1)))
  assert 'checkpoint 2 cannot be read' in caplog.text
  assert (tmp_path / 'damaged_checkpoints' / '2').is_dir()
  assert not (tmp_path / 'c' / '2').exists()


def edit_position(folder, change):
  """Changes the record that holds a position and the checksums, and its own checksum with it."""
  path = folder / 'position' / 'metadata'
  record = json.loads(path.read_text())
  del record['checksum']
  change(record)
  path.write_text(json.dumps({**record, 'checksum': json_checksum(record)}))


@pytest.mark.parametrize('item', ['model', 'opt_state', 'extra'])
def test_item_with_another_checksum_is_set_aside(save, item, tmp_path, everywhere, caplog):
  save(tmp_path / 'c', 1, 2)
  edit_position(tmp_path / 'c/2', lambda record: record['checksums'].update({item: 'f' * 64}))
  with Checkpoints(tmp_path / 'c', read_only=True) as checkpoints:  # reads the network alone
    expected = 1 if item == 'model' else 2
    model = make_model(seed=99)
    assert checkpoints.restore(model, everywhere)[0].step == expected
    arrays = checkpoints.arrays(everywhere)
  jax.tree.map(np.testing.assert_array_equal, arrays, state(make_model(seed=expected)))
  caplog.clear()
  with caplog.at_level(logging.WARNING):
    (position, _), model = restore(tmp_path / 'c', everywhere)
  assert position.step == 1 and f'(the checksum of its {item} differs)' in caplog.text
  jax.tree.map(np.testing.assert_array_equal, state(model), state(make_model(seed=1)))
  assert (tmp_path / 'damaged_checkpoints/2').is_dir()


@pytest.mark.parametrize(
  ('change', 'field'),
  [
    *(('edited', field) for field in (*Position.__dataclass_fields__, 'checksum', 'checksums')),
    *(('removed', field) for field in ('step', 'checksum', 'checksums')),
    *(('renamed', field) for field in ('step', 'checksum', 'checksums')),
  ],
)
def test_damaged_position_is_found(save, field, change, tmp_path, everywhere, caplog):
  save(tmp_path / 'c', 1, 2)
  path = tmp_path / 'c/2/position/metadata'
  record = json.loads(path.read_text())
  value = record.pop(field)
  if change == 'edited':
    record[field] = {**value, 'model': 'f'} if field == 'checksums' else 2 * (value or 'x')
  elif change == 'renamed':
    record[field + 'x'] = value
  path.write_text(json.dumps(record))
  with caplog.at_level(logging.WARNING):
    (position, _), _ = restore(tmp_path / 'c', everywhere)
  assert position == Position(0, 1, 1, 1.5) and 'checkpoint 2 cannot be read' in caplog.text


def test_checkpoint_of_version_0_3_is_restored(tmp_path, everywhere):
  """It has no checksums, and its position has no digest of scores."""
  model = make_model(seed=1)
  old = {'phase': 0, 'step': 3, 'total': 3, 'wall_seconds': 1.5, 'run': ''}
  items = {'model': checkpoints_lib._state(model), **moments_of(model)}
  items = {name: ocp.args.StandardSave(item) for name, item in items.items()}
  with ocp.CheckpointManager((tmp_path / 'c').absolute()) as manager:
    manager.save(3, args=ocp.args.Composite(position=ocp.args.JsonSave(old), **items))
  (position, moments), again = restore(tmp_path / 'c', everywhere)
  assert position == Position(0, 3, 3, 1.5)
  jax.tree.map(np.testing.assert_array_equal, state(again), state(model))
  jax.tree.map(np.testing.assert_array_equal, moments, moments_of(model))


def test_unfinished_save_is_ignored(save, tmp_path, everywhere):
  save(tmp_path / 'c', 1)
  (tmp_path / 'c' / '7.orbax-checkpoint-tmp').mkdir()
  assert restore(tmp_path / 'c', everywhere)[0][0].step == 1


def test_checkpoint_of_another_network_is_set_aside(save, tmp_path, everywhere, caplog):
  save(tmp_path / 'c', 1)
  with Checkpoints(tmp_path / 'c', keep=5) as checkpoints:
    other = make_model(width=8)
    checkpoints.save(Position(0, 2, 2), other, moments_of(other))
  with caplog.at_level(logging.WARNING):
    (position, _), _ = restore(tmp_path / 'c', everywhere)
  assert position.step == 1 and 'checkpoint 2 cannot be read' in caplog.text


@pytest.mark.parametrize(
  'problem',
  [jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory'), OSError(5, 'I/O error')],
)
def test_error_of_the_machine_keeps_the_checkpoint(
  save, problem, tmp_path, everywhere, monkeypatch
):
  save(tmp_path / 'c', 1, 2)

  def fail(*_, **__):
    raise problem

  with monkeypatch.context() as broken:
    broken.setattr(ocp.CheckpointManager, 'restore', fail)
    with pytest.raises(RunError, match=r'checkpoint 2 in .* cannot be read now: .*; it is kept'):
      restore(tmp_path / 'c', everywhere)
  assert restore(tmp_path / 'c', everywhere)[0][0].step == 2


def test_file_that_the_system_cannot_open_keeps_the_checkpoint(save, tmp_path, everywhere):
  """TensorStore raises a ValueError for it."""
  save(tmp_path / 'c', 1, 2)
  path = max((tmp_path / 'c/2/model').rglob('d/*'), key=lambda file: file.stat().st_size)
  content = path.read_bytes()
  path.unlink()
  path.symlink_to(path.name)  # a loop
  with pytest.raises(RunError, match=r'checkpoint 2 in .* cannot be read now: .*; it is kept'):
    restore(tmp_path / 'c', everywhere)
  path.unlink()
  path.write_bytes(content)
  (position, _), _ = restore(tmp_path / 'c', everywhere)
  assert position.total == 2


def test_read_only_moves_nothing(save, tmp_path, everywhere):
  save(tmp_path / 'c', 1, 2)
  truncate(tmp_path / 'c' / '2')
  (position, _), _ = restore(tmp_path / 'c', everywhere, read_only=True)
  assert position.step == 1 and (tmp_path / 'c' / '2').is_dir()
  assert not (tmp_path / 'damaged_checkpoints').exists()


def test_donated_buffers_are_saved_whole(tmp_path, everywhere):
  """Buffers are donated to the next step while the files are still being written."""
  model = make_model(seed=1)
  overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
  with Checkpoints(tmp_path / 'c') as checkpoints:
    checkpoints.save(Position(0, 1, 1), model, {})
    jax.block_until_ready(overwrite(state(model)))
  again = make_model(seed=3)
  with Checkpoints(tmp_path / 'c') as checkpoints:
    assert checkpoints.restore(again, everywhere)
  jax.tree.map(np.testing.assert_array_equal, state(again), state(make_model(seed=1)))


def test_folder_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
  def denied(*_, **__):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(ocp.CheckpointManager, 'all_steps', denied)
  with pytest.raises(RunError, match=r'checkpoints in .*c cannot be read: .*denied$'):
    Checkpoints(tmp_path / 'c')


def test_damaged_checkpoint_that_cannot_be_moved_is_one_line(save, tmp_path, everywhere):
  save(tmp_path / 'c', 1, 2)
  truncate(tmp_path / 'c/2')
  (tmp_path / 'damaged_checkpoints').write_text('')
  with pytest.raises(RunError, match=r'checkpoint 2 is damaged .* cannot be moved to .*exists'):
    restore(tmp_path / 'c', everywhere)
  assert (tmp_path / 'c/2').is_dir()


def test_keeps_the_newest_checkpoints(tmp_path):
  with Checkpoints(tmp_path / 'c', keep=2) as checkpoints:
    for step in range(1, 5):
      checkpoints.save(Position(0, step, step), make_model(), {})
  assert sorted(p.name for p in (tmp_path / 'c').iterdir() if p.name.isdigit()) == ['3', '4']
