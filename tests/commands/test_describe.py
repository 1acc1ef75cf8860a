import io

import pytest
from rich.console import Console

from mecl_jax import config, data
from mecl_jax.commands.describe import describe
from mecl_jax.errors import UserError


@pytest.fixture
def console():
  """A console that records what is printed."""
  return Console(file=io.StringIO(), width=120)


def test_stages_exits_and_a_picture(toy_config, tmp_path, console, drawn):
  toy_config.data.image_size = 16
  toy_config.model.exits = ('stage1=vit', 'stage2')
  picture = describe(tmp_path, toy_config, console=console)
  assert picture == tmp_path / 'report/network.png' and picture.stat().st_size > 10_000
  lines = console.file.getvalue().splitlines()
  row = next(line for line in lines if line.startswith('│ stage2_block1')).split('│')
  assert [cell.strip() for cell in row[1:3]] == ['stage2_block1', '8 x 8 x 8']
  assert row[-2].strip() == 'stage2'
  assert any('stage1' in line and 'vit' in line for line in lines)
  assert any('resized to 16x16' in line for line in lines)
  assert not (tmp_path / 'config.json').exists()


@pytest.mark.parametrize(
  ('order', 'sample_weights', 'listed'),
  [
    ('easy_first', 'easy_weighted', []),
    ('none', 'easy_weighted', ['max_share (curriculum.order is none)', 'pacing']),
    ('easy_first', 'survivors', ['easy_strength (curriculum.sample_weights is survivors)']),
    ('none', 'none', ['max_share', 'pacing', 'easy_strength']),
  ],
)
def test_fields_without_effect_are_listed(
  toy_config, tmp_path, console, order, sample_weights, listed
):
  toy_config.curriculum = config.default().curriculum
  toy_config.curriculum.update(pacing='linear', max_share=0.8, easy_strength=0.3)
  toy_config.curriculum.update(order=order, sample_weights=sample_weights)
  describe(tmp_path, toy_config, console=console)
  lines = console.file.getvalue().splitlines()
  found = [line.partition('no effect')[2] for line in lines if line.startswith('no effect')]
  found = found[0].split(', ') if found else []
  assert len(found) == len(listed)
  assert all(one.strip().startswith(name) for one, name in zip(found, listed, strict=True))


@pytest.mark.parametrize(
  ('order', 'contradicted', 'expected'),
  [
    ('none', 'keep', 'all'),
    ('none', 'drop', 'all, without the contradicted'),
    ('easy_first', 'keep', '40 at the start, never all'),
    ('easy_first', 'drop', '20% at the start, never all, without the contradicted'),
  ],
)
def test_dropped_images_are_not_called_visible(toy_config, tmp_path, order, contradicted, expected):
  toy_config.curriculum.update(order=order, contradicted=contradicted, pacing='constant', start=0.2)
  wide = Console(file=io.StringIO(), width=250)
  describe(tmp_path, toy_config, console=wide)
  lines = wide.file.getvalue().splitlines()
  row = next(line for line in lines if line.startswith('│ heads')).split('│')
  assert row[-2].strip() == expected


def test_describes_an_existing_run(own, console):
  (own / 'report/network.png').unlink()
  assert describe(own, console=console).exists()


def test_folder_without_run_is_rejected(tmp_path, console):
  with pytest.raises(UserError, match='is not the work directory of a run'):
    describe(tmp_path, console=console)


def test_files_of_the_evaluation_are_not_needed(toy_config, tmp_path, console):
  toy_config.report.compare_with = str(tmp_path / 'nothing')
  toy_config.evaluation.policy_file = 'nothing.json'
  assert describe(tmp_path / 'w', toy_config, console=console)


def printed(console):
  return ' '.join(console.file.getvalue().split())


def test_published_sets_are_described_without_their_data(tmp_path, console, monkeypatch):
  monkeypatch.setattr(data, 'load', lambda **_: pytest.fail('the data are not needed'))
  c = config.load_config('cifar10:smoke')
  assert describe(tmp_path, c, console=console).exists()
  text = printed(console)
  assert 'cifar10: 45,000 training, 5,000 validation, 10,000 test images, 32x32x3' in text
  assert (
    '│ backbone │ 703 │ 2.0 │' in text and '│ final │ linear │ stage3_block1 │ 12.2 M │' in text
  )


def test_shape_and_classes_describe_a_network_of_any_data(tmp_path, console):
  c = config.load_config('digits')
  c.data.name = 'mine'
  picture = describe(tmp_path, c, images=(16, 16, 3), classes=7, console=console)
  text = printed(console)
  assert picture.exists() and 'mine: 16x16x3, 7 classes' in text and 'phases' not in text


def test_run_is_described_without_its_data(own, console, monkeypatch):
  def load(**_):
    raise UserError('toy.npz does not exist')

  monkeypatch.setattr(data, 'load', load)
  assert describe(own, console=console).exists()
  assert 'the data are not used: toy.npz does not exist' in printed(console)


def test_missing_data_are_reported_with_the_way_without_them(toy_config, tmp_path, console):
  toy_config.data.arrays = str(tmp_path / 'none.npz')
  with pytest.raises(UserError, match=r'none\.npz.*--images=HEIGHTxWIDTHxCHANNELS and --classes'):
    describe(tmp_path, toy_config, console=console)


@pytest.mark.parametrize(
  ('images', 'classes', 'message'),
  [
    ((32, 32), 10, '--images is 32x32 and --classes is 10'),
    ((0, 32, 3), 10, '--images is 0x32x3'),
    ((32, 32, 3), 1, '--classes is 1'),
    ((32, 32, 3), None, 'both --images and --classes'),
    (None, 10, 'both --images and --classes'),
  ],
)
def test_impossible_shapes_are_rejected(toy_config, tmp_path, images, classes, message):
  with pytest.raises(UserError, match=message):
    describe(tmp_path, toy_config, images=images, classes=classes)
