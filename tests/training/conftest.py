"""Runs that have ended, trained once for all tests, and pictures that are not drawn."""

import shutil

from matplotlib.figure import Figure
import pytest
from rich.console import Console

from mecl_jax.compiler import compiler_options
from mecl_jax.training import step
from mecl_jax.training.train import train
from tests.toys import make_config

DRAW = Figure.savefig


def leave_blank(figure, file, **_):
  """In place of `Figure.savefig`."""
  file.write(b'no picture')


@pytest.fixture(scope='module', autouse=True)
def blank_pictures():
  """Drawing takes as long as training a tiny network; tests of pictures ask for `drawn`."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Figure, 'savefig', leave_blank)
    yield


@pytest.fixture
def drawn(monkeypatch):
  """Pictures are drawn after all."""
  monkeypatch.setattr(Figure, 'savefig', DRAW)


@pytest.fixture
def rounded_as_outside(monkeypatch):
  """Steps are compiled without the XLA_FLAGS of ../conftest.py.

  With those, programs that say the same in different words may round differently.
  """
  options = {**compiler_options(), 'xla_cpu_use_fusion_emitters': True}
  monkeypatch.setattr(step, 'compiler_options', lambda: options)


@pytest.fixture(scope='session')
def ended(toy_file, tmp_path_factory):
  """Returns a function from changes of `toy_config` to the work directory of such a run.

  It is trained once and must be left as it is.
  """
  folders = {}

  def train_once(**changes):
    key = tuple(sorted(changes.items()))
    if key not in folders:
      c = make_config(toy_file)
      c.update_from_flattened_dict(changes)
      folder = tmp_path_factory.mktemp('ended')
      train(c, folder, console=Console(quiet=True))
      folders[key] = folder
    return folders[key]

  return train_once


@pytest.fixture
def own(ended, tmp_path):
  """A copy of the run of `toy_config`, to do anything with."""
  return shutil.copytree(ended(), tmp_path / 'own')
