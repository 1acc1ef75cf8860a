"""Tests that the notebook runs from top to bottom, on the CPU and the digits."""

import json
import pathlib
import shutil

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_all_cells_run_and_show_the_exits(tmp_path):
  """Runs in a copy of the checkout, so that it stays clean, and with few epochs."""
  for name in ('mecl_jax', 'configs'):
    shutil.copytree(ROOT / name, tmp_path / name)
  digits = tmp_path / 'configs' / 'digits.py'
  text = digits.read_text()
  assert "'60 epochs'" in text
  digits.write_text(text.replace("'60 epochs'", "'2 epochs'"))
  for name in ('pyproject.toml', 'README.md'):
    shutil.copy(ROOT / name, tmp_path)
  (tmp_path / 'experiments').mkdir()
  notebook = nbformat.read(ROOT / 'experiments' / 'colab.ipynb', as_version=4)
  for cell in notebook.cells:
    cell.source = cell.source.replace("'configs/cifar10.py'  #", "'configs/digits.py'  #")
    # The package is installed already, in the environment that runs this test.
    cell.source = cell.source.replace('pip install', 'pip install --no-deps --dry-run')
  nbclient.NotebookClient(
    notebook, timeout=280, resources={'metadata': {'path': tmp_path / 'experiments'}}
  ).execute()
  summary = json.loads((tmp_path / 'runs/colab-digits/summary.json').read_text())
  assert summary['dataset'] == 'digits' and len(summary['exits']) >= 3
  shown = [out for cell in notebook.cells for out in cell.get('outputs', ())]
  assert any('final  accuracy' in out.get('text', '') for out in shown)
  assert sum('image/png' in out.get('data', {}) for out in shown) == 2
