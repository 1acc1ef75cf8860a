import itertools

from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
import numpy as np
import pytest

from mecl_jax.models.macs import ExitCost, StageCost, quantity
from mecl_jax.report.pictures import network as plots
from tests.report.png import size

pytestmark = pytest.mark.filterwarnings('error')


def chain(groups):
  """Stages from (name, blocks, side, channels, MACs of a block); one block takes the name alone."""
  return [
    StageCost(name if blocks == 1 else f'{name}_block{k + 1}', (side, side, channels), macs, 100)
    for name, blocks, side, channels, macs in groups
    for k in range(blocks)
  ]


def exits_at(stages, indices, head='conv'):
  """An exit at each of these stages, named like it, and the final one."""
  total = np.cumsum([stage.macs for stage in stages])
  early = [
    ExitCost(stages[k].name, stages[k].name, head, int(total[k]) + 9, 10, 9, 3) for k in indices
  ]
  return [*early, ExitCost('final', stages[-1].name, 'linear', int(total[-1]) + 5, 999, 5, 3)]


SMALL = chain(
  [('stem', 1, 28, 16, 10**5), ('stage1', 3, 28, 16, 10**6), ('stage2', 3, 14, 32, 10**6)]
)
DENSE = chain(
  [
    ('stem', 1, 112, 64, 10**8),
    ('stage1', 20, 112, 96, 10**8),
    ('transition1', 1, 56, 128, 10**6),
    ('stage2', 30, 56, 1024, 10**7),
    ('transition2', 1, 28, 128, 10**6),
    ('stage3', 66, 7, 1920, 10**7),
    ('norm', 1, 7, 1920, 0),
  ]
)
VIT = chain(
  [('stem', 1, 14, 768, 10**8), *((f'block{k}', 1, 14, 768, 10**9) for k in range(1, 13))]
)
NAMES = chain([('a$b$' * 9, 2, 8, 4, 10), ('_', 2, 4, 8, 0), ('x' * 40, 2, 1, 8, 10)])
NETWORKS = {
  'small': (SMALL, exits_at(SMALL, [3])),
  'two rows': (DENSE, exits_at(DENSE, range(9, 119, 10))),
  'crowded at the start': (DENSE, exits_at(DENSE, range(1, 12))),
  'crowded at the end': (DENSE, exits_at(DENSE, range(108, 119))),
  'one size': (VIT, exits_at(VIT, [3, 6, 9])),
  'every stage': (VIT, exits_at(VIT, range(12), head='mixed_pool')),
  'names': (NAMES, exits_at(NAMES, [0, 1, 2])),
  'only final': (SMALL[:1], exits_at(SMALL[:1], [])),
}


@pytest.fixture(scope='module', params=NETWORKS)
def drawn(request):
  """Stages, exits and the axes of their picture; a unit of the axes is an inch."""
  figures = []
  stages, exits = NETWORKS[request.param]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(plots, 'save', lambda figure, path: figures.append(figure))
    plots.draw_network('unused', 'A network, 32x32 images', stages, exits)
  return stages, exits, figures[0].axes[0]


def extent(text):
  return text.get_window_extent().transformed(text.axes.transData.inverted())


def boxes(axes):
  """Of the exits as [x0, y0, x1, y1], in the order of drawing."""
  frames = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
  return np.array([[*b.p0, *b.p1] for b in (frame.get_bbox() for frame in frames)])


def blocks(axes):
  return [p for p in axes.patches if isinstance(p, Rectangle) and p.get_zorder() == 2]


def branches(axes):
  """Lines to the boxes, float [points, 2] each."""
  lines = [p for p in axes.patches if isinstance(p, PathPatch) and p.get_linewidth() == 1.5]
  return [line.get_path().to_polygons(closed_only=False)[0] for line in lines]


def test_no_text_overlaps_another_or_leaves_the_picture(drawn):
  _, _, axes = drawn
  extents = [extent(text) for text in axes.texts]
  width, height = axes.figure.get_size_inches()
  for box in extents:
    assert 0 < box.x0 < box.x1 < width and 0 < box.y0 < box.y1 < height
  for one, other in itertools.combinations(extents, 2):
    assert not one.overlaps(other)


def test_every_exit_has_a_box_with_its_facts(drawn):
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


