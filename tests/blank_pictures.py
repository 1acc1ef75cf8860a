"""Fixtures for tests that train whole runs: pictures are left blank."""

from matplotlib.figure import Figure
import pytest

DRAW = Figure.savefig


def leave_blank(figure, file, **_):
  """Writes no picture, in place of `Figure.savefig`."""
  file.write(b'no picture')


@pytest.fixture(scope='module', autouse=True)
def blank_pictures():
  """Leaves pictures blank: drawing takes as long as training a tiny network."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Figure, 'savefig', leave_blank)
    yield


@pytest.fixture
def drawn(monkeypatch):
  """Draws pictures in this test."""
  monkeypatch.setattr(Figure, 'savefig', DRAW)
