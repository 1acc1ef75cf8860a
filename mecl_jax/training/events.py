"""TensorBoard events of a run."""

import pathlib
import time

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

FLUSH_SECONDS = 10.0


class Events:
  """A file of TensorBoard events.

  The `SummaryWriter` of tensorboardX writes in a thread. If the disk is full, that thread ends with
  a traceback, and the program waits for it for ever. Here the caller writes, and gets the error.

  Args:
    folder: of the files of all starts of a run.
    purge_step: TensorBoard hides events of earlier starts from this step on.

  Raises:
    OSError: the file cannot be written, also by the methods.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int):
    folder.mkdir(parents=True, exist_ok=True)
    self._writer = EventsWriter(str(folder / 'events'))
    self._flushed = time.monotonic()
    start = SessionLog(status=SessionLog.START)
    self._writer.write_event(Event(step=purge_step, file_version='brain.Event:2'))
    self._writer.write_event(Event(step=purge_step, session_log=start))

  def add_scalar(self, name: str, value: float, step: int) -> None:
    """Adds a point to the curve of a name."""
    point = summary.scalar(name, value)
    self._writer.write_event(Event(wall_time=time.time(), step=step, summary=point))
    if time.monotonic() - self._flushed >= FLUSH_SECONDS:
      self._writer.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    """Writes what is left to the file, and closes it."""
    self._writer.close()
