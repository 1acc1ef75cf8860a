import io

import pytest
from rich.console import Console

from mecl_jax import config
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
