"""What the host sends for the steps of a phase: ids, weights, learning rates."""

from collections.abc import Callable, Sequence

from jax.sharding import Mesh
import numpy as np

from mecl_jax.curriculum import Curriculum, visible_count, weights
from mecl_jax.training import devices, record
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import Batches


def make_layout(mesh: Mesh, plan: PhasePlan, *, streamed: bool) -> Batches:
  """Shardings of what the host sends: the batch axis is split over the devices."""
  by_batch, everywhere = devices.split_over(mesh, axis=1), devices.replicated(mesh)
  return Batches(
    ids=by_batch,
    weights=by_batch,
    learning_rate=everywhere,
    step=everywhere,
    examples={'images': by_batch, 'labels': by_batch} if streamed else None,
    epoch=by_batch if plan.recorded else None,
  )


def batch_maker(
  run: Run,
  plan: PhasePlan,
  curriculum: Curriculum,
  easiness: np.ndarray | None,
  *,
  streamed: bool,
) -> Callable[[range], Batches]:
  """A pure function from some steps of a phase to their batches, in NumPy.

  Args:
    run: the run.
    plan: of the phase.
    curriculum: what is shown when.
    easiness: [N] of the training examples, for `weights.favour_easy`; None: all count alike.
    streamed: whether the examples themselves come along.
  """
  train, base = run.dataset.train, np.asarray(plan.exit_weights)
  depths, strength = np.asarray(plan.depths), run.config.curriculum.easy_strength

  def make(steps: range) -> Batches:
    ranks = curriculum.ranks(steps)
    ids = curriculum.order[ranks].astype(np.int32)
    counted = weights.inside(ranks, visible_by_exit(plan, curriculum, steps))
    if easiness is not None:
      counted = weights.reweighted(counted, weights.favour_easy(easiness[ids], depths, strength))
    size = curriculum.batch_size
    return Batches(
      ids=ids,
      weights=(base * counted).astype(np.float32),
      learning_rate=plan.learning_rates[steps.start : steps.stop],
      step=np.asarray(steps, np.uint32),
      examples={'images': train.images[ids], 'labels': train.labels[ids]} if streamed else None,
      epoch=record.epochs_of(steps, size, len(train), plan.recorded) if plan.recorded else None,
    )

  return make


def visible_by_exit(plan: PhasePlan, curriculum: Curriculum, steps: Sequence[int]) -> np.ndarray:
  """How many examples each exit of a phase sees at some of its steps, int64 [steps, exits]."""
  size, batch_size = len(curriculum.order), curriculum.batch_size
  counts = [[visible_count(p(step), size, batch_size) for p in plan.pacings] for step in steps]
  return np.array(counts, np.int64)
