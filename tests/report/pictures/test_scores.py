import numpy as np
import pytest

from mecl_jax.report.pictures import scores
from tests.report.png import size

pytestmark = pytest.mark.filterwarnings('error')


RNG = np.random.default_rng(0)


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
def test_every_example_is_in_a_bin(name):
  score = SCORES[name].astype(float)
  edges, logarithmic = scores.bins(score)
  assert (np.diff(edges) > 0).all() and len(edges) <= 102
  assert np.histogram(score, edges)[0].sum() == 500
  assert logarithmic == (name in ('loss', 'float32', 'epochs'))
  assert not logarithmic or edges[0] > 0


def test_whole_numbers_have_a_bin_each():
  edges, _ = scores.bins(SCORES['ties'])
  assert edges.tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]


@pytest.mark.parametrize('name', ['normal', 'loss', 'ties', 'epochs', 'zero', 'constant', 'large'])
def test_scores_of_all_kinds_are_drawn(name, tmp_path):
  path, labels = tmp_path / 'score.png', np.arange(500) % 10
  names = [f'class {k}' for k in range(10)]
  flipped = RNG.random(500) < 0.2
  scores.draw_scores(SCORES[name], labels, names, path, measure=name, flipped=flipped)
  assert size(path)[0] == 1050


@pytest.mark.parametrize('name', ['normal', 'loss', 'epochs', 'constant'])
def test_axes_contain_all_scores(name, monkeypatch):
  figures = []
  monkeypatch.setattr(scores, 'save', lambda figure, path: figures.append(figure))
  score = SCORES[name]
  scores.draw_scores(score, np.zeros(500, int), ['only'], 'unused', measure=name)
  edges, logarithmic = scores.bins(score.astype(float))
  for axes in figures[0].axes:
    low, high = axes.get_xlim()
    assert low < edges[0] and edges[-1] < high
    assert axes.get_xscale() == ('log' if logarithmic else 'linear')
  assert figures[0].axes[1].get_xlabel() == f'{name} (larger is harder)'


def test_at_most_20_classes_are_drawn(tmp_path):
  heights = []
  for classes in (20, 21, 100):
    path, names = tmp_path / f'{classes}.png', [str(k) for k in range(classes)]
    none = np.zeros(500, bool)
    labels = np.arange(500) % classes
    scores.draw_scores(
      SCORES['normal'], labels, names, path, measure='loss', flipped=none if classes == 21 else None
    )
    heights.append(size(path)[1])
  assert heights[0] < heights[1] == heights[2] < 1400
