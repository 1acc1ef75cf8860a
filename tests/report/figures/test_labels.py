import itertools

import pytest

from mecl_jax.report.figures.accuracy import WIDE
from mecl_jax.report.style import WIDTH
from tests.report import run_rows
from tests.report.figures.drawings import DRAWN, draw

pytestmark = pytest.mark.filterwarnings('error')


OTHERS = {'one exit': run_rows.make(1), 'twelve with long names': run_rows.make(12, long=True)}


def visible(axes):
  """Returns the visible tick labels of a panel, a list per axis."""
  if not axes.axison:
    return [[], []]
  found = []
  for axis in (axes.xaxis, axes.yaxis):
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    found.append([t.label1 for t in ticks if low <= t.get_loc() <= high])
  return found


def shown(texts):
  """Returns the extents of the visible texts."""
  return {t: t.get_window_extent() for t in texts if t.get_visible() and t.get_text().strip()}


@pytest.mark.parametrize('tables', OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize('name', DRAWN)
def test_labels_are_inside_and_do_not_overlap(name, tables):
  figure = draw(name, tables)
  figure.draw_without_rendering()
  assert figure.get_figwidth() == (WIDE if name.startswith('against') else WIDTH)
  ticks = [labels for axes in figure.axes for labels in visible(axes)]
  legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
  around = [
    *(text for a in figure.axes if a.axison for text in (a.title, a.xaxis.label, a.yaxis.label)),
    *(text for legend in legends for text in legend.get_texts()),
    *([figure._suptitle] if figure._suptitle else []),
  ]
  paper = figure.bbox.padded(1)
  written = [text for axes in figure.axes for text in axes.texts]
  for text, box in shown([*itertools.chain(*ticks), *around, *written]).items():
    inside = [paper.contains(*corner) for corner in (box.min, box.max)]
    assert all(inside), text.get_text()
  for texts in (*ticks, around):
    for (one, a), (other, b) in itertools.combinations(shown(texts).items(), 2):
      assert not a.overlaps(b), (one.get_text(), other.get_text())
