"""Runs of the tasks multi_label and regression, from their data to early exit."""

import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.compare import compare
from mecl_jax.commands.energy import energy
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.latency import latency
from mecl_jax.commands.train import train
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import from_source
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions, predicted
from mecl_jax.evaluation.policies import Policy, fixed, load_policy, save_policy
from mecl_jax.evaluation.rules import Rule, fit_rule
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.evaluation.thresholds import shared
from mecl_jax.inference import EarlyExit
from mecl_jax.training.log import read_metrics
from mecl_jax.training.networks import load_network
from tests import toys
from tests.runs import QUIET, run, score, stopped_at

OTHERS = ('multi_label', 'regression')
FINAL_EXIT = {'multi_label': 'confidence', 'regression': 'error'}


def make_labels(task, classes):
  """Returns labels of a task that the pattern of an image determines."""
  if task == 'regression':
    return 100.0 + 10 * classes
  return np.stack([classes % 2, classes // 2, classes == 3], axis=1).astype(np.uint8)


@pytest.fixture(scope='module', params=OTHERS)
def task(request):
  return request.param


@pytest.fixture(scope='module')
def file(task, tmp_path_factory):
  """The tiny images with the labels of the task."""
  arrays = toys.make_arrays()
  for role in ('train', 'test'):
    arrays[f'{role}_labels'] = make_labels(task, arrays[f'{role}_labels'])
  path = tmp_path_factory.mktemp('task') / f'{task}.npz'
  np.savez(path, **arrays, units=np.array('cm'))
  return path


def make_config(task, file, **changes):
  c = toys.make_config(file)
  c.task = task
  c.phases.backbone.duration = c.phases.heads.duration = c.phases.joint.duration = '40 steps'
  c.update_from_flattened_dict(changes)
  return c


@pytest.fixture(scope='module')
def workdir(task, file, tmp_path_factory):
  """A run, which is left as it is; that of regression has a page."""
  folder = tmp_path_factory.mktemp('run') / task
  train(make_config(task, file, **{'report.page': task == 'regression'}), folder, console=QUIET)
  return folder


@pytest.fixture
def only_regression(task):
  """Skips the other task: the code is the same, and the test takes seconds."""
  if task != 'regression':
    pytest.skip('tested with regression')


def test_network_learns_the_task(workdir, task):
  quality = predicted(load_predictions(workdir / 'predictions.npz'), 'test').quality()
  chance = {'multi_label': 7 / 12, 'regression': -10.0}[task]  # of a constant answer
  assert quality[:, -1].mean() > chance + 0.2 * abs(chance)
  shown = TASKS[task].shown
  records = read_metrics(workdir / 'metrics.jsonl')
  last = [record for record in records if 'validation' in record][-1]
  assert all(value > 0 for value in last['validation'].values())
  assert any(shown.column in record for record in records)


def test_scores_are_those_of_the_final_exit(workdir, task):
  difficulty = Difficulty.load(workdir / 'difficulty.npz')
  assert (difficulty.measure, difficulty.contradicted) == (FINAL_EXIT[task], None)
  assert len(np.unique(difficulty.score)) > 100


@pytest.mark.parametrize('batch_size', [1, 7])
def test_early_exit_equals_the_simulation(workdir, task, batch_size):
  arrays, model = load_predictions(workdir / 'predictions.npz'), load_network(workdir)
  validation, test = (predicted(arrays, name) for name in ('validation', 'test'))
  images = toys.make_arrays()['test_images']
  early = EarlyExit(model, fixed(2, 3), batch_size=batch_size)
  np.testing.assert_allclose(early(images).logits, test.logits[:, 2], rtol=1e-4, atol=1e-4)
  for name in TASKS[task].rules:
    policies = shared(fit_rule(name, validation), validation)
    early.policy = policies[len(policies) // 2]
    answers, exits = early(images), early.policy.leaves_at(test.logits)
    assert 0 < (exits < 2).mean() < 1
    # Rounding may move an image whose confidence is a threshold.
    assert (answers.exits != exits).sum() <= 1
    same = answers.exits == exits
    expected = test.logits[np.arange(len(exits)), exits]
    np.testing.assert_allclose(answers.logits[same], expected[same], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures('only_regression')
def test_resumed_run_ends_with_the_same_predictions(workdir, task, file, tmp_path):
  with stopped_at(25):
    train(make_config(task, file), tmp_path, console=QUIET)
  train(make_config(task, file), tmp_path, console=QUIET)
  whole, resumed = (load_predictions(f / 'predictions.npz') for f in (workdir, tmp_path))
  assert np.array_equal(whole['test_logits'], resumed['test_logits'])
  assert str(resumed['task']) == task


@pytest.mark.parametrize('drawn', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_page_names_the_quality_and_not_the_accuracy(workdir, file, task, drawn, tmp_path):
  if drawn != (task == 'multi_label'):
    pytest.skip('the page of regression is part of the shared run')
  if drawn:
    workdir = tmp_path
    train(make_config(task, file, **{'report.page': True}), workdir, console=QUIET)
  page, shown = (workdir / 'report/index.html').read_text(), TASKS[task].shown
  assert shown.label in page and 'ECE' not in page
  assert ('NLL' not in page) and ('unit of the targets: cm' in page) == (task == 'regression')
  table = (workdir / 'report/tables/operating_points.csv').read_text()
  assert f'test_{shown.column}' in table and shown.loss in table


@pytest.mark.usefixtures('only_regression')
def test_evaluation_for_another_target(workdir, file, task):
  out = io.StringIO()
  console = Console(file=out, width=200)
  summary = evaluate(workdir, make_config(task, file, **{'report.page': True}), console=console)
  shown = TASKS[task].shown
  assert summary['task'] == task and next(iter(summary['evaluation'])) == shown.target
  assert shown.label in out.getvalue()
  c = make_config(task, file, **{'report.page': True, 'evaluation.target_macs': 1.0})
  with pytest.raises(UserError, match='no operating point meets target_macs=1'):
    evaluate(workdir, c, console=QUIET)


@pytest.mark.usefixtures('only_regression')
def test_numbers_of_a_program_train_as_those_of_a_file(workdir, file, task, tmp_path):
  arrays = np.load(file)
  splits = (
    list(zip(arrays[f'{role}_images'], arrays[f'{role}_labels'], strict=True))
    for role in ('train', 'test')
  )
  data = from_source(*splits, kind='numbers', units='cm')
  c = make_config(task, file)
  c.data.arrays = ''
  train(c, tmp_path, data=data, console=QUIET)
  evaluate(tmp_path, data=data, console=QUIET)
  ours, theirs = (load_predictions(folder / 'predictions.npz') for folder in (tmp_path, workdir))
  np.testing.assert_array_equal(ours['test_logits'], theirs['test_logits'])


@pytest.mark.usefixtures('only_regression')
def test_policy_of_a_file(workdir, file, task, tmp_path):
  c = make_config(task, file, **{'report.page': True})
  c.evaluation.policy_file = str(tmp_path / 'policy.json')
  (tmp_path / 'policy.json').write_bytes((workdir / 'policy.json').read_bytes())
  of_run = load_policy(workdir / 'policy.json', 'toy')
  evaluate(shutil.copytree(workdir, tmp_path / 'run'), c, console=QUIET)
  assert load_policy(tmp_path / 'run/policy.json', 'toy').digest == of_run.digest
  policy = Policy(Rule('margin'), of_run.thresholds)
  save_policy(tmp_path / 'policy.json', policy, 'toy')
  with pytest.raises(UserError, match='has the rule margin, and task=regression has fixed, agree'):
    evaluate(tmp_path / 'run', c, console=QUIET)


@pytest.mark.usefixtures('only_regression')
def test_heads_of_another_run_keep_its_unit(workdir, file, task, tmp_path):
  arrays = dict(np.load(file))
  low = arrays['train_labels'] < np.median(arrays['train_labels'])
  other = {
    **arrays,
    **{f'train_{key}': arrays[f'train_{key}'][low] for key in ('images', 'labels')},
  }
  np.savez(tmp_path / 'low.npz', **other)
  c = make_config(task, tmp_path / 'low.npz', **{'model.pretrained': str(workdir)})
  c.phases.backbone.duration, c.curriculum.order = '0 steps', 'none'
  c.phases.heads.duration, c.phases.heads.learning_rate = '1 step', 1e-9
  train(c, tmp_path / 'run', console=QUIET)
  ours, theirs = (
    load_predictions(folder / 'predictions.npz')['test_logits']
    for folder in (tmp_path / 'run', workdir)
  )
  np.testing.assert_allclose(ours[:, -1], theirs[:, -1], rtol=1e-4)


@pytest.mark.slow
def test_latency_times_the_rules_of_the_task(file, task, tmp_path):
  c = make_config(task, file, **{'report.page': True, 'evaluation.batch_sizes': (1, 16)})
  train(c, tmp_path, console=QUIET)
  measured = latency(tmp_path, console=QUIET)
  assert {row['rule'] for row in measured.answers} == {'fixed', *TASKS[task].rules}
  assert all(row['disagreements'] <= 1 for row in measured.savings)
  assert 'test_ms' in (tmp_path / 'report/tables/operating_points.csv').read_text()


@pytest.mark.slow
@pytest.mark.parametrize('teacher', ['transfer', 'cross_validated', 'self_taught', 'checkpoint'])
def test_teachers_score_images(workdir, file, task, teacher, tmp_path):
  c = make_config(task, file, **{'curriculum.folds': 2, 'curriculum.repeats': 1})
  place = {'teacher_workdir': str(workdir)} if teacher == 'checkpoint' else {}
  found = score(c, tmp_path, teacher=teacher, **place)
  assert len(found.score) == 200 and np.isfinite(found.score).all() and found.score.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['joint', 'layer_wise', 'mixed'])
def test_strategies_and_weights(file, task, strategy, tmp_path):
  c = make_config(task, file)
  weights = {'curriculum.order': 'none', 'curriculum.sample_weights': 'easy_weighted'}
  summary = run(c, tmp_path, strategy=strategy, **weights)
  assert summary['complete'] and summary['exits'][-1][TASKS[task].shown.column] > 0


@pytest.mark.usefixtures('only_regression')
def test_scores_from_a_file_order_the_images(workdir, file, task, tmp_path):
  ids = Difficulty.load(workdir / 'difficulty.npz').ids
  (tmp_path / 'quality.csv').write_text(
    '\n'.join(['id,score', *(f'{name},{k % 5}' for k, name in enumerate(ids))])
  )
  c = make_config(task, file, **{'phases.backbone.duration': '5 steps'})
  found = score(c, tmp_path / 'run', teacher='file', difficulty_file=str(tmp_path / 'quality.csv'))
  assert found.teacher == 'file: quality.csv' and set(found.score) == {0, 1, 2, 3, 4}


REFUSED = {
  'data.label_noise': 0.1,
  'curriculum.sample_weights': 'survivors',
  'curriculum.contradicted': 'drop',
  'distillation.weight': 0.5,
  'phases.heads.label_smoothing': 0.1,
  'phases.heads.learning_rate': 'auto',
  'curriculum.teacher': 'learning_speed',
  'curriculum.measure': 'entropy',
}


@pytest.mark.parametrize('field', REFUSED)
def test_field_that_needs_classes_is_refused_before_anything_is_written(
  task, file, field, tmp_path
):
  c = make_config(task, file, **{field: REFUSED[field]})
  with pytest.raises(UserError, match=field.replace('.', r'\.')) as error:
    train(c, tmp_path / 'run', console=QUIET)
  assert '\n' not in str(error.value)
  assert field == 'curriculum.measure' or task in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_command_that_needs_classes_is_refused(workdir, task, tmp_path):
  for call in (
    lambda: energy(workdir, console=QUIET),
    lambda: compare([workdir, workdir / 'other'], tmp_path / 'out', console=QUIET),
  ):
    with pytest.raises(UserError, match=f'is for runs with task=classification; .* task={task}'):
      call()
  assert not (workdir / 'energy.json').exists() and not (tmp_path / 'out').exists()


def test_labels_of_another_task_are_refused(task, toy_file, tmp_path):
  c = make_config(task, toy_file)
  if task == 'regression':
    c.task = 'multi_label'  # classes are numbers, too
  with pytest.raises(UserError, match='train_labels must be 0 or 1'):
    train(c, tmp_path, console=QUIET)
  c.task = 'segmentation'
  with pytest.raises(
    UserError, match=r"task is 'segmentation'; choose one of: classification, multi"
  ):
    train(c, tmp_path, console=QUIET)
