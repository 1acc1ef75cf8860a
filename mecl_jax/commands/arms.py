"""The arms of a comparison: which runs belong to one arm, and its name."""

from collections import Counter
from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.config import MUTABLE_FIELDS, flatten
from mecl_jax.errors import UserError
from mecl_jax.models.pretrained.publishers import IMAGENET

SEED = 'seed'
DATA = 'training data'
# Fields with the path of a run or file, which may differ between the seeds of an arm.
PATHS = ('curriculum.teacher_workdir', 'curriculum.difficulty_file', 'model.pretrained')
ONLY = 'all runs'  # name of the arm if there is only one
MOST = 2  # fields in a name, if they distinguish the arms

Fields = dict[str, Any]  # name -> value


def fields_of(config: ConfigDict, identity: Mapping[str, Any]) -> Fields:
  """Returns the fields that determine a run's result, without the seed.

  Args:
    config: of the run, resolved.
    identity: of the run, from `workdir.read_identity`.
  """
  fields = {n: v for n, v in flatten(config) if n != SEED and not n.startswith(MUTABLE_FIELDS)}
  # Last, since it only matters if the fields that choose the data are equal.
  return fields | {DATA: identity['fingerprint']}


def arms_of(runs: Mapping[pathlib.Path, Fields], seeds: Sequence[int]) -> list[Fields]:
  """Returns the arm of every run: fields that are equal for the runs of one arm.

  The path of another run, whose weights, scores or teacher a run uses, does not distinguish arms,
  unless an arm would have the same seed twice without it.

  Args:
    runs: by their work directories.
    seeds: of the runs.

  Raises:
    UserError: two runs have the same fields and the same seed.
  """
  without_paths = [{n: _without_path(n, v) for n, v in fields.items()} for fields in runs.values()]
  often = Counter(zip(map(_key, without_paths), seeds, strict=True))
  double = {arm for (arm, _), count in often.items() if count > 1}
  arms = [
    fields if _key(blur) in double else blur
    for fields, blur in zip(runs.values(), without_paths, strict=True)
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
  """Returns names for arms, made of the fields in which they differ.

  Args:
    arms: of every run.

  Returns:
    per run, the name of its arm, and all of its fields that differ. A name has two fields, or more
    if two do not distinguish the arms; it ends with `..` if further fields differ.
  """
  different = [n for n in arms[0] if _count(arms, [n]) > 1]
  shown = list(different)
  # Fields with the fewest different values are left out first; among equals, the last one.
  for name in sorted(reversed(different), key=lambda n: _count(arms, [n])):
    fewer = [n for n in shown if n != name]
    if len(shown) > MOST and _count(arms, fewer) == _count(arms, different):
      shown = fewer
  more = ', ..' if len(shown) < len(different) else ''
  full = [_text(arm, different) or ONLY for arm in arms]
  return [(_text(arm, shown) or ONLY) + more for arm in arms], full


def _without_path(name: str, value: Any) -> Any:
  return 'given' if name in PATHS and value not in ('', IMAGENET) else value


def _key(fields: Fields) -> tuple:
  return tuple(fields.values())


def _count(arms: Sequence[Fields], names: Sequence[str]) -> int:
  """Returns how many arms these fields distinguish."""
  return len({tuple(arm[n] for n in names) for arm in arms})


def _text(arm: Fields, names: Sequence[str]) -> str:
  return ', '.join(f'{name}={_value(arm[name])}' for name in names)


def _value(value: Any) -> str:
  if isinstance(value, tuple):
    return f'({" ".join(map(str, value))})'
  return repr(value) if value == '' or ',' in str(value) else str(value)
