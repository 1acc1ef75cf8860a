"""Placement of exits: from stage names and shares of MACs to stages."""

from collections.abc import Mapping, Sequence
import itertools

from mecl_jax.errors import UserError, choose

FIELD = 'model.exits'  # the field's name in error messages


def place_exits(exits: Sequence[str | float], macs: Mapping[str, int]) -> dict[str, str]:
  """Returns the stage of every early exit.

  >>> macs = {'stem': 1, 'stage1_block1': 4, 'stage1_block2': 4, 'stage2_block1': 9}
  >>> place_exits(['stage1', 0.3], macs)
  {'stage1_block1': 'stage1_block1', 'stage1': 'stage1_block2'}

  Args:
    exits: in any order. Each entry is one of:
      - a stage name;
      - a group of stages: `stage1` is the last of `stage1_block1`, `stage1_block2`, and so on;
      - a share of the MACs of the backbone, between 0 and 1: the stage with the nearest cumulative
        share, except the first stage;
      - 'every 3': every third stage after the first;
      - 'groups': the end of every group except the last, `stage1`, `stage2`, and so on.
    macs: stage name -> MACs, first to last.

  Returns:
    exit name -> stage name, earliest first. The name of an exit is its entry in `exits`, or the
    name of its stage if the entry is a share.

  Raises:
    UserError: a stage is unknown, a share is not between 0 and 1, two exits have the same stage, an
      exit has the last stage, or the backbone has no groups for 'groups'.
  """
  stages = tuple(macs)
  placed: dict[str, str] = {}
  for wanted in itertools.chain.from_iterable(_expanded(w, stages) for w in exits):
    stage = _by_name(wanted, stages) if isinstance(wanted, str) else _by_share(wanted, macs)
    if stage == stages[-1]:
      raise UserError(
        f'{FIELD}: {wanted!r} is the last stage, {stage}, which always has the final exit;'
        f' choose from: {", ".join(stages[:-1])}'
      )
    if stage in placed.values():
      raise UserError(
        f'{FIELD}: {wanted!r} is the second exit at stage {stage}; a stage has one exit at most'
      )
    placed[wanted if isinstance(wanted, str) else stage] = stage
  return dict(sorted(placed.items(), key=lambda item: stages.index(item[1])))


def split_head(wanted: str | float) -> tuple[str | float, str | None]:
  """Splits an entry of `model.exits` into its place and its head.

  >>> split_head('stage1=vit'), split_head('0.3=vit'), split_head('stage1')
  (('stage1', 'vit'), (0.3, 'vit'), ('stage1', None))
  """
  if not isinstance(wanted, str) or '=' not in wanted:
    return wanted, None
  place, _, head = wanted.partition('=')
  try:
    return float(place), head.strip()
  except ValueError:
    return place.strip(), head.strip()


def _expanded(wanted: str | float, stages: Sequence[str]) -> Sequence[str | float]:
  """Returns the names for 'every 3' and 'groups', between the first and the last stage."""
  if wanted == 'groups':
    groups = {name: stage for name, stage in _groups(stages).items() if name != 'stem'}
    if not groups:
      raise UserError(
        f"{FIELD}: this backbone has no groups of stages; choose 'every N', shares of MACs, or"
        f' stages from: {", ".join(stages[1:-1])}'
      )
    return [name for name, stage in groups.items() if stage != stages[-1]]
  words = str(wanted).split()
  if words[:1] != ['every']:
    return (wanted,)
  number = ''.join(words[1:])
  if not number.isdecimal() or not 1 <= int(number) < len(stages) - 1:
    raise UserError(
      f"{FIELD}: {wanted!r} must be 'every N' with N from 1 to {len(stages) - 2}, the number of"
      ' stages between the first and the last'
    )
  return stages[int(number) : -1 : int(number)]


def _groups(stages: Sequence[str]) -> dict[str, str]:
  """Returns group name -> last stage; the group of `stage1_block<n>` is `stage1`."""
  return {stage.rpartition('_')[0]: stage for stage in stages if '_' in stage}


def _by_name(name: str, stages: Sequence[str]) -> str:
  names = {**_groups(stages), **{stage: stage for stage in stages}}
  return names[choose(FIELD, name, names)]


def _by_share(share: float, macs: Mapping[str, int]) -> str:
  if not 0 < share < 1:
    raise UserError(f'{FIELD}: share {share} is invalid; a share of MACs is between 0 and 1')
  total = sum(macs.values())
  cumulative = zip(macs, itertools.accumulate(macs.values()), strict=True)
  _, *eligible = cumulative
  return min(eligible, key=lambda stage: abs(stage[1] / total - share))[0]
