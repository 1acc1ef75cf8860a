import contextlib
import io
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.paired import analysis, heads, jobs, sweep
from experiments.paired.rows import Ended
from experiments.paired.study import Arm
from experiments.paired.table import read_table, records
from mecl_jax import config as config_lib
from mecl_jax.commands import train
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.training import phase
from mecl_jax.training.interruption import Interrupted, Interruption
from mecl_jax.training.workdir import claim, read_identity, read_summary
from tests.blank_pictures import blank_pictures
from tests.experiments.studies import make_study

__all__ = ['blank_pictures']

CELL = ('toy network', 0)
RATE = 'phases.heads.learning_rate'
QUIET = Console(quiet=True)
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def folder(toy_file, tmp_path_factory):
  """The folder of a study that has ended."""
  path = tmp_path_factory.mktemp('studies') / 'tiny'
  assert not sweep.sweep(make_study(toy_file), 'tiny', path, console=QUIET)
  return path


def read_rows(path):
  return records(read_table(path))


@pytest.fixture
def counted(monkeypatch):
  """Hooks that are called at each job, and the list of jobs that were run."""
  run, done = heads.SharedBackbone.run, []

  def counting(self, job):
    for hook in counting.hooks:
      hook(job)
    done.append(job)
    return run(self, job)

  counting.hooks = []
  monkeypatch.setattr(heads.SharedBackbone, 'run', counting)
  return counting, done


def test_rates_that_are_found_are_in_the_row(toy_file, tmp_path):
  tried = (0.01, 0.1)
  fields = {RATE: 'auto', 'phases.heads.candidate_rates': tried}
  arms = {'standard': Arm({'curriculum.order': 'none', **fields})}
  study = make_study(toy_file, arms=arms, budgets=(4,))
  assert not sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET)
  (row,) = read_rows(tmp_path / 'tiny/runs.csv')
  found = json.loads(row['fields'])[RATE]
  assert len(found) == 2 and set(found) <= set(tried)


def test_every_run_has_a_row(folder):
  rows = read_rows(folder / 'runs.csv')
  assert [(r['arm'], r['budget'], r['seed']) for r in rows] == [
    ('easy_first', 4, 0),
    ('standard', 4, 0),
    ('easy_first', 7, 0),
    ('standard', 7, 0),
  ]
  for row in rows:
    assert row['exits'] == 'stage1 stage2 final' and not row['error']
    assert 0 < row['area'] <= 1 and row['backbone_run'] and row['fingerprint']
  finals = {row['test_final'] for row in rows}
  assert len(finals) == 1, 'the backbone is shared and frozen'
  assert len({row['test_exit1'] for row in rows}) > 1


def test_runs_keep_which_test_images_are_right(folder, toy_file):
  study = make_study(toy_file)
  ended = Ended(study, folder)
  for job in jobs.runs(study, CELL, []):
    (row,), right = ended.of([job.digest(study)]), ended.right(job)
    assert right.dtype == bool and right.shape[0] == 3
    expected = [row[f'test_{place}'] for place in ('exit1', 'exit2', 'final')]
    np.testing.assert_allclose(right.mean(axis=1), expected, rtol=0, atol=1e-12)


def test_damaged_file_of_right_images_is_named(folder, toy_file, tmp_path):
  study = make_study(toy_file)
  shutil.copytree(folder / 'rows', tmp_path / 'rows')
  job = next(iter(jobs.runs(study, CELL, [])))
  path = tmp_path / 'rows' / f'{job.digest(study)}.npz'
  path.write_bytes(path.read_bytes()[:-30])
  with pytest.raises(UserError, match=f'{path.name} .* delete it and the .json file beside it'):
    Ended(study, tmp_path).right(job)


def test_trials_have_nothing_of_the_test_split(folder, toy_file, tmp_path):
  study = make_study(toy_file)
  with shared_backbone(study, folder, tmp_path) as shared:
    measures = shared.run(jobs.Job(CELL[0], 'a', 4, 0, {}, trial=0))
  assert {name.partition('_')[0] for name in measures} == {'exits', 'macs', 'validation'}


