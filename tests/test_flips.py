import pytest

from mecl_jax.training import checkpoints
from tests import flips

pytestmark = [
  # Of Orbax's tasks, which end after the error that they caused.
  pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning'),
  pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
]


@pytest.mark.slow
@pytest.mark.parametrize('sweep', [flips.checkpoint_flips, flips.file_flips])
def test_no_flipped_bit_is_read_in_silence(sweep, tmp_path, monkeypatch):
  """A short form of `python -m tests.flips`."""
  monkeypatch.setattr(checkpoints, '_LATE_SECONDS', 0.0)
  counts = sweep(tmp_path, 24, seed=1)
  assert sum(counts.values()) == 24 and counts['found'] >= 6
  assert not [kind for kind in flips.FAILURES if counts[kind]], counts
