import numpy as np
import pytest

from mecl_jax.data import Split
from mecl_jax.training import devices, sources
from mecl_jax.training.step import Batches
from tests.training.test_step import IMAGES, LABELS, make_model

SPLIT = Split(IMAGES, LABELS, np.array([str(i) for i in range(32)]))


@pytest.fixture
def mesh():
  return devices.make_mesh(8)


def test_too_large_data_stay_on_the_host(mesh, monkeypatch):
  monkeypatch.setattr(devices, 'memory_budget', lambda: 100)
  model = make_model()
  model.eval()
  assert sources.resident(SPLIT, 'auto', mesh) is None
  assert sources.resident(SPLIT, 'device', mesh) is not None


def test_host_is_never_on_the_device(mesh):
  assert sources.resident(SPLIT, 'host', mesh) is None
  assert set(sources.resident(SPLIT, 'auto', mesh)) == {'images', 'labels'}


@pytest.mark.parametrize('streamed', [False, True])
def test_dispatches_cover_the_steps_in_order(streamed):
  def make(steps):
    at = np.asarray(steps)
    return Batches(at, at, at, at)

  sent = list(sources.dispatches(make, range(3, 13), 4, streamed))
  assert [steps for steps, _ in sent] == [range(3, 7), range(7, 11), range(11, 13)]
  for steps, batches in sent:
    assert batches.ids.tolist() == list(steps)
