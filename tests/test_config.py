import json
import os
import pathlib
import runpy

import pytest

from mecl_jax import config
from mecl_jax.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / 'configs').glob('*.py'))
CONFIGS = [
  (path, variant)
  for path in FILES
  for variant in ('', 'paper', 'smoke', 'paper-smoke')
  if 'smoke' not in variant or path.stem != 'digits'
]


def load(path, variant):
  return runpy.run_path(str(path))['get_config'](variant)


@pytest.mark.parametrize(('path', 'variant'), CONFIGS, ids=lambda v: getattr(v, 'stem', v))
def test_configurations_are_as_recorded(path, variant):
  """A changed default shows in the diff of tests/golden/; UPDATE_GOLDEN=1 records it anew."""
  file = ROOT / 'tests/golden' / f'{"-".join(filter(None, (path.stem, variant)))}.json'
  now = json.loads(config.resolve(load(path, variant)).to_json())
  if os.environ.get('UPDATE_GOLDEN'):
    file.write_text(json.dumps(now, indent=2) + '\n')
  assert now == json.loads(file.read_text())


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_an_unknown_variant_is_an_error_that_names_the_valid_ones(path):
  with pytest.raises(UserError, match=r'choose one of: (smoke, paper, paper-smoke|paper)'):
    load(path, 'smok')


def test_unknown_fields_cannot_be_set():
  with pytest.raises(AttributeError):
    config.default().curriculum.pase = 1


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
    ('phases.joint.schedule', 'linear', 'constant, cosine, one_cycle, step'),
    ('data.placement', 'gpu', 'auto, device, host'),
    ('curriculum.start', 1.5, 'a share above 0, at most 1'),
    ('curriculum.start', 0.0, 'a share above 0, at most 1'),
    ('curriculum.increase', 1.0, 'above 1'),
    ('batch_size', 0, 'at least 1'),
    ('seed', -1, 'from 0 to'),
    ('data.split_seed', -1, 'a whole number of 0 or more'),
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
    ('curriculum.sample_weights', 'hard', 'none, survivors, easy_weighted'),
    ('curriculum.classifier', 'svm', 'svc, logistic_regression'),
    ('curriculum.measure', 'confidance', 'confidence, loss, margin, entropy'),
    ('curriculum.full_after', '0%', 'above 0'),
    ('curriculum.boundaries', '8%, later', "'300 steps', '20 epochs'"),
    ('curriculum.max_share', 0.0, 'a share above 0'),
    ('curriculum.exit_factors', (0.0, 1.0), 'above 0'),
    ('curriculum.easy_strength', 1.5, 'from 0 to 1'),
    ('curriculum.folds', 1, 'at least 2'),
    ('curriculum.repeats', 0, 'at least 1'),
    ('data.label_noise', 1.0, 'a share from 0'),
    ('distillation.weight', 1.1, 'from 0 to 1'),
    ('distillation.temperature', 0.0, 'above 0'),
    ('distillation.growth', 0.9, 'at least 1'),
    ('distillation.growth_above', 0.0, 'above 0'),
  ],
)
def test_impossible_values_are_errors_that_name_the_field(field, value, message):
  c = config.default()
  c.update_from_flattened_dict({field: value})
  with pytest.raises(UserError) as error:
    config.resolve(c)
  assert str(error.value).startswith(field) and message in str(error.value)


@pytest.mark.parametrize(
  ('teacher', 'field'), [('checkpoint', 'teacher_workdir'), ('file', 'difficulty_file')]
)
def test_a_teacher_needs_its_field(teacher, field):
  c = config.default()
  c.curriculum.teacher = teacher
  with pytest.raises(UserError, match=f'needs curriculum.{field}'):
    config.resolve(c)


@pytest.mark.parametrize(
  ('given', 'exits'),
  [
    (('stage1,stage2',), ('stage1', 'stage2')),
    (('0.2,stage2',), (0.2, 'stage2')),
    (["'a'", 0.5], ('a', 0.5)),
  ],
)
def test_exits_may_be_written_with_commas(given, exits):
  c = config.default()
  c.model.exits = tuple(given)
  assert config.resolve(c).model.exits == exits


