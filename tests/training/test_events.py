import struct

import pytest
from tensorboardX import event_file_writer
from tensorboardX.proto.event_pb2 import Event, SessionLog

from mecl_jax.training.events import Events


def read(folder):
  """Returns the events of the only file of a folder."""
  (path,) = folder.iterdir()
  data, events = path.read_bytes(), []
  while data:  # length, its checksum, the event, its checksum
    (length,) = struct.unpack('<Q', data[:8])
    events.append(Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  return events


def test_points_of_curves_are_written(tmp_path):
  events = Events(tmp_path / 'tensorboard', purge_step=8)
  events.add_scalar('loss', 0.5, 9)
  events.add_scalar('accuracy/final', 0.25, 10)
  events.close()
  _, version, start, *points = read(tmp_path / 'tensorboard')
  assert version.file_version == 'brain.Event:2' and version.step == 8
  assert start.session_log.status == SessionLog.START and start.step == 8
  found = [(p.step, p.summary.value[0].tag, p.summary.value[0].simple_value) for p in points]
  assert found == [(9, 'loss', 0.5), (10, 'accuracy/final', 0.25)]


def test_error_of_the_disk_reaches_the_caller(tmp_path, monkeypatch):
  class Full:
    def __init__(self, path):
      pass

    def write(self, event):
      raise OSError(28, 'No space left on device')

  monkeypatch.setattr(event_file_writer, 'RecordWriter', Full)
  with pytest.raises(OSError, match='No space left'):
    Events(tmp_path, purge_step=0)
