"""What the deployment benchmark times, and what it checks: plain functions of values."""

from collections.abc import Collection, Mapping
import pathlib
from typing import Any, NamedTuple

from mecl_jax.errors import RunError

FLOAT32 = 'float32'
PRECISIONS = (FLOAT32, 'float16', 'int8')  # of bundles
JAX, TORCH = 'jax', 'torch'
EXIT, POINT = 'exit', 'point'  # kinds of cases
BATCHES = (1, 256)
CALLS = {1: (128, 256), 256: (1, 4)}  # of a turn, at least and at most, by batch size
TIES = 0.01  # share of images whose answer may differ between JAX and the float32 bundle


class Case(NamedTuple):
  """What is timed: where images leave (an exit or an operating point), and the batch size."""

  kind: str
  name: str
  batch: int


def folder_of(precision: str) -> str:
  """Returns the name of the folder of a bundle, for example 'bundle-int8'."""
  return 'bundle' if precision == FLOAT32 else f'bundle-{precision}'


def cases(bundle: Mapping[str, Any]) -> list[Case]:
  """Returns what is timed of a run; small batches first, since they take less of the time."""
  places = [(EXIT, each['name']) for each in bundle['exits']]
  places += [(POINT, name) for name in bundle['policies']]
  return [Case(*place, batch) for batch in BATCHES for place in places]


def describe(bundle: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """Returns size and accuracies of a bundle.

  Args:
    bundle: the fields of its bundle.json.
    folder: of the bundle.
  """
  sizes = [(folder / each['file']).stat().st_size for each in bundle['exits']]
  accuracies = ('name', 'macs', 'validation_accuracy', 'test_accuracy')
  effects = ('rule', 'validation', 'test')
  return {
    'bytes': sum(sizes),
    'segment_bytes': sizes,
    'exits': [{field: each[field] for field in accuracies} for each in bundle['exits']],
    'policies': {
      name: {field: each[field] for field in effects} for name, each in bundle['policies'].items()
    },
  }


def check_same_answers(case: Case, effects: Mapping[str, Mapping[str, Any]]) -> None:
  """Checks that JAX and the float32 bundle answered the same images alike.

  Args:
    case: what was answered.
    effects: mean exit and accuracy by side.

  Raises:
    RunError: they differ by more than rounding explains.
  """
  ours, theirs = effects[JAX], effects[FLOAT32]
  if any(abs(ours[figure] - theirs[figure]) > TIES for figure in ('mean_exit', 'accuracy')):
    raise RunError(
      f'the bundle and the run answer differently, {case.kind} {case.name}: exits {theirs} and'
      f' {ours}; delete the folders bundle, bundle-float16 and bundle-int8 to export them again'
    )


def calls_of_turn(batch: int, ms: float, seconds: float = 0.5) -> int:
  """Returns the calls of a turn: as many as JAX makes in some seconds, within `CALLS`.

  Args:
    batch: size of the batches.
    ms: milliseconds of a call of JAX.
    seconds: of a turn.
  """
  least, most = CALLS[batch]
  return min(most, max(least, round(1000 * seconds / ms)))


def sides_of(
  case: Case, sides: Collection[str], last: str, points: Mapping[str, Collection[str]]
) -> list[str]:
  """Returns the names of the sides that have a case.

  Args:
    case: the case.
    sides: names of all of them.
    last: name of the last exit, the only one of PyTorch.
    points: the names of the operating points of each side but PyTorch.
  """
  if case.kind == EXIT:
    return [name for name in sides if name != TORCH or case.name == last]
  return [name for name in sides if name != TORCH and case.name in points[name]]
