import csv
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.compare import compare
from mecl_jax.commands.resolve import resolve
from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import save_predictions
from mecl_jax.files import read_npz, write_npz
from mecl_jax.training.workdir import FORMAT
from tests.evaluation.predictions import make

EXITS = ('stage1', 'stage2', 'final')


@pytest.fixture
def write(toy_config, tmp_path):
  """Returns a function that writes the work directory of an ended run.

  `known` is added to the logit of the true class.
  """

  def write_run(name, seed=0, known=0.0, exits=EXITS, images=0, summary=(), **changes):
    c = toy_config.copy_and_resolve_references()
    c.seed = seed
    c.update_from_flattened_dict(changes)
    (tmp_path / name).mkdir()
    path = tmp_path / name
    (path / 'config.json').write_text(resolve(c).to_json())
    splits = {}
    for split in ('validation', 'test'):
      made = make(split, n=100, exits=len(exits), classes=4, seed=images)
      noise = np.random.default_rng((seed, len(name))).normal(size=made.logits.shape)
      logits = made.logits + noise + known * np.eye(4)[made.labels][:, None]
      ids = np.array([f'{split}_{k}' for k in range(100)])
      splits[split] = {'logits': logits, 'labels': made.labels, 'ids': ids}
    identity = {'format': FORMAT, 'version': '0.2.0', 'name': 'toy', 'fingerprint': 'f'}
    identity |= {'held_out_fingerprint': 'h', 'num_classes': 4, 'channels': 1, 'digest': 'd'}
    identity |= {'image_shape': (8, 8, 1)}
    (path / 'identity.json').write_text(json.dumps(identity))
    save_predictions(path / 'predictions.npz', exits, splits)
    facts = {'dataset': 'toy', 'backbone': 'resnet8', 'strategy': c.strategy, 'steps': 24}
    costs = [1000 * (k + 1) for k in range(len(exits))]
    rows = [
      dict.fromkeys(('accuracy', 'accuracy_low', 'accuracy_high', 'nll', 'ece'), 0.5)
      | {'name': name, 'macs': macs, 'dynamic_macs': macs, 'parameters': macs}
      for name, macs in zip(exits, costs, strict=True)
    ]
    written = facts | {'complete': True, 'exits': rows} | dict(summary)
    (path / 'summary.json').write_text(json.dumps(written))
    return path

  return write_run


def rows_of(page, table):
  return list(csv.DictReader((page.parent / f'tables/{table}.csv').open()))


QUIET = Console(quiet=True)
ANTI = {'curriculum.order': 'anti'}


def test_arms_with_seeds_become_a_page(write, tmp_path):
  console = Console(file=io.StringIO(), width=120)
  runs = [
    *(write(f'easy{seed}', seed) for seed in range(3)),
    *(write(f'anti{seed}', seed, known=0.4, **ANTI) for seed in range(3)),
  ]
  page = compare(runs, tmp_path / 'page', console=console)
  assert page == tmp_path / 'page/report/index.html'
  assert page.read_text().count('<img') == 3
  listed = rows_of(page, 'runs')
  assert [row['seed'] for row in listed] == ['0', '1', '2'] * 2
  assert {row['arm'] for row in listed} == {'curriculum.order=easy_first', 'curriculum.order=anti'}
  differences = rows_of(page, 'differences')
  assert len(differences) == 2 * len(EXITS)
  assert {row['arm'] for row in differences} == {'curriculum.order=anti'}
  assert {row['how'] for row in differences} == {'paired t over 3 seeds'}
  assert all(float(row['difference']) > 0 for row in differences if row['metric'] == 'accuracy')
  output = console.file.getvalue()
  assert 'differences from curriculum.order=easy_first' in output and str(page) in output


