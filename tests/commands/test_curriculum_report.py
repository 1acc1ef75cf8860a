import csv

from matplotlib.image import imread
import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mecl_jax.commands import curriculum_report
from mecl_jax.commands.difficulty import score_difficulty
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import UserError
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.run import set_up_run
from mecl_jax.training.workdir import read_summary
from tests.runs import run

QUIET = Console(quiet=True)


def test_training_draws_its_curriculum(toy_config, tmp_path, drawn):
  summary = run(toy_config, tmp_path, **{'data.label_noise': 0.2})
  for name in ('easy_and_hard', 'scores', 'pacing'):
    picture = imread(tmp_path / f'report/{name}.png')
    assert min(picture.shape[:2]) > 200 and picture.min() < 0.5
  with np.load(tmp_path / 'label_noise.npz') as noise:
    assert len(noise['id']) == 40 and (noise['label'] != noise['clean_label']).all()
    flipped = np.isin(Difficulty.load(tmp_path / 'difficulty.npz').ids, noise['id'])
  score = Difficulty.load(tmp_path / 'difficulty.npz').score
  assert summary['curriculum']['noise_auroc'] == pytest.approx(roc_auc_score(flipped, score))
  assert summary['label_noise'] == 0.2


def test_page_lists_the_weights_of_easy_images(toy_config, tmp_path):
  changes = {'curriculum.order': 'none', 'curriculum.sample_weights': 'easy_weighted'}
  changes |= {'curriculum.easy_strength': 0.4, 'report.page': True}
  run(toy_config, tmp_path, **changes)
  with (tmp_path / 'report/tables/weights.csv').open() as file:
    rows = [(row['exit'], *map(float, list(row.values())[1:])) for row in csv.DictReader(file)]
  assert [row[0] for row in rows] == ['stage1', 'stage2']
  np.testing.assert_allclose([row[1:] for row in rows], [[1.4, 0.6], [1.2, 0.8]])
  page = (tmp_path / 'report/index.html').read_text()
  assert 'easy_weighted by final_exit, confidence' in page


def test_page_lists_weights_at_both_ends_of_a_phase(toy_config, tmp_path):
  changes = {'curriculum.order': 'none', 'curriculum.sample_weights': 'easy_weighted'}
  changes |= {'curriculum.easy_strength': 0.4, 'curriculum.easy_end': (-0.2,), 'report.page': True}
  run(toy_config, tmp_path, **changes)
  with (tmp_path / 'report/tables/weights.csv').open() as file:
    rows = [list(map(float, list(row.values())[1:])) for row in csv.DictReader(file)]
  np.testing.assert_allclose(rows, [[1.4, 0.6, 0.8, 1.2], [1.2, 0.8, 0.9, 1.1]])


@pytest.mark.parametrize(
  ('strategy', 'order', 'drawn'),
  [
    ('classifier_wise', 'random', {'pacing.png'}),
    ('classifier_wise', 'none', set()),
    ('layer_wise', 'random', {f'pacing_layer_{e}.png' for e in ('stage1', 'stage2', 'final')}),
  ],
)
def test_pacing_is_drawn_for_each_curriculum_phase(toy_config, tmp_path, strategy, order, drawn):
  toy_config.strategy, toy_config.curriculum.order = strategy, order
  with Interruption() as interruption:
    opened = set_up_run(resolve(toy_config), tmp_path, QUIET, interruption)
  assert curriculum_report.write(opened, tmp_path / 'report') == {}
  assert {path.name for path in (tmp_path / 'report').glob('*.png')} == drawn


def test_scores_are_compared_with_others(toy_config, tmp_path):
  score_difficulty(tmp_path / 'b', toy_config, console=QUIET)
  run(toy_config, tmp_path / 'a', seed=1)
  noise = np.random.default_rng(0).random(200)
  own = Difficulty.load(tmp_path / 'a/difficulty.npz')
  np.savez(tmp_path / 'mine.npz', id=own.ids[::-1], score=noise)
  others = f'{tmp_path / "b"},{tmp_path / "mine.npz"}'
  toy_config.report.compare_with = others
  summary = evaluate(tmp_path / 'a', toy_config, console=QUIET)
  agreement = summary['curriculum']['agreement']
  theirs = Difficulty.load(tmp_path / 'b/difficulty.npz').score
  assert list(agreement.values()) == pytest.approx(
    [spearmanr(own.score, theirs)[0], spearmanr(own.score, noise[::-1])[0]]
  )
  assert list(agreement) == [f'final_exit, confidence, {tmp_path / "b"}', 'mine.npz, score']
  rows = list(csv.reader((tmp_path / 'a/report/agreement.csv').open()))
  assert len(rows) == 4 and float(rows[1][2]) == pytest.approx(next(iter(agreement.values())))
  assert (tmp_path / 'a/report/agreement.png').exists()
  assert read_summary(tmp_path / 'a') == summary


def test_missing_scores_are_rejected_before_training(toy_config, tmp_path):
  toy_config.report.compare_with = str(tmp_path / 'no')
  with pytest.raises(UserError, match=r'no does not exist'):
    run(toy_config, tmp_path / 'a')
  assert not (tmp_path / 'a/checkpoints').exists()
