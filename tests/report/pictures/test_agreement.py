import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from mecl_jax.report.pictures import agreement
from tests.report.png import size

pytestmark = pytest.mark.filterwarnings('error')


RNG = np.random.default_rng(0)


def test_returns_spearman_correlations(tmp_path):
  first = RNG.normal(size=300)
  scores = {
    'first': first,
    'same order': np.exp(first),
    'reversed': -first,
    'ties': np.round(first + RNG.normal(size=300)).astype(np.float32),
    'constant': np.full(300, 2),
  }
  rho = agreement.draw_agreement(scores, tmp_path / 'agreement.png')
  assert size(tmp_path / 'agreement.png')[0] > 800
  expected = spearmanr(np.stack(list(scores.values())[:4]), axis=1).statistic
  np.testing.assert_allclose(rho[:4, :4], expected, atol=1e-12)
  assert rho[0, 1] == pytest.approx(1) and rho[0, 2] == pytest.approx(-1)
  ranks = rankdata(scores['first']), rankdata(scores['ties'])
  assert rho[0, 3] == pytest.approx(np.corrcoef(*ranks)[0, 1])
  assert np.isnan(rho[4]).all() and np.isnan(rho[:, 4]).all()


@pytest.mark.parametrize('examples', [1, 2, 7])
def test_few_examples_and_long_names_are_drawn(examples, tmp_path):
  scores = {f'/runs/{"x" * 90}/{k}/scores.npz': np.arange(examples) * k for k in (0, 1)}
  rho = agreement.draw_agreement(scores, tmp_path / 'agreement.png')
  assert rho.shape == (2, 2) and np.isnan(rho[0, 1])
  assert rho[1, 1] == 1 or examples == 1
  assert size(tmp_path / 'agreement.png')[0] < 1000


def test_one_score_is_rejected(tmp_path):
  with pytest.raises(ValueError, match='two'):
    agreement.draw_agreement({'only': np.arange(5)}, tmp_path / 'agreement.png')


def test_long_names_break_after_separators():
  name = '/work/runs/cifar10_resnet18.seed-3/' + 50 * 'x'
  lines = agreement._wrap(name, 18).split('\n')
  assert ''.join(lines) == name and max(map(len, lines)) <= 18
  assert lines[0] == '/work/runs/'
