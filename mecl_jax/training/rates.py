"""Learning rates of heads on a frozen backbone: a search in which all candidates train at once."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import math
import time
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.curriculum import Curriculum, Difficulty
from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.errors import RunError
from mecl_jax.models import set_trainable
from mecl_jax.training import devices, sources
from mecl_jax.training.batches import batch_maker, make_curriculum, make_layout
from mecl_jax.training.features import read_logits
from mecl_jax.training.optimizers import OptimizerSettings, make_optimizer
from mecl_jax.training.phase import PhaseSteps, initial_state, objective_of, steps_per_dispatch
from mecl_jax.training.plan import PhasePlan, plan_slow_shares
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays, Objective, TrainState, make_update

# Each rung: its steps as a share of the phase's, and how many candidates it keeps for each exit.
RUNGS = ((1 / 16, 5), (1 / 4, 2), (1, 1))
CurriculumAndEasiness = tuple[Curriculum, np.ndarray | None]  # of `make_curriculum`
OnStep = Callable[[int], None]  # called with the number of steps that are done
FAILED = -1.0  # the accuracy of a candidate whose parameters became infinite
LEAST_STEPS = 50  # of a rung: after fewer, accuracies say little about whole trainings


class Rung(NamedTuple):
  """A round of the search, in which every candidate trains from the phase's initial parameters.

  Attributes:
    steps: of each training; its schedules are those of the phase, compressed.
    rates: [candidates, exits], learning rates for the whole phase; the rung takes them times
      `steps of the phase / steps`.
    accuracy: [candidates, exits], on the validation split.
    seconds: that it took.
  """

  steps: int
  rates: list[list[float]]
  accuracy: list[list[float]]
  seconds: float

  def best(self, count: int) -> np.ndarray:
    """Returns the best rates of every exit, [count, exits]; of equals the first."""
    order = np.argsort(-np.asarray(self.accuracy), axis=0, kind='stable')
    return np.take_along_axis(np.asarray(self.rates), order[:count], axis=0)


def search(
  run: Run,
  plan: PhasePlan,
  difficulty: Difficulty | None,
  source: Arrays,
  validation: Arrays,
  *,
  rungs: Sequence[Rung] = (),
  on_step: OnStep = lambda done: None,
) -> Iterator[Rung]:
  """Yields the rungs of a search for the learning rate of every head of a phase.

  Heads on a frozen backbone do not see each other. So candidate k of every exit trains in the same
  network, and all such networks train at once on the same batches. In the first rung there are all
  candidates, each trained for a short time; the best go on to a longer rung from the start. The
  run's model is the same afterwards.

  Args:
    run: its model holds the parameters that the phase begins with.
    plan: of the phase, in which only heads train.
    difficulty: see `make_curriculum`.
    source: features of the training split, see `sources.phase_source`.
    validation: features of the validation split, see `features_of`.
    rungs: that an interrupted search has ended with.
    on_step: called with the number of steps of the present rung that are done.

  Raises:
    RunError: an exit has no candidate whose loss stays finite.

  References:
    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization", AISTATS 2016, arXiv 1502.07943.
  """
  exits, candidates = plan.phase.exits, np.asarray(plan.settings.candidate_rates, float)
  # On a CPU, XLA runs the grouped convolutions of many networks many times slower than one by one.
  train = _one_by_one if devices.on_cpu() and _has_convolutions(run, exits) else _at_once
  rates = np.repeat(candidates[:, None], len(exits), axis=1)
  for index, steps in enumerate(steps_of_rungs(run, plan)):
    if index < len(rungs):
      rung = rungs[index]
    else:
      began, short = time.monotonic(), compressed(plan, steps)
      curriculum = make_curriculum(run, short, difficulty)
      # The best rate falls with the number of steps, most where labels are wrong.
      scaled = rates * (plan.steps / steps)
      trained = train(run, short, curriculum, source, scaled, on_step)
      accuracy = _accuracies(run, exits, validation, trained, len(rates))
      _check(accuracy, exits, plan.phase.settings)
      rung = Rung(steps, rates.tolist(), accuracy.tolist(), round(time.monotonic() - began, 2))
      yield rung
    rates = rung.best(RUNGS[index][1])


def steps_of_rungs(run: Run, plan: PhasePlan) -> list[int]:
  """Returns the steps of every rung of a search, in whole calls to the device.

  The last rung is the first with all steps of the phase.
  """
  at_once = steps_per_dispatch(run.config, plan.steps)
  wanted = [max(LEAST_STEPS, share * plan.steps) for share, _ in RUNGS]
  shorter = [math.ceil(steps / at_once) * at_once for steps in wanted]
  return [*dict.fromkeys(steps for steps in shorter if steps < plan.steps), plan.steps]


def compressed(plan: PhasePlan, steps: int) -> PhasePlan:
  """Returns a plan with fewer steps, whose schedules pass through the same values faster."""
  place = np.arange(steps) * plan.steps // steps
  return dataclasses.replace(
    plan,
    steps=steps,
    learning_rates=plan.learning_rates[place],
    slow_shares=plan_slow_shares(plan.settings, steps),
    pacings=tuple(_compressed(pacing, place) for pacing in plan.pacings),
    recorded=0,
  )


def _compressed(pacing: Pacing, place: np.ndarray) -> Pacing:
  return lambda step: pacing(int(place[step]))


def _check(accuracy: np.ndarray, exits: Sequence[str], settings: str) -> None:
  if bad := [name for name, best in zip(exits, accuracy.max(axis=0), strict=True) if best < 0]:
    raise RunError(
      f'the loss of exit {bad[0]} is not a number at any rate of phases.{settings}.candidate_rates;'
      ' give lower ones'
    )


def _accuracies(
  run: Run, exits: Sequence[str], validation: Arrays, trained: Iterator[None], count: int
) -> np.ndarray:
  """Returns validation accuracies [count, exits]; `trained` puts each network into the model."""
  initial = jax.tree.map(jnp.copy, nnx.state(run.model))
  labels = np.asarray(run.dataset.validation.labels)
  accuracy = np.empty((count, len(exits)))
  for k, _ in enumerate(trained):
    logits = read_logits(run.model, validation, exits)
    right = (logits.argmax(axis=-1) == labels[:, None]).mean(axis=0)
    accuracy[k] = np.where(np.isfinite(logits).all(axis=(0, 2)), right, FAILED)
    nnx.update(run.model, jax.tree.map(jnp.copy, initial))  # a step donates its input
  return accuracy


def _one_by_one(
  run: Run,
  plan: PhasePlan,
  curriculum: CurriculumAndEasiness,
  source: Arrays,
  rates: np.ndarray,
  on_step: OnStep,
) -> Iterator[None]:
  """Trains the candidates one after the other; puts each into the run's model and yields."""
  for k, row in enumerate(rates):
    own = dataclasses.replace(plan, head_rates=row.astype(np.float32))
    phase = PhaseSteps(run, own, *curriculum, source)
    for taken, _ in phase.take():
      on_step((k * plan.steps + taken.stop) // len(rates))
    phase.update_model()
    yield


def _at_once(
  run: Run,
  plan: PhasePlan,
  curriculum: CurriculumAndEasiness,
  source: Arrays,
  rates: np.ndarray,
  on_step: OnStep,
) -> Iterator[None]:
  """Trains the candidates at once; puts each into the run's model and yields."""
  set_trainable(run.model, plan.phase.trainable)
  graphdef, state, frozen = initial_state(run, plan)
  states = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], len(rates), axis=0), state)
  states, frozen, key, each = jax.device_put(
    (states, frozen, jax.random.key(plan.seeds[2]), rates.astype(np.float32)),
    devices.replicated(run.mesh),
  )
  step = _compiled_step(
    graphdef, OptimizerSettings.of(plan.settings), objective_of(run.config, plan)
  )
  layout = make_layout(run, plan, streamed=False)
  make = batch_maker(run, plan, *curriculum, streamed=False)
  at_once = steps_per_dispatch(run.config, plan.steps)
  for taken, batches in sources.dispatches(make, range(plan.steps), at_once, False):
    states = step(states, each, frozen, source, key, jax.device_put(batches, layout))
    on_step(taken.stop)
  for k in range(len(rates)):
    nnx.update(run.model, *jax.tree.map(lambda x, k=k: x[k], (states.params, states.batch_stats)))
    yield


def _has_convolutions(run: Run, exits: Sequence[str]) -> bool:
  state = nnx.state([run.model.heads[name] for name in exits], nnx.Param)
  return any(kernel.ndim == 4 for kernel in jax.tree.leaves(state))


@functools.lru_cache(maxsize=64)
def _compiled_step(
  graphdef: nnx.GraphDef, optimizer: OptimizerSettings, objective: Objective
) -> Callable[..., TrainState]:
  """Returns the jitted steps of many networks, which have the same batches and different rates."""
  update = make_update(graphdef, make_optimizer(optimizer), objective)

  def steps(states: TrainState, rates: jax.Array, frozen, source, key, batches: Any):
    def one(states, batch):
      def of_rate(state, rate):
        return update(state, frozen, source, key, batch._replace(head_rates=rate))

      states, _ = jax.vmap(of_rate)(states, rates)
      return states, None

    return jax.lax.scan(one, states, batches)[0]

  return jax.jit(steps, donate_argnums=0, compiler_options=compiler_options())
