import numpy as np
import pytest

from mecl_jax.errors import RunError

pytest.importorskip('jax2onnx', reason='the extra export is not installed')

from mecl_jax.deploy import check

NAMES = ('early', 'final')
LOGITS = np.random.default_rng(0).normal(size=(6, 2, 3))


def test_difference_is_relative_to_the_largest_logit_of_the_exit():
  theirs = LOGITS.copy()
  theirs[2, 1, 0] += 5e-5 * np.abs(LOGITS[:, 1]).max()
  assert check.check_logits(NAMES, LOGITS, theirs) == pytest.approx(5e-5)


@pytest.mark.parametrize('error', [2e-4, np.nan, np.inf])
def test_other_logits_are_an_error_that_names_the_exit(error):
  theirs = LOGITS.copy()
  theirs[0, 1, 2] += error * np.abs(LOGITS[:, 1]).max()
  with pytest.raises(RunError, match=r'the logits of exit final by .* no bundle is written'):
    check.check_logits(NAMES, LOGITS, theirs)


def test_logits_that_are_all_zero_are_equal():
  assert check.check_logits(NAMES, np.zeros((2, 2, 3)), np.zeros((2, 2, 3))) == 0
