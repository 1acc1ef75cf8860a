import pytest

from mecl_jax.errors import UserError
from mecl_jax.models.placement import place_exits, split_head

MACS = {
  'stem': 10, 'stage1_block1': 20, 'stage1_block2': 20, 'stage2_block1': 20, 'stage2_block2': 30,
}  # fmt: skip


def test_exits_are_sorted():
  placed = place_exits(('stage2_block1', 'stage1', 'stem'), MACS)
  assert list(placed.items()) == [
    ('stem', 'stem'), ('stage1', 'stage1_block2'), ('stage2_block1', 'stage2_block1'),
  ]  # fmt: skip


def test_shares_select_the_nearest_stage():
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
    (('stage1', 'stage1_block2'), "'stage1_block2' is the second exit at stage stage1_block2"),
    ((0.5, 'stage1'), "'stage1' is the second exit at stage stage1_block2"),
    (('stage2',), 'last stage.*choose from: stem, .*stage2_block1$'),
    (('stage2_block2',), 'last stage'),
    (('every 0',), 'N from 1 to 3'),
    (('every 4',), 'N from 1 to 3'),
    (('every',), 'N from 1 to 3'),
    (('every 2', 'stage1'), 'is the second exit at stage'),
    ((0.99,), '0.99 is the last stage, stage2_block2'),
  ],
)
def test_invalid_exits_are_rejected_in_one_line(exits, message):
  with pytest.raises(UserError, match=message) as error:
    place_exits(exits, MACS)
  assert '\n' not in str(error.value)


def test_every_n_excludes_first_and_last_stage():
  assert list(place_exits(('every 2',), MACS)) == ['stage1_block2']
  assert list(place_exits(('every 1',), MACS)) == [
    'stage1_block1',
    'stage1_block2',
    'stage2_block1',
  ]


def test_groups_exclude_stem_and_last_group():
  macs = {'stem_a': 1, **MACS, 'transition': 5, 'stage3_block1': 5}
  placed = place_exits(('groups',), macs)
  assert placed == {'stage1': 'stage1_block2', 'stage2': 'stage2_block2'}


def test_backbone_without_groups_is_rejected():
  with pytest.raises(UserError, match=r"no groups of stages; choose 'every N'.*: block1, block2$"):
    place_exits(('groups',), {'stem': 1, 'block1': 2, 'block2': 2, 'block3': 2})


@pytest.mark.parametrize(
  ('written', 'meant'),
  [
    ('stage1=vit', ('stage1', 'vit')),
    ('0.3 = vit', (0.3, 'vit')),
    ('every 2=mixer', ('every 2', 'mixer')),
    ('stage1', ('stage1', None)),
    ('stage1=', ('stage1', '')),
    (0.3, (0.3, None)),
  ],
)
def test_split_head_separates_place_and_head(written, meant):
  assert split_head(written) == meant
