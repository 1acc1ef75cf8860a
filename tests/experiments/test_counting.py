import numpy as np
import pandas as pd
import pytest

from experiments import counting
from mecl_jax import load_data
from tests import toys
from tests.runs import QUIET, train


@pytest.fixture(scope='module')
def arrays(tmp_path_factory):
  return counting.write_data(tmp_path_factory.mktemp('counting'), train_size=700, test_size=200)


def test_images_hold_as_many_digits_as_their_label_says(arrays):
  data = np.load(arrays)
  images, counts = data['train_images'], data['train_labels']
  assert images.shape == (700, 32, 32, 1) and set(counts) == set(range(9))
  bright = (images > 128).sum(axis=(1, 2, 3))
  assert (bright[counts == 0] == 0).all()
  assert np.corrcoef(bright, counts)[0, 1] > 0.9
  assert data['train_quality'].min() >= 5 and data['train_quality'].max() <= 95


def test_strong_compression_changes_an_image_more(arrays):
  canvas = np.zeros((32, 32), np.uint8)
  canvas[4:12, 10:18] = 16 * np.arange(64).reshape(8, 8) % 256
  weak, strong = (
    np.abs(counting.compressed(canvas, quality).astype(int) - canvas).mean() for quality in (95, 5)
  )
  assert 0 < weak < strong / 3


def test_difficulty_has_the_ids_of_the_training_split_and_the_strength_of_compression(
  arrays, tmp_path
):
  counting.write_difficulty(arrays, tmp_path / 'quality.csv', validation_size=100)
  table = pd.read_csv(tmp_path / 'quality.csv')
  loaded = load_data(name='counting', arrays=arrays, validation_size=100, kind='numbers')
  assert table['id'].tolist() == loaded.train.ids.tolist() and len(table) == 600
  row = int(table['id'][17][-5:])
  assert table['score'][17] == 95 - np.load(arrays)['train_quality'][row]


@pytest.mark.slow
def test_exits_count_digits_after_a_curriculum_over_the_quality(arrays, tmp_path):
  counting.write_difficulty(arrays, arrays.with_name('quality.csv'), validation_size=100)
  c = counting.make_config(arrays, seed=0)
  toys.add_network()
  c.model.backbone, c.model.exits, c.data.validation_size = toys.NETWORK, ('stage1', 'stage2'), 100
  c.model.head = 'linear'
  c.phases.joint.duration, c.phases.joint.learning_rate = '80 steps', 0.01
  c.update_from_flattened_dict(counting.ARMS['quality'])
  c.curriculum.difficulty_file = str(arrays.with_name('quality.csv'))
  summary = train(c, tmp_path, console=QUIET)
  guess = 20 / 9  # mean error of the best constant, 4, on numbers from 0 to 8
  errors = [row['mae'] for row in summary['exits']]
  assert max(errors) < guess / 2 and summary['units'] == 'digits'
  assert summary['curriculum']['visible_at_start'] == pytest.approx(0.107, abs=0.01)


def make_table():
  rows = []
  for arm in counting.ARMS:
    for rate in ('0.003', '0.01'):
      rows.append({'arm': arm, 'kind': 'trial', 'seed': 100, 'rates': rate})
      rows[-1] |= {'validation_stage1': float(rate), 'validation_stage2': -float(rate)}
    for seed in range(3):
      error = 0.5 - 0.1 * (arm == 'quality') + 0.01 * seed * (arm != 'easy_first')
      rows.append({'arm': arm, 'kind': 'run', 'seed': seed, 'rates': '0.003 0.01'})
      rows[-1] |= {'test_stage1': error, 'test_stage2': 0.4, 'test_final': 0.3}
  return pd.DataFrame(rows)


def test_every_exit_takes_the_rate_with_the_lowest_error():
  assert counting.best_rates(make_table(), 'standard') == (0.003, 0.01)


def test_page_has_paired_differences():
  page = counting.page(make_table())
  assert '| standard | 0.510 ± 0.010 | 0.400 ± 0.000 |' in page
  assert '| quality | the same | the same |' in page  # by 0.1 in each seed: no test is possible
  assert '| easy_first | -0.010 [-0.035, +0.015] | the same |' in page
  assert '12 runs' in page and '3 seeds' in page and '8 trials' in page
  assert 'Of these 6 differences, 0 have' in page
