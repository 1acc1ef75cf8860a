"""From the name of a variable of ours to what others call it, and from state paths to names."""

from collections.abc import Iterable, Mapping
import functools
import re
import string

from flax import nnx

# One publisher's names: pairs of a layer of ours, or of a single variable, and what it is called
# there. '{g}' on the left is a number, of a group, a block or a layer within; the right may have
# '{g}', '{g-1}', '{g+1}' and '{letter g}', which is a for 1. '{position}' and '{position-1}' are
# that of the stage among the backbone's stages, the stem's being 0. The first pair that fits
# counts.
Rules = tuple[tuple[str, str], ...]

# Our variable: what it is called in Keras and in PyTorch.
VARIABLES = {
  'kernel': ('kernel', 'depthwise_kernel', 'weight'),
  'bias': ('bias', 'beta'),
  'scale': ('gamma', 'weight'),
  'mean': ('moving_mean', 'running_mean'),
  'var': ('moving_variance', 'running_var'),
}


def name_of(path: Iterable[object]) -> str:
  """A state path for people: ('backbone', 'stages', 'stem', 'kernel') as 'stem.kernel'.

  Heads keep their 'heads.' in front, as 'heads.final.linear.kernel'.
  """
  return '.'.join(map(str, path)).removeprefix('backbone.stages.')


def named(model: nnx.Module) -> dict[str, nnx.Variable]:
  """Parameters and batch statistics of a network, by the names that `name_of` gives them.

  The pixels' mean and deviation are not among them: they are settings and no weights.
  """
  flat = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
  return {name_of(path): variable for path, variable in flat}


def their_names(ours: str, rules: Rules, positions: Mapping[str, int]) -> tuple[str, ...]:
  """What a variable of ours may be called, () if no rule knows it.

  Args:
    ours: as 'stage1_block1.conv1.kernel'.
    rules: of one publisher.
    positions: of the stages in the backbone, by name.
  """
  layer, _, variable = ours.rpartition('.')
  position = positions.get(ours.partition('.')[0], 0)  # heads have none
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
  """What the braces on a rule's right side stand for."""
  fields: dict[str, object] = {'position': position, 'position-1': position - 1}
  for key, digits in match.groupdict().items():
    number = int(digits)
    fields |= {key: number, f'{key}-1': number - 1, f'{key}+1': number + 1}
    fields[f'letter {key}'] = string.ascii_lowercase[(number - 1) % 26]
  return fields
