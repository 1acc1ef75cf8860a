import pathlib

import pytest

from mecl_jax import config
from mecl_jax.commands.arms import ONLY, arms_of, fields_of, names_of
from mecl_jax.errors import UserError


def fields(fingerprint='f', **changes):
  c = config.default()
  c.update_from_flattened_dict(changes)
  return fields_of(c, {'fingerprint': fingerprint})


def arms(*runs, seeds=None):
  workdirs = {pathlib.Path(f'run{k}'): run for k, run in enumerate(runs)}
  return arms_of(workdirs, range(len(runs)) if seeds is None else seeds)


def names(*runs, seeds=None):
  return names_of(arms(*runs, seeds=seeds))[0]


def test_seed_and_mutable_fields_make_no_arm():
  free = {
    'seed': 3,
    'data.data_dir': '/elsewhere',
    'logging.every': '9 steps',
    'report.page': False,
  }
  assert fields() == fields(**free) != fields(batch_size=64)
  assert names(fields(), fields(**free)) == [ONLY, ONLY]


def test_other_training_data_are_another_arm():
  assert names(fields(), fields('g')) == ['training data=f', 'training data=g']


def test_arms_are_named_by_fields_that_differ():
  orders = [{'curriculum.order': order} for order in ('none', 'anti', 'anti')]
  assert names(*(fields(**order) for order in orders)) == [
    'curriculum.order=none',
    *['curriculum.order=anti'] * 2,
  ]
  two = fields(strategy='joint', **{'curriculum.order': 'random'})
  assert names(fields(), two) == [
    'curriculum.order=easy_first, strategy=classifier_wise',
    'curriculum.order=random, strategy=joint',
  ]


def test_values_with_commas_stay_one_value():
  changes = {'model.exits': ('stage1', 0.5), 'curriculum.exit_pacings': 'root, linear'}
  assert names(fields(), fields(**changes)) == [
    "curriculum.exit_pacings='', model.exits=(stage1 stage2)",
    "curriculum.exit_pacings='root, linear', model.exits=(stage1 0.5)",
  ]


def test_names_keep_the_most_distinctive_fields():
  runs = [
    fields(**{'augment.crop': 0, 'batch_size': 32, 'model.backbone': 'resnet8'}),
    fields(**{'augment.crop': 0, 'batch_size': 64, 'model.backbone': 'resnet20'}),
    fields(**{'augment.crop': 2, 'batch_size': 32, 'model.backbone': 'resnet32'}),
  ]
  found, full = names_of(arms(*runs))
  assert found == [
    'augment.crop=0, model.backbone=resnet8, ..',
    'augment.crop=0, model.backbone=resnet20, ..',
    'augment.crop=2, model.backbone=resnet32, ..',
  ]
  assert full[1] == 'augment.crop=0, batch_size=64, model.backbone=resnet20'


def test_names_have_as_many_fields_as_needed():
  changes = ('augment.crop', 'augment.cutout', 'batch_size')
  runs = [fields(), *(fields(**{change: 8}) for change in changes)]
  found = names(*runs)
  assert len(set(found)) == 4 and found[0] == 'augment.crop=4, augment.cutout=0, batch_size=128'


def test_teacher_of_each_seed_makes_no_arm():
  teachers = [{'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': d} for d in 'ab']
  runs = [fields(), *(fields(**teacher) for teacher in teachers)]
  assert names(*runs, seeds=(0, 0, 1)) == [
    "curriculum.teacher=final_exit, curriculum.teacher_workdir=''",
    *['curriculum.teacher=checkpoint, curriculum.teacher_workdir=given'] * 2,
  ]


def test_two_teachers_of_one_seed_are_two_arms():
  teachers = [{'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': d} for d in 'abab']
  assert (
    names(*(fields(**teacher) for teacher in teachers), seeds=(0, 0, 1, 1))
    == [
      'curriculum.teacher_workdir=a',
      'curriculum.teacher_workdir=b',
    ]
    * 2
  )


def test_published_weights_are_another_arm_than_a_run():
  runs = (fields(), fields(**{'model.pretrained': 'imagenet'}), fields(**{'model.pretrained': 'a'}))
  assert names(*runs) == [f'model.pretrained={value}' for value in ("''", 'imagenet', 'given')]


def test_same_run_twice_is_rejected():
  with pytest.raises(UserError, match=r'^run0 and run2 have the same configuration .* seed, 5;'):
    arms(fields(), fields(batch_size=64), fields(), seeds=(5, 5, 5))
