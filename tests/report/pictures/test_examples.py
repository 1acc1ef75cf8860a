import io
import itertools

from matplotlib.image import imread
import numpy as np
import pytest

from mecl_jax.report.pictures.examples import (
  FRAME,
  GUTTER,
  draw_contact_sheet,
  exit_sheet,
  mosaic,
  pick,
)
from tests.report.png import size

RNG = np.random.default_rng(0)

ORANGE = np.array([213, 94, 0])  # of COLOURS[1], the frame

pytestmark = pytest.mark.filterwarnings('error')


def test_picks_easiest_and_hardest_of_each_class():
  labels = RNG.integers(0, 5, 400)
  score = RNG.normal(size=400)
  grid = pick(score, labels, np.array([1, 3]), 8)
  assert grid.shape == (2, 2, 8)
  assert len(np.unique(grid)) == grid.size
  for row, label in zip(grid, (1, 3), strict=True):
    mine = np.sort(score[labels == label])
    np.testing.assert_array_equal(labels[row], label)
    np.testing.assert_array_equal(score[row[0]], mine[:8])
    np.testing.assert_array_equal(score[row[1]], mine[-8:])


@pytest.mark.parametrize('members', range(1, 10))
def test_picks_all_of_a_small_class_once(members):
  score = np.arange(members)[::-1].astype(float)
  (easy, hard) = pick(score, np.zeros(members, int), np.array([0]), 4)[0]
  shown = np.concatenate((easy[easy >= 0], hard[hard >= 0]))
  assert len(set(shown)) == len(shown) == min(members, 8)
  assert (np.diff(score[shown]) > 0).all()
  assert easy[0] == members - 1  # the easiest at the far left
  assert hard[-1] == (0 if members > 1 else -1)  # the hardest at the far right
  assert (np.diff((easy >= 0).astype(int)) <= 0).all()
  assert (np.diff((hard >= 0).astype(int)) >= 0).all()


def test_ties_keep_the_order_of_examples():
  grid = pick(np.zeros(20), np.zeros(20, int), np.array([0]), 3)
  assert grid.tolist() == [[[0, 1, 2], [17, 18, 19]]]


