import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.errors import UserError
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.training.task_fields import NEED_CLASSES, check_command


def resolved(**changes):
  c = config.default()
  c.update_from_flattened_dict(changes)
  return resolve(c)


@pytest.mark.parametrize('task', TASKS)
def test_defaults_are_valid_for_every_task(task):
  c = resolved(task=task)
  assert c.curriculum.measure == next(iter(TASKS[task].measures))
  assert c.curriculum.class_balanced == (task == 'classification')


@pytest.mark.parametrize('mode', NEED_CLASSES)
def test_commands_that_need_classes(mode):
  check_command(resolved(), mode)
  with pytest.raises(UserError, match=f'--mode={mode} is for runs with task=classification'):
    check_command(resolved(task='regression'), mode)
  check_command(resolved(task='regression'), 'evaluate')


def test_all_values_that_are_possible_are_named():
  with pytest.raises(UserError, match="set it to 'none' or 'easy_weighted', or use task=classif"):
    resolved(**{'task': 'regression', 'curriculum.sample_weights': 'l2w_den'})