def test_one_seed_and_unfinished_run_are_noted(write, tmp_path):
  console = Console(file=io.StringIO(), width=120)
  summary = {'complete': False, 'steps': 12}
  runs = [write('plain'), write('jointly', summary=summary, strategy='joint')]
  page = compare(runs, tmp_path / 'page', console=console)
  output = console.file.getvalue()
  assert f'`{runs[1]}` has not finished training; its results are those of step 12.' in output
  assert 'may change its sign with another seed' in output
  assert [row['complete'] for row in rows_of(page, 'runs')] == ['True', 'False']
  settings = rows_of(page, 'settings')
  assert (
    'strategy=joint' in settings[1]['settings'] and 'teacher=self_taught' in settings[1]['settings']
  )


def test_baseline_is_the_arm_of_the_first_run(write, tmp_path):
  runs = [write('easy'), write('anti', **ANTI)]
  there = rows_of(compare(runs, tmp_path / 'there', console=QUIET), 'differences')
  back = rows_of(compare(runs[::-1], tmp_path / 'back', console=QUIET), 'differences')
  for one, other in zip(there, back, strict=True):
    assert (one['arm'], other['arm']) == ('curriculum.order=anti', 'curriculum.order=easy_first')
    assert float(one['difference']) == pytest.approx(-float(other['difference']))


def test_macs_are_those_of_the_summary(write, tmp_path):
  page = compare([write('easy'), write('anti', **ANTI)], tmp_path / 'page', console=QUIET)
  assert [row['macs'] for row in rows_of(page, 'arms')] == ['1000', '2000', '3000'] * 2


def test_runs_without_validation_have_no_curve(write, tmp_path):
  runs = [write('easy'), write('anti', **ANTI)]
  arrays = {
    n: a[:0] if n.startswith('validation') else a
    for n, a in read_npz(runs[1] / 'predictions.npz').items()
  }
  write_npz(runs[1] / 'predictions.npz', arrays)
  page = compare(runs, tmp_path / 'page', console=QUIET)
  assert {row['directory'] for row in rows_of(page, 'curves')} == {str(runs[0])}
  assert 'no validation predictions' in page.read_text()


def test_fewer_than_two_runs_are_rejected(write, tmp_path):
  run = write('easy')
  for runs in ([], [run]):
    with pytest.raises(UserError, match='a comparison needs at least two: --runs=DIR,DIR'):
      compare(runs, tmp_path / 'page')
  with pytest.raises(UserError, match='twice; name each run once'):
    compare([run, run / '../easy'], tmp_path / 'page')
  assert not (tmp_path / 'page').exists()


def test_run_without_summary_is_rejected(write, tmp_path):
  runs = [write('easy'), write('anti', **ANTI)]
  with pytest.raises(UserError, match='nowhere is not the work directory of a run'):
    compare([runs[0], tmp_path / 'nowhere'], tmp_path / 'page')
  (runs[1] / 'summary.json').unlink()
  with pytest.raises(UserError, match=r'anti holds no summary\.json; --mode=evaluate --workdir='):
    compare(runs, tmp_path / 'page')


def test_summary_of_other_exits_is_rejected(write, tmp_path):
  runs = [write('easy'), write('anti', exits=EXITS[1:], **ANTI)]
  shutil.copy(runs[0] / 'predictions.npz', runs[1])
  with pytest.raises(UserError, match='anti have different exits; --mode=evaluate'):
    compare(runs, tmp_path / 'page')


@pytest.mark.parametrize('key', ['test_ids', 'test_labels'])
def test_other_test_images_are_rejected(write, tmp_path, key):
  runs = [write('easy'), write('anti', **ANTI)]
  arrays = read_npz(runs[1] / 'predictions.npz')
  arrays[key] = arrays[key][::-1]
  write_npz(runs[1] / 'predictions.npz', arrays)
  with pytest.raises(UserError, match=rf'easy and .*anti were not tested on the same .*{key}'):
    compare(runs, tmp_path / 'page')


def test_report_of_a_run_is_not_overwritten(write):
  runs = [write('easy'), write('anti', **ANTI)]
  with pytest.raises(UserError, match='easy holds a run, whose report would be overwritten'):
    compare(runs, runs[0])
  assert not (runs[0] / 'report').exists()
