import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from mecl_jax.report.pictures import curriculum as plots
from tests.report.png import size

RNG = np.random.default_rng(0)


pytestmark = pytest.mark.filterwarnings('error')


SCORES = {
  'normal': RNG.normal(size=500),
  'loss': 10 ** RNG.uniform(-6, 1, 500),
  'float32': (10 ** RNG.uniform(-6, 1, 500)).astype(np.float32),
  'negative': -RNG.random(500) - 3,
  'ties': RNG.integers(-2, 3, 500),
  'epochs': RNG.integers(1, 5000, 500),
  'wide': RNG.permutation(500) * 10,
  'huge': RNG.permutation(500) * 10**7,
  'zero': np.zeros(500),
  'constant': np.full(500, 0.3),
  'large': np.full(500, 1e18),
  'tiny': np.full(500, -1e-300),
  'nearly': 1 + 1e-15 * RNG.random(500),
}


@pytest.mark.parametrize('name', SCORES)
def test_every_example_falls_into_a_bin(name):
  score = SCORES[name].astype(float)
  edges, logarithmic = plots.bins(score)
  assert (np.diff(edges) > 0).all() and len(edges) <= 102
  assert np.histogram(score, edges)[0].sum() == 500
  assert logarithmic == (name in ('loss', 'float32', 'epochs'))
  assert not logarithmic or edges[0] > 0


def test_tied_scores_have_a_bin_each():
  edges, _ = plots.bins(SCORES['ties'])
  assert edges.tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]


@pytest.mark.parametrize('name', ['normal', 'loss', 'ties', 'epochs', 'zero', 'constant', 'large'])
def test_score_distribution(name, tmp_path):
  path, labels = tmp_path / 'score.png', np.arange(500) % 10
  names = [f'class {k}' for k in range(10)]
  flipped = RNG.random(500) < 0.2
  plots.score_distribution(SCORES[name], labels, names, path, measure=name, flipped=flipped)
  assert size(path)[0] == 1050


@pytest.mark.parametrize('name', ['normal', 'loss', 'epochs', 'constant'])
def test_score_distribution_cuts_nothing_off(name, monkeypatch):
  figures = []
  monkeypatch.setattr(plots, 'save', lambda figure, path: figures.append(figure))
  score = SCORES[name]
  plots.score_distribution(score, np.zeros(500, int), ['only'], 'unused', measure=name)
  edges, logarithmic = plots.bins(score.astype(float))
  for axes in figures[0].axes:
    low, high = axes.get_xlim()
    assert low < edges[0] and edges[-1] < high
    assert axes.get_xscale() == ('log' if logarithmic else 'linear')
  assert figures[0].axes[1].get_xlabel() == f'{name} (larger is harder)'


def test_score_distribution_of_many_classes_shows_twenty(tmp_path):
  heights = []
  for classes in (20, 21, 100):
    path, names = tmp_path / f'{classes}.png', [str(k) for k in range(classes)]
    none = np.zeros(500, bool)
    labels = np.arange(500) % classes
    plots.score_distribution(
      SCORES['normal'], labels, names, path, measure='loss', flipped=none if classes == 21 else None
    )
    heights.append(size(path)[1])
  assert heights[0] < heights[1] == heights[2] < 1400


def test_agreement_returns_spearmans_correlations(tmp_path):
  first = RNG.normal(size=300)
  scores = {
    'first': first,
    'same order': np.exp(first),
    'reversed': -first,
    'ties': np.round(first + RNG.normal(size=300)).astype(np.float32),
    'constant': np.full(300, 2),
  }
  rho = plots.agreement(scores, tmp_path / 'agreement.png')
  assert size(tmp_path / 'agreement.png')[0] > 800
  expected = spearmanr(np.stack(list(scores.values())[:4]), axis=1).statistic
  np.testing.assert_allclose(rho[:4, :4], expected, atol=1e-12)
  assert rho[0, 1] == pytest.approx(1) and rho[0, 2] == pytest.approx(-1)
  ranks = rankdata(scores['first']), rankdata(scores['ties'])
  assert rho[0, 3] == pytest.approx(np.corrcoef(*ranks)[0, 1])
  assert np.isnan(rho[4]).all() and np.isnan(rho[:, 4]).all()


@pytest.mark.parametrize('examples', [1, 2, 7])
def test_agreement_of_few_examples_with_long_names(examples, tmp_path):
  scores = {f'/runs/{"x" * 90}/{k}/scores.npz': np.arange(examples) * k for k in (0, 1)}
  rho = plots.agreement(scores, tmp_path / 'agreement.png')
  assert rho.shape == (2, 2) and np.isnan(rho[0, 1])
  assert rho[1, 1] == 1 or examples == 1
  assert size(tmp_path / 'agreement.png')[0] < 1000


def test_agreement_of_one_score_is_refused(tmp_path):
  with pytest.raises(ValueError, match='two'):
    plots.agreement({'only': np.arange(5)}, tmp_path / 'agreement.png')


def test_long_names_are_broken_after_separators_and_lose_nothing():
  name = '/work/runs/cifar10_resnet18.seed-3/' + 50 * 'x'
  lines = plots._wrap(name, 18).split('\n')
  assert ''.join(lines) == name and max(map(len, lines)) <= 18
  assert lines[0] == '/work/runs/'


def test_changes_keep_a_staircase():
  at, value = plots.changes(np.array([0.2, 0.2, 0.5, 0.5, 0.5, 1.0]))
  assert at.tolist() == [0, 2, 5, 6] and value.tolist() == [0.2, 0.5, 1.0, 1.0]
  at, value = plots.changes(np.array([0.3]))
  assert at.tolist() == [0, 1] and value.tolist() == [0.3, 0.3]


def test_changes_thin_a_long_ramp():
  share = np.linspace(0.1, 1, 1_000_000)
  at, value = plots.changes(share)
  assert 1000 < len(at) < 5000 and at[0] == 0 and at[-1] == 1_000_000
  np.testing.assert_array_equal(value[:-1], share[at[:-1]])


@pytest.mark.parametrize('steps', [1, 1_000_000])
def test_visible_shares(steps, tmp_path):
  share = np.linspace(0.1, 1, steps)
  shares = {f'exit_{k}': share for k in range(9)}
  plots.visible_shares(shares, tmp_path / 'shares.png', steps_per_epoch=391)
  assert size(tmp_path / 'shares.png') == (1050, 600)