def test_finished_study_runs_nothing_again(folder, toy_file, counted):
  before = (folder / 'runs.csv').read_bytes()
  assert not sweep.sweep(make_study(toy_file), 'tiny', folder, console=QUIET)
  assert not counted[1] and (folder / 'runs.csv').read_bytes() == before


def test_resumes_after_sigterm(toy_file, tmp_path, counted):
  hook, done = counted

  def kill_at_third(job):
    if len(done) == 2:
      signal.raise_signal(signal.SIGTERM)

  hook.hooks.append(kill_at_third)
  with pytest.raises(Interrupted, match='SIGTERM'):
    sweep.sweep(make_study(toy_file), 'tiny', tmp_path / 'tiny', console=QUIET)
  *ended, stopped = done
  assert len(ended) == 2
  done.clear()
  hook.hooks.clear()
  assert not sweep.sweep(make_study(toy_file), 'tiny', tmp_path / 'tiny', console=QUIET)
  assert done[0] == stopped, 'it was stopped before it ended'
  assert len(done) == 2 and len({(job.arm, job.budget) for job in ended + done}) == 4


def test_second_process_on_a_shard_is_rejected(toy_file, tmp_path):
  study = make_study(toy_file, seeds=(), search_seeds=())  # nothing to run
  message = re.escape(f'another process uses the work directory {tmp_path / "shard-0-of-2"}')
  with claim(tmp_path / 'shard-0-of-2'):
    with pytest.raises(UserError, match=f'^{message}$'):
      sweep.sweep(study, 'tiny', tmp_path, 0, 2, console=QUIET)
    assert not sweep.sweep(study, 'tiny', tmp_path, 1, 2, console=QUIET), 'the other part is free'
  assert not sweep.sweep(study, 'tiny', tmp_path, 0, 2, console=QUIET)


def test_failed_run_does_not_stop_others(toy_file, tmp_path, counted):
  arms = {
    'standard': Arm({'curriculum.order': 'none'}),
    'wild': Arm({'curriculum.order': 'none', 'phases.heads.learning_rate': 1e30}),
    'random': Arm({'curriculum.order': 'random'}),
  }
  study = make_study(toy_file, arms=arms, budgets=(4,))
  printed = io.StringIO()
  failed = sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=Console(file=printed))
  assert 'failed: wild, 4 steps: RunError' in printed.getvalue()
  rows = {row['arm']: row for row in read_rows(tmp_path / 'tiny' / 'runs.csv')}
  assert failed == 1 and len(rows) == 3
  assert 'not a number' in rows['wild']['error'] and rows['wild']['test_exit1'] is None
  assert not rows['standard']['error'] and not rows['random']['error']
  assert len(list((tmp_path / 'tiny' / 'errors').iterdir())) == 1
  counted[1].clear()
  assert sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET) == 1
  assert [job.arm for job in counted[1]] == ['wild'], 'only what failed is tried again'


def test_failed_backbone_does_not_stop_others(toy_file, tmp_path):
  settings = {'wild': {'phases.joint.learning_rate': 1e30}, 'toy network': {}}
  study = make_study(toy_file, settings=settings)
  assert sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET) == 4
  rows = read_rows(tmp_path / 'tiny' / 'runs.csv')
  broken = [row for row in rows if row['setting'] == 'wild']
  assert len(broken) == 4 and len(rows) == 8
  assert all(
    'the backbone of its runs' in r['error'] and 'not finite' in r['error'] for r in broken
  )
  assert not any(row['error'] for row in rows if row not in broken)


def test_settings_share_an_opened_backbone(toy_file, tmp_path, monkeypatch):
  settings = {f'toy at {rate}': {RATE: rate} for rate in (0.001, 0.3)}
  study = make_study(toy_file, settings=settings, budgets=(40,))
  opened, init = [], heads.SharedBackbone.__init__
  monkeypatch.setattr(
    heads.SharedBackbone, '__init__', lambda *a: init(*a) or opened.append(a[2]), raising=True
  )
  assert not sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET)
  assert opened == [('toy at 0.001', 0)] and len(list((tmp_path / 'backbones').iterdir())) == 1
  slow, fast = (
    [row['test_exit2'] for row in read_rows(tmp_path / 'tiny' / 'runs.csv') if row['setting'] == s]
    for s in settings
  )
  assert len(slow) == len(fast) == 2 and slow != fast


