import dataclasses
import json

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.files import read_json, write_json
from mecl_jax.inference import Latency, latency, load_latency, save_latency

EXITS = ('stage1', 'final')
ANSWER = {'rule': 'fixed', 'exit': 'stage1', 'batch': 1, 'p50_ms': 0.5}


def make():
  rows, segments = [], []
  for batch in (1, 8):
    for number, name in enumerate(EXITS):
      ms = (number + 1.5) * batch / 3
      times = (name, batch, 200, ms, 2 * ms, 9.0, 0.5)
      rows.append(dict(zip(latency.LATENCY, times, strict=True)))
      segments.append(dict(zip(latency.SEGMENTS, (name, batch, ms / 2), strict=True)))
  saving = (8, 80, 10.0, 5.0, 6.0, 0.5, 0.4, 0.8, 0.6, 0)
  savings = [dict(zip(latency.SAVINGS, saving, strict=True))]
  return Latency(
    *('cpu, a toy, 2 cores', '0.10', 'float32', (8, 8, 3), EXITS, (100, 200)),
    *(rows, segments, savings),
  )


def test_saved_latency_is_read_unchanged(tmp_path):
  save_latency(tmp_path / 'latency.json', make())
  assert load_latency(tmp_path / 'latency.json', EXITS) == make()


def test_device_is_read_from_the_file(tmp_path):
  other = dataclasses.replace(make(), device='a GPU')
  save_latency(tmp_path / 'latency.json', other)
  assert load_latency(tmp_path / 'latency.json', EXITS).device == 'a GPU'
  assert latency.device_name().startswith('cpu, ')


def test_times_are_by_exit():
  measured = make()
  np.testing.assert_allclose(measured.prefix_ms(), [0.5, 2.5 / 3])
  np.testing.assert_allclose(measured.segment_ms(8), [2, 10 / 3])
  np.testing.assert_allclose(measured.tail_ms(), [1, 5 / 3])
  assert measured.smallest_batch == 1


def test_times_of_an_image_are_per_rule():
  answers = [
    {'rule': rule, 'exit': name, 'batch': 1, 'p50_ms': ms}
    for rule, times in (('fixed', (0.5, 0.8)), ('margin', (0.6, 1.1)), ('gate', (0.7, 1.4)))
    for name, ms in zip(EXITS, times, strict=True)
  ]
  times = dataclasses.replace(make(), answers=answers).per_image()
  assert times.of('fixed').tolist() == [0.5, 0.8] and list(times.early) == ['margin', 'gate']
  assert times.of('margin').tolist() == [0.6, 1.1] and times.of('gate').tolist() == [0.7, 1.4]


def test_file_of_version_1_has_no_time_of_early_exit(tmp_path):
  path = tmp_path / 'latency.json'
  save_latency(path, make())
  old = read_json(path) | {'version': 1}
  del old['answers']
  write_json(path, old)
  assert load_latency(path, EXITS) == make() and make().per_image() is None


def test_unmeasured_batch_size_is_rejected():
  with pytest.raises(UserError, match='not measured at a batch size of 4, but at 1, 8'):
    make().segment_ms(4)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'format': 'a poem'}, 'not a file of latencies'),
    ({'version': 3}, 'has version 3, not 1 or 2'),
    ({'answers': [ANSWER | {'rule': 'margin'}]}, 'damaged: it has no times of fixed'),
    ({'answers': [ANSWER | {'rule': 3}]}, 'damaged: rule is 3'),
    ({'answers': [{'rule': 'fixed'}]}, "damaged: a row has .*'fixed'.*, not the columns rule"),
    ({'exits': ['stage1', 'stage2', 'final']}, 'exits stage1, stage2, final, not stage1, final'),
    ({'exits': ['stage1', 'stage2']}, 'damaged: there is no exit final'),
    ({'rows': [{'exit': 'stage1'}]}, 'damaged: a row has .*, not the columns exit, batch'),
    ({'rows': None}, 'damaged'),
    ({'rows': []}, 'damaged: it has no times'),
    ({'segments': [{'exit': 'stage1', 'batch': 1, 'p50_ms': 0.0}]}, 'damaged: p50_ms is 0.0'),
    ({'segments': [{'exit': 'stage1', 'batch': 1, 'p50_ms': 'much'}]}, 'damaged'),
    ({'segments': [{'exit': 'stage1', 'batch': '1', 'p50_ms': 1.0}]}, 'damaged: batch is'),
    ({'rows': [list(latency.LATENCY)]}, 'damaged: a row has'),
    ({'segments': [{'exit': 'stage1', 'batch': 1, 'p50_ms': 10**400}]}, 'damaged: p50_ms is 1000'),
    ({'macs': [1.5, 2.5]}, 'damaged: 1.5 is not of type int'),
    ({'exits': [1, 2]}, 'damaged: 1 is not of type str'),
    ({'image_shape': 8}, 'damaged'),
    ({'weather': 'fine'}, 'damaged'),
  ],
)
def test_bad_file_is_rejected_in_one_line(change, message, tmp_path):
  path = tmp_path / 'latency.json'
  save_latency(path, make())
  file = json.loads(path.read_text()) | change
  del file['checksum']
  path.write_text(json.dumps(file))
  with pytest.raises(UserError, match=message) as caught:
    load_latency(path, EXITS)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', [None, '', '{', '[1]'])
def test_other_file_is_rejected(text, tmp_path):
  path = tmp_path / 'latency.json'
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match='measures again'):
    load_latency(path, EXITS)
