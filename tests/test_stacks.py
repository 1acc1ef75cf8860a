"""The supported versions are stated once, and the documents and constraints agree with it."""

import pathlib
import re
import tomllib

from packaging.requirements import Requirement
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
OLDEST = {
  name: re.search(rf'^{name}>=(\S+)$', '\n'.join(PROJECT['dependencies']), re.M)[1]
  for name in ('jax', 'flax')
}


def requirements(file):
  """Yields the requirements of a file of constraints."""
  for line in (ROOT / file).read_text().splitlines():
    if line and not line.startswith('#'):
      yield Requirement(line)


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13'])
@pytest.mark.parametrize('file', ['requirements.txt', 'requirements-colab.txt'])
def test_tested_versions_are_within_the_bounds(file, python):
  bounds = {each.name: each.specifier for each in map(Requirement, PROJECT['dependencies'])}
  for pin in requirements(file):
    if pin.name in bounds and (
      pin.marker is None or pin.marker.evaluate({'python_version': python})
    ):
      (version,) = (each.version for each in pin.specifier)
      assert version in bounds[pin.name], pin


def test_oldest_stack_is_tested():
  pins = {each.name: str(each.specifier) for each in requirements('requirements-colab.txt')}
  assert {name: pins[name] for name in OLDEST} == {k: f'=={v}' for k, v in OLDEST.items()}


def test_readme_names_the_supported_versions():
  readme = (ROOT / 'README.md').read_text()
  python = PROJECT['requires-python'].removeprefix('>=')
  assert f'Python {python} to ' in readme
  assert f'JAX {OLDEST["jax"]} with Flax {OLDEST["flax"]}' in readme
