"""The file early_exit.py works without mecl_jax and without JAX."""

import ast
import collections
import os
import subprocess
import sys
import venv

from PIL import Image
import pytest

from mecl_jax.deploy.early_exit import source
from tests.deploy.bundles import make_images, random_tables, write_bundle

pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')

# Runs early_exit.py where only its own packages can be imported, and those that they need.
ALONE = """
import runpy
import sys

class Blocker:
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in {'mecl_jax', 'jax', 'flax', 'onnx', 'scipy', 'jinja2', 'absl'}:
      raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture
def bundle(tmp_path):
  """A bundle with the file cat.png in it."""
  names = ['lätt', 'ödla', 'sjö', 'häst']
  folder = write_bundle(tmp_path / 'bundle', random_tables(), class_names=names)
  Image.fromarray(make_images([0])[0]).save(folder / 'cat.png')
  return folder


def run(*command, **environment):
  return subprocess.run(
    [*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}
  )


def test_one_file_imports_nothing_of_this_package():
  text = source()
  tree = ast.parse(text, feature_version=(3, 9))
  modules = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      modules |= {alias.name for alias in node.names}
      assert all(alias.asname in (None, 'np') for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      modules.add(node.module)
      assert all(alias.asname is None for alias in node.names)
  roots = {module.partition('.')[0] for module in modules}
  assert roots - set(sys.stdlib_module_names) == {'numpy', 'onnxruntime', 'PIL'}
  assert ast.get_docstring(tree).startswith('Answers images early')


def test_names_of_the_parts_differ():
  names = collections.Counter()
  for node in ast.parse(source()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      names[node.name] += 1
    elif isinstance(node, ast.Assign):
      set_here = (each for target in node.targets for each in ast.walk(target))
      names.update(each.id for each in set_here if isinstance(each, ast.Name))
  assert {'Network', 'Policy', 'main', 'HERE'} <= set(names)
  assert [name for name, count in names.items() if count > 1] == []


def test_program_runs_without_this_package(bundle):
  alone = (sys.executable, '-I', '-c', ALONE, bundle / 'early_exit.py')
  done = run(*alone, bundle / 'cat.png', '--deadline-ms=60000')
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout.startswith(f'{bundle / "cat.png"}: ') and ', exit late, ' in done.stdout


def test_bad_input_ends_with_one_line_and_exit_code_2(bundle):
  program = (sys.executable, bundle / 'early_exit.py')
  done = run(*program, bundle / 'cat.png', 'none.png', PYTHONIOENCODING='ascii')
  assert done.returncode == 2 and len(done.stdout.splitlines()) == 1
  assert done.stdout.isascii() and '\\x' in done.stdout  # the terminal has no such letter
  assert len(done.stderr.splitlines()) == 1 and 'none.png cannot be read' in done.stderr


@pytest.mark.skipif(os.name == 'nt', reason='a pipe of POSIX')
def test_reader_that_stops_reading_ends_the_program_without_a_word(bundle):
  read, write = os.pipe()
  os.close(read)
  program = (sys.executable, str(bundle / 'early_exit.py'), '--list')
  done = subprocess.run(program, stdout=write, stderr=subprocess.PIPE, text=True)
  os.close(write)
  assert (done.returncode, done.stderr) == (141, '')


@pytest.mark.slow
def test_environment_with_numpy_and_onnxruntime_alone(bundle, tmp_path):
  venv.create(tmp_path / 'venv', with_pip=True)
  python = tmp_path / 'venv' / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
  installed = run(python, '-m', 'pip', 'install', '--quiet', 'numpy', 'onnxruntime')
  if installed.returncode:
    pytest.skip(f'pip cannot install packages: {(installed.stderr.splitlines() or ["?"])[-1]}')
  code = (
    'import numpy as np; from early_exit import Network; n = Network();'
    'print(n(np.zeros((3, 2, 2, 3), np.uint8)).exits, n.answer(n.noise(1)[0], deadline_ms=5).exit)'
  )
  done = run(python, '-c', code, PYTHONPATH=str(bundle))
  assert done.returncode == 0 and done.stdout.count('[') == 1, done.stderr
  done = run(python, bundle / 'early_exit.py', bundle / 'cat.png', PYTHONPATH='')
  assert done.returncode == 2 and 'pip install pillow' in done.stderr
  run(python, '-m', 'pip', 'install', '--quiet', 'pillow').check_returncode()
  done = run(python, bundle / 'early_exit.py', bundle / 'cat.png', PYTHONPATH='')
  assert done.returncode == 0 and ', exit ' in done.stdout, done.stderr
