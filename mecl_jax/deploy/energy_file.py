"""The file energy.json: what was simulated, and the result."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from mecl_jax.errors import DamagedFile, UserError, first_line
from mecl_jax.files import read_json, write_checked_json

FORMAT, VERSION = 'mecl_jax energy', 1
AGAIN = '--mode=energy simulates again'

Row = dict[str, str | int | float | bool | None]
Rows = list[Row]


@dataclasses.dataclass(frozen=True)
class Energy:
  """A simulation.

  Attributes:
    checkpoint: digest of the checkpoint whose predictions were used.
    policy: digest of the exit rule by which images left early.
    unit: of all amounts.
    settings: rows with `setting` and `value`: what was simulated, and where its numbers come from.
    rows: a row for each policy, with the range of 95 % of the repetitions.
    trace: rows of the store's level, the income, missed and right answers over time.
  """

  checkpoint: str
  policy: str
  unit: str
  settings: Rows
  rows: Rows
  trace: Rows

  @property
  def tables(self) -> dict[str, Rows]:
    """The tables of the page."""
    return {'energy': self.rows, 'energy_trace': self.trace, 'energy_settings': self.settings}


def save_energy(path: str | os.PathLike, energy: Energy) -> None:
  """Writes a simulation as JSON."""
  write_checked_json(path, {'format': FORMAT, 'version': VERSION} | dataclasses.asdict(energy))


def load_energy(path: str | os.PathLike) -> Energy:
  """Reads a file that `save_energy` wrote.

  Raises:
    DamagedFile: the file is not what was written.
    UserError: it does not exist, or is of another version.
  """
  read = read_json(path, again=AGAIN)
  if read.get('format') != FORMAT:
    raise UserError(f'{path} is not a file of a simulation of energy; {AGAIN}')
  if read.get('version') != VERSION:
    raise UserError(f'{path} has version {read.get("version")!s:.80}, not {VERSION}; {AGAIN}')
  try:
    energy = Energy(**{name: read[name] for name in read if name not in ('format', 'version')})
    _check(energy)
  except (TypeError, ValueError) as error:
    raise DamagedFile(f'{path} is damaged: {first_line(error)}; {AGAIN}') from None
  return energy


def _check(energy: Energy) -> None:
  """Raises TypeError or ValueError if the values cannot come from a simulation."""
  for value in (energy.checkpoint, energy.policy, energy.unit):
    if type(value) is not str:
      raise TypeError(f'{value!r:.80} is not of type str')
  unit = energy.unit
  kinds: dict[str, Any] = {'supply': str, 'policy': str, 'right_share': float}
  kinds |= {f'used:{unit}': float, 'missed_share': float}
  over_time = ('missed_so_far', 'right_share', f'income:{unit}', f'level:{unit}')
  of_trace: dict[str, Any] = {'policy': str, 'interval': int} | dict.fromkeys(over_time, float)
  _check_rows(energy.settings, {'setting': str, 'value': str})
  _check_rows(energy.rows, kinds)
  _check_rows(energy.trace, of_trace)


def _check_rows(rows: Any, kinds: Mapping[str, type]) -> None:
  if not isinstance(rows, list) or not rows:
    raise ValueError(f'{rows!r:.80} is not a list of rows')
  for row in rows:
    if not isinstance(row, dict) or list(row) != list(rows[0]):
      raise ValueError(f'{row!r:.80} is not a row like the others')
    for name, kind in kinds.items():
      if name not in row:
        raise ValueError(f'a row lacks {name}')
      if type(row[name]) is not kind:
        raise TypeError(f'{name} is {row[name]!r:.80}')
