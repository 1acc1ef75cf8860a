import io

import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.errors import UserError
from mecl_jax.training.train import describe


@pytest.fixture
def said():
  """What is printed."""
  return Console(file=io.StringIO(), width=120)


def test_stages_exits_and_a_picture(toy_config, tmp_path, said, drawn):
  toy_config.data.image_size = 16
  toy_config.model.exits = ('stage1=vit', 'stage2')
  picture = describe(tmp_path, toy_config, console=said)
  assert picture == tmp_path / 'report/network.png' and picture.stat().st_size > 10_000
  lines = said.file.getvalue().splitlines()
  row = next(line for line in lines if line.startswith('│ stage2_block1')).split('│')
  assert [cell.strip() for cell in row[1:3]] == ['stage2_block1', '8 x 8 x 8']
  assert row[-2].strip() == 'stage2'
  assert any('stage1' in line and 'vit' in line for line in lines)
  assert any('resized to 16x16' in line for line in lines)
  assert not (tmp_path / 'config.json').exists()


def test_a_pacing_without_an_order_is_told(toy_config, tmp_path, said):
  usual = config.default().curriculum
  toy_config.curriculum.update(start=usual.start, step_length=usual.step_length)
  toy_config.curriculum.update(pacing='linear', max_share=0.8)
  for order in ('easy_first', 'none'):
    assert 'no effect' not in said.file.getvalue()
    toy_config.curriculum.order = order
    describe(tmp_path, toy_config, console=said)
  (line,) = (line for line in said.file.getvalue().splitlines() if line.startswith('no effect'))
  told = 'curriculum.max_share, curriculum.pacing: curriculum.order is none'
  assert line.split(maxsplit=2)[2] == told


def test_of_a_run_that_is_there(own, said):
  (own / 'report/network.png').unlink()
  assert describe(own, console=said).exists()


def test_of_nothing(tmp_path, said):
  with pytest.raises(UserError, match='holds no run'):
    describe(tmp_path, console=said)
