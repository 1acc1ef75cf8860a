"""Checkpoints: saved in the background by Orbax, read back from the newest one that is whole."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import gc
import logging
import pathlib
import sys
import time
from typing import Any, TypeVar

from flax import nnx
import jax
import orbax.checkpoint as ocp

from mecl_jax.errors import RunError
from mecl_jax.models import MultiExit
from mecl_jax.training.step import Arrays

logger = logging.getLogger(__name__)
T = TypeVar('T')

# What goes wrong in a machine and not in a checkpoint; a file that is missing is the checkpoint's.
_OF_THE_MACHINE = (MemoryError, OSError, jax.errors.JaxRuntimeError)
_OF_THE_FILES = (FileNotFoundError, NotADirectoryError)


@dataclasses.dataclass(frozen=True)
class Position:
  """Where a run stands.

  Attributes:
    phase: index of the phase that trains next; the number of phases once all have ended.
    step: optimiser steps of that phase that are done; at 0 the optimiser starts anew.
    total: optimiser steps of the run that are done.
    run: digest of the run's configuration and data; a checkpoint of another is not taken.
    wall_seconds: that the run has taken so far, over all its starts.
  """

  phase: int = 0
  step: int = 0
  total: int = 0
  wall_seconds: float = 0.0
  run: str = ''


class Checkpoints:
  """The checkpoints of one run; use as a context, which waits for the last save to end.

  Args:
    folder: where they are.
    run: digest that a checkpoint must have to be taken; None: any.
    keep: newest ones kept.
    read_only: for reading another run's; damaged ones are passed over and left where they are.

  Attributes:
    found_some: whether there were any at first.
  """

  def __init__(
    self, folder: pathlib.Path, *, run: str | None = None, keep: int = 1, read_only: bool = False
  ):
    self._folder, self._run, self._read_only = folder.absolute(), run, read_only
    options = ocp.CheckpointManagerOptions(
      max_to_keep=None if read_only else keep,
      read_only=read_only,
      create=not read_only,
      cleanup_tmp_directories=not read_only,
    )
    self._manager = ocp.CheckpointManager(self._folder, options=options)
    self.found_some = bool(self._manager.all_steps())

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    with _told(self._folder):
      self._manager.close()

  def save(self, position: Position, model: MultiExit, moments: Mapping[str, Any]) -> None:
    """Copies the state off the device and goes on; the files are written meanwhile.

    Args:
      position: where the run stands.
      model: all of its state is saved.
      moments: what else the phase needs to go on, by name, as the optimiser's state; nothing
        between phases, where the next one starts anew.
    """
    if position.total in self._manager.all_steps():
      return  # it is there already: a stop at the very step of a save
    items = {
      'position': ocp.args.JsonSave(dataclasses.asdict(position)),
      'model': ocp.args.StandardSave(_state(model)),
    }
    items |= {name: ocp.args.StandardSave(moment) for name, moment in moments.items()}
    with _told(self._folder):
      self._manager.save(position.total, args=ocp.args.Composite(**items))

  def restore(
    self,
    model: MultiExit,
    sharding: jax.sharding.Sharding,
    moments: Callable[[Position], Mapping[str, Any]] = lambda position: {},
  ) -> tuple[Position, Arrays] | None:
    """Reads the newest checkpoint that is whole into the model; None if there is none.

    A damaged or foreign one is moved to `damaged_checkpoints/` beside the folder, never deleted,
    and the one before it is tried.

    Args:
      model: takes the state, on whatever number of devices it was saved.
      sharding: to restore to.
      moments: gives values like those that were saved at a position; nothing: not wanted.

    Returns:
      the position, and the moments that were wanted.

    Raises:
      RunError: the machine cannot read it now, as for want of memory; all stay where they are.
    """
    found = self._newest(lambda total: self._read(total, model, sharding, moments))
    if found is None:
      return None
    position, state, wanted = found
    nnx.update(model, state)
    return position, wanted

  def arrays(self, sharding: jax.sharding.Sharding) -> Arrays | None:
    """The state of whatever network the newest checkpoint that is whole has, as nested dicts.

    Args:
      sharding: to restore to, where the devices that it was saved on are not there.

    Returns:
      None if there is no such checkpoint.
    """

    def read(total: int) -> Arrays:
      wanted = ocp.args.StandardRestore(fallback_sharding=sharding)
      return self._manager.restore(total, args=ocp.args.Composite(model=wanted)).model

    return self._newest(read)

  def _newest(self, read: Callable[[int], T]) -> T | None:
    """What `read` makes of the newest checkpoint that it can read."""
    damaged = False
    for total in sorted(self._manager.all_steps(), reverse=True):
      try:
        with _quiet():
          return read(total)
      except Exception as error:  # Orbax raises bare Exceptions for truncated arrays
        if isinstance(error, _OF_THE_MACHINE) and not isinstance(error, _OF_THE_FILES):
          raise RunError(
            f'checkpoint {total} in {self._folder} cannot be read now: {_first_line(error)}; it'
            ' stays, and the same command tries again'
          ) from error
        self._set_aside(total, error)
        damaged = True
    if damaged and not self._read_only:
      logger.warning('no checkpoint is left: training starts from the beginning')
    return None

  def _read(self, total: int, model, sharding, moments) -> tuple[Position, Arrays, Arrays]:
    read = ocp.args.Composite(position=ocp.args.JsonRestore())
    position = Position(**self._manager.restore(total, args=read).position)
    if self._run is not None and position.run != self._run:
      raise ValueError('it is of another run')
    like = moments(position)
    items = {'model': _state(model), **like}
    items = {name: _abstract(item, sharding) for name, item in items.items()}
    wanted = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    restored = self._manager.restore(total, args=ocp.args.Composite(**wanted))
    return position, restored.model, {name: restored[name] for name in like}

  def _set_aside(self, total: int, error: Exception) -> None:
    reason = str(error).partition(':')[0][:100] or type(error).__name__
    if self._read_only:
      logger.warning('checkpoint %d in %s cannot be read (%s)', total, self._folder, reason)
      return
    aside = self._folder.parent / 'damaged_checkpoints'
    aside.mkdir(exist_ok=True)
    target = aside / str(total)
    while target.exists():
      target = target.with_name(target.name + '_')
    (self._folder / str(total)).rename(target)
    self._manager.reload()
    logger.warning('checkpoint %d cannot be read and was moved to %s (%s)', total, target, reason)


def _state(model: MultiExit) -> Arrays:
  """All but the keys of dropout, which every step sets anew."""
  return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def _abstract(state: Any, sharding: jax.sharding.Sharding) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _told(folder: pathlib.Path) -> Iterator[None]:
  """Turns a failure to write, also that of the save before, into one line."""
  try:
    yield
  except (OSError, ValueError) as error:
    raise RunError(f'cannot save to {folder}: {_first_line(error)}') from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps what Orbax's worker tasks print of a failure off the screen: the caller reports it."""
  hook, asyncio_logger = sys.unraisablehook, logging.getLogger('asyncio')
  level = asyncio_logger.level
  sys.unraisablehook = lambda _: None
  asyncio_logger.setLevel(logging.CRITICAL)
  try:
    yield
  except BaseException:
    gc.collect()  # unawaited tasks speak up when they are collected, others a moment later
    time.sleep(0.5)
    raise
  finally:
    sys.unraisablehook = hook
    asyncio_logger.setLevel(level)
