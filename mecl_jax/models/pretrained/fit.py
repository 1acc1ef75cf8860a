"""Arrays into a network, checked name by name."""

from collections.abc import Mapping, Sequence
import dataclasses
import fnmatch

from flax import nnx
import jax
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.names import name_of, named

SHOWN = 3  # names of each kind in a message
PATTERNS = 8  # likewise, to leave them out
FIELD = 'model.pretrained_skip'


@dataclasses.dataclass(frozen=True)
class Report:
  """What `fit` did.

  Attributes:
    taken: number of arrays that the network took over.
    fresh: names of those of its own that it kept.
  """

  taken: int
  fresh: tuple[str, ...]


def fit(
  model: MultiExit, arrays: Mapping[str, np.ndarray], *, skip: Sequence[str], source: str
) -> Report:
  """Puts weights into a network; dtypes and devices remain those that the network has.

  Args:
    model: changed in place, or, where this raises, not at all.
    arrays: by our names, as 'stem.conv.conv.kernel' and 'heads.final.linear.bias', see `named`;
      another name is one that the network has no use for.
    skip: glob patterns of names that need not fit: where the source has nothing of that name, or
      another shape, the network keeps what it has, and an array without use is no mistake. A head
      is taken as a whole or not at all.
    source: what messages call the source.

  Raises:
    UserError: a name that is not covered is missing, without use, or of another shape; or a pattern
      covers nothing.
  """
  own = named(model)
  names = {*own, *arrays}
  covered = {name for pattern in skip for name in fnmatch.filter(names, pattern)}
  for pattern in skip:
    if not fnmatch.filter(names, pattern):
      raise UserError(f'{FIELD} has {pattern!r}, but no name is like that; {_shown(sorted(own))}')
  _check(own, arrays, covered, skip, source)
  taken = _fitting(own, arrays)
  if not taken:
    raise UserError(f'model.pretrained={source} has nothing that fits this network')
  state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
  flat = [
    (path, _replaced(variable, arrays[name_of(path)]) if name_of(path) in taken else variable)
    for path, variable in nnx.to_flat_state(state)
  ]
  nnx.update(model, nnx.from_flat_state(flat))
  return Report(len(taken), tuple(name for name in own if name not in taken))


def _fitting(own: Mapping[str, nnx.Variable], arrays: Mapping[str, np.ndarray]) -> set[str]:
  """Names of the arrays that have a place; a head's only if all of the head have one."""
  fitting = {name for name in own if name in arrays and arrays[name].shape == own[name].shape}
  heads = {'.'.join(name.split('.')[:2]) for name in own if name.startswith('heads.')}
  for head in heads:
    ours = {name for name in own if name.startswith(f'{head}.')}
    theirs = {name for name in arrays if name.startswith(f'{head}.')}
    if ours != theirs or not ours <= fitting:
      fitting -= ours
  return fitting


def _replaced(variable: nnx.Variable, array: np.ndarray) -> nnx.Variable:
  old = variable.get_value()
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
  useless = [name for name in arrays if name not in own and name not in covered]
  wrong = [name for name in ours if name in arrays and arrays[name].shape != own[name].shape]
  problems = [*missing, *useless, *wrong]
  if not problems:
    return
  if ours and len(missing) == len(ours):
    raise UserError(
      f'model.pretrained={source} has none of the weights of this network; it has'
      f' {_shown(list(arrays))}, and the network wants {_shown(missing)}'
    )
  parts = []
  if missing:
    parts.append(f'{len(missing)} are missing ({_shown(missing)})')
  if useless:
    parts.append(f'{len(useless)} have no place in the network ({_shown(useless)})')
  if wrong:
    shapes = [f'{name} {arrays[name].shape} for {own[name].shape}' for name in wrong]
    parts.append(f'{len(wrong)} have another shape ({_shown(shapes)})')
  patterns = list(dict.fromkeys(_pattern(name) for name in problems))
  more = ',..' if len(patterns) > PATTERNS else ''
  raise UserError(
    f'model.pretrained={source} does not fit: {"; ".join(parts)}; to leave them out:'
    f' {FIELD}={",".join([*skip, *patterns[:PATTERNS]])}{more}'
  )


def _pattern(name: str) -> str:
  """Covers all of a stage, or of a layer of the source."""
  stage, dot, _ = name.partition('.')
  return f'{stage}.*' if dot else name


def _shown(names: Sequence[str]) -> str:
  rest = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
  return ', '.join(names[:SHOWN]) + rest
