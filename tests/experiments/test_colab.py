"""The notebook and the script that train on Colab and on a plain machine, outside the checkout."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / 'experiments' / 'colab.ipynb'
SCRIPT = ROOT / 'experiments' / 'plain.sh'
SHORT = ['--config.phases.backbone.duration=30 steps', '--config.phases.heads.duration=30 steps']


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
  """A copy of what a wheel is built from, and of the notebook."""
  folder = tmp_path_factory.mktemp('checkout')
  for name in ('mecl_jax', 'configs'):
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
  for name in ('LICENSE', 'README.md', 'pyproject.toml', 'setup.py'):
    shutil.copy(ROOT / name, folder)
  (folder / 'experiments').mkdir()
  return folder


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory):
  folder = tmp_path_factory.mktemp('wheel')
  command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
  subprocess.run([*command, f'--wheel-dir={folder}', checkout], check=True)
  return next(folder.glob('*.whl'))


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
  """The folder that pip installs into, without a network, and that is first on the path."""
  folder = tmp_path / 'site'
  for name, value in {
    'PIP_TARGET': folder,
    'PIP_UPGRADE': 1,
    'PIP_NO_DEPS': 1,
    'PIP_NO_INDEX': 1,
    'PIP_NO_BUILD_ISOLATION': 0,  # in a variable, 0 turns the isolation off
    'PYTHONPATH': folder,
    'VIRTUAL_ENV': sys.prefix,
    'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
  }.items():
    monkeypatch.setenv(name, str(value))
  return folder


@pytest.fixture
def fake_drive(site, tmp_path):
  """Colab's module for Drive, and the folder that it mounts."""
  module = site / 'google' / 'colab' / 'drive.py'
  module.parent.mkdir(parents=True)
  module.write_text(
    'import pathlib\n'
    'def mount(path): pathlib.Path(path, "MyDrive").mkdir(parents=True, exist_ok=True)\n'
  )
  (module.parent / '__init__.py').touch()
  return tmp_path / 'drive'


class Session(nbclient.NotebookClient):
  """The notebook in a kernel of its own.

  Args:
    folder: that the notebook is opened in.
    answers: to the questions of `input`.
    drive: where Drive is mounted.
    settings: that replace those of the first cell.
  """

  def __init__(self, folder, answers=(), drive='/none', **settings):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == 'code')
    assert set(settings) <= set(re.findall(r'^(\w+) = ', first.source, re.M))
    first.source += ''.join(f'\n{name} = {value!r}' for name, value in settings.items())
    first.source += f'\nanswers = iter({list(answers)!r})'
    first.source += '\ninput = lambda question: print(question) or next(answers)'
    for cell in notebook.cells:
      cell.source = cell.source.replace("'/content/drive'", repr(str(drive)))
    resources = {'metadata': {'path': folder}}
    super().__init__(notebook, timeout=280, resources=resources)

  @property
  def printed(self):
    outputs = [out for cell in self.nb.cells for out in cell.get('outputs', ())]
    return ''.join(out.get('text', '') for out in outputs)

  def interrupt_when(self, condition):
    """Presses stop once `condition()` is true, which is looked at until the timeout."""

    def wait():
      end = time.monotonic() + self.timeout
      while not condition() and time.monotonic() < end:
        time.sleep(0.05)
      os.kill(self.km.provisioner.pid, signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.notebook
@pytest.mark.stacks
def test_interrupted_training_resumes_on_drive(wheel, fake_drive, tmp_path):
  settings = {'SOURCE': str(wheel), 'CONFIG': 'digits', 'FLAGS': SHORT, 'drive': fake_drive}
  workdir = fake_drive / 'MyDrive' / 'mecl_jax' / 'digits-short'
  stopped = Session(tmp_path, **settings)
  stopped.interrupt_when(lambda: any(path.name.isdigit() for path in workdir.glob('checkpoints/*')))
  with pytest.raises(nbclient.exceptions.CellExecutionError, match='stopped with exit code 130'):
    stopped.execute()
  assert 'stopped by SIGINT; run the same command again to resume' in stopped.printed
  assert not (workdir / 'summary.json').exists()

  resumed = Session(tmp_path, **settings)
  resumed.execute()
  assert re.search(r'JAX [\d.]+ on 1 x cpu', resumed.printed)
  assert re.search(r'resuming at step (3\d|[45]\d) of 60', resumed.printed)
  assert '\x1b' not in resumed.printed  # no colours and no live bars
  summary = json.loads((workdir / 'summary.json').read_text())
  assert summary['dataset'] == 'digits' and len(summary['exits']) == 3
  picture, page = (out['data'] for out in resumed.nb.cells[-1].outputs)
  assert 'image/png' in picture
  assert 'srcdoc="&lt;!DOCTYPE html&gt;' in page['text/html']
  if copy := os.environ.get('EXECUTED_COPY'):
    nbformat.write(resumed.nb, copy)


@pytest.mark.stacks
def test_whole_recipe_on_a_cpu_is_a_question(wheel, site, tmp_path):
  """Also shows that an empty source is one, outside a checkout."""
  session = Session(tmp_path, CONFIG='digits', FULL=True, answers=[str(wheel), 'no'])
  with pytest.raises(nbclient.exceptions.CellExecutionError, match='not trained; choose a runtime'):
    session.execute()
  assert 'Wheel of mecl_jax, its address, or the address of a git' in session.printed
  assert 'takes many hours on a CPU. Train it? yes/no' in session.printed
  assert (site / 'mecl_jax' / 'configs' / 'digits.py').exists()
  assert not (tmp_path / 'runs').exists()


@pytest.mark.slow
def test_checkout_around_the_notebook_is_installed(checkout, site):
  session = Session(checkout / 'experiments', CONFIG='digits', FULL=True, answers=['no'])
  with pytest.raises(nbclient.exceptions.CellExecutionError, match='not trained; choose a runtime'):
    session.execute()
  assert (site / 'mecl_jax' / 'configs' / 'digits.py').exists()


@pytest.mark.slow
def test_script_trains_and_resumes(wheel, tmp_path, monkeypatch):
  monkeypatch.setenv('SOURCE', str(wheel))

  def script(*arguments, answer=''):
    return subprocess.run(
      [SCRIPT, 'digits', *arguments], cwd=tmp_path, input=answer, text=True, capture_output=True
    )

  refused = script('--full', answer='no\n')
  assert refused.returncode == 2 and 'not trained; leave out --full' in refused.stdout
  assert not (tmp_path / 'runs').exists()
  trained = script('--full', '--yes', *SHORT)
  assert trained.returncode == 0, trained.stderr
  assert 'JAX' in trained.stdout and 'CpuDevice(id=0)' in trained.stdout
  report = trained.stdout.splitlines()[-1].partition(': ')[2]
  assert report == 'runs/digits/report/index.html' and (tmp_path / report).exists()
  again = script('--full', '--yes', *SHORT)
  assert again.returncode == 0 and 'holds a run that has ended' in again.stdout
