"""Mutated inputs of every kind, a few of each; `python -m tests.mutate` reads thousands."""

import pathlib
import random
import tempfile

import pytest

from tests import mutations
from tests.mutated_inputs import KINDS, Nonsense, try_one, valid_files

EXAMPLES = {'values': 60, 'weights.h5': 4}


def _check(kind):
  """Returns the test of a kind: every mutated input is accepted, or rejected in one line."""
  hypothesis = pytest.importorskip('hypothesis', reason='needs hypothesis')  # takes long to import

  @hypothesis.settings(
    max_examples=EXAMPLES.get(kind, 12),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(rng=hypothesis.strategies.randoms(use_true_random=False))
  def check(rng):
    with tempfile.TemporaryDirectory() as folder:
      assert try_one(kind, rng, pathlib.Path(folder)) in ('accepted', 'rejected')

  return check


@pytest.mark.parametrize('kind', KINDS)
def test_mutated_input_is_accepted_or_one_line(kind, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '')  # `_read_tfds` sets it
  _check(kind)()


@pytest.mark.parametrize('kind', KINDS)
def test_valid_input_is_accepted(kind, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '')
  valid_files(kind, tmp_path)
  KINDS[kind].read(tmp_path)


def test_nonsense_and_other_errors_are_found(monkeypatch, tmp_path):
  """A reader that accepts everything, or raises any error, fails the test."""
  kind = KINDS['deadlines.csv']
  for error in (Nonsense('shape'), KeyError('x')):

    def read(folder, error=error):
      raise error

    monkeypatch.setitem(KINDS, 'deadlines.csv', type(kind)(kind.write, read))
    with pytest.raises(type(error)):
      try_one('deadlines.csv', random.Random(0), tmp_path)


def test_mutations_change_the_content():
  data = bytes(range(256)) * 4
  changed = [mutations.mutate(random.Random(seed), data, [b'other']) for seed in range(50)]
  assert sum(content != data for content in changed) > 45
