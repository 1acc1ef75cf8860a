import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
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
