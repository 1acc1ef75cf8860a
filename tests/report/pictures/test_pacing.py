import numpy as np
import pytest

from mecl_jax.report.pictures import pacing
from tests.report.png import size

pytestmark = pytest.mark.filterwarnings('error')


def test_changes_keep_all_steps():
  at, value = pacing.changes(np.array([0.2, 0.2, 0.5, 0.5, 0.5, 1.0]))
  assert at.tolist() == [0, 2, 5, 6] and value.tolist() == [0.2, 0.5, 1.0, 1.0]
  at, value = pacing.changes(np.array([0.3]))
  assert at.tolist() == [0, 1] and value.tolist() == [0.3, 0.3]


def test_changes_of_a_long_ramp_are_thinned():
  share = np.linspace(0.1, 1, 1_000_000)
  at, value = pacing.changes(share)
  assert 1000 < len(at) < 5000 and at[0] == 0 and at[-1] == 1_000_000
  np.testing.assert_array_equal(value[:-1], share[at[:-1]])


@pytest.mark.parametrize('steps', [1, 1_000_000])
def test_visible_shares_are_drawn(steps, tmp_path):
  share = np.linspace(0.1, 1, steps)
  shares = {f'exit_{k}': share for k in range(9)}
  pacing.draw_visible_shares(shares, tmp_path / 'shares.png', steps_per_epoch=391)
  assert size(tmp_path / 'shares.png') == (1050, 600)
