import itertools

from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
import numpy as np
import pytest

from mecl_jax.models.macs import ExitCost, quantity
from mecl_jax.report.pictures import network
from mecl_jax.report.style import DPI
from tests.report.pictures.networks import DENSE, NETWORKS, SMALL, exits_at
from tests.report.png import size

pytestmark = pytest.mark.filterwarnings('error')


@pytest.fixture(scope='module', params=NETWORKS)
def drawn(request):
  """Returns stages, exits and the axes of their picture, which are in inches."""
  figures = []
  stages, exits = NETWORKS[request.param]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(network, 'save', lambda figure, path: figures.append(figure))
    network.draw_network('unused', 'A network, 32x32 images', stages, exits)
  return stages, exits, figures[0].axes[0]


def extent(text):
  return text.get_window_extent().transformed(text.axes.transData.inverted())


def boxes(axes):
  """Returns the boxes of the exits, float [exits, 4], as x0, y0, x1, y1."""
  frames = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
  return np.array([[*b.p0, *b.p1] for b in (frame.get_bbox() for frame in frames)])


def blocks(axes):
  return [p for p in axes.patches if isinstance(p, Rectangle) and p.get_zorder() == 2]


def branches(axes):
  """Returns the lines to the boxes, float [points, 2] each."""
  lines = [p for p in axes.patches if isinstance(p, PathPatch) and p.get_linewidth() == 1.5]
  return [line.get_path().to_polygons(closed_only=False)[0] for line in lines]


def test_texts_are_inside_and_do_not_overlap(drawn):
  _, _, axes = drawn
  extents = [extent(text) for text in axes.texts]
  width, height = axes.figure.get_size_inches()
  for box in extents:
    assert 0 < box.x0 < box.x1 < width and 0 < box.y0 < box.y1 < height
  for one, other in itertools.combinations(extents, 2):
    assert not one.overlaps(other)


def test_every_exit_has_a_box(drawn):
  _, exits, axes = drawn
  found, extents = boxes(axes), [(text.get_text(), extent(text)) for text in axes.texts]
  assert len(found) == len(exits)
  for (x0, y0, x1, y1), branch in zip(found, exits, strict=True):
    inside = [(text, e) for text, e in extents if x0 < e.x0 < x1 and y0 < e.y0 < y1]
    assert all(e.x1 < x1 and e.y1 < y1 for _, e in inside)
    name, macs, head, parameters, share = [text for text, _ in inside]
    assert name == branch.name
    assert macs == f'{quantity(branch.macs)} MACs'
    assert head == f'{branch.head} head: {branch.head_macs}'
    assert parameters == f'{branch.parameters} params'
    assert share == f'{100 * branch.macs / exits[-1].macs:.0f} %'


def test_boxes_keep_their_order_and_do_not_overlap(drawn):
  found = boxes(drawn[2])
  assert (np.diff(found[:, 0]) > 0).all()
  for one, other in itertools.combinations(found, 2):
    assert (one[:2] > other[2:]).any() or (other[:2] > one[2:]).any()


def test_branches_pass_no_other_box(drawn):
  stages, exits, axes = drawn
  found, lines = boxes(axes), branches(axes)
  assert len(lines) == len(exits)
  ends = {
    s.name: patch.get_x() + patch.get_width() for s, patch in zip(stages, blocks(axes), strict=True)
  }
  for k, (line, branch) in enumerate(zip(lines, exits, strict=True)):
    assert 0 < line[0, 0] - ends[branch.stage] <= 0.021
    x0, _, x1, y1 = found[k]
    assert line[-1] == pytest.approx([(x0 + x1) / 2, y1])
    # Straight pieces are vertical, so that points and their neighbours' middles are enough.
    points = np.concatenate((line, (line[1:] + line[:-1]) / 2))
    for x0, y0, x1, y1 in np.delete(found, k, axis=0):
      x, y = points.T
      assert not ((x0 < x) & (x < x1) & (y0 < y) & (y < y1)).any()


def test_every_group_has_one_label(drawn):
  stages, _, axes = drawn
  labels = [e.get_text() for e in axes.texts if e.get_text().endswith(' ch')]
  groups = dict.fromkeys(stage.name.rpartition('_')[0] or stage.name for stage in stages)
  assert [label.split('\n')[0] for label in labels] == list(groups)
  side, _, channels = stages[-1].shape
  assert labels[-1].endswith(f'\n{side}×{side}\n{channels} ch')


def test_blocks_show_macs_side_and_channels(drawn):
  stages, _, axes = drawn
  found = blocks(axes)
  assert len(found) == len(stages)
  assert min(block.get_width() for block in found) > 2 / DPI
  for (one, a), (other, b) in itertools.combinations(zip(stages, found, strict=True), 2):
    assert a.get_x() + a.get_width() < b.get_x()
    ratio = np.sqrt(one.shape[0] / other.shape[0])
    assert a.get_height() / b.get_height() == pytest.approx(ratio)
    brightness = [np.dot(patch.get_facecolor()[:3], (0.3, 0.6, 0.1)) for patch in (a, b)]
    assert np.sign(np.subtract(*brightness)) == np.sign(other.shape[2] - one.shape[2])


def test_older_picture_is_replaced(tmp_path):
  path = tmp_path / 'network.png'
  path.write_text('an older picture')
  network.draw_network(path, 'small', *NETWORKS['small'])
  assert size(path)[0] == 1200
  assert sorted(tmp_path.iterdir()) == [path, path.with_suffix('.svg')]


def test_second_row_of_boxes_comes_before_growth(tmp_path):
  sizes = []
  for last in (34, 64):
    path = tmp_path / f'{last}.png'
    network.draw_network(path, '', DENSE, exits_at(DENSE, range(24, last, 5)))
    sizes.append(size(path))
  assert sizes[0][0] == sizes[1][0] == 1200
  assert sizes[0][1] < sizes[1][1]


def test_unknown_stage_of_an_exit_is_rejected(tmp_path):
  with pytest.raises(ValueError, match='nowhere'):
    network.draw_network(
      tmp_path / 'x.png', '', SMALL, [ExitCost('a', 'nowhere', 'conv', 1, 1, 1, 1)]
    )
  assert not list(tmp_path.iterdir())
