import numpy as np
import pytest

from mecl_jax.models.macs import StageCost
from mecl_jax.report.pictures.layout import edges_of, groups_of, spread
from tests.report.pictures.networks import DENSE, VIT


def test_widths_of_blocks_are_proportional_to_macs():
  widths = np.diff(edges_of(DENSE, 1, 8))
  assert widths.sum() == pytest.approx(7)
  macs = np.array([stage.macs for stage in DENSE])
  thin = widths < widths.min() + 1e-9
  assert thin[macs.argmin()] and not thin.all()
  assert macs[thin].max() < macs[~thin].min()
  np.testing.assert_allclose(np.ptp(widths[~thin] / macs[~thin]), 0, atol=1e-15)
  np.testing.assert_allclose(np.diff(edges_of(VIT[1:], 0, 6)), 0.5)


def test_groups_show_the_range_of_their_channels():
  stages = [StageCost(f'stage1_block{k}', (8, 8, 16 * k), 10, 1) for k in (1, 2, 3)]
  assert [group.label for group in groups_of(stages)] == ['stage1\n8×8\n16–48 ch']


def test_spread_moves_only_close_points():
  moved = spread(np.array([1.0, 4.0, 4.0, 9.0]), np.array([1.0, 2.0, 1.0]), 0, 10)
  assert moved.tolist() == [1, 3, 5, 9]
  assert spread(np.array([0.0, 0.1]), np.array([1.0]), 0, 10).tolist() == [0, 1]
  assert spread(np.array([10.0, 10.0]), np.array([1.0]), 0, 10).tolist() == [9, 10]
  assert spread(np.array([12.0]), np.array([]), 0, 10).tolist() == [10]


def test_spread_moves_as_little_as_possible():
  rng = np.random.default_rng(0)
  targets, distances = np.sort(rng.uniform(0, 4, 5)), rng.uniform(0.5, 1, 4)
  best = spread(targets, distances, -10, 10)
  assert (np.diff(best) >= distances - 1e-12).all()
  tries = best + rng.normal(scale=0.1, size=(20_000, 5))
  allowed = tries[(np.diff(tries) >= distances).all(axis=1)]
  assert len(allowed) > 50
  assert ((allowed - targets) ** 2).sum(axis=1).min() >= ((best - targets) ** 2).sum()
