"""The files and the table in which a run reports what its exits are worth."""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
from typing import Any
import zipfile

import numpy as np
from rich.table import Table

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.files import write_npz

TOP_5_FROM = 20  # classes from which top-5 accuracy says something


def exit_rows(
  logits: np.ndarray, labels: np.ndarray, names: Sequence[str], costs: Sequence[Any]
) -> list[dict[str, Any]]:
  """One row per exit, earliest first.

  Args:
    logits: [N, exits, classes].
    labels: int [N].
    names: of the exits.
    costs: per exit, with `macs` (cumulative, head included) and `parameters` of that path.
  """
  rows = []
  for k, (name, cost) in enumerate(zip(names, costs, strict=True)):
    row = {
      'name': name,
      'accuracy': metrics.accuracy(logits[:, k], labels),
      'nll': metrics.nll(logits[:, k], labels),
      'ece': metrics.ece(logits[:, k], labels),
      'macs': cost.macs,
      'parameters': cost.parameters,
    }
    if logits.shape[-1] >= TOP_5_FROM:
      row['top_5'] = metrics.top_k_accuracy(logits[:, k], labels)
    rows.append(row)
  return rows


def save_predictions(
  path: str | os.PathLike,
  exits: Sequence[str],
  splits: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Writes predictions.npz: `exits`, and {split}_{logits,labels,ids} of every split."""
  arrays = {f'{split}_{key}': value for split, v in splits.items() for key, value in v.items()}
  write_npz(path, {'exits': np.array(exits, np.str_), **arrays})


def load_predictions(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads what `save_predictions` wrote.

  Raises:
    UserError: there is no such file, or it is damaged.
  """
  try:
    with np.load(pathlib.Path(path), allow_pickle=False) as file:
      return dict(file)
  except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f'{path} cannot be read: {error}; --mode=evaluate writes it anew') from None


def load_summary(path: str | os.PathLike) -> dict[str, Any] | None:
  """Reads summary.json; None if there is none (the run has not ended)."""
  try:
    return json.loads(pathlib.Path(path).read_text())
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); --mode=evaluate writes it anew') from None


def quantity(number: float) -> str:
  """Three digits and a unit: 40551808 as '40.6 M'."""
  for power, unit in ((9, 'G'), (6, 'M'), (3, 'k')):
    if number >= 0.9995 * 10**power:
      return f'{number / 10**power:#.3g}'.rstrip('.') + f' {unit}'
  return f'{number:.0f}'


def exit_table(summary: Mapping[str, Any]) -> Table:
  """The per-exit table of a run's summary."""
  title = f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}: test split'
  table = Table(title=title, title_justify='left')
  table.add_column('exit')
  top_5 = 'top_5' in summary['exits'][0]
  for column in ('accuracy', *(['top-5'] if top_5 else []), 'NLL', 'ECE', 'parameters', 'MACs'):
    table.add_column(column, justify='right')
  for row in summary['exits']:
    table.add_row(
      row['name'],
      f'{row["accuracy"]:.2%}',
      *([f'{row["top_5"]:.2%}'] if top_5 else []),
      f'{row["nll"]:.3f}',
      f'{row["ece"]:.3f}',
      quantity(row['parameters']),
      quantity(row['macs']),
    )
  return table
