import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.errors import UserError
from mecl_jax.training.plan import make_plan


@pytest.mark.parametrize(
  ('size', 'batch', 'duration', 'epochs'),
  [(45000, 128, '6 epochs', 6), (45000, 128, '2 epochs', 2), (1238, 64, '1 epochs', 1),
   (162, 30, '81 steps', 15), (162, 30, '80 steps', 14), (45000, 128, '6.5 epochs', 6)],
)  # fmt: skip
def test_recorded_epochs_follow_from_the_duration(size, batch, duration, epochs):
  c = config.default()
  c.batch_size, c.phases.backbone.duration = batch, duration
  c.curriculum.teacher = 'learning_speed'
  exits = ('stage1', 'stage2', 'final')
  first, second = make_plan(resolve(c), exits, [exits[:1]] * 3, size, num_classes=10)
  assert first.recorded == epochs and not second.recorded


@pytest.mark.parametrize(
  ('strategy', 'group', 'given', 'expected'),
  [
    ('classifier_wise', 'heads', (0.5, 2.0), [None, [0.5, 2.0]]),
    ('classifier_wise', 'heads', (3.0,), [None, [3.0, 3.0]]),
    ('classifier_wise', 'backbone', (2.0,), [[2.0], None]),
    ('joint', 'joint', (1.0, 1.0, 1.0), [None]),
    ('layer_wise', 'joint', (1.0, 2.0, 3.0), [[1.0], [2.0], [3.0]]),
    ('mixed', 'joint', '0.1,0.2,0.3', [None, [0.1, 0.2, 0.3]]),
  ],
)
def test_head_rates_of_every_phase(strategy, group, given, expected):
  c = config.default()
  c.strategy, c.curriculum.order = strategy, 'none'
  with c.unlocked(), c.ignore_type():
    c.phases[group].head_rates = given
  exits = ('stage1', 'stage2', 'final')
  plans = make_plan(resolve(c), exits, [exits[:1]] * 3, 1000, num_classes=10)
  found = [None if plan.head_rates is None else plan.head_rates.tolist() for plan in plans]
  assert found == [e if e is None else pytest.approx(e) for e in expected]


def test_wrong_number_of_head_rates_is_rejected():
  c = config.default()
  c.phases.heads.head_rates = (1.0, 2.0, 3.0)
  exits = ('stage1', 'stage2', 'final')
  with pytest.raises(UserError, match=r'heads\.head_rates has 3 values; give 1, or 2: stage1, st'):
    make_plan(resolve(c), exits, [exits[:1]] * 3, 1000, num_classes=10)
