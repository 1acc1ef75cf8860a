"""The record of which examples the network gets right while it trains: a score at no extra pass.

Kept on the device beside the optimiser's state, and saved and restored with it. What is noted are
the training step's own predictions: in training mode, of augmented images, before the update.
"""

from collections.abc import Sequence
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.files import write_npz

_FILE = 'learning_speed.npz'


def begin(size: int) -> dict[str, np.ndarray]:
  """The record of no epoch; int32 [N] each.

  Returns:
    `learned`: first epoch from which on the example was always right; `errors`: epochs in which it
    was wrong.
  """
  return {'learned': np.zeros(size, np.int32), 'errors': np.zeros(size, np.int32)}


def epochs_of(steps: Sequence[int], batch_size: int, size: int, recorded: int) -> np.ndarray:
  """The epoch of every example of some steps where all are shown; -1 from epoch `recorded` on.

  Returns:
    int32 [steps, batch].
  """
  places = np.asarray(steps, np.int64)[:, None] * batch_size + np.arange(batch_size)
  epoch = places // size
  return np.where(epoch < recorded, epoch, -1).astype(np.int32)


def noted(
  memory: dict[str, jax.Array], ids: jax.Array, epoch: jax.Array, wrong: jax.Array
) -> dict[str, jax.Array]:
  """The record after a batch; an example that stands in it twice, in two epochs, counts twice.

  Args:
    memory: with the record.
    ids: int32 [batch], rows of the training split.
    epoch: int32 [batch], -1 where nothing is to be noted.
    wrong: bool [batch].
  """
  since = jnp.where(wrong, epoch + 1, 0)
  return {
    'learned': memory['learned'].at[ids].max(since),
    'errors': memory['errors'].at[ids].add((wrong & (epoch >= 0)).astype(jnp.int32)),
  }


def save(
  workdir: pathlib.Path, ids: np.ndarray, record: dict[str, np.ndarray], epochs: int
) -> None:
  """Writes learning_speed.npz: `id`, `learned`, `errors` and the number of `epochs`."""
  write_npz(workdir / _FILE, {'id': ids, **record, 'epochs': np.array(epochs)})


def load(workdir: pathlib.Path, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
  """Reads `learned`, `errors` (in the order of `ids`) and `epochs` of a run.

  Raises:
    UserError: there is no record, or it is of other examples.
  """
  path = workdir / _FILE
  try:
    with np.load(path, allow_pickle=False) as file:
      if not np.array_equal(file['id'], ids):
        raise UserError(
          f'{path} is of {len(file["id"]):,} other examples than the {len(ids):,} of this run'
        )
      return file['learned'], file['errors'], int(file['epochs'])
  except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise UserError(f'{path} cannot be read: {error}; choose another --workdir') from None
