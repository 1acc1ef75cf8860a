import contextlib

from ml_collections import ConfigDict
import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import ORDERS, scores
from mecl_jax.errors import UserError
from mecl_jax.models import DTYPES, STEMS
from mecl_jax.models.pretrained import PREPROCESSING

LISTS = [name for name, field in config.all_fields() if isinstance(field.default, tuple)]
LISTS += ['curriculum.boundaries', *(f'phases.{p}.learning_rate' for p in config.default().phases)]


@pytest.mark.parametrize(
  ('field', 'names'),
  [
    ('curriculum.order', ORDERS),
    ('curriculum.teacher', scores.MEASURES_OF_TEACHER),
    ('model.stem', STEMS),
    ('model.dtype', DTYPES),
    ('model.preprocessing', ('auto', *PREPROCESSING)),
  ],
)
def test_valid_values_are_those_of_the_room(field, names):
  assert set(dict(config.all_fields())[field].valid.choices) == set(names)


@pytest.mark.parametrize('value', [None, (), [1], {'a': 1}, object(), b'x', 1j])
@pytest.mark.parametrize('field', [name for name, _ in config.all_fields()])
def test_value_of_no_known_type_is_one_line(field, value):
  c = config.default()
  with c.unlocked(), c.ignore_type():
    c.update_from_flattened_dict({field: value})
  if field in LISTS and isinstance(value, tuple | list):
    with contextlib.suppress(UserError):
      resolve(c)
    return
  with pytest.raises(UserError) as error:
    resolve(c)
  assert field in str(error.value) and '\n' not in str(error.value)


def test_numbers_of_numpy_are_taken_as_those_of_python():
  c = config.default()
  c.batch_size, c.curriculum.start = np.int64(20), np.float32(0.5)
  c.evaluation.batch_sizes, c.augment.flip = (np.int32(4),), np.bool_(False)
  c.exit_weights = [np.float64(0.5)]
  resolved = resolve(c)
  assert type(resolved.batch_size) is int and resolved.batch_size == 20
  assert type(resolved.curriculum.start) is float and resolved.augment.flip is False
  assert resolved.evaluation.batch_sizes == (4,) and resolved.exit_weights == (0.5,)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'seed': 1}, 'the configuration is dict; start from mecl_jax.default_config'),
    (ConfigDict({'seed': 1}), 'lacks the field augment.copies; start from'),
    (ConfigDict({**config.default(), 'sed': 1}), 'cannot have the field sed; start from'),
  ],
)
def test_other_configuration_is_rejected(config, message):
  with pytest.raises(UserError, match=message):
    resolve(config)


@pytest.mark.parametrize(
  ('field', 'value'),
  [('batch_size', None), ('batch_size', True), ('seed', '1'), ('model.width', 0.5)],
)
def test_values_of_another_type_are_rejected(field, value):
  c = config.default()
  with c.unlocked(), c.ignore_type():
    c.update_from_flattened_dict({field: value})
  with pytest.raises(UserError, match=f'{field} is .*; it must be a whole number'):
    resolve(c)


@pytest.mark.parametrize(
  ('fields', 'size'),
  [
    ({}, 5000),  # as with mecl_jax 0.3, whose default was this number
    ({'name': 'digits'}, 144),
    ({'name': 'digits', 'validation_size': 200}, 200),
    ({'name': 'mnist', 'validation_size': 0.5}, 30_000),
    ({'train_split': 'train[:50%]'}, 0.1),
    ({'name': 'mine'}, 0.1),
    ({'arrays': 'a.npz'}, 0.1),
  ],
)
def test_validation_size_is_a_number_where_the_data_are_known(fields, size):
  c = config.default()
  c.data.update(fields)
  found = resolve(c).data.validation_size
  assert found == size
  assert resolve(resolve(c)).data.validation_size == size


