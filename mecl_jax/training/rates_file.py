"""The file rates.json of a work directory: the searches for learning rates, and what they found."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np

from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import DamagedFile, MissingFile, UserError
from mecl_jax.files import read_json, write_checked_json
from mecl_jax.training import rates
from mecl_jax.training.features import features_of
from mecl_jax.training.log import work
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.rates import Rung
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays

NAME = 'rates.json'


def with_rates(
  run: Run, plan: PhasePlan, difficulty: Difficulty | None, source: Arrays | None, *, begun: bool
) -> PhasePlan:
  """Returns the plan of a phase with the rates that its search found; other plans as they are.

  Every rung is written to rates.json, so that an interrupted search goes on.

  Args:
    run: its model holds the parameters that the phase begins with, unless it has begun.
    plan: of the phase.
    difficulty: see `make_curriculum`.
    source: of the phase, see `phase_source`.
    begun: whether the phase has taken steps, so that the search must have ended.

  Raises:
    UserError: the features do not fit into memory, or rates.json of a phase that has begun is
      missing or damaged.
    RunError: an exit has no candidate whose loss stays finite.
    Interrupted: SIGTERM or Ctrl-C; the rungs that have ended are kept.
  """
  if plan.settings.learning_rate != 'auto':
    return plan
  path, phase = run.workdir / NAME, plan.phase
  fields = _read(path, begun)
  rungs = [Rung(*rung) for rung in fields.get(phase.name, {}).get('rungs', ())]
  wanted = rates.steps_of_rungs(run, plan)
  if begun and len(rungs) < len(wanted):
    raise UserError(f'{path} lacks the rates of phase {phase.name}, which has begun; {_NEW}')
  if len(rungs) < len(wanted):
    with work(run.console, 'features', len(run.dataset.validation), run.interruption.check) as show:
      validation = features_of(run, run.dataset.validation, phase.exits, on_batch=show)
    if source is None or 'summaries' not in source or validation is None:
      raise UserError(
        f'phases.{phase.settings}.learning_rate=auto needs features that fit into memory; give a'
        f' number, or choose {"fewer augment.copies, " if run.config.augment.copies else ""}other'
        ' exits or heads'
      )
    with work(run.console, 'learning rates', sum(wanted), run.interruption.check) as show:
      done = sum(rung.steps for rung in rungs)
      found = rates.search(
        run,
        plan,
        difficulty,
        source,
        validation,
        rungs=tuple(rungs),
        on_step=lambda n: show(done + n),
      )
      for rung in found:
        rungs.append(rung)
        done += rung.steps
        fields[phase.name] = {'exits': list(phase.exits), 'rungs': [list(each) for each in rungs]}
        write_checked_json(path, fields)
  chosen = rungs[-1].best(1)[0]
  _print(run, plan, chosen)
  return dataclasses.replace(plan, head_rates=chosen.astype(np.float32))


_NEW = 'the run cannot go on; start it again in a new work directory'


def _read(path: pathlib.Path, begun: bool) -> dict[str, Any]:
  try:
    return read_json(path, again=_NEW if begun else '')
  except (MissingFile, DamagedFile):
    if begun:
      raise
    return {}


def _print(run: Run, plan: PhasePlan, chosen: np.ndarray) -> None:
  """Prints the rates of a phase, and which of them lie at the edge of the candidates."""
  named = dict(zip(plan.phase.exits, chosen.tolist(), strict=True))
  text = ', '.join(f'{name} {rate:g}' for name, rate in named.items())
  run.console.print(f'learning rates of phase {plan.phase.name}: {text}', soft_wrap=True)
  candidates = plan.settings.candidate_rates
  if edge := [name for name, rate in named.items() if rate in (min(candidates), max(candidates))]:
    run.console.print(
      f'the rate of {", ".join(edge)} is the lowest or highest of phases.{plan.phase.settings}'
      '.candidate_rates; more candidates there might be better',
      soft_wrap=True,
    )


def summary_of(run: Run) -> dict[str, Any]:
  """Returns what the searches of a run found and cost, by phase; {} without a search.

  Returns:
    for each phase `rates` and validation `accuracy` of the chosen candidates by exit, `examples`
    that were trained on for all candidates together, and `seconds`.
  """
  if all(plan.settings.learning_rate != 'auto' for plan in run.plans):
    return {}
  found: Mapping[str, Any] = _read(run.workdir / NAME, False)
  wanted = {plan.phase.name: len(rates.steps_of_rungs(run, plan)) for plan in run.plans}
  ended = {name: each for name, each in found.items() if len(each['rungs']) == wanted.get(name)}
  return {name: _of_phase(entry, run.config.batch_size) for name, entry in ended.items()}


def _of_phase(entry: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
  rungs = [Rung(*rung) for rung in entry['rungs']]
  exits, last = entry['exits'], rungs[-1]
  return {
    'rates': dict(zip(exits, last.best(1)[0].tolist(), strict=True)),
    'accuracy': dict(zip(exits, np.max(last.accuracy, axis=0).tolist(), strict=True)),
    'examples': sum(rung.steps * len(rung.rates) for rung in rungs) * batch_size,
    'seconds': sum(rung.seconds for rung in rungs),
  }