def test_strategies_without_a_backbone_phase_get_a_teacher_that_they_can_have():
  teachers = {
    'joint': 'self_taught',
    'layer_wise': 'self_taught',
    'mixed': 'final_exit',
    'classifier_wise': 'final_exit',
  }
  for strategy, teacher in teachers.items():
    c = config.default()
    c.strategy = strategy
    assert config.resolve(c).curriculum.teacher == teacher


def test_reads_what_was_written_and_fills_in_new_fields(tmp_path):
  c = config.default()
  c.model.exits = ('stem', 0.5)
  c.seed = 3
  written = json.loads(c.to_json())
  del written['phases']['heads']['decay']
  (tmp_path / 'config.json').write_text(json.dumps(written))
  read = config.read(tmp_path / 'config.json')
  assert config.differences(c, read) == []
  c.seed = 4
  assert config.differences(c, read) == ['seed is 4, was 3']


@pytest.mark.parametrize('text', ['{"sed": 1}', '{"seed": "x"}', '{', '[]'])
def test_a_foreign_config_file_is_an_error(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match='is no configuration of this program'):
    config.read(tmp_path / 'config.json')


def test_where_a_run_stores_and_logs_may_change():
  c, other = config.default(), config.default()
  other.data.data_dir = '/elsewhere'
  other.logging.every = '1 step'
  other.checkpoints.keep = 9
  assert config.differences(c, other) == []


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config.sed=1', 'there is no field config.sed; config has: augment, batch_size'),
    ('--config.model.depth=1', 'config.model has: backbone, dtype'),
    ('--config.seed.x=1', 'config.seed has: no fields'),
    ('--config.seed=1', None),
  ],
)
def test_unknown_field(argument, message):
  found = config.unknown_field(['main', '--workdir=x', argument])
  assert found is None if message is None else message in found


@pytest.mark.parametrize(
  ('teacher', 'measure'),
  [
    ('final_exit', 'confidence'),
    ('cross_validated', 'loss'),
    ('learning_speed', 'learned_epoch'),
    ('prediction_depth', 'depth'),
  ],
)
def test_the_measure_is_that_of_the_teachers_paper_unless_given(teacher, measure):
  c = config.default()
  c.curriculum.teacher = teacher
  assert config.resolve(c).curriculum.measure == measure


def test_a_measure_that_the_teacher_does_not_have_is_an_error():
  c = config.default()
  c.curriculum.teacher, c.curriculum.measure = 'learning_speed', 'margin'
  with pytest.raises(UserError, match=r"learning_speed is 'margin'.*learned_epoch, cum"):
    config.resolve(c)


@pytest.mark.parametrize(
  ('field', 'value'), [('curriculum.sample_weights', 'survivors'), ('distillation.weight', 0.5)]
)
def test_what_needs_several_exits_at_once_is_an_error_where_they_train_alone(field, value):
  c = config.default()
  c.update_from_flattened_dict({'strategy': 'layer_wise', field: value})
  with pytest.raises(UserError, match=f'layer_wise trains one exit at a time.*{field}'):
    config.resolve(c)


def test_no_early_exit_is_for_joint_training_alone():
  c = config.default()
  c.model.exits = ()
  with pytest.raises(UserError, match=r'model\.exits is empty'):
    config.resolve(c)
  c.strategy = 'joint'
  assert config.resolve(c).model.exits == ()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'curriculum.difficulty_file': 'f.csv'},
      'difficulty_file is of no use to .*final_exit',
    ),
    ({'curriculum.teacher_workdir': 'd'}, 'teacher_workdir is of no use to .*checkpoint, transfer'),
    ({'curriculum.teacher_exit': 'stage1'}, 'teacher_exit is of no use to'),
    ({'distillation.weight': 1.0, 'strategy': 'joint'}, 'must be below 1'),
    ({'distillation.weight': 0.5, 'strategy': 'joint', 'model.exits': ()}, 'needs early exits'),
    ({'curriculum.sample_weights': 'survivors', 'model.exits': ('stage1',)}, 'needs 2 early exits'),
    (
      {'curriculum.teacher': 'prediction_depth', 'strategy': 'joint', 'model.exits': ()},
      'needs early exits',
    ),
  ],
)
def test_what_would_have_no_effect_is_an_error(changes, message):
  c = config.default()
  c.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=message):
    config.resolve(c)
