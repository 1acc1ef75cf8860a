"""Which runs are of one arm of a comparison, and what the arms are called."""

from collections import Counter
from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.config import FREE, flatten
from mecl_jax.errors import UserError
from mecl_jax.models.pretrained.publishers import IMAGENET

SEED = 'seed'
DATA = 'training data'
# Fields that name a run or a file, which may be another one for every seed of an arm.
PLACES = ('curriculum.teacher_workdir', 'curriculum.difficulty_file', 'model.pretrained')
ONLY = 'all runs'  # the name of an arm that is the only one
MOST = 2  # fields in a name, if they tell the arms apart

Fields = dict[str, Any]  # name -> value


def fields_of(config: ConfigDict, identity: Mapping[str, Any]) -> Fields:
  """What a run's result hangs on, its seed aside.

  Args:
    config: of the run, resolved.
    identity: of the run, as `workdir.read_identity` has it; empty for runs of the first version.
  """
  fields = {n: v for n, v in flatten(config) if n != SEED and not n.startswith(FREE)}
  # Last, as it only matters where the fields that choose the data do not tell them apart.
  return fields | {DATA: identity.get('fingerprint')}


def arms_of(runs: Mapping[pathlib.Path, Fields], seeds: Sequence[int]) -> list[Fields]:
  """The arm of every run: fields, equal for the runs of one arm.

  Runs that use the weights, scores or teachers of other runs are of one arm whichever runs those
  are, unless that makes a seed come twice.

  Args:
    runs: by their work directories.
    seeds: of the runs.

  Raises:
    UserError: two runs are the same in all fields and the seed.
  """
  blurred = [{n: _blurred(n, v) for n, v in fields.items()} for fields in runs.values()]
  often = Counter(zip(map(_key, blurred), seeds, strict=True))
  double = {arm for (arm, _), count in often.items() if count > 1}
  arms = [
    fields if _key(blur) in double else blur
    for fields, blur in zip(runs.values(), blurred, strict=True)
  ]
  seen: dict[tuple, pathlib.Path] = {}
  for workdir, fields, seed in zip(runs, arms, seeds, strict=True):
    other = seen.setdefault((_key(fields), seed), workdir)
    if other != workdir:
      raise UserError(
        f'{other} and {workdir} have the same configuration and the same seed, {seed};'
        ' leave one of them out'
      )
  return arms


def names_of(arms: Sequence[Fields]) -> tuple[list[str], list[str]]:
  """What arms are called: by the fields in which they differ from each other.

  Args:
    arms: of every run.

  Returns:
    per run the name of its arm, and everything in which that differs. A name has two fields, or
    as many more as it takes to tell the arms apart, and ends with `..` if they differ in others.
  """
  different = [n for n in arms[0] if _count(arms, [n]) > 1]
  shown = list(different)
  # Out go first those of the fewest values, and of equals the last.
  for name in sorted(reversed(different), key=lambda n: _count(arms, [n])):
    fewer = [n for n in shown if n != name]
    if len(shown) > MOST and _count(arms, fewer) == _count(arms, different):
      shown = fewer
  more = ', ..' if len(shown) < len(different) else ''
  full = [_text(arm, different) or ONLY for arm in arms]
  return [(_text(arm, shown) or ONLY) + more for arm in arms], full


def _blurred(name: str, value: Any) -> Any:
  return 'given' if name in PLACES and value not in ('', IMAGENET) else value


def _key(fields: Fields) -> tuple:
  return tuple(fields.values())


def _count(arms: Sequence[Fields], names: Sequence[str]) -> int:
  """How many arms these fields tell apart."""
  return len({tuple(arm[n] for n in names) for arm in arms})


def _text(arm: Fields, names: Sequence[str]) -> str:
  return ', '.join(f'{name}={_value(arm[name])}' for name in names)


def _value(value: Any) -> str:
  if isinstance(value, tuple):
    return f'({" ".join(map(str, value))})'
  return repr(value) if value == '' or ',' in str(value) else str(value)
