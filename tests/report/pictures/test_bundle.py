"""The picture of a bundle shows every model, what it passes on, and where images leave."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
import numpy as np
import pytest

from mecl_jax.report.pictures import bundle


def fields_of(exits):
  """Returns the fields of a bundle with some exits that the picture shows."""
  features = [{'name': f'f{n}', 'dtype': 'float32', 'shape': [16, 8 * n, 8]} for n in (1, 2, 3)]
  made = [
    {
      'name': f'stage{n}',
      'segment_macs': 1_500_000 * n,
      'test_accuracy': 0.5 + n / 100,
      'features': features[: 1 + n % 3] if n < exits else [],
    }
    for n in range(1, exits + 1)
  ]
  return {
    'run': {'dataset': 'toy', 'backbone': 'resnet8'},
    'precision': 'int8',
    'image_shape': [8, 8, 3],
    'exits': made,
    'default_policy': 'balanced',
    'policies': {'balanced': {'test': {'share': np.full(exits, 1 / exits).tolist()}}},
  }


@pytest.mark.parametrize('exits', (1, 4, 6))
def test_shows_models_features_and_shares(tmp_path, monkeypatch, exits):
  drawn = []
  monkeypatch.setattr(bundle, 'save_png', lambda figure, path: drawn.append(figure))
  bundle.draw_bundle(tmp_path / 'x.png', fields_of(exits), range(1000, 1000 + exits))
  (figure,) = drawn
  (axes,) = figure.axes
  texts = [text.get_text() for text in axes.texts]
  for number in range(1, exits + 1):
    assert f'segment {number}\n1 kB\n{1.5 * number:.2f} M MACs' in texts
    share = f'balanced: {100 / exits:.0f} % of images'
    assert f'exit stage{number}\n{50 + number:.1f} % right\n{share}' in texts
  passed = [text for text in texts if '16×8×8' in text]
  assert len(passed) == exits - 1 and all(
    text.startswith('16×8×8\nfloat32\n4 kB') for text in passed
  )
  assert sum('+ 1 more' in text for text in texts) == sum(n % 3 == 2 for n in range(1, exits))
  in_figure(figure, axes)


def in_figure(figure, axes):
  """Asserts that no text is cut off."""
  renderer = FigureCanvasAgg(figure).get_renderer()
  for text in axes.texts:
    box = text.get_window_extent(renderer)
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()
