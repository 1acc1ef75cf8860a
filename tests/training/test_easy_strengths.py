"""The strength of each exit, and its change over a phase."""

import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.errors import UserError
from mecl_jax.training.easy_strengths import at_steps, make_strengths

EXITS = ('stage1', 'stage2', 'final')


def strengths(**fields):
  settings = config.default().curriculum
  settings.update(fields)
  return list(make_strengths(settings, EXITS).values())


@pytest.mark.parametrize(
  ('fields', 'starts', 'ends'),
  [
    ({'easy_strength': 0.4}, [0.4, 0.2, 0], [0.4, 0.2, 0]),
    ({'easy_strength': 0.4, 'easy_end': (-0.8,)}, [0.4, 0.2, 0], [-0.8, -0.4, 0]),
    ({'easy_strength': 0.4, 'easy_end': (0.0, 0.3, 0.1)}, [0.4, 0.2, 0], [0, 0.3, 0.1]),
    ({'exit_strengths': (0.4,)}, [0.4, 0.4, 0.4], [0.4, 0.4, 0.4]),
    ({'exit_strengths': (0.1, 0.5, -1.0)}, [0.1, 0.5, -1], [0.1, 0.5, -1]),
    ({'exit_strengths': (0.1, 0.5, 0.2), 'easy_end': (0.3,)}, [0.1, 0.5, 0.2], [0.3, 0.3, 0.3]),
  ],
)
def test_numbers_fall_with_depth_unless_given_per_exit(fields, starts, ends):
  np.testing.assert_allclose(strengths(**fields), np.transpose([starts, ends]), atol=1e-15)


@pytest.mark.parametrize('field', ['exit_strengths', 'easy_end'])
def test_another_number_of_strengths_is_rejected(field):
  with pytest.raises(UserError, match=rf'curriculum.{field} has 2 values; give 1, or 3: stage1'):
    strengths(**{field: (0.1, 0.2)})


def test_strength_changes_linearly_to_the_last_step():
  found = at_steps(np.array([[0.8, 0.4], [-0.2, 0.4]]), range(2, 6), last=5)
  np.testing.assert_allclose(found, [[0.4, 0.4], [0.2, 0.4], [0, 0.4], [-0.2, 0.4]], atol=1e-15)


def test_phase_of_one_step_has_its_first_strength():
  assert at_steps(np.array([[0.8], [0.1]]), range(1), last=0).tolist() == [[0.8]]
