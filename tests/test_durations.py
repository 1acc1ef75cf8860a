import pytest

from mecl_jax.durations import to_steps
from mecl_jax.errors import UserError


@pytest.mark.parametrize(
  ('text', 'steps'),
  [('300 steps', 300), ('1 step', 1), ('2 epochs', 20), ('.5epochs', 5), ('8%', 4), ('0 steps', 0)],
)
def test_units(text, steps):
  assert to_steps(text, epoch=10, phase=50) == steps


@pytest.mark.parametrize('text', ['', '300', '-1 steps', 'ten epochs', '5 hours', '1e3 steps'])
def test_invalid_duration_is_rejected(text):
  with pytest.raises(UserError, match=r"phases\.x is .*'300 steps', '20 epochs' or '8%'"):
    to_steps(text, epoch=10, phase=50, field='phases.x')


def test_percent_needs_a_phase():
  with pytest.raises(UserError, match='must be in steps or epochs'):
    to_steps('8%', epoch=10)
