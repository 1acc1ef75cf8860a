"""Checkpoints: saved in the background by Orbax, restored from the newest intact one.

Orbax does not find every damage of its files. So a checkpoint holds checksums of its arrays and of
its position, which are verified when it is restored. `loop.py` decides when to save.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import errno
import functools
import gc
import logging
import pathlib
import sys
import time
from typing import Any, TypeVar

from flax import nnx
import jax
import orbax.checkpoint as ocp

from mecl_jax import disk
from mecl_jax.errors import RunError, first_line
from mecl_jax.files import arrays_checksum, json_checksum
from mecl_jax.models import MultiExit
from mecl_jax.training.step import Arrays

logger = logging.getLogger(__name__)
T = TypeVar('T')

# Errors of the system that say that a file of a checkpoint is missing or damaged.
_OF_THE_FILES = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
_LATE_SECONDS = 0.5  # within which Orbax's worker tasks print what they failed at


@dataclasses.dataclass(frozen=True)
class Position:
  """The position of a run.

  Attributes:
    phase: index of the phase that trains next; the number of phases once all have ended.
    step: optimiser steps of that phase that are done; at 0 the optimiser state is new.
    total: optimiser steps of the run that are done.
    run: digest of the run's configuration and data; checkpoints of other runs are rejected.
    wall_seconds: time of the run so far, over all its starts.
    scores: digest of the difficulty scores that the run trains with; '' before there are any.
  """

  phase: int = 0
  step: int = 0
  total: int = 0
  wall_seconds: float = 0.0
  run: str = ''
  scores: str = ''


class Checkpoints:
  """The checkpoints of one run; a context that waits for the last save at its end.

  Args:
    folder: of the checkpoints.
    run: digest that a checkpoint must have; None: any.
    keep: number of newest checkpoints to keep.
    read_only: for the checkpoints of another run; damaged ones are skipped and stay in place.

  Attributes:
    found_some: whether there were any at the start.
  """

  def __init__(
    self, folder: pathlib.Path, *, run: str | None = None, keep: int = 1, read_only: bool = False
  ):
    self._folder, self._run, self._read_only = folder.absolute(), run, read_only
    # Orbax's own `read_only` always prints a warning. A manager that neither creates nor cleans up,
    # and never saves, writes nothing either.
    options = ocp.CheckpointManagerOptions(
      max_to_keep=None if read_only else keep,
      create=not read_only,
      cleanup_tmp_directories=not read_only,
    )
    with _one_line_errors(f'checkpoints in {self._folder} cannot be read'):
      self._manager = ocp.CheckpointManager(self._folder, options=options)
      self.found_some = bool(self._manager.all_steps())

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    with _one_line_errors(f'checkpoints cannot be saved to {self._folder}'):
      self._manager.close()

  def save(self, position: Position, model: MultiExit, unfinished: Mapping[str, Any]) -> None:
    """Copies the state from the device, and writes the files in the background.

    Args:
      position: of the run.
      model: all of its state is saved.
      unfinished: what else an unfinished phase needs to resume, by name, as the optimiser's state;
        empty between phases.

    Raises:
      RunError: the files cannot be written.
    """
    if position.total in self._manager.all_steps():
      return  # a request to stop came at the step of a save
    states = {'model': _state(model), **unfinished}
    record = dataclasses.asdict(position)
    record['checksums'] = {name: _checksum(state) for name, state in states.items()}
    record['checksum'] = json_checksum(record)
    items = {name: ocp.args.StandardSave(state) for name, state in states.items()}
    items['position'] = ocp.args.JsonSave(record)
    with _one_line_errors(f'checkpoints cannot be saved to {self._folder}'):
      self._manager.save(position.total, args=ocp.args.Composite(**items))

  def restore(
    self,
    model: MultiExit,
    sharding: jax.sharding.Sharding,
    like: Callable[[Position], Mapping[str, Any]] = lambda position: {},
  ) -> tuple[Position, Arrays] | None:
    """Reads the newest intact checkpoint into the model.

    A damaged checkpoint, or one of another run, is moved to `damaged_checkpoints/` beside the
    folder, never deleted, and the one before it is read.

    Args:
      model: to read into; it may have been saved on another number of devices.
      sharding: to restore to.
      like: returns arrays of the structure of `unfinished` that was saved at a position; an empty
        mapping: `unfinished` is not read.

    Returns:
      the position and `unfinished`; None if there is no intact checkpoint.

    Raises:
      RunError: the machine cannot read the files now, as for lack of memory; all stay in place.
    """
    found = self._newest(lambda total: self._read(total, model, sharding, like))
    if found is None:
      return None
    position, state, unfinished = found
    nnx.update(model, state)
    return position, unfinished

  def arrays(self, sharding: jax.sharding.Sharding) -> Arrays | None:
    """Reads the state of the network in the newest intact checkpoint, as nested dicts.

    Args:
      sharding: to restore to, if the devices that it was saved on do not exist here.

    Returns:
      None if there is no such checkpoint.
    """

    def read(total: int) -> Arrays:
      _, checksums = self._position(total)
      wanted = ocp.args.StandardRestore(fallback_sharding=sharding)
      return self._arrays(total, checksums, model=wanted)['model']

    return self._newest(read)

  def _newest(self, read: Callable[[int], T]) -> T | None:
    """Returns `read(step)` of the newest checkpoint for which it does not fail."""
    damaged = False
    for total in sorted(self._manager.all_steps(), reverse=True):
      try:
        return read(total)
      except Exception as error:  # Orbax raises bare Exceptions for truncated arrays
        if _is_of_the_machine(error):
          raise RunError(
            f'checkpoint {total} in {self._folder} cannot be read now: {first_line(error)}; it'
            ' is kept; run the same command again to retry'
          ) from error
        self._set_aside(total, error)
        damaged = True
    if damaged and not self._read_only:
      logger.warning('no checkpoint is intact: training starts from the beginning')
    return None

  def _read(self, total: int, model, sharding, like) -> tuple[Position, Arrays, Arrays]:
    position, checksums = self._position(total)
    if self._run is not None and position.run != self._run:
      raise ValueError('it belongs to another run')
    unfinished = like(position)
    items = {'model': _state(model), **unfinished}
    items = {name: _abstract(item, sharding) for name, item in items.items()}
    wanted = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    restored = self._arrays(total, checksums, **wanted)
    return position, restored.pop('model'), restored

  def _position(self, total: int) -> tuple[Position, dict[str, str] | None]:
    """Reads a position, and the checksums of arrays; None: mecl_jax 0.3 or earlier saved it."""
    record = dict(self._restore(total, position=ocp.args.JsonRestore()).position)
    if not {'checksum', 'checksums'} & set(record):
      return Position(**record), None
    if record.pop('checksum') != json_checksum(record):
      raise ValueError('the checksum of its position differs')
    checksums = record.pop('checksums')
    return Position(**record), checksums

  def _arrays(
    self, total: int, checksums: dict[str, str] | None, **wanted: ocp.args.CheckpointArgs
  ) -> Arrays:
    """Reads items, and verifies their checksums."""
    restored = self._restore(total, **wanted)
    for name in wanted:
      if checksums is not None and checksums[name] != _checksum(restored[name]):
        raise ValueError(f'the checksum of its {name} differs')
    return {name: restored[name] for name in wanted}

  def _restore(self, total: int, **wanted: ocp.args.CheckpointArgs) -> ocp.args.Composite:
    with _quiet():
      return self._manager.restore(total, args=ocp.args.Composite(**wanted))

  def _set_aside(self, total: int, error: Exception) -> None:
    reason = str(error).partition(':')[0][:100] or type(error).__name__
    if self._read_only:
      logger.warning('checkpoint %d in %s cannot be read (%s)', total, self._folder, reason)
      return
    aside = self._folder.parent / 'damaged_checkpoints'
    with _one_line_errors(
      f'checkpoint {total} is damaged ({reason}) and cannot be moved to {aside}'
    ):
      aside.mkdir(exist_ok=True)
      target = aside / str(total)
      while target.exists():
        target = target.with_name(target.name + '_')
      (self._folder / str(total)).rename(target)
      self._manager.reload()
    logger.warning('checkpoint %d cannot be read and was moved to %s (%s)', total, target, reason)


def _is_of_the_machine(error: Exception) -> bool:
  """Returns whether an error of reading is of the machine, such as a missing permission."""
  links = list(disk.chain(error))
  if any(isinstance(link, MemoryError | jax.errors.JaxRuntimeError) for link in links):
    return True
  numbers = {disk.system_error(link)[0] for link in links} - {None}
  plain = any(isinstance(link, OSError) and not link.errno for link in links)
  return bool(numbers - _OF_THE_FILES) or (plain and not numbers)


def _state(model: MultiExit) -> Arrays:
  """Returns all state but the keys of dropout, which every step sets."""
  return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def _checksum(state: Any) -> str:
  """Returns the SHA-256 of the paths, dtypes, shapes and bytes of all arrays."""
  paths, _ = jax.tree.flatten_with_path(jax.device_get(state))
  name = functools.partial(jax.tree_util.keystr, simple=True, separator='/')
  return arrays_checksum({name(path): array for path, array in paths})


def _abstract(state: Any, sharding: jax.sharding.Sharding) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


@contextlib.contextmanager
def _one_line_errors(what: str) -> Iterator[None]:
  """Turns an error of the machine, also of the save before, into a RunError of one line."""
  try:
    yield
  except (OSError, ValueError) as error:
    raise RunError(f'{what}: {first_line(error)}') from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Suppresses what Orbax's worker tasks print of an error, which the caller reports."""
  hook, asyncio_logger = sys.unraisablehook, logging.getLogger('asyncio')
  level = asyncio_logger.level
  sys.unraisablehook = lambda _: None
  asyncio_logger.setLevel(logging.CRITICAL)
  try:
    yield
  except BaseException:
    gc.collect()  # tasks that nothing awaits print when they are collected, others shortly after
    time.sleep(_LATE_SECONDS)
    raise
  finally:
    sys.unraisablehook = hook
    asyncio_logger.setLevel(level)
