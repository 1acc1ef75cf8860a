import pytest

from mecl_jax.errors import UserError
from mecl_jax.models.placement import place_exits

MACS = {
  'stem': 10, 'stage1_block1': 20, 'stage1_block2': 20, 'stage2_block1': 20, 'stage2_block2': 30,
}  # fmt: skip


def test_exits_keep_their_names_and_are_sorted():
  placed = place_exits(('stage2_block1', 'stage1', 'stem'), MACS)
  assert list(placed.items()) == [
    ('stem', 'stem'), ('stage1', 'stage1_block2'), ('stage2_block1', 'stage2_block1'),
  ]  # fmt: skip


def test_shares_take_the_nearest_stage_but_never_the_stem():
  # cumulative: .1 .3 .5 .7 1.
  assert place_exits((0.61, 0.05), MACS) == {
    'stage1_block1': 'stage1_block1', 'stage2_block1': 'stage2_block1',
  }  # fmt: skip
  assert place_exits((0.41, 'stage1_block1'), MACS) == {
    'stage1_block1': 'stage1_block1', 'stage1_block2': 'stage1_block2',
  }  # fmt: skip


@pytest.mark.parametrize(
  ('exits', 'message'),
  [
    (('stage9',), "'stage9'.*stage1, stage2, stem, stage1_block1"),
    (('final',), "'final'.*stage1"),
    ((0.0,), '0.0.*between 0 and 1'),
    ((1,), '1.*between 0 and 1'),
    ((-0.5,), 'between 0 and 1'),
    ((float('nan'),), 'between 0 and 1'),
    (('stage1', 'stage1_block2'), "stage1_block2.*'stage1_block2' is the second"),
    ((0.5, 'stage1'), 'two exits at one stage, stage1_block2'),
    (('stage2',), 'last stage.*choose from: stem, .*stage2_block1$'),
    (('stage2_block2',), 'last stage'),
    ((0.99,), '0.99 is the last stage, stage2_block2'),
  ],
)
def test_impossible_exits_are_refused_in_one_line(exits, message):
  with pytest.raises(UserError, match=message) as error:
    place_exits(exits, MACS)
  assert '\n' not in str(error.value)