@pytest.mark.slow
def test_searching_shards_finish_in_a_second_pass(toy_file, tmp_path, counted):
  """Another process holds the backbone of one seed: its runs fail first and are repeated later."""
  space = {RATE: [0.001, 0.3]}
  arms = {
    'standard': Arm({'curriculum.order': 'none'}, space=space),
    'random': Arm({'curriculum.order': 'random'}, like='standard'),
  }
  seeds = {'seeds': (0, 1), 'search_seeds': (8, 9), 'budgets': (4,)}
  study, folder = make_study(toy_file, arms=arms, **seeds), tmp_path / 'tiny'
  printed = io.StringIO()
  assert not sweep.sweep(study, 'tiny', folder, 0, 2, console=Console(file=printed, width=200))
  assert '2 runs wait for trials' in printed.getvalue(), 'two arms with the seed 0'
  backbone = config_lib.digest(resolve(study.backbone_config(CELL[0], 9)))
  with claim(tmp_path / 'backbones' / f'digits-toy-{backbone}'):
    assert sweep.sweep(study, 'tiny', folder, 1, 2, console=QUIET) == 2, 'both trials'
  assert {row['kind'] for row in read_rows(folder / 'runs.csv')} == {'trial'}
  assert not sweep.sweep(study, 'tiny', folder, 1, 2, console=QUIET)
  assert not sweep.sweep(study, 'tiny', folder, 0, 2, console=QUIET)
  rows = read_rows(folder / 'runs.csv')
  assert [row['kind'] for row in rows].count('trial') == 4 and len(rows) == 4 + 4
  assert all((row['test_exit1'] is None) == (row['kind'] == 'trial') for row in rows)
  best = analysis.searches(read_table(folder / 'runs.csv'))
  of_exit = {row['exit']: json.loads(row['fields'])[RATE] for row in records(best)}
  for row in rows:
    if row['kind'] == 'run':
      found = {
        place: fields[RATE] for place, fields in json.loads(row['fields']).items() if RATE in fields
      }
      assert found == of_exit
  assert len(counted[1]) == len(rows)
  over_images = pd.read_csv(folder / 'images.csv')
  assert set(over_images['arm']) == {'random'} and set(over_images['seeds']) == {2}
  arms['standard'] = Arm({'curriculum.order': 'none'}, space={RATE: [0.001, 0.3, 0.01]})
  more = make_study(toy_file, arms=arms, **seeds)
  assert not sweep.sweep(more, 'tiny', folder, console=QUIET)
  grown = read_rows(folder / 'runs.csv')
  assert [row['kind'] for row in grown].count('trial') == 6 and len(grown) == 6 + 4


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (('--conifg=a.py',), "Unknown command line flag 'conifg'"),
    (('a.py',), "'a.py' is not a flag"),
    (('--config=a.py', '--shard=4/4'), 'write i/n'),
    (('--config=a.py', '--ray=0'), 'from 1 on'),
  ],
)
def test_invalid_flags_give_one_line(flags, message):
  command = [sys.executable, '-m', 'experiments.paired', *flags]
  done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
  assert done.returncode == 2 and not done.stdout
  assert re.fullmatch(f'error: .*{re.escape(message)}.*\n', done.stderr)


