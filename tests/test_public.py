"""The public face of the package: its names, its doctests, and the examples of the documents."""

import ast
import doctest
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

import mecl_jax

pytestmark = pytest.mark.stacks

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
# Modules whose docstrings have examples.
EXAMPLES = sorted(
  '.'.join(path.relative_to(ROOT).with_suffix('').parts)
  for path in (ROOT / 'mecl_jax').rglob('*.py')
  if '>>> ' in path.read_text()
)


@pytest.mark.parametrize('name', mecl_jax.__all__)
def test_public_name_exists_and_is_documented(name):
  value = getattr(mecl_jax, name)
  assert name == '__version__' or value.__doc__


def test_public_names_are_on_the_page_of_the_api():
  page = (ROOT / 'docs/site/api.md').read_text()
  shown = re.findall(r'^::: mecl_jax\.(\w+)$', page, re.MULTILINE)
  assert sorted(shown) == sorted(set(mecl_jax.__all__) - {'__version__', 'config'})


def test_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match='no attribute'):
    mecl_jax.trian  # noqa: B018


def test_import_does_not_start_jax():
  code = 'import sys, mecl_jax; mecl_jax.default_config(); sys.exit("jax" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize('module', EXAMPLES)
def test_examples_of_docstrings_run(module):
  found = doctest.testmod(importlib.import_module(module))
  assert found.attempted and not found.failed


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_examples_of_documents_use_public_names(path):
  for code in re.findall(r'```python\n(.*?)```', path.read_text(), re.S):
    for node in ast.walk(ast.parse(code)):
      if isinstance(node, ast.ImportFrom) and node.module.startswith('mecl_jax'):
        assert node.module == 'mecl_jax', f'{node.module} is not public'
        assert all(alias.name in mecl_jax.__all__ for alias in node.names)
      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        assert node.value.id != 'mecl_jax' or node.attr in mecl_jax.__all__, node.attr


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(path):
  for link in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', path.read_text()):
    assert (path.parent / link).exists(), link


def test_messages_in_the_troubleshooting_page_exist():
  page = (ROOT / 'docs/troubleshooting.md').read_text()
  first = [line.split('|')[1] for line in page.splitlines() if line.startswith('|')]
  quoted = [text for cell in first for text in re.findall('`([^`]+ [^`]+)`', cell)]
  code = '\n'.join(path.read_text() for path in (ROOT / 'mecl_jax').rglob('*.py'))
  assert len(quoted) > 12 and not [text for text in quoted if text not in code]
