"""Who may import whom; docs/architecture.md says why."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE, EXPERIMENTS = ROOT / 'mecl_jax', ROOT / 'experiments'

# room: what it must not import
FORBIDDEN = {
  'data': ('curriculum', 'models', 'training', 'evaluation', 'inference', 'report', 'config'),
  'curriculum': (
    *('data', 'models', 'training', 'evaluation', 'inference', 'report', 'config'),
    *('jax', 'flax', 'optax'),
  ),
  'models': ('data', 'curriculum', 'training', 'evaluation', 'inference', 'report', 'config'),
  'evaluation': ('training', 'data', 'curriculum', 'inference', 'report', 'config'),
  'inference': ('training', 'data', 'curriculum', 'report', 'config'),
  'report': ('training', 'data', 'curriculum', 'config'),
}
EVERYWHERE = ('tensorflow', 'pickle', 'torch')


def imports(path):
  """Absolute names of everything that a file imports, at its top or inside functions."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('room', FORBIDDEN)
def test_rooms_import_only_what_they_may(room):
  files = list((PACKAGE / room).rglob('*.py'))
  assert files
  for path in files:
    for name in imports(path):
      for forbidden in FORBIDDEN[room]:
        assert not f'{name}.'.startswith((f'{forbidden}.', f'mecl_jax.{forbidden}.')), (path, name)


def test_nothing_needs_tensorflow_or_unpickles():
  for path in PACKAGE.rglob('*.py'):
    for name in imports(path):
      assert name.split('.')[0] not in EVERYWHERE, (path, name)
    assert 'allow_pickle=True' not in path.read_text(), path


def test_the_package_stands_without_the_experiments():
  for path in PACKAGE.rglob('*.py'):
    for name in imports(path):
      assert name.split('.')[0] != 'experiments', (path, name)


def test_files_fit_in_the_head():
  for path in (*PACKAGE.rglob('*.py'), *EXPERIMENTS.rglob('*.py')):
    assert len(path.read_text().splitlines()) <= 400, path
