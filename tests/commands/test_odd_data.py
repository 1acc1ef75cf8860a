"""Whole runs with images and names that are rare."""

import numpy as np
import pytest

from mecl_jax.commands.compare import compare
from mecl_jax.commands.train import train
from mecl_jax.training.log import make_console
from tests.toys import make_arrays

NAMES = ['[/red]', r'a$\frac{x$', 'lone \ud800 and\nmore', 'x' * 500]


def odd_arrays(path, channels):
  arrays = make_arrays()
  for role in ('train', 'test'):
    arrays[f'{role}_images'] = np.repeat(arrays[f'{role}_images'], channels, axis=-1)
  np.savez(path, **arrays, class_names=np.array(NAMES))


@pytest.mark.usefixtures('drawn')
@pytest.mark.parametrize(
  'channels', [2, *(pytest.param(c, marks=pytest.mark.slow) for c in (4, 300))]
)
def test_images_of_any_number_of_channels_train_and_are_drawn(
  toy_config, tmp_path, channels, capsys
):
  """Also with names that Rich, Matplotlib or UTF-8 could not take, of classes and of the folder."""
  odd_arrays(tmp_path / 'odd.npz', channels)
  c, workdir = toy_config, tmp_path / '{b} :car: $x$'
  c.data.arrays, c.data.name, c.report.page = str(tmp_path / 'odd.npz'), '[/red] set', channels == 4
  c.data.label_noise = 0.1
  train(c, workdir, console=make_console())
  printed = capsys.readouterr().out
  assert '[/red] set' in printed and ':car: $x$' in printed
  assert (workdir / 'report/easy_and_hard.png').stat().st_size > 1000
  if c.report.page:
    page = (workdir / 'report/index.html').read_text()
    assert '[/red]' in page and (workdir / 'report/tables').is_dir()


def test_runs_with_markup_in_their_names_are_compared(toy_config, tmp_path, capsys, own):
  runs = [own.rename(tmp_path / '{b} :car:')]
  toy_config.seed = 1
  train(toy_config, tmp_path / '$x$', console=make_console())
  compare([*runs, tmp_path / '$x$'], tmp_path / 'page', console=make_console())
  assert '$x$' in capsys.readouterr().out
  assert '{b} :car:' in (tmp_path / 'page/report/index.html').read_text()
