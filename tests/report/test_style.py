from matplotlib.figure import Figure
import numpy as np

from mecl_jax.report.style import COLOURS, evenly, look, save


def test_28_lines_differ_without_colours():
  looks = [look(k) for k in range(28)]
  assert len({(look['marker'], str(look['linestyle'])) for look in looks}) == 28
  assert [look['color'] for look in looks[:7]] == list(COLOURS)


def test_evenly_keeps_first_and_last():
  assert evenly(np.arange(7), 20).tolist() == list(range(7))
  chosen = evenly(np.arange(100), 20)
  assert len(set(chosen)) == 20 and chosen[0] == 0 and chosen[-1] == 99
  assert set(np.diff(chosen)) <= {5, 6}
  assert len(set(evenly(np.arange(21), 20))) == 20


def test_figures_are_saved_as_png_and_as_equal_svg(tmp_path):
  for name in ('a', 'b'):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2], [1, 3], label='line')
    save(figure, tmp_path / f'{name}.png')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.png', 'a.svg', 'b.png', 'b.svg']
  assert (tmp_path / 'a.svg').read_bytes() == (tmp_path / 'b.svg').read_bytes()
