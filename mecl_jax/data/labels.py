"""Kinds of labels: classes, binary labels and numbers, and how each is checked."""

import os

import numpy as np

from mecl_jax.errors import UserError

CLASSES, BINARY, NUMBERS = KINDS = ('classes', 'binary', 'numbers')
_MOST_OUTPUTS = 100_000


def checked(path: str | os.PathLike, key: str, labels: np.ndarray, kind: str) -> np.ndarray:
  """Returns labels in the form that a `Split` has.

  Args:
    path: of their file, for messages.
    key: their name in the file, for messages.
    labels: of kind `BINARY`, bool or integers [N, labels]; of `NUMBERS`, numbers [N] or
      [N, outputs].
    kind: one of these two.

  Returns:
    uint8 [N, labels], or float32 [N, outputs].

  Raises:
    UserError: dtype or shape are wrong, a binary label is neither 0 nor 1, or a number is not
      finite in float32.
  """
  found = f'but is {labels.dtype} {list(labels.shape)}'
  if kind == BINARY:
    if labels.dtype.kind not in 'biu' or labels.ndim != 2 or not labels.shape[1]:
      raise UserError(f'{path}: {key} must be 0 or 1, uint8 or bool [N, labels], {found}')
    wrong = (labels != 0) & (labels != 1)
    what, typed = 'neither 0 nor 1', 'uint8'
  else:
    if labels.dtype.kind not in 'fiu' or labels.ndim not in (1, 2) or not labels.size:
      raise UserError(f'{path}: {key} must be numbers, [N] or [N, outputs], {found}')
    labels = labels.reshape(len(labels), -1)
    with np.errstate(over='ignore'):
      wrong = ~np.isfinite(labels.astype(np.float32))
    what, typed = 'not finite in float32', 'float32'
  if wrong.any():
    row, column = np.argwhere(wrong)[0]
    raise UserError(
      f'{path}: {int(wrong.sum())} of {labels.size} values of {key} are {what}, first'
      f' {labels[row, column]} in row {row}; correct or remove them'
    )
  if labels.shape[1] > _MOST_OUTPUTS:
    raise UserError(f'{path}: {key} has {labels.shape[1]:,} columns; at most {_MOST_OUTPUTS:,}')
  return labels.astype(typed)


def names(path: str | os.PathLike, given: np.ndarray | None, outputs: int, kind: str) -> list[str]:
  """Returns the names of the columns of labels; without `given`, numbers, or 'target' of a single.

  Raises:
    UserError: there is not one name per column.
  """
  if given is None:
    return ['target'] if outputs == 1 and kind == NUMBERS else [str(i) for i in range(outputs)]
  if given.dtype.kind != 'U' or given.shape != (outputs,):
    raise UserError(
      f'{path}: class_names must be {outputs} names, one for each column of the labels, but is'
      f' {given.dtype} {list(given.shape)}'
    )
  return given.tolist()


def units(path: str | os.PathLike, given: np.ndarray | None) -> str:
  """Returns the unit of the targets, '' if the file has none.

  Raises:
    UserError: it is not a text.
  """
  if given is None:
    return ''
  if given.dtype.kind != 'U' or given.size != 1:
    raise UserError(
      f'{path}: units must be one text, as np.array("objects"), but is {given.dtype}'
      f' {list(given.shape)}'
    )
  return str(given.reshape(-1)[0])