def test_shared_backbone_equals_an_ordinary_run(folder, toy_file, tmp_path):
  study = make_study(toy_file)
  job = next(j for j in jobs.runs(study, CELL, []) if (j.arm, j.budget) == ('easy_first', 7))
  row = json.loads((folder / 'rows' / f'{job.digest(study)}.json').read_text())
  (config,) = job.configs(study)
  (backbone,) = (folder.parent / 'backbones').iterdir()
  config.model.pretrained = str(backbone)
  config.phases.backbone.duration = '0 steps'
  train.train(resolve(config), tmp_path, console=QUIET)
  predictions = load_predictions(tmp_path / 'predictions.npz')
  right = predictions['test_logits'].argmax(-1) == predictions['test_labels'][:, None]
  expected = [row[f'test_{place}'] for place in ('exit1', 'exit2', 'final')]
  np.testing.assert_array_equal(right.mean(axis=0), expected)


def record_runs(monkeypatch):
  """Returns a list that collects configuration and work directory of each run that trains."""
  trained, train_phases = [], train.train_phases

  def recording(run, train_run):
    trained.append((run.config, run.workdir))
    return train_phases(run, train_run)

  monkeypatch.setattr(train, 'train_phases', recording)
  return trained


@pytest.mark.slow
def test_teachers_train_their_networks_once(toy_file, tmp_path, monkeypatch):
  def arm(teacher, **more):
    fields = {'order': 'easy_first', 'pacing': 'linear', 'teacher': teacher, **more}
    return Arm({f'curriculum.{name}': value for name, value in fields.items()})

  weights = {'order': 'none', 'sample_weights': 'easy_weighted'}
  arms = {
    'standard': Arm({'curriculum.order': 'none'}),
    'speed': arm('learning_speed'),
    'depth': arm('prediction_depth'),
    'deep': arm('prediction_depth', **weights),
    'folds': arm('cross_validated', folds=2, repeats=1),
    'weighed': arm('cross_validated', folds=2, repeats=1, **weights),
  }
  backbone = {'phases.joint.duration': '1 epochs'}
  study = make_study(toy_file, arms=arms, backbone=backbone, budgets=(4, 8))
  trained = record_runs(monkeypatch)
  monkeypatch.chdir(tmp_path)
  assert not sweep.sweep(study, 'scored', pathlib.Path('scored'), console=QUIET)
  folder = tmp_path / 'scored'  # which is then the same one
  rows = read_rows(folder / 'runs.csv')
  assert len(rows) == 2 * len(arms) and not any(row['error'] for row in rows)
  found = [Difficulty.load(path) for path in folder.glob('scores/*/*/difficulty.npz')]
  teachers = sorted(d.teacher for d in found if not d.teacher.startswith('file: '))
  assert teachers == ['cross_validated', 'learning_speed', *['prediction_depth'] * 2]
  # The shared backbone, one like it, heads for each budget, and two folds.
  assert len(trained) == 1 + 1 + 2 + 2
  # Teachers of two arms share the heads that they train.
  for path in (folder / 'rows').glob('*.json'):
    if json.loads(path.read_text())['arm'] == 'deep':
      path.unlink()
  for path in folder.glob('scores/*/*/difficulty.npz'):
    path.unlink()
  assert not sweep.sweep(study, 'scored', folder, console=QUIET)
  again = read_rows(folder / 'runs.csv')
  assert again == [row | {'seconds': new['seconds']} for row, new in zip(rows, again, strict=True)]


@contextlib.contextmanager
def shared_backbone(study, folder, scratch):
  """Opens the backbone of the study in `folder`."""
  dataset = sweep._load('', study.config(CELL[0], seed=0))
  with Interruption() as interruption:
    yield heads.SharedBackbone(
      study, CELL, scratch, folder.parent / 'backbones', dataset, QUIET, interruption
    )


