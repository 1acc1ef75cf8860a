"""Fixtures of the commands: a run whose report may change; pictures are left blank."""

import shutil

import pytest

from tests.blank_pictures import blank_pictures, drawn

__all__ = ['blank_pictures', 'drawn']


@pytest.fixture(scope='module')
def run(ended, tmp_path_factory):
  """A run without a page, which the tests of a module share; only its report may change."""
  return shutil.copytree(ended(), tmp_path_factory.mktemp('run') / 'run')
