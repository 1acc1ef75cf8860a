"""The profile of the convolutions."""

from benchmarks import convolutions


def test_shapes_are_those_of_the_default_network():
  found = convolutions.shapes()
  assert sum(count for *_, count in found) == 1 + 18 + 2  # stem, blocks, heads of the early exits
  assert [32, 3, 16, 3, 1, 1] in found
  assert [16, 32, 32, 3, 1, 5] in found


def test_formulations_compute_the_same(monkeypatch):
  """`time_jax` compares their values itself."""
  monkeypatch.setattr(convolutions, 'BATCH', 4)
  found = convolutions.time_jax([8, 2, 4, 3, 2], rounds=1)
  assert found.keys() == set(convolutions.PASSES)
  assert {'JAX', 'zeros inserted'} == found['input gradient'].keys()