@pytest.mark.parametrize(
  'shape, tile',
  [((8, 8, 1), (64, 64)), ((28, 28, 1), (56, 56)), ((32, 32, 3), (64, 64)),
   ((224, 200, 3), (75, 67)), ((300, 20, 1), (75, 5))],
)  # fmt: skip
def test_mosaic_places_and_scales_images(shape, tile):
  images = np.stack([np.full(shape, value, np.uint8) for value in (10, 20, 30)])
  sheet = mosaic(images, np.array([[2, -1], [0, 1]]), np.array([False, True, False]))
  height, width = (side + GUTTER for side in tile)
  assert sheet.shape == (2 * height, 2 * width, 3) and sheet.dtype == np.uint8
  cells = {
    (r, k): sheet[r * height : (r + 1) * height, k * width : (k + 1) * width]
    for r, k in itertools.product(range(2), range(2))
  }
  inside = np.s_[GUTTER // 2 : -GUTTER // 2, GUTTER // 2 : -GUTTER // 2]
  assert (cells[0, 0][inside] == 30).all() and (cells[1, 0][inside] == 10).all()
  assert (cells[0, 1] == 255).all()
  assert (cells[1, 1][inside] == 20).all()
  framed = {at: int((cell == ORANGE).all(-1).sum()) for at, cell in cells.items()}
  area = (tile[0] + 2 * FRAME) * (tile[1] + 2 * FRAME) - tile[0] * tile[1]
  assert framed == {(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): area}


@pytest.mark.parametrize(('channels', 'shown'), [(2, [7, 7, 7]), (4, [7, 8, 9]), (300, [7, 8, 9])])
def test_other_numbers_of_channels_are_drawn(channels, shown, tmp_path):
  images = np.zeros((4, 8, 8, channels), np.uint8) + np.arange(7, 7 + channels).astype(np.uint8)
  sheet = mosaic(images, np.array([[0]]))
  assert sheet[20, 20].tolist() == shown
  draw_contact_sheet(images, np.arange(4) % 2, ['a', 'b'], np.arange(4.0), tmp_path / 'a.png')
  assert size(tmp_path / 'a.png')[0] > 100


def test_small_images_stay_crisp():
  image = RNG.integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
  sheet = mosaic(image, np.array([[0]]))
  half = GUTTER // 2
  np.testing.assert_array_equal(sheet[half + 4 : -half : 8, half + 4 : -half : 8, :1], image[0])


def test_contact_sheet_keeps_the_pixels(tmp_path):
  images = RNG.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
  labels, score = np.arange(60) % 3, RNG.normal(size=60)
  draw_contact_sheet(images, labels, ['a', 'b$', 'c'], score, tmp_path / 'a.png', columns=4)
  picture = pixels(tmp_path / 'a.png')
  easy = mosaic(images, pick(score, labels, np.arange(3), 4)[:, 0])
  first = easy[GUTTER // 2, GUTTER // 2 : GUTTER // 2 + 64]
  rows = [y for y in range(len(picture)) if first[:8].tobytes() in picture[y].tobytes()]
  assert rows
  top, left = rows[0] - GUTTER // 2, None
  left = picture[rows[0]].tobytes().index(first.tobytes()) // 3 - GUTTER // 2
  part = picture[top : top + easy.shape[0], left : left + easy.shape[1]]
  np.testing.assert_array_equal(part, easy)


def test_contact_sheet_shows_at_most_20_classes(tmp_path):
  names = [f'a class with a rather long name {k}' for k in range(100)]
  images = np.zeros((300, 8, 8, 1), np.uint8)
  labels, flipped = np.arange(300) % 100, np.arange(300) % 7 == 0
  path = tmp_path / 'new' / 'sheet.png'
  draw_contact_sheet(images, labels, names, RNG.normal(size=300), path, flipped=flipped)
  width, height = size(path)
  assert 20 * 76 < height < 20 * 76 + 200 and 16 * 76 < width < 16 * 76 + 600


def pixels(file):
  return (imread(file)[..., :3] * 255).round().astype(np.uint8)


def example(name, side, rank, position, right=True):
  return {'exit': name, 'side': side, 'rank': rank, 'id': f'test_{position}', 'right': right}


def test_exit_sheet_orders_images_by_confidence():
  colours = np.array([(20 * k, 200, 100) for k in range(9)], np.uint8)  # which no text has
  images = np.broadcast_to(colours[:, None, None], (9, 32, 32, 3))
  ids = np.array([f'test_{k}' for k in range(9)])
  examples = [
    *(example('stage1', 'surest', rank, 1 + rank) for rank in range(2)),
    *(example('stage1', 'least sure', rank, 6 - rank) for rank in range(2)),
    example('final', 'surest', 0, 7),
  ]
  picture = pixels(io.BytesIO(exit_sheet(examples, images[::-1], ids[::-1])))
  found = [np.argwhere((picture == colour).all(-1)) for colour in colours]
  middle = {k: at.mean(axis=0) for k, at in enumerate(found) if len(at)}
  assert set(middle) == {1, 2, 5, 6, 7}
  assert len({middle[k][0] for k in (1, 2, 5, 6)}) == 1
  assert middle[1][1] < middle[2][1] < middle[5][1] < middle[6][1]
  assert middle[7][0] > middle[1][0] and middle[7][1] == middle[1][1]


def test_exit_sheet_frames_wrong_predictions():
  images, ids = np.zeros((4, 28, 28, 1), np.uint8), np.arange(4).astype(str)
  found = []
  for wrong in (0, 1, 3):
    examples = [example('a', 'surest', k, k, right=k >= wrong) for k in range(3)]
    examples = [row | {'id': str(k)} for k, row in enumerate(examples)]
    picture = pixels(io.BytesIO(exit_sheet(examples, images, ids)))
    found.append(int((picture == ORANGE).all(-1).sum()))
  frame = (56 + 2 * FRAME) ** 2 - 56**2
  assert found[1] - found[0] == frame and found[2] - found[0] == 3 * frame


def test_missing_image_is_rejected():
  with pytest.raises(ValueError, match='test_5'):
    exit_sheet([example('a', 'surest', 0, 5)], np.zeros((1, 8, 8, 1), np.uint8), ['test_4'])
