"""What the benchmark measures."""

import numpy as np
import pytest

from mecl_jax.deploy.runtime.benchmark import BATCH, benchmark
from mecl_jax.deploy.runtime.network import Network
from tests.deploy.bundles import make_policy, on_run, random_tables, write_bundle

pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')

POLICIES = {
  'margin': make_policy('margin', [0.5, 0.5], share=[0.5, 0.25, 0.25]),
  'second': make_policy('fixed', ['inf', '-inf'], share=[0.0, 1.0, 0.0]),
}


def test_images_leave_as_the_test_images_did(tmp_path):
  network = Network(write_bundle(tmp_path, random_tables(), policies=POLICIES), threads=1)
  rows, ran = benchmark(network, 1e-3, POLICIES), []
  exits = [next(rows) for _ in range(3)]
  assert [(row['exit'], row['name']) for row in exits] == list(
    enumerate(('early', 'middle', 'late'))
  )
  assert (np.diff([row['median_ms'] for row in exits]) > 0).all()
  assert all(row['p95_ms'] >= row['median_ms'] for row in exits)
  on_run(network, lambda number, images: ran.append((number, images)))
  for name, mean_exit, at_exits in (('margin', 0.75, [64, 32, 16]), ('second', 1, [64, 64])):
    ran.clear()
    row = next(rows)
    assert (row['policy'], row['mean_exit']) == (name, mean_exit)
    assert row['images_per_s_at_1'] > 0 and row[f'images_per_s_at_{BATCH}'] > 0
    alone = [number for number, images in ran[: sum(at_exits)]]
    assert [alone.count(number) for number in range(len(at_exits))] == at_exits
    assert ran[-len(at_exits) :] == list(enumerate(at_exits))


def test_deadlines_are_parts_of_the_time_of_the_last_exit(tmp_path):
  network = Network(write_bundle(tmp_path, random_tables(), policies=POLICIES), threads=1)
  rows = list(benchmark(network, 1e-3, ['second']))
  deadlines = [row['deadline_ms'] / rows[2]['median_ms'] for row in rows[4:]]
  assert deadlines == pytest.approx([0.5, 0.75, 1])
  assert [row['deadline'][:4] for row in rows[4:]] == ['50% ', '75% ', '100%']
  assert all(0 <= row['share_in_time'] <= 1 and 0 <= row['mean_exit'] <= 2 for row in rows[4:])