@pytest.mark.parametrize('size', [0, -1, 1.5, 2**31, float('nan'), float('inf')])
def test_validation_size_is_a_number_or_a_share(size):
  c = config.default()
  c.data.validation_size = size
  with pytest.raises(
    UserError, match=r'validation_size is .*a whole number, at least 1, or a share'
  ):
    resolve(c)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('strategy', 'classifierwise', 'joint, classifier_wise, layer_wise, mixed'),
    ('model.backbone', 'resnet21', 'resnet20, '),
    ('model.head', 'convolution', 'linear, conv'),
    ('model.dtype', 'float16', 'float32, bfloat16'),
    ('curriculum.order', 'easyfirst', 'easy_first, anti, random, none'),
    ('curriculum.pacing', 'exponential', 'fixed_exponential'),
    ('curriculum.teacher', 'me', 'final_exit, self_taught, checkpoint, transfer'),
    ('phases.heads.optimizer', 'lamb', 'sgd, adam, adamw'),
    ('phases.joint.schedule', 'square', 'constant, cosine, linear, one_cycle, step'),
    ('data.placement', 'gpu', 'auto, device, host'),
    ('curriculum.start', 1.5, 'a share above 0, at most 1'),
    ('curriculum.start', 0.0, 'a share above 0, at most 1'),
    ('curriculum.increase', 1.0, 'above 1'),
    ('batch_size', 0, 'a whole number, 1 to'),
    ('data.name', ' ', 'a name'),
    ('evaluation.target_macs', float('inf'), 'at least 0, finite'),
    ('seed', -1, '0 to'),
    ('data.split_seed', -1, 'a whole number, 0 to'),
    ('phases.heads.learning_rate', 0.0, 'above 0'),
    ('phases.heads.label_smoothing', 1.0, 'from 0 up to'),
    ('phases.heads.duration', '20', "'300 steps' or '20 epochs'"),
    ('phases.heads.duration', '20%', 'in steps or epochs'),
    ('phases.heads.duration', '0 epochs', 'above 0'),
    ('curriculum.step_length', '0 steps', 'above 0'),
    ('phases.heads.learning_rate', 1e39, 'at most 1e30'),
    ('phases.heads.weight_decay', float('nan'), 'at least 0'),
    ('exit_weights', ('a', 1.0), 'numbers of 0 or more'),
    ('phases.heads.milestones', ('50%', 'half'), "'300 steps', '20 epochs'"),
    ('curriculum.step_length', 'soon', "'300 steps', '20 epochs'"),
    ('exit_weights', (0.0,), 'one above 0'),
    ('exit_weights', (-1.0, 1.0), '0 or more'),
    ('curriculum.per_exit', 'each', 'shared, scaled, own'),
    ('curriculum.sample_weights', 'hard', 'none, survivors, easy_weighted, own_confidence'),
    ('curriculum.classifier', 'svm', 'svc, logistic_regression'),
    ('curriculum.measure', 'confidance', 'confidence, loss, margin, entropy'),
    ('curriculum.full_after', '0%', 'above 0'),
    ('curriculum.boundaries', '8%, later', "'300 steps', '20 epochs'"),
    ('curriculum.max_share', 0.0, 'a share above 0'),
    ('curriculum.exit_factors', (0.0, 1.0), 'above 0'),
    ('curriculum.easy_strength', 1.5, 'from -1 to 1'),
    ('curriculum.exit_strengths', (0.4, -1.5), 'numbers from -1 to 1'),
    ('curriculum.easy_end', ('late',), 'numbers from -1 to 1'),
    ('curriculum.folds', 1, '2 to 1000'),
    ('curriculum.repeats', 0, '1 to 1000'),
    ('data.label_noise', 1.0, 'a share from 0'),
    ('distillation.weight', 1.1, 'from 0 to 1'),
    ('distillation.temperature', 0.0, 'above 0'),
    ('distillation.growth', 0.9, 'at least 1'),
    ('distillation.growth_above', 0.0, 'above 0'),
    ('model.width', 2**31, 'a whole number, 1 to 4096'),
    ('model.head_width', 10**25, 'a whole number, 1 to 65536'),
    ('model.input_channels', 2**31, 'a whole number, 0 to 4096'),
    ('data.image_size', 10**18, 'a whole number, 0 or 8 to 4096'),
    ('phases.heads.duration', f'1{"0" * 25} steps', 'at most 100,000,000'),
    ('phases.heads.milestones', (f'1{"0" * 400}%',), "'300 steps', '20 epochs'"),
    ('phases.heads.lookahead', 10**25, 'a whole number, 0 to'),
    ('data.name', 'x' * 256, 'a name, at most 255 characters'),
    ('data.arrays', 'a/' + 'x' * 256, 'each name in the path at most 255 bytes'),
    ('data.data_dir', 'a\0b', 'a folder'),
    ('model.exits', ('\ud800',), 'stage names'),
    ('curriculum.measure', '\ud800', 'a measure'),
  ],
)
def test_invalid_value_is_rejected_by_name(field, value, message):
  c = config.default()
  c.update_from_flattened_dict({field: value})
  with pytest.raises(UserError) as error:
    resolve(c)
  assert str(error.value).startswith(field) and message in str(error.value)


@pytest.mark.parametrize(
  ('teacher', 'field'), [('checkpoint', 'teacher_workdir'), ('file', 'difficulty_file')]
)
def test_teacher_needs_its_field(teacher, field):
  c = config.default()
  c.curriculum.teacher = teacher
  with pytest.raises(UserError, match=f'needs curriculum.{field}'):
    resolve(c)


@pytest.mark.parametrize(
  ('given', 'exits'),
  [
    (('stage1,stage2',), ('stage1', 'stage2')),
    (('0.2,stage2',), (0.2, 'stage2')),
    (["'a'", 0.5], ('a', 0.5)),
  ],
)
def test_exits_may_be_separated_by_commas(given, exits):
  c = config.default()
  c.model.exits = tuple(given)
  assert resolve(c).model.exits == exits


def test_teacher_follows_from_the_strategy():
  teachers = {
    'joint': 'self_taught',
    'layer_wise': 'self_taught',
    'mixed': 'final_exit',
    'classifier_wise': 'final_exit',
  }
  for strategy, teacher in teachers.items():
    c = config.default()
    c.strategy = strategy
    assert resolve(c).curriculum.teacher == teacher


