"""The batches of a phase: which examples, with which weights and learning rates."""

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import Curriculum, Difficulty, make_order, visible_count, weights
from mecl_jax.training import (
  contradictions,
  devices,
  easy_strengths,
  learning_speed,
  weight_network,
)
from mecl_jax.training.augmentation import augments, copies_of
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import Batches


def make_curriculum(
  run: Run, plan: PhasePlan, difficulty: Difficulty | None
) -> tuple[Curriculum, np.ndarray | None]:
  """Makes the curriculum of a phase.

  Args:
    run: the run.
    plan: of the phase.
    difficulty: of the training examples; None if `needs_scores` is false.

  Returns:
    the curriculum, and the easiness of every training example for `batch_maker`, float64 [N] from 0
    to 1 by rank among those that are shown; None unless the sample weights are 'easy_weighted'.

  Raises:
    UserError: as `contradictions.shown_rows`.
  """
  labels, balanced = run.dataset.train.labels, run.config.curriculum.class_balanced
  rows = contradictions.shown_rows(run, plan, difficulty)
  score = None if difficulty is None else difficulty.score[rows]

  def ranked(order: str) -> np.ndarray:
    return rows[make_order(order, score, labels[rows], seed=plan.seeds[0], class_balanced=balanced)]

  easiness = None
  if plan.sample_weights == 'easy_weighted':
    easiness = np.zeros(len(labels))
    easiness[ranked('easy_first')] = np.linspace(1, 0, len(rows))
  return Curriculum(ranked(plan.order), plan.pacing, run.config.batch_size, plan.seeds[1]), easiness


def _flips_alternate(config: ConfigDict, plan: PhasePlan) -> bool:
  return config.augment.flip and config.augment.flip_alternates and augments(config, plan)


def make_layout(run: Run, plan: PhasePlan, *, streamed: bool) -> Batches:
  """Returns the shardings of the batches: their batch axis is split over the devices."""
  by_batch, everywhere = devices.split_over(run.mesh, axis=1), devices.replicated(run.mesh)
  return Batches(
    ids=by_batch,
    weights=by_batch,
    learning_rate=everywhere,
    step=everywhere,
    examples={'images': by_batch, 'labels': by_batch} if streamed else None,
    epoch=by_batch if plan.recorded else None,
    mirrored=by_batch if _flips_alternate(run.config, plan) else None,
    slow_share=None if plan.slow_shares is None else everywhere,
    head_rates=None if plan.head_rates is None else everywhere,
    strengths=everywhere if plan.sample_weights == 'own_confidence' else None,
    weight_rate=everywhere if plan.sample_weights == weight_network.METHOD else None,
    copy=by_batch if copies_of(run.config, plan) else None,
  )


def batch_maker(
  run: Run,
  plan: PhasePlan,
  curriculum: Curriculum,
  easiness: np.ndarray | None,
  *,
  streamed: bool,
) -> Callable[[range], Batches]:
  """Makes a pure function from steps of a phase to their batches, in NumPy.

  Args:
    run: the run.
    plan: of the phase.
    curriculum: which examples are shown at which step.
    easiness: [N] of the training examples, for `weights.favour_easy`; None: all have the same
      weight.
    streamed: whether the batches hold the examples, and not only their rows.
  """
  train, base = run.dataset.train, np.asarray(plan.exit_weights)
  slow, rates, factors = plan.slow_shares, plan.head_rates, plan.exit_factors
  copies = copies_of(run.config, plan)
  own, weight_rates = plan.sample_weights == 'own_confidence', None
  if plan.sample_weights == weight_network.METHOD:
    weight_rates = weight_network.learning_rates(plan.steps, run.config.curriculum.weight_rate)
  first_side = None
  if _flips_alternate(run.config, plan):
    first_side = np.random.default_rng(plan.seeds[2]).random(len(train)) < 0.5

  def make(steps: range) -> Batches:
    ranks = curriculum.ranks(steps)
    ids = curriculum.order[ranks].astype(np.int32)
    counted = weights.inside(ranks, visible_by_exit(plan, curriculum, steps))
    strengths = easy_strengths.at_steps(plan.strengths, steps, plan.steps - 1)
    if easiness is not None:
      counted = weights.reweighted(counted, weights.favour_easy(easiness[ids], strengths))
    if factors is not None:
      counted = factors[steps.start : steps.stop, None] * counted
    size = curriculum.batch_size
    epoch = mirrored = copy = None
    if plan.recorded:
      epoch = learning_speed.epochs_of(steps, size, len(train), plan.recorded)
    if first_side is not None:
      mirrored = first_side[ids] ^ (curriculum.passes(steps) % 2 == 1)
    if copies:
      copy = (curriculum.passes(steps) % copies).astype(np.int32)
    return Batches(
      ids=ids,
      weights=(base * counted).astype(np.float32),
      learning_rate=plan.learning_rates[steps.start : steps.stop],
      step=np.asarray(steps, np.uint32),
      examples={'images': train.images[ids], 'labels': train.labels[ids]} if streamed else None,
      epoch=epoch,
      mirrored=mirrored,
      slow_share=None if slow is None else slow[steps.start : steps.stop],
      head_rates=None if rates is None else np.broadcast_to(rates, (len(steps), len(rates))),
      strengths=strengths.astype(np.float32) if own else None,
      weight_rate=None if weight_rates is None else weight_rates[steps.start : steps.stop],
      copy=copy,
    )

  return make


def visible_by_exit(plan: PhasePlan, curriculum: Curriculum, steps: Sequence[int]) -> np.ndarray:
  """Returns how many examples are visible to each exit at some steps, int64 [steps, exits]."""
  size, batch_size = len(curriculum.order), curriculum.batch_size
  counts = [[visible_count(p(step), size, batch_size) for p in plan.pacings] for step in steps]
  return np.array(counts, np.int64)
