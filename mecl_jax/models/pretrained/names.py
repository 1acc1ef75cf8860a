"""Names of variables: from state paths to our names, and from our names to those of publishers."""

from collections.abc import Iterable, Mapping
import functools
import re
import string

from flax import nnx

# The names of one publisher: pairs (our layer or variable, the publisher's layer or variable).
# '{g}' on the left matches a number, and so do other single letters in braces. The right side may
# use '{g}', '{g-1}', '{g+1}' and '{letter g}', which is 'a' for 1. '{position}' and '{position-1}'
# stand for the index of the stage in the backbone; the stem has index 0. The first matching pair is
# used.
Rules = tuple[tuple[str, str], ...]

# Our variable: its possible names in Keras and in PyTorch.
VARIABLES = {
  'kernel': ('kernel', 'depthwise_kernel', 'weight'),
  'bias': ('bias', 'beta'),
  'scale': ('gamma', 'weight'),
  'mean': ('moving_mean', 'running_mean'),
  'var': ('moving_variance', 'running_var'),
}


def name_of(path: Iterable[object]) -> str:
  """Returns the name of a state path.

  >>> name_of(('backbone', 'stages', 'stem', 'conv', 'kernel'))
  'stem.conv.kernel'
  >>> name_of(('heads', 'final', 'linear', 'kernel'))
  'heads.final.linear.kernel'
  """
  return '.'.join(map(str, path)).removeprefix('backbone.stages.')


def named(model: nnx.Module) -> dict[str, nnx.Variable]:
  """Returns the parameters and batch statistics of a network by name, see `name_of`.

  Mean and standard deviation of pixels are not included, because they are settings, not weights.
  """
  flat = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
  return {name_of(path): variable for path, variable in flat}


def their_names(ours: str, rules: Rules, positions: Mapping[str, int]) -> tuple[str, ...]:
  """Returns the possible names of a variable in a publisher's file, () if no rule matches.

  Args:
    ours: our name, for example 'stage1_block1.conv1.kernel'.
    rules: of one publisher.
    positions: stage name -> index of the stage in the backbone.
  """
  layer, _, variable = ours.rpartition('.')
  position = positions.get(ours.partition('.')[0], 0)  # 0 for heads, whose rules do not use it
  for pattern, theirs in rules:
    if match := _compiled(pattern).fullmatch(ours):
      return (theirs.format_map(_fields(match, position)),)
    if match := _compiled(pattern).fullmatch(layer):
      prefix = theirs.format_map(_fields(match, position))
      return tuple(f'{prefix}.{name}' for name in VARIABLES[variable])
  return ()


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
  return re.compile(re.sub(r'\\{(\w+)\\}', r'(?P<\1>\\d+)', re.escape(pattern)))


def _fields(match: re.Match[str], position: int) -> dict[str, object]:
  """Returns the values for the braces on the right side of a rule."""
  fields: dict[str, object] = {'position': position, 'position-1': position - 1}
  for key, digits in match.groupdict().items():
    number = int(digits)
    fields |= {key: number, f'{key}-1': number - 1, f'{key}+1': number + 1}
    fields[f'letter {key}'] = string.ascii_lowercase[(number - 1) % 26]
  return fields
