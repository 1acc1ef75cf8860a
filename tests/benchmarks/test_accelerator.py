"""The accelerator benchmark: small sizes, resume, budget."""

import json
import signal

import pytest

from benchmarks import accelerator, accelerator_table, parts
from benchmarks.parts import Part, chosen
from benchmarks.turns import WorkerError, WorkerTimeout

FACTS = {'platform': 'cpu', 'device': 'cpu, toy', 'python': '3', 'jax': '1', 'flax': '1'}
FACTS |= {'jaxlib': '1', 'torch': None, 'sources': 'x', 'commit': 'c', 'changed': False}
FACTS |= {'driver': None, 'date': 'today', 'small': True, 'devices': 1}


@pytest.fixture(autouse=True)
def sigterm():
  kept = signal.getsignal(signal.SIGTERM)
  yield
  signal.signal(signal.SIGTERM, kept)


@pytest.fixture
def toy(monkeypatch, tmp_path):
  """Replaces the parts; returns a function that runs the command and returns its results."""
  measured = []

  def fails(bench, seconds):
    raise WorkerError('RuntimeError: broken')

  def counts(bench, seconds):
    measured.append(seconds)
    return {'network': 'n', 'predictions': [1.0], 'features': [float(len(measured))]}

  def has_an_error(bench, seconds):
    raise ValueError('write to closed file')

  toys = {'early_exit': Part(fails, 10, 50), 'curriculum': Part(has_an_error, 10, 50)}
  toys['scoring'] = Part(counts, 10, 50)
  toys['fast'] = Part(counts, 10, 50, needs_data=True)
  monkeypatch.setattr(accelerator, 'PARTS', toys)
  monkeypatch.setattr(parts, 'PARTS', toys)
  of_now = dict(FACTS)
  monkeypatch.setattr(accelerator, '_facts', lambda flags, bench: dict(of_now))

  def run(*flags, **facts):
    of_now.update(facts)
    path = tmp_path / 'results.json'
    code = accelerator.main([*flags, f'--results={path}'])
    return code, json.loads(path.read_text()) if path.exists() else None

  return run


def features(found):
  return found['parts']['scoring']['result']['features'][0]


def test_parts_are_kept_or_measured_again(toy, capsys):
  assert features(toy('--small')[1]) == 1
  assert features(toy('--small')[1]) == 1
  assert 'scoring: kept from' in capsys.readouterr().out
  assert features(toy('--small', '--again')[1]) == 2
  assert features(toy('--small', jax='2')[1]) == 3
  assert features(toy('--small', sources='y')[1]) == 4


def test_what_is_left_out_is_named(toy, capsys):
  code, found = toy('--small')
  assert code == 0
  assert found['left_out']['early_exit'].startswith('RuntimeError: broken')
  assert 'no images' in found['left_out']['fast']
  assert 'left out: early_exit: RuntimeError: broken' in capsys.readouterr().out


def test_error_in_a_part_does_not_lose_others(toy, capsys):
  _, found = toy('--small')
  assert found['left_out']['curriculum'].startswith('ValueError: write to closed file')
  assert features(found) == 1
  assert 'curriculum: left out: ValueError' in capsys.readouterr().out


def test_configuration_has_a_name_or_a_file(toy):
  assert 'no images' in toy('--small', '--fast-config=cifar10_fast:short')[1]['left_out']['fast']
  missing = toy('--small', '--fast-config=cifar11')[1]['left_out']['fast']
  assert missing.startswith("there is no configuration 'cifar11'")


def test_log_lies_beside_the_results(toy, tmp_path):
  _, found = toy('--small')
  assert f'{tmp_path / "accelerator.log"} has more' in found['left_out']['early_exit']
  assert (tmp_path / 'accelerator.log').exists()


def test_part_without_time_is_left_out(toy):
  code, found = toy('--minutes=0.1', platform='gpu')
  assert code == 1
  assert found['left_out']['scoring'] == '6 s are left'


def test_cpu_needs_small(toy, capsys):
  assert toy() == (2, None)
  assert '--small' in capsys.readouterr().out


def test_other_file_is_not_overwritten(toy, tmp_path):
  (tmp_path / 'results.json').write_text('{}')
  with pytest.raises(SystemExit, match='not a file of this benchmark'):
    toy('--small')
  assert (tmp_path / 'results.json').read_text() == '{}'


def test_failure_of_jax_is_one_line(monkeypatch, tmp_path, capsys):
  def fails(flags, bench):
    raise WorkerError('RuntimeError: no device')

  monkeypatch.setattr(accelerator, '_facts', fails)
  assert accelerator.main(['--small', f'--results={tmp_path / "r.json"}']) == 1
  error = capsys.readouterr().err
  assert error.startswith('error: JAX cannot be used: RuntimeError: no device')
  assert error.count('\n') == 1


def test_unknown_part_is_rejected(capsys):
  with pytest.raises(SystemExit, match='2'):
    accelerator.main(['--small', '--parts=trainnig'])
  assert 'choose from: training, curriculum' in capsys.readouterr().err


def test_parts_are_chosen_by_their_beginning():
  assert chosen('training/resnet20, curriculum') == ['training/resnet20', 'curriculum']
  assert len(chosen('training')) == 6
  assert chosen('') == list(parts.PARTS)


def test_all_parts_fit_into_their_budget():
  together = [part for name, part in parts.PARTS.items() if name != 'recipe']
  assert sum(part.least for part in together) < 8 * 60


