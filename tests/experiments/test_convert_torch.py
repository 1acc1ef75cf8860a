"""Tests of the conversion of PyTorch files; PyTorch itself is not needed by other tests."""

import pathlib
import pickle

import numpy as np
import pytest

from experiments import convert_torch

torch = pytest.importorskip('torch', reason='needs torch')


def test_writes_equal_arrays(tmp_path):
  numpy = pytest.importorskip('safetensors.numpy', reason='needs safetensors')
  state = {'a.weight': torch.arange(6.0).reshape(2, 3).T, 'b': torch.tensor(3)}
  torch.save(state, tmp_path / 'a.pth')
  assert convert_torch.convert(tmp_path / 'a.pth', tmp_path / 'a.safetensors') == 2
  found = numpy.load_file(tmp_path / 'a.safetensors')
  np.testing.assert_array_equal(found['a.weight'], state['a.weight'].numpy())
  assert found['b'] == 3
  assert sorted(file.name for file in tmp_path.iterdir()) == ['a.pth', 'a.safetensors']


@pytest.mark.parametrize('content', [b'', b'no weights', pickle.dumps({'a': pathlib.Path('b')})])
def test_other_files_are_rejected(tmp_path, content):
  (tmp_path / 'a.pth').write_bytes(content)
  with pytest.raises(ValueError, match=r'a\.pth is not a file of weights: .'):
    convert_torch.convert(tmp_path / 'a.pth', tmp_path / 'a.safetensors')
  assert not (tmp_path / 'a.safetensors').exists()


def test_whole_module_is_rejected(tmp_path):
  torch.save([torch.zeros(2)], tmp_path / 'a.pth')
  with pytest.raises(ValueError, match='not a state dict'):
    convert_torch.convert(tmp_path / 'a.pth', tmp_path / 'a.safetensors')


def test_finds_the_file_of_a_package(tmp_path, monkeypatch):
  package = tmp_path / 'some_weights'
  (package / 'models').mkdir(parents=True)
  (package / '__init__.py').touch()
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ValueError, match='has 0 files of weights'):
    convert_torch.find('some_weights')
  (package / 'models' / 'a.pth').touch()
  assert convert_torch.find('some_weights') == package / 'models' / 'a.pth'


def test_unknown_source_is_rejected():
  with pytest.raises(ValueError, match='nor an installed package'):
    convert_torch.find('no_such_package')