@pytest.mark.parametrize(
  ('teacher', 'measure'),
  [
    ('final_exit', 'confidence'),
    ('cross_validated', 'loss'),
    ('learning_speed', 'learned_epoch'),
    ('prediction_depth', 'depth'),
  ],
)
def test_default_measure_is_that_of_the_teacher(teacher, measure):
  c = config.default()
  c.curriculum.teacher = teacher
  assert resolve(c).curriculum.measure == measure


def test_measure_of_another_teacher_is_rejected():
  c = config.default()
  c.curriculum.teacher, c.curriculum.measure = 'learning_speed', 'margin'
  with pytest.raises(UserError, match=r"learning_speed is 'margin'.*learned_epoch, cum"):
    resolve(c)


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('curriculum.sample_weights', 'survivors'),
    ('curriculum.sample_weights', 'cgt_soft'),
    ('distillation.weight', 0.5),
  ],
)
def test_layer_wise_rejects_what_needs_several_exits(field, value):
  c = config.default()
  c.update_from_flattened_dict({'strategy': 'layer_wise', field: value})
  with pytest.raises(UserError, match=f'layer_wise trains one exit at a time.*{field}'):
    resolve(c)


def test_only_joint_training_needs_no_early_exit():
  c = config.default()
  c.model.exits = ()
  with pytest.raises(UserError, match=r'model\.exits is empty'):
    resolve(c)
  c.strategy = 'joint'
  assert resolve(c).model.exits == ()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'curriculum.difficulty_file': 'f.csv'},
      'difficulty_file has no effect with .*final_exit',
    ),
    ({'curriculum.teacher_workdir': 'd'}, 'teacher_workdir has no effect .*checkpoint, transfer'),
    ({'curriculum.teacher_exit': 'stage1'}, 'teacher_exit has no effect with'),
    ({'distillation.weight': 1.0, 'strategy': 'joint'}, 'must be below 1'),
    ({'distillation.weight': 0.5, 'strategy': 'joint', 'model.exits': ()}, 'needs early exits'),
    ({'curriculum.sample_weights': 'survivors', 'model.exits': ('stage1',)}, 'needs 2 early exits'),
    ({'model.frozen': True}, 'model.frozen needs pretrained weights'),
    ({'data.validation_labels': 'clean'}, 'validation_labels=clean needs data.train_labels'),
    ({'data.train_labels': 'a.npz', 'data.label_noise': 0.1}, 'set only one of data.train_labels'),
    ({'gradients': 'pcgrad'}, 'gradients=pcgrad needs several exits .*joint or mixed'),
    ({'gradients': 'partition', 'strategy': 'layer_wise'}, 'gradients=partition needs'),
    ({'gradients': 'cagrad', 'strategy': 'joint', 'model.exits': ()}, 'and an early exit'),
    ({'exit_schedule': 'deep_first'}, 'exit_schedule=deep_first needs several exits'),
    ({'distillation.feature_weight': 0.1}, r'feature_weight=0\.1 needs several exits'),
    ({'curriculum.sample_weights': 'l2w_den'}, 'sample_weights=l2w_den needs several exits'),
    (
      {
        'curriculum.sample_weights': 'l2w_den',
        'strategy': 'joint',
        'model.frozen': True,
        'model.pretrained': 'w.h5',
      },
      'trains no backbone: curriculum.sample_weights=l2w_den has no effect',
    ),
    (
      {
        'curriculum.sample_weights': 'l2w_den',
        'strategy': 'joint',
        'phases.joint.optimizer': 'adam',
      },
      'phases.joint.optimizer is adam; it must be sgd',
    ),
    (
      {'curriculum.sample_weights': 'l2w_den', 'strategy': 'joint', 'gradients': 'pcgrad'},
      'gradients is pcgrad; it must be sum, equilibrium or partition',
    ),
    (
      {'curriculum.sample_weights': 'l2w_den', 'strategy': 'joint', 'batch_size': 1},
      'batch_size is 1; it must be 2 or more',
    ),
    (
      {'curriculum.sample_weights': 'cgt_hard', 'model.exits': ('stage1',)},
      'cgt_hard needs 2 early',
    ),
    (
      {'curriculum.teacher': 'prediction_depth', 'strategy': 'joint', 'model.exits': ()},
      'needs early exits',
    ),
  ],
)
def test_field_without_effect_is_rejected(changes, message):
  c = config.default()
  c.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=message):
    resolve(c)


def test_checkpoints_may_be_saved_after_phases_only():
  c = config.default()
  c.checkpoints.every_seconds = float('inf')
  assert resolve(c).checkpoints.every_seconds == float('inf')


def test_backbone_of_a_user_is_named_with_the_call_that_knows_it():
  c = config.default()
  c.model.backbone = 'of_mine'
  with pytest.raises(
    UserError, match=r"is 'of_mine'.*; .*mecl_jax\.register_backbone\(NAME, make\) first$"
  ):
    resolve(c)