class Sides:
  """Stands for both workers, one of which may fail."""

  def __init__(self, torch):
    self.torch, self.ended = torch, []

  def call(self, function, timeout=None, **arguments):
    if function.endswith(':measure'):
      return 200.0 if 'jax' in function else 100.0
    if function.endswith(':choose'):
      return {'form': 'eager', 'forms': {'eager': 1.0}}
    if function.endswith(':prepare'):
      return self.prepare(**arguments)
    return 1e9 if function.endswith(':matrix_peak') else None

  def prepare(self, **arguments):
    return {'macs': 1e6, 'exits': 2, 'parameters': 3}

  def cpu_seconds(self):
    return 0.0

  def close(self):
    pass


def bench(monkeypatch, torch):
  made = parts.Bench(
    parts.SMALL, 'python', None, changes={}, fast_config='', recipe_config='', seeds=1
  )

  class Torch(Sides):
    def prepare(self, **arguments):
      if isinstance(torch, Exception):
        raise torch
      return super().prepare()

  made._workers = {parts.JAX: Sides(None), parts.TORCH: Torch(None)}
  return made


def test_ratio_and_share_of_the_peak(monkeypatch):
  found = parts.training('resnet20')(bench(monkeypatch, None), 60)
  assert found['ratio']['median'] == 2
  assert found['jax']['share_of_matrix_peak'] == 200 * 6e6 / 1e9
  assert found['torch']['images_per_second']['max'] == 100


def test_slow_compilation_leaves_the_other_forms(monkeypatch):
  made, forms = bench(monkeypatch, WorkerTimeout('no answer')), []

  class Again(Sides):
    def prepare(self, **arguments):
      forms.append(arguments['forms'])
      return super().prepare()

  end = made.end
  monkeypatch.setattr(made, 'end', lambda side: end(side) or made._workers.update({side: Again(0)}))
  found = parts.training('resnet20')(made, 60)
  assert forms == [['eager', 'eager, CUDA graph']]
  assert found['torch']['at_first'] == 'no answer'
  assert found['ratio']['median'] == 2


def test_jax_is_measured_alone_if_pytorch_fails(monkeypatch):
  made = bench(monkeypatch, WorkerTimeout('no answer'))
  peer, ended = made.worker(parts.TORCH), []
  monkeypatch.setattr(made, 'end', ended.append)
  monkeypatch.setattr(made, 'worker', lambda side: made._workers.get(side, peer))
  found = parts.training('resnet20')(made, 60)
  assert ended == [parts.TORCH] * 2  # after both tries, so that the next part starts another
  assert found['torch'] == {'left_out': 'no answer'}
  assert found['jax']['images_per_second']['median'] == 200
  assert 'ratio' not in found


class Seeds(Sides):
  """Trains two seeds; the time is up in the third."""

  def call(self, function, timeout=None, **arguments):
    if function.endswith(':of_seeds'):
      return {'seeds': arguments['trainings'], 'first': arguments['first']}
    if arguments['seed'] == 2:
      raise WorkerTimeout('no answer within 3 s')
    return arguments['seed']


def test_finished_seeds_are_kept(monkeypatch):
  made = bench(monkeypatch, None)
  made.seeds, made._workers = 5, {parts.JAX: Seeds(None)}
  monkeypatch.setattr(made, 'end', lambda side: None)
  found = parts.fast(made, 60)
  assert found == {'seeds': [0, 1], 'first': 5, 'ended': 'no answer within 3 s'}


def small_run(tmp_path, *flags):
  path = tmp_path / 'small.json'
  assert accelerator.main(['--small', f'--results={path}', *flags]) == 0
  return json.loads(path.read_text())


@pytest.mark.slow
def test_one_small_part_without_pytorch(tmp_path, capsys):
  small_run(tmp_path, '--no-torch', '--parts=scoring')
  assert 'PyTorch is left out: by --no-torch' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_small_parts(tmp_path, toy_file):
  configs = tmp_path / 'tiny.py'
  configs.write_text(
    'from tests.toys import make_config\n'
    'def get_config():\n'
    f'  c = make_config({str(toy_file)!r})\n'
    "  c.strategy, c.curriculum.order = 'joint', 'none'\n"
    '  return c\n'
  )
  flags = [f'--arrays={toy_file}', f'--fast-config={configs}', f'--recipe-config={configs}']
  found = small_run(tmp_path, '--seeds=2', *flags)
  assert not found['left_out']
  assert set(found['parts']) == set(parts.PARTS)
  result = found['parts']['training/resnet20']['result']
  assert result['jax']['images_per_second']['min'] > 0
  # A training step needs three times the products of a forward pass, and some more.
  step = result['jax']['xla_flops_per_step'] / result['batch_size'] / result['jax']['macs']
  assert 5.5 < step < 8
  ratios = found['parts']['curriculum']['result']['ratio']
  assert set(ratios) == {'easy_first', 'easy_weighted', 'per_exit'}
  accelerator_table.show(found)


def test_pytorch_without_an_accelerator_is_left_out(monkeypatch, capsys):
  made = bench(monkeypatch, None)
  answers = {'jax_side': FACTS | {'platform': 'gpu'}}
  answers['torch_side'] = {'torch': '9', 'torch_device': 'cpu'}

  def call(self, function, timeout=None, **arguments):
    return answers[function.partition('.')[2].partition(':')[0]]

  monkeypatch.setattr(Sides, 'call', call)
  found = accelerator._facts(accelerator.parse(['--small']), made)
  assert found['torch'] is None
  assert made.no_torch == 'torch 9 finds no accelerator'
  assert made.no_torch in capsys.readouterr().out