def test_boxes_keep_the_order_and_apart(drawn):
  found = boxes(drawn[2])
  assert (np.diff(found[:, 0]) > 0).all()
  for one, other in itertools.combinations(found, 2):
    assert (one[:2] > other[2:]).any() or (other[:2] > one[2:]).any()


def test_branches_run_from_their_stage_to_their_box_and_through_no_other(drawn):
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


def test_every_group_is_named_once_with_what_it_hands_on(drawn):
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
  assert min(block.get_width() for block in found) > 2 / plots.DPI
  for (one, a), (other, b) in itertools.combinations(zip(stages, found, strict=True), 2):
    assert a.get_x() + a.get_width() < b.get_x()
    ratio = np.sqrt(one.shape[0] / other.shape[0])
    assert a.get_height() / b.get_height() == pytest.approx(ratio)
    brightness = [np.dot(patch.get_facecolor()[:3], (0.3, 0.6, 0.1)) for patch in (a, b)]
    assert np.sign(np.subtract(*brightness)) == np.sign(other.shape[2] - one.shape[2])


def test_blocks_are_as_wide_as_their_macs_but_for_a_least_width():
  widths = np.diff(plots._edges(DENSE, 1, 8))
  assert widths.sum() == pytest.approx(7)
  macs = np.array([stage.macs for stage in DENSE])
  thin = widths < widths.min() + 1e-9
  assert thin[macs.argmin()] and not thin.all()
  assert macs[thin].max() < macs[~thin].min()
  np.testing.assert_allclose(np.ptp(widths[~thin] / macs[~thin]), 0, atol=1e-15)
  np.testing.assert_allclose(np.diff(plots._edges(VIT[1:], 0, 6)), 0.5)


def test_channels_that_grow_within_a_group_show_their_range():
  stages = [StageCost(f'stage1_block{k}', (8, 8, 16 * k), 10, 1) for k in (1, 2, 3)]
  assert [group.label for group in plots._groups(stages)] == ['stage1\n8×8\n16–48 ch']


def test_picture_is_written_whole_and_leaves_nothing_else(tmp_path):
  path = tmp_path / 'network.png'
  path.write_text('an older picture')
  plots.draw_network(path, 'small', *NETWORKS['small'])
  assert size(path)[0] == 1200
  assert list(tmp_path.iterdir()) == [path]


def test_boxes_take_a_second_row_before_the_picture_grows(tmp_path):
  sizes = []
  for last in (34, 64):
    path = tmp_path / f'{last}.png'
    plots.draw_network(path, '', DENSE, exits_at(DENSE, range(24, last, 5)))
    sizes.append(size(path))
  assert sizes[0][0] == sizes[1][0] == 1200
  assert sizes[0][1] < sizes[1][1]


def test_an_exit_at_no_stage_is_refused(tmp_path):
  with pytest.raises(ValueError, match='nowhere'):
    plots.draw_network(
      tmp_path / 'x.png', '', SMALL, [ExitCost('a', 'nowhere', 'conv', 1, 1, 1, 1)]
    )
  assert not list(tmp_path.iterdir())


def test_spread_moves_only_what_is_too_close():
  spread = plots.spread(np.array([1.0, 4.0, 4.0, 9.0]), np.array([1.0, 2.0, 1.0]), 0, 10)
  assert spread.tolist() == [1, 3, 5, 9]
  assert plots.spread(np.array([0.0, 0.1]), np.array([1.0]), 0, 10).tolist() == [0, 1]
  assert plots.spread(np.array([10.0, 10.0]), np.array([1.0]), 0, 10).tolist() == [9, 10]
  assert plots.spread(np.array([12.0]), np.array([]), 0, 10).tolist() == [10]


def test_spread_is_nearest_among_many_tries():
  rng = np.random.default_rng(0)
  targets, distances = np.sort(rng.uniform(0, 4, 5)), rng.uniform(0.5, 1, 4)
  best = plots.spread(targets, distances, -10, 10)
  assert (np.diff(best) >= distances - 1e-12).all()
  tries = best + rng.normal(scale=0.1, size=(20_000, 5))
  allowed = tries[(np.diff(tries) >= distances).all(axis=1)]
  assert len(allowed) > 50
  assert ((allowed - targets) ** 2).sum(axis=1).min() >= ((best - targets) ** 2).sum()
