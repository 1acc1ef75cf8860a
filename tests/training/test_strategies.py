import pytest

from mecl_jax.training.strategies import make_phases

EXITS = ('stage1', 'stage2', 'final')
SEGMENTS = (('stem', 'a'), ('b',), ('c', 'd'))


def phases(strategy):
  return make_phases(strategy, EXITS, SEGMENTS)


def test_joint_trains_everything_at_once():
  (phase,) = phases('joint')
  assert phase.trainable == (('backbone',), ('heads',))
  assert phase.exits == EXITS and phase.curriculum


def test_classifier_wise_trains_backbone_then_heads():
  backbone, heads = phases('classifier_wise')
  assert backbone.trainable == (('backbone',), ('heads', 'final'))
  assert backbone.exits == ('final',) and not backbone.curriculum
  assert heads.trainable == (('heads', 'stage1'), ('heads', 'stage2'))
  assert heads.exits == ('stage1', 'stage2') and heads.curriculum and heads.frozen_backbone


def test_layer_wise_adds_a_segment_at_a_time():
  first, second, last = phases('layer_wise')
  assert first.trainable == (
    ('backbone', 'stages', 'stem'), ('backbone', 'stages', 'a'), ('heads', 'stage1'),
  )  # fmt: skip
  assert second.trainable == (('backbone', 'stages', 'b'), ('heads', 'stage2'))
  assert last.exits == ('final',)
  assert sum(p.share for p in (first, second, last)) == pytest.approx(1)


def test_mixed_trains_the_backbone_then_everything():
  backbone, joint = phases('mixed')
  assert backbone == phases('classifier_wise')[0] and (joint,) == phases('joint')


@pytest.mark.parametrize('strategy', ['joint', 'classifier_wise', 'layer_wise', 'mixed'])
def test_frozen_backbone_trains_the_heads_with_loss(strategy):
  free, frozen = phases(strategy), make_phases(strategy, EXITS, SEGMENTS, frozen=True)
  assert [phase.exits for phase in frozen] == [phase.exits for phase in free]
  for phase in frozen:
    assert phase.trainable == tuple(('heads', name) for name in phase.exits)
    assert phase.frozen_backbone


@pytest.mark.parametrize('strategy', ['joint', 'classifier_wise', 'layer_wise', 'mixed'])
def test_every_stage_and_head_is_trained(strategy):
  trained = {path for phase in phases(strategy) for path in phase.trainable}
  for part in [('backbone', 'stages', s) for segment in SEGMENTS for s in segment] + [
    ('heads', e) for e in EXITS
  ]:
    assert any(part[: len(path)] == path for path in trained), part
  assert len({phase.name for phase in phases(strategy)}) == len(phases(strategy))
