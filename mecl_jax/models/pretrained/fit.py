"""Checking arrays by name and putting them into a network."""

from collections.abc import Mapping, Sequence
import dataclasses
import fnmatch

from flax import nnx
import jax
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.names import name_of, named

SHOWN = 3  # maximum number of names of each kind in an error message
PATTERNS = 8  # maximum number of proposed patterns in an error message
FIELD = 'model.pretrained_skip'


@dataclasses.dataclass(frozen=True)
class Report:
  """The result of `fit`.

  Attributes:
    taken: number of arrays that were put into the network.
    fresh: names of the arrays of the network that kept their initial values.
  """

  taken: int
  fresh: tuple[str, ...]


def fit(
  model: MultiExit, arrays: Mapping[str, np.ndarray], *, skip: Sequence[str], source: str
) -> Report:
  """Puts weights into a network; its dtypes and devices do not change.

  Args:
    model: changed in place; not changed if an error is raised.
    arrays: name -> array, with the names of `named`, for example 'stem.conv.conv.kernel'. Other
      names are unused.
    skip: glob patterns of names that need not match. If such an array is missing or has another
      shape, the network keeps its own; if it is unused, it is ignored. The arrays of a head are
      taken all together or not at all.
    source: name of the source in error messages.

  Raises:
    UserError: a name without a pattern is missing, unused, or has another shape; a pattern matches
      no name; no array was taken; or one has a value that is not finite.
  """
  own = named(model)
  names = {*own, *arrays}
  covered = {name for pattern in skip for name in fnmatch.filter(names, pattern)}
  for pattern in skip:
    if not fnmatch.filter(names, pattern):
      raise UserError(
        f'{FIELD}: the pattern {pattern!r} matches no name; names are {_shown(sorted(own))}'
      )
  _check(own, arrays, covered, skip, source)
  taken = _fitting(own, arrays)
  for name in sorted(taken):
    if not _finite(arrays[name]):
      raise UserError(f'model.pretrained={source} is damaged: {name} is not of finite numbers')
  if not taken:
    raise UserError(f'model.pretrained={source} has no array that matches this network')
  state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
  flat = [
    (path, _replaced(variable, arrays[name_of(path)]) if name_of(path) in taken else variable)
    for path, variable in nnx.to_flat_state(state)
  ]
  nnx.update(model, nnx.from_flat_state(flat))
  return Report(len(taken), tuple(name for name in own if name not in taken))


def _finite(array: np.ndarray) -> bool:
  """Returns whether all values are numbers that float32 can hold."""
  try:
    with np.errstate(over='ignore'):
      return bool(np.isfinite(array.astype(np.float32)).all())
  except (TypeError, ValueError):  # text or objects
    return False


def _fitting(own: Mapping[str, nnx.Variable], arrays: Mapping[str, np.ndarray]) -> set[str]:
  """Returns the names that match; those of a head only if all arrays of the head match."""
  fitting = {name for name in own if name in arrays and arrays[name].shape == own[name].shape}
  heads = {'.'.join(name.split('.')[:2]) for name in own if name.startswith('heads.')}
  for head in heads:
    ours = {name for name in own if name.startswith(f'{head}.')}
    theirs = {name for name in arrays if name.startswith(f'{head}.')}
    if ours != theirs or not ours <= fitting:
      fitting -= ours
  return fitting


def _replaced(variable: nnx.Variable, array: np.ndarray) -> nnx.Variable:
  old = variable[...]
  return variable.replace(jax.device_put(np.asarray(array, old.dtype), old.sharding))


def _check(
  own: Mapping[str, nnx.Variable],
  arrays: Mapping[str, np.ndarray],
  covered: set[str],
  skip: Sequence[str],
  source: str,
) -> None:
  ours = [name for name in own if name not in covered]
  missing = [name for name in ours if name not in arrays]
  unused = [name for name in arrays if name not in own and name not in covered]
  wrong = [name for name in ours if name in arrays and arrays[name].shape != own[name].shape]
  problems = [*missing, *unused, *wrong]
  if not problems:
    return
  if ours and len(missing) == len(ours):
    raise UserError(
      f'model.pretrained={source} has none of the weights of this network; it has'
      f' {_shown(list(arrays))}, but the network needs {_shown(missing)}'
    )
  parts = []
  if missing:
    parts.append(f'{len(missing)} are missing ({_shown(missing)})')
  if unused:
    parts.append(f'{len(unused)} are unused ({_shown(unused)})')
  if wrong:
    shapes = [f'{name} {arrays[name].shape} for {own[name].shape}' for name in wrong]
    parts.append(f'{len(wrong)} have another shape ({_shown(shapes)})')
  patterns = list(dict.fromkeys(_pattern(name) for name in problems))
  more = ',..' if len(patterns) > PATTERNS else ''
  raise UserError(
    f'model.pretrained={source} does not match: {"; ".join(parts)}; to skip these arrays, set'
    f' {FIELD}={",".join([*skip, *patterns[:PATTERNS]])}{more}'
  )


def _pattern(name: str) -> str:
  """Returns a pattern for all names of the same stage, or of the same layer of the source."""
  stage, dot, _ = name.partition('.')
  return f'{stage}.*' if dot else name


def _shown(names: Sequence[str]) -> str:
  rest = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
  return ', '.join(names[:SHOWN]) + rest
