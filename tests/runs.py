"""Runs of tests: trained, scored, stopped at a step."""

import contextlib
import itertools
import signal

import pytest
from rich.console import Console

from mecl_jax.commands.difficulty import score_difficulty
from mecl_jax.commands.train import train
from mecl_jax.training import phase
from mecl_jax.training.interruption import Interrupted

QUIET = Console(quiet=True)


def run(c, workdir, **changes):
  """Trains a run with changed fields; returns its summary."""
  c.update_from_flattened_dict(changes)
  return train(c, workdir, console=QUIET)


def score(c, workdir, **changes):
  """Returns the scores of a run's teacher, with changed fields of `curriculum`."""
  c.update_from_flattened_dict({f'curriculum.{field}': v for field, v in changes.items()})
  return score_difficulty(workdir, c, console=QUIET)


@contextlib.contextmanager
def stopped_at(number):
  """Expects a run to stop: SIGTERM arrives at a step, counted from the start of its phase."""
  compiled_step = phase._compiled_step

  def stopping_step(*form):
    step, numbers = compiled_step(*form), itertools.count(1)

    def stopping(*arguments):
      if next(numbers) == number:
        signal.raise_signal(signal.SIGTERM)
      return step(*arguments)

    return stopping

  with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
    patch.setattr(phase, '_compiled_step', stopping_step)
    yield
