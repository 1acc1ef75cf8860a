"""The rooms of the package, and which of them may import which; docs/architecture.md shows why."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE, EXPERIMENTS = ROOT / 'mecl_jax', ROOT / 'experiments'

# From the top down. A room imports from the floors below its own, and from itself.
FLOORS = (
  ('main',),
  ('commands',),
  ('teachers', 'report', 'deploy'),
  ('training', 'inference'),
  ('evaluation',),
  ('curriculum', 'data', 'models'),
  ('config',),
  ('errors', 'files', 'disk', 'compiler', 'durations', 'terminal', 'version'),
)
# Rooms that take plain values, and must not import these although they lie below.
PLAIN = {
  'report': ('training', 'data', 'curriculum', 'config'),
  'deploy': ('training', 'data', 'curriculum', 'config'),
  'inference': ('data', 'curriculum', 'config'),
  'evaluation': ('data', 'config'),
  'curriculum': ('config', 'compiler', 'jax', 'flax', 'optax'),
  'data': ('config',),
  'models': ('config',),
}
NEVER = ('tensorflow', 'pickle', 'torch', 'experiments', 'benchmarks', 'tests')
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
DEPTH = max(LEVEL.values())


def imports(path):
  """Yields the absolute names that a file imports, also inside of functions."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def module_name(path):
  """Returns 'mecl_jax.data.arrays' of a file; a package is named without '__init__'."""
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py')}


def imported_modules(path):
  """Returns the modules of the package that a file imports."""
  found = set()
  for name in imports(path):
    while name and name not in MODULES:
      name = name.rpartition('.')[0]
    if name and name != 'mecl_jax':
      found.add(name)
  return found


def room(module):
  return module.split('.')[1]


def test_every_room_has_a_floor():
  rooms = {room(module) for module in MODULES if module != 'mecl_jax'}
  assert rooms == set(LEVEL)


def test_imports_lead_downward():
  for module, path in MODULES.items():
    if module == 'mecl_jax':
      continue
    for other in imported_modules(path):
      ours, theirs = room(module), room(other)
      ground = LEVEL[ours] == LEVEL[theirs] == DEPTH
      assert ours == theirs or LEVEL[ours] < LEVEL[theirs] or ground, f'{module} imports {other}'


def test_rooms_of_plain_values_import_no_others():
  for module, path in MODULES.items():
    for forbidden in PLAIN.get(room(f'{module}.'), ()):
      for name in imports(path):
        assert not f'{name}.'.startswith((f'{forbidden}.', f'mecl_jax.{forbidden}.')), (path, name)


def test_no_circle_of_files():
  edges = {module: imported_modules(path) for module, path in MODULES.items()}
  done, active = set(), []

  def visit(module):
    assert module not in active, f'circle: {" -> ".join([*active[active.index(module) :], module])}'
    if module not in done:
      active.append(module)
      for other in sorted(edges[module] - {module}):
        visit(other)
      done.add(active.pop())

  for module in edges:
    visit(module)


def test_document_shows_the_floors():
  text = (ROOT / 'docs/architecture.md').read_text()
  for rooms in FLOORS:
    assert f'| {", ".join(f"`{name}`" for name in rooms)} |' in text, rooms


def test_nothing_needs_tensorflow_or_unpickles():
  for path in MODULES.values():
    for name in imports(path):
      assert name.split('.')[0] not in NEVER, (path, name)
    assert 'allow_pickle=True' not in path.read_text(), path


def test_files_have_at_most_400_lines():
  for path in (*PACKAGE.rglob('*.py'), *EXPERIMENTS.rglob('*.py')):
    assert len(path.read_text().splitlines()) <= 400, path