def test_arms_may_train_on_augmented_copies(folder, toy_file, tmp_path):
  """An arm with copies equals an ordinary run with them; those before and after have none."""
  copied, distilled = {'augment.copies': 2}, {'distillation.weight': 0.5}
  study = make_study(toy_file, arms={'standard': Arm(distilled), 'copied': Arm(copied)})
  with shared_backbone(study, folder, tmp_path) as shared:
    plain, augmented, again = (
      shared.run(jobs.Job(CELL[0], 'a', 40, 0, distilled | fields)) for fields in ({}, copied, {})
    )
  scalars = [{k: v for k, v in m.items() if np.isscalar(v)} for m in (plain, again, augmented)]
  assert scalars[0] == scalars[1] != scalars[2] and 'test_exit1' in scalars[0]
  (config,) = jobs.Job(CELL[0], 'a', 40, 0, distilled | copied).configs(study)
  (backbone,) = (folder.parent / 'backbones').iterdir()
  config.model.pretrained = str(backbone)
  config.phases.backbone.duration = '0 steps'
  summary = train.train(resolve(config), tmp_path / 'run', console=QUIET)
  for column, name in (('exit1', 'stage1'), ('exit2', 'stage2')):
    found = next(row for row in summary['exits'] if row['name'] == name)
    assert augmented[f'test_{column}'] == found['accuracy']


def test_fields_per_exit_equal_separate_runs(folder, toy_file, tmp_path):
  study = make_study(toy_file)
  slow, fast = {RATE: 0.001}, {RATE: 0.3}
  with shared_backbone(study, folder, tmp_path) as shared:
    alone = [shared.run(jobs.Job(CELL[0], 'a', 40, 0, fields)) for fields in (slow, fast)]
    both = shared.run(jobs.Job(CELL[0], 'a', 40, 0, {'exit1': slow, 'exit2': fast}))
  for split in ('validation', 'test'):
    assert both[f'{split}_exit1'] == alone[0][f'{split}_exit1'] != alone[1][f'{split}_exit1']
    assert both[f'{split}_exit2'] == alone[1][f'{split}_exit2'] != alone[0][f'{split}_exit2']


def test_jobs_share_one_trace_of_the_step(toy_file, folder, tmp_path, monkeypatch):
  arms = {
    'standard': Arm({'curriculum.order': 'none'}),
    'anti': Arm({'curriculum.order': 'anti', 'phases.heads.learning_rate': 0.003}),
  }
  study = make_study(toy_file, arms=arms, budgets=(50, 100))
  make, made = phase.make_step, []

  def counting(*form, **augment):
    made.append(make(*form, **augment))
    return made[-1]

  phase._compiled_step.cache_clear()
  with shared_backbone(study, folder, tmp_path) as shared:
    monkeypatch.setattr(phase, 'make_step', counting)
    for job in jobs.runs(study, CELL, []):
      shared.run(job)
  (step,) = made
  assert step._cache_size() == 1


def test_whole_networks_have_rows(toy_file, tmp_path):
  common = {**make_study(toy_file).common, 'strategy': 'joint', 'model.head': 'linear'}
  study = make_study(toy_file, common=common, backbone=None, budget_of='joint', budgets=(4,))
  assert not sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET)
  rows = read_rows(tmp_path / 'tiny' / 'runs.csv')
  assert [row['arm'] for row in rows] == ['easy_first', 'standard']
  assert rows[0]['test_final'] != rows[1]['test_final'] and rows[0]['strategy'] == 'joint'


@pytest.mark.slow
def test_whole_networks_begin_with_a_shared_backbone(toy_file, tmp_path, monkeypatch):
  common = {**make_study(toy_file).common, 'strategy': 'mixed', 'model.head': 'linear'}
  arms = {
    'standard': Arm({'curriculum.order': 'none'}),
    'weighted': Arm({'curriculum.order': 'none', 'curriculum.sample_weights': 'easy_weighted'}),
  }
  study = make_study(toy_file, common=common, budget_of='joint', budgets=(4,), arms=arms)
  trained = record_runs(monkeypatch)
  assert not sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=QUIET)
  (_, backbone), *networks = trained
  assert [config.model.pretrained for config, _ in networks] == [str(backbone)] * 2
  summaries = [read_summary(workdir) for _, workdir in trained]
  assert [summary['steps'] for summary in summaries] == [5, 4, 4]
  rows = read_rows(tmp_path / 'tiny' / 'runs.csv')
  assert {row['backbone_run'] for row in rows} == {read_identity(backbone)['digest']}
  assert rows[0]['test_final'] != rows[1]['test_final'], 'the backbone trains on'
