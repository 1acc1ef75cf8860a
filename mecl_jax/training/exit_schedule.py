"""Schedules of the weights of the exits' losses over a phase."""

import numpy as np

SCHEDULES = ('constant', 'shallow_first', 'deep_first')
SHIFT = 0.8  # weights go from 1 - SHIFT to 1 + SHIFT; the program of CGT goes from 0.18 to 1.82


def exit_factors(schedule: str, steps: int, exits: int) -> np.ndarray | None:
  """Returns the factors of the weights of the exits at every step of a phase.

  With 'shallow_first' the weight moves linearly from the first exit to the last:
  `1 + SHIFT (1 - 2 t) (1 - 2 d)`, where t is the progress and d the depth of the exit, both from 0
  to 1; 'deep_first' is the reverse. The mean over the exits is 1 at every step, and so is the mean
  over the steps for every exit.

  Args:
    schedule: one of `SCHEDULES`.
    steps: of the phase.
    exits: number of exits of the phase.

  Returns:
    float32 [steps, exits]; None: all are 1.

  References:
    Mokssit et al., "Confidence-Gated Training for Efficient Early-Exit Neural Networks", 2025,
    arXiv 2509.17885: weights annealed from shallow to deep exits, in the program of the method.
  """
  if schedule == 'constant' or exits < 2:
    return None
  progress, depth = np.linspace(0, 1, steps)[:, None], np.linspace(0, 1, exits)
  if schedule == 'deep_first':
    depth = depth[::-1]
  return (1 + SHIFT * (1 - 2 * progress) * (1 - 2 * depth)).astype(np.float32)
