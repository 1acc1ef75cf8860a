"""The file early_exit.py of a bundle: the parts of the runtime, joined into one file."""

import ast
from collections.abc import Iterable
import pathlib
import sys

PARTS = (  # in this order
  *('errors', 'rules', 'files', 'wire', 'remote', 'models', 'network'),
  *('amounts', 'store', 'benchmark', 'spending', 'program'),
)
_FOLDER = pathlib.Path(__file__).parent / 'runtime'


def source() -> str:
  """Returns the text of early_exit.py, which imports nothing of this package.

  It has the docstring of the package `runtime`, the imports of all parts, and then the parts, each
  with its docstring as a comment. The names of all parts become names of one file, so they must
  differ.
  """
  texts = [_text(part) for part in PARTS]
  trees = [ast.parse(text) for text in texts]
  imports = _imports(node for tree in trees for node in tree.body)
  sections = [_section(*each) for each in zip(texts, trees, strict=True)]
  return '\n\n\n'.join([_text('__init__').strip() + '\n\n' + imports, *sections]) + '\n'


def _text(part: str) -> str:
  return (_FOLDER / f'{part}.py').read_text(encoding='utf-8')


def _imports(nodes: Iterable[ast.stmt]) -> str:
  """Returns the imports among some nodes, without those of this package."""
  plain, names = set[str](), dict[str, set[str]]()
  for node in nodes:
    if isinstance(node, ast.Import):
      plain.add(ast.unparse(node))
    elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith('mecl_jax'):
      names.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
  lines = [
    *plain,
    *(f'from {module} import {", ".join(sorted(names[module]))}' for module in names),
  ]
  groups: dict[int, list[str]] = {0: [], 1: [], 2: []}  # __future__, standard library, others
  for line in sorted(lines, key=lambda line: line.split()[1].lower()):
    module = line.split()[1].split('.')[0]
    groups[0 if module == '__future__' else 2 - (module in sys.stdlib_module_names)].append(line)
  return '\n\n'.join('\n'.join(group) for group in groups.values())


def _section(text: str, tree: ast.Module) -> str:
  """Returns the code of a part behind its imports, below its docstring as a comment."""
  last = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)][-1]
  code = '\n'.join(text.splitlines()[last.end_lineno :]).strip('\n')
  return f'# ---- {ast.get_docstring(tree)}\n\n\n{code}'
