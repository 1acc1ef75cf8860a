"""Where the exits sit: from stage names and shares of MACs to stages."""

from collections.abc import Mapping, Sequence
import itertools

from mecl_jax.errors import UserError, choose

FIELD = 'model.exits'  # as messages call it


def place_exits(exits: Sequence[str | float], macs: Mapping[str, int]) -> dict[str, str]:
  """Finds the stage of every early exit.

  Args:
    exits: in any order, or none; each a stage name, the name of a group of stages (`stage1`: the
      last of `stage1_block1`, `stage1_block2`, ..), or a share of the backbone's MACs between 0 and
      1, which takes the stage whose cumulative share is nearest (never the first stage, the stem),
      or 'every 3', which takes every third stage after the first, or 'groups', which takes the end
      of every group but the last: `stage1`, `stage2`, ..
    macs: of every stage, first to last.

  Returns:
    exit name -> stage, earliest first. An exit is named as in `exits`, or as its stage where a
    share was given.

  Raises:
    UserError: no such stage, a share outside 0..1, two exits at one stage, an exit at the last
      stage, where the final exit is, or 'groups' of a backbone that has none.
  """
  stages = tuple(macs)
  placed: dict[str, str] = {}
  for wanted in itertools.chain.from_iterable(_expanded(w, stages) for w in exits):
    stage = _by_name(wanted, stages) if isinstance(wanted, str) else _by_share(wanted, macs)
    if stage == stages[-1]:
      raise UserError(
        f'{FIELD}: {wanted!r} is the last stage, {stage}, where the final exit is anyway;'
        f' choose from: {", ".join(stages[:-1])}'
      )
    if stage in placed.values():
      raise UserError(f'{FIELD}: two exits at one stage, {stage} ({wanted!r} is the second)')
    placed[wanted if isinstance(wanted, str) else stage] = stage
  return dict(sorted(placed.items(), key=lambda item: stages.index(item[1])))


def split_head(wanted: str | float) -> tuple[str | float, str | None]:
  """'stage1=vit' as ('stage1', 'vit'), '0.3=vit' as (0.3, 'vit'), 'stage1' as ('stage1', None)."""
  if not isinstance(wanted, str) or '=' not in wanted:
    return wanted, None
  place, _, head = wanted.partition('=')
  try:
    return float(place), head.strip()
  except ValueError:
    return place.strip(), head.strip()


def _expanded(wanted: str | float, stages: Sequence[str]) -> Sequence[str | float]:
  """'every 3' and 'groups' as names, beyond the stem and before the last stage."""
  if wanted == 'groups':
    groups = {name: stage for name, stage in _groups(stages).items() if name != 'stem'}
    if not groups:
      raise UserError(
        f"{FIELD}: this backbone has no groups of stages; write 'every N', shares of MACs or some"
        f' of: {", ".join(stages[1:-1])}'
      )
    return [name for name, stage in groups.items() if stage != stages[-1]]
  words = str(wanted).split()
  if words[:1] != ['every']:
    return (wanted,)
  number = ''.join(words[1:])
  if not number.isdecimal() or not 1 <= int(number) < len(stages) - 1:
    raise UserError(
      f"{FIELD}: {wanted!r} must be 'every N' with N from 1 to {len(stages) - 2}, as many stages"
      ' as lie between the first and the last'
    )
  return stages[int(number) : -1 : int(number)]


def _groups(stages: Sequence[str]) -> dict[str, str]:
  """The last stage of every group by the group's name; `stage1` for `stage1_block<n>`."""
  return {stage.rpartition('_')[0]: stage for stage in stages if '_' in stage}


def _by_name(name: str, stages: Sequence[str]) -> str:
  names = {**_groups(stages), **{stage: stage for stage in stages}}
  return names[choose(FIELD, name, names)]


def _by_share(share: float, macs: Mapping[str, int]) -> str:
  if not 0 < share < 1:
    raise UserError(f'{FIELD} has the share {share}; a share of MACs lies between 0 and 1')
  total = sum(macs.values())
  cumulative = zip(macs, itertools.accumulate(macs.values()), strict=True)
  _, *eligible = cumulative
  return min(eligible, key=lambda stage: abs(stage[1] / total - share))[0]
