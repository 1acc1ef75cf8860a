"""Features of augmented copies of the training images, from which each pass takes the next one."""

from collections.abc import Callable, Sequence
import functools

import jax
import jax.numpy as jnp

from mecl_jax.models import FINAL
from mecl_jax.training import devices, feature_files
from mecl_jax.training.augmentation import Augmentation, Copy
from mecl_jax.training.features import paths_of, read_logits, read_or_computed
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays


def features_of_copies(
  run: Run,
  exits: Sequence[str],
  *,
  taught: bool,
  on_batch: Callable[[int], None] = lambda done: None,
) -> Arrays | None:
  """Returns the features of `augment.copies` augmented copies of every training image.

  Args:
    run: with a frozen backbone.
    exits: names of the exits whose heads train.
    taught: whether the final exit's logits for the same copies are returned too. The backbone runs
      once for both.
    on_batch: called after every batch with the number of copied images done.

  Returns:
    `summaries`, an array [copies, N, ...] per exit, `labels` [copies, N], and, if `taught`,
    `teacher` [copies, N, classes]; None if they do not fit into memory.
  """
  train, count, augmentation = run.dataset.train, run.config.augment.copies, Augmentation.of(run)
  read = (*exits, FINAL) if taught else tuple(exits)
  paths, everywhere = paths_of(run, train, read), devices.replicated(run.mesh)
  store: Arrays = {}
  for number in range(count):
    copy, done = Copy(augmentation, number, count), number * len(train)
    of_copy = {name: feature_files.of_copy(path, copy) for name, path in paths.items()}
    show = functools.partial(_show, on_batch, done)
    part = read_or_computed(run, train, read, of_copy, copy, show)
    if part is None:
      return None
    if taught:
      *early, final = part['summaries']
      logits = read_logits(run.model, {**part, 'summaries': (final,)}, (FINAL,))[:, 0]
      part = {**part, 'summaries': tuple(early), 'teacher': jax.device_put(logits, everywhere)}
    if not store:
      store = jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype, device=everywhere), part)
    store = _put(store, part, number)
  return store


def _show(on_batch: Callable[[int], None], before: int, done: int) -> None:
  on_batch(before + done)


@functools.partial(jax.jit, donate_argnums=0)
def _put(store: Arrays, part: Arrays, number: int) -> Arrays:
  """Returns the store with a copy in its place; the memory of the store is used again."""
  return jax.tree.map(
    lambda rows, x: jax.lax.dynamic_update_index_in_dim(rows, x, number, 0), store, part
  )
