"""The record of which examples the network predicts correctly while it trains.

It gives a difficulty score without an additional pass over the data. It lies on the device beside
the optimiser's state, and is saved and restored with it. It records the predictions of the training
step: in training mode, of augmented images, before the update.
"""

from collections.abc import Sequence
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.files import read_npz, write_npz

_FILE = 'learning_speed.npz'


def empty_record(size: int) -> dict[str, np.ndarray]:
  """Returns the record before the first epoch, int32 [N] each.

  Returns:
    `learned`: first epoch from which on the prediction was always correct; `errors`: number of
    epochs with a wrong prediction.
  """
  return {'learned': np.zeros(size, np.int32), 'errors': np.zeros(size, np.int32)}


def epochs_of(steps: Sequence[int], batch_size: int, size: int, recorded: int) -> np.ndarray:
  """Returns the epoch of every example of some steps, in a phase that shows all examples.

  Returns:
    int32 [steps, batch]; -1 from epoch `recorded` on.
  """
  places = np.asarray(steps, np.int64)[:, None] * batch_size + np.arange(batch_size)
  epoch = places // size
  return np.where(epoch < recorded, epoch, -1).astype(np.int32)


def updated(
  record: dict[str, jax.Array], ids: jax.Array, epoch: jax.Array, wrong: jax.Array
) -> dict[str, jax.Array]:
  """Returns the record after a batch; an example that is in it twice, in two epochs, counts twice.

  Args:
    record: before the batch.
    ids: int32 [batch], rows of the training split.
    epoch: int32 [batch], -1 where nothing is recorded.
    wrong: bool [batch], whether the prediction is wrong.
  """
  since = jnp.where(wrong, epoch + 1, 0)
  return {
    'learned': record['learned'].at[ids].max(since),
    'errors': record['errors'].at[ids].add((wrong & (epoch >= 0)).astype(jnp.int32)),
  }


def save(
  workdir: pathlib.Path, ids: np.ndarray, record: dict[str, np.ndarray], epochs: int
) -> None:
  """Writes learning_speed.npz: `id`, `learned`, `errors` and the number of `epochs`."""
  write_npz(workdir / _FILE, {'id': ids, **record, 'epochs': np.array(epochs)})


def load(workdir: pathlib.Path, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
  """Reads `learned`, `errors` (in the order of `ids`) and `epochs` of a run.

  Raises:
    UserError: there is no record, or it is of other examples than `ids`.
  """
  path = workdir / _FILE
  again = 'choose another --workdir'
  record = read_npz(path, again=again)
  missing = {'id', 'learned', 'errors', 'epochs'} - set(record)
  if missing:
    raise UserError(f'{path} has no array {", ".join(sorted(missing))}; {again}')
  if not np.array_equal(record['id'], ids):
    raise UserError(
      f'{path} is of {record["id"].size:,} other examples than the {len(ids):,} of this run'
    )
  return record['learned'], record['errors'], int(record['epochs'])
