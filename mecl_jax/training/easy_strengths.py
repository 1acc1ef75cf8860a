"""How strongly easy examples are favoured at each exit, over the steps of a phase."""

from collections.abc import Sequence

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.training.exit_pacings import spread

# The values of `curriculum.sample_weights` that have a strength.
STRENGTHENED = ('easy_weighted', 'own_confidence')

# The fields of `curriculum` that determine it.
STRENGTH_FIELDS = ('easy_strength', 'exit_strengths', 'easy_end')


def make_strengths(settings: ConfigDict, exits: Sequence[str]) -> dict[str, tuple[float, float]]:
  """Returns the strength of every exit at the first and at the last step of a phase.

  One number for the whole network falls with the depth of the exit: it is multiplied by 1 at the
  first exit and by 0 at the last. Numbers that are given per exit are not multiplied.

  Args:
    settings: the group `curriculum`.
    exits: names of all exits, earliest first.

  Returns:
    for each exit, by its name, two numbers in [-1, 1].

  Raises:
    UserError: the number of strengths is neither 1 nor that of the exits.
  """
  falling = 1 - np.linspace(0, 1, len(exits))
  shared = (settings.easy_strength * falling).tolist()
  given, end = settings.exit_strengths, settings.easy_end
  starts = spread(given or shared, exits, 'curriculum.exit_strengths')
  if len(end) == 1 and not given:
    end = (end[0] * falling).tolist()
  ends = spread(end, exits, 'curriculum.easy_end') if end else starts
  return {name: (starts[name], ends[name]) for name in exits}


def at_steps(strengths: np.ndarray, steps: Sequence[int], last: int) -> np.ndarray:
  """Returns the strengths at some steps; they change linearly from the first to the last step.

  Args:
    strengths: float [2, exits], at the first and at the last step.
    steps: of the phase, from 0.
    last: step of the phase.

  Returns:
    float64 [steps, exits].
  """
  start, end = strengths
  share = np.asarray(steps)[:, None] / max(last, 1)
  return start + share * (end - start)
