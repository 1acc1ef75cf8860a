import pytest

from mecl_jax import config
from mecl_jax.training import loop


@pytest.mark.parametrize(
  ('steps', 'on_cpu', 'wanted', 'at_once'),
  [(300, False, 0, 15), (1056, False, 0, 16), (13, False, 0, 13), (1009, False, 0, 16),
   (300, True, 0, 1), (300, False, 7, 7)],
)  # fmt: skip
def test_calls_to_an_accelerator_are_all_of_one_shape_where_that_can_be(
  steps, on_cpu, wanted, at_once, monkeypatch
):
  monkeypatch.setattr(loop.devices, 'on_cpu', lambda: on_cpu)
  c = config.default()
  c.steps_per_dispatch = wanted
  assert loop.per_dispatch(c, steps) == at_once
