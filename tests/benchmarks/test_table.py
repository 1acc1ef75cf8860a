"""The tables of the README and of docs/deploy.md."""

import copy
import json

import pytest

from benchmarks import accelerator, convolutions, deploy, record, table, training
from tests.benchmarks.test_accelerator import FACTS

RUN = {
  'format': record.FORMAT,
  'version': record.VERSION,
  'facts': FACTS | {'commit': 'abcdef0123', 'date': '2026-01-02 03:04 UTC'},
  'result': {
    'config': 'configs/digits.py:paper',
    'dataset': 'digits',
    'backbone': 'resnet8',
    'exits': [{'name': 'stage1', 'accuracy': 0.5}, {'name': 'final', 'accuracy': 0.98765}],
    'seconds': {'data': 1.0, 'compile': 20.0, 'run': 150.0},
  },
}
SPREAD = {'min': 1.0, 'median': 2.0, 'max': 3.0}
SPEED = {'exits': 3, 'images_per_second': {'median': 1234.5}, 'form': 'compiled'}
TRAINING = {'jax': SPEED, 'torch': SPEED, 'ratio': SPREAD, 'dtype': 'bfloat16', 'batch_size': 256}
ON_GPU = FACTS | {'platform': 'gpu', 'device': 'NVIDIA H9', 'torch': '9.9'}
ACCELERATOR = {
  'format': accelerator.FORMAT,
  'version': accelerator.VERSION,
  'parts': {
    'training/resnet20': {'facts': ON_GPU, 'result': TRAINING},
    'recipe': {'facts': ON_GPU, 'result': RUN['result'] | {'config': 'configs/cifar10.py'}},
    'fast': {
      'facts': ON_GPU,
      'result': {
        'config': 'configs/cifar10_fast.py',
        'exits': [{'mean': 0.9}, {'mean': 0.941}],
        'seconds': {'mean': 4.5, 'values': [4.0, 5.0]},
        'set_up_seconds': 0.75,
      },
    },
  },
}
CPU = {
  'format': training.FORMAT,
  'version': training.VERSION,
  'facts': FACTS,
  'result': {'images_per_second': {'jax 1': SPREAD}, 'ratio': {'jax 1': SPREAD}, 'ratio_to': 'T'},
}
DEPLOYED = {
  'format': deploy.FORMAT,
  'version': deploy.VERSION,
  'facts': FACTS | {'onnxruntime': '1.2'},
  'result': {
    'name': 'bundled',
    'run': {'backbone': 'resnet8', 'dataset': 'digits'},
    'bundles': {'float32': {'bytes': 1, 'exits': [], 'policies': {}}},
    **{'times': [], 'savings': [], 'deadlines': []},
  },
}


@pytest.fixture
def write(tmp_path):
  readme = tmp_path / 'README.md'
  readme.write_text('before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n')
  deployment = tmp_path / 'deploy.md'
  deployment.write_text('<!-- onnx -->\nold\n<!-- /onnx -->\n')

  def run(*contents, check=False):
    """Writes files of results and then the tables; returns the exit code and the README."""
    for number, content in enumerate(contents):
      (tmp_path / f'{number}.json').write_text(json.dumps(content))
    flags = [f'--results={tmp_path}', f'--readme={readme}', f'--deployment={deployment}']
    return table.main([*flags, *(['--check'] if check else [])]), readme.read_text()

  return run


def test_rows_come_from_files(write):
  code, text = write(RUN)
  assert code == 0
  assert '| `digits.py:paper`, resnet8 on digits | 50.0%, 98.8% | 2.5 min (20 s) |' in text
  assert 'jax 1, abcdef0, 2026-01-02' in text
  assert table.NOT_YET in text
  assert text.startswith('before\n') and text.endswith('after\n') and 'old' not in text


def test_accelerator_replaces_its_sentence(write):
  _, text = write(RUN, ACCELERATOR, CPU)
  assert table.NOT_YET not in text
  assert '| resnet20, 3 exits | 1,234 | 1,234 (compiled) | 2.00 (1.00 to 3.00) |' in text
  assert 'trains in 4.50 s on one NVIDIA H9' in text
  assert '90.00%, 94.10% (means of 2 seeds, jax 1' in text
  assert 'so are 0.75 s to build the network' in text
  assert text.index('digits.py:paper') < text.index('`cifar10.py`')  # CPUs first
  assert 'with jax 1: 2 images/s, 2.00 (1.00 to 3.00) of T.' in text


def test_rows_of_another_commit_have_a_table_of_their_own(write):
  several = copy.deepcopy(ACCELERATOR)
  facts = ON_GPU | {'commit': 'abcdef0123'}
  several['parts']['training/wrn16_4'] = {'facts': facts, 'result': TRAINING}
  _, text = write(several)
  first, second = text.index('| resnet20, 3 exits'), text.index('| wrn16_4, 3 exits')
  assert first < text.index('on one NVIDIA H9, jax 1, abcdef0') < second


def test_network_without_pytorch_has_no_ratio(write):
  alone = copy.deepcopy(ACCELERATOR)
  alone['parts']['training/resnet20']['result']['torch'] = {'left_out': 'no time'}
  assert '| resnet20, 3 exits | 1,234 | not measured |  |' in write(alone)[1]


def test_check_finds_an_old_table(write, capsys):
  assert write(RUN, check=True)[0] == 1
  assert 'run python -m benchmarks.table' in capsys.readouterr().out
  assert write()[0] == 0
  assert write(check=True)[0] == 0


def test_foreign_file_is_rejected(write, capsys):
  assert write({'format': 'other'})[0] == 2
  assert 'is not a file of results' in capsys.readouterr().err


def test_bundles_have_their_own_document(write, tmp_path, capsys):
  code, readme = write(RUN, DEPLOYED)
  assert code == 0 and 'bundled' not in readme
  document = tmp_path / 'deploy.md'
  assert (
    '### `bundled`: resnet8 on digits' in document.read_text() and 'old' not in document.read_text()
  )
  assert write(check=True)[0] == 0
  document.write_text(document.read_text().replace('bundled', 'other'))
  assert write(check=True)[0] == 1
  assert f'{document} is not up to date' in capsys.readouterr().out


def test_documents_are_up_to_date():
  assert table.main(['--check']) == 0


def test_name_of_a_configuration():
  assert record.name_of('configs/cifar10.py:smoke') == 'cifar10-smoke'
  assert record.name_of('configs/digits.py') == 'digits'


def test_convolutions_count_as_often_as_they_occur(write):
  times = {name: {'JAX': 10.0, 'PyTorch': 4.0, 'rewritten': 20.0} for name in convolutions.PASSES}
  alone = {name: {'JAX': 1.0, 'PyTorch': 2.0} for name in convolutions.PASSES}
  code, text = write(
    {
      'format': convolutions.FORMAT,
      'version': convolutions.VERSION,
      'facts': FACTS,
      'convolutions': [{'count': 3, 'ms': times}, {'count': 1, 'ms': alone}],
    }
  )
  assert code == 0
  assert 'take 31, 31, 31 ms. In PyTorch they take 14, 14, 14 ms.' in text
  assert 'they take 61, 61, 61 ms or more' in text  # 3 x 20, and 1 that is not rewritten
