"""The deployment benchmark: what it times, its checks and its tables."""

import numpy as np
import pytest

from benchmarks import deploy, deploy_table
from benchmarks.deployed import cases, timing
from benchmarks.deployed.cases import CALLS, JAX, PRECISIONS, TORCH, Case
from mecl_jax.errors import RunError
from tests.benchmarks.test_accelerator import FACTS

EFFECT = {'accuracy': 0.625, 'share': [0.5, 0.5], 'macs': 15.0}
BUNDLE = {
  'exits': [
    {'name': 'a', 'file': '1.onnx', 'macs': 10, 'validation_accuracy': 0.6, 'test_accuracy': 0.5},
    {'name': 'z', 'file': '2.onnx', 'macs': 20, 'validation_accuracy': 0.7, 'test_accuracy': 0.75},
  ],
  'policies': {
    'fast': {'rule': 'margin', 'thresholds': [0.5], 'validation': EFFECT, 'test': EFFECT}
  },
}


def spread(median):
  return {'min': median / 2, 'median': median, 'max': 2 * median}


def row(kind, name, batch, **ms):
  sides = {
    side: {'ms': spread(value), 'jax_to_this': spread(ms['jax'] / value)}
    for side, value in ms.items()
  }
  return {'kind': kind, 'name': name, 'batch': batch, 'sides': sides}


@pytest.fixture
def described(tmp_path):
  """What the results say about a bundle whose models have 1,500 and 500 bytes."""
  for number, size in ((1, 1500), (2, 500)):
    (tmp_path / f'{number}.onnx').write_bytes(bytes(size))
  return cases.describe(BUNDLE, tmp_path)


@pytest.fixture
def measured(described):
  saving = {'policy': 'balanced', 'static_ms': 200.0, 'measured_saving': 0.45}
  deadline = {'share': 0.5, 'busy': 2, 'deadline_ms': 1.25, 'in_time': 0.5, 'mean_exit': 0.25}
  result = {
    'name': 'toy',
    'run': {'backbone': 'resnet56', 'dataset': 'cifar10'},
    'bundles': dict.fromkeys(PRECISIONS, described),
    'times': [
      row('exit', 'z', 1, float32=2.0, float16=4.0, int8=1.0, jax=5.0, torch=8.0),
      row('point', 'fast', 256, float32=2.0, jax=6.0),
    ],
    'savings': [
      saving | {'batch': 1, 'allowed_saving': 0.0, 'share_reached': None},
      saving | {'batch': 256, 'allowed_saving': 0.5, 'share_reached': 0.9},
    ],
    'deadlines': [deadline | {'accuracy': 0.75}],
  }
  return {'facts': FACTS | {'onnxruntime': '1.2', 'torch': '9'}, 'result': result}


def test_every_exit_and_point_is_timed_at_both_batch_sizes():
  places = [('exit', 'a'), ('exit', 'z'), ('point', 'fast')]
  assert cases.cases(BUNDLE) == [Case(*place, batch) for batch in (1, 256) for place in places]


def test_sides_have_the_cases_that_they_can_run():
  sides, points = (*PRECISIONS, JAX, TORCH), {name: ['fast'] for name in (*PRECISIONS, JAX)}
  points['int8'] = []  # exported with other points

  def of(*case):
    return cases.sides_of(Case(*case, 1), sides, 'z', points)

  assert of('exit', 'z') == list(sides)
  assert of('exit', 'a') == [*PRECISIONS, JAX]
  assert of('point', 'fast') == ['float32', 'float16', JAX]
  points['float32'] = ['z']
  assert of('point', 'z') == ['float32']  # a point with the name of the last exit


def test_turns_are_as_long_as_their_bounds_allow():
  assert cases.calls_of_turn(1, 0.001) == CALLS[1][1]
  assert cases.calls_of_turn(1, 1e9) == CALLS[1][0]
  assert cases.calls_of_turn(1, 2.5, seconds=0.5) == 200


def test_bundle_is_described_with_the_size_of_its_models(described):
  assert described['bytes'] == 2000 and described['segment_bytes'] == [1500, 500]
  assert described['exits'][1]['test_accuracy'] == 0.75
  assert described['policies'] == {'fast': {'rule': 'margin', 'validation': EFFECT, 'test': EFFECT}}


def test_folders_of_bundles():
  assert [cases.folder_of(each) for each in PRECISIONS] == [
    *('bundle', 'bundle-float16', 'bundle-int8')
  ]


@pytest.mark.parametrize('figure', ['mean_exit', 'accuracy'])
def test_bundle_of_another_network_is_an_error(figure):
  ours = {'mean_exit': 0.5, 'accuracy': 0.5}
  case = Case('exit', 'a', 1)
  cases.check_same_answers(case, {JAX: ours, 'float32': ours | {figure: 0.495}})
  with pytest.raises(RunError, match='exit a'):
    cases.check_same_answers(case, {JAX: ours, 'float32': ours | {figure: 0.4}})


def test_tables_have_all_sides(measured):
  text = deploy_table.block([measured])
  assert '### `toy`: resnet56 on cifar10' in text
  assert 'On cpu, toy, ONNX Runtime 1.2, jax 1, torch 9, c, today' in text
  assert '`python -m benchmarks.deploy --workdir=runs/toy`' in text
  assert '| int8 | 2 | 50.00% | 75.00% | 62.50% |' in text
  assert '| exit `z` | 1 | 2.00 | 4.00 | 1.00 | 5.00 | 8.00 | 2.50 (1.25 to 5.00) |' in text
  assert '| point `fast` | 256 | 2.00 |  |  | 6.00 |  | 3.00 (1.50 to 6.00) |' in text
  assert 'At batch 1, `balanced` saves 45.0% of 200.00 ms; the times of the segments allow' in text
  assert '90.0% of the 50.0% that the times of the segments allow.' in text
  assert '| 50% | 1.25 | 2 | 50.0% | 0.25 | 75.0% |' in text


def test_rows_have_as_many_cells_as_their_heading(measured):
  widths = list[set[int]]()
  for line in deploy_table.block([measured]).split('\n'):
    if not line.startswith('|'):
      widths.append(set())
    else:
      widths[-1].add(line.count('|'))
  assert [len(width) for width in widths if width] == [1, 1, 1]


def test_missing_pytorch_leaves_its_cells_empty(measured):
  del measured['facts']['torch'], measured['result']['times'][0]['sides']['torch']
  text = deploy_table.block([measured])
  assert 'torch 9' not in text
  assert '| 5.00 |  | 2.50 (1.25 to 5.00) |' in text


def test_nothing_measured_names_the_command():
  assert deploy_table.block([]) == deploy_table.NOT_YET + '\n'


def test_images_are_repeated_where_there_are_few():
  images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
  test = timing.Test(images, np.arange(3)).first(8)
  assert test.labels.tolist() == test.images.ravel().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
  assert timing.in_batches(test.images, 4).shape == (2, 4, 1, 1, 1)


def test_effect_is_that_of_the_answers():
  logits = np.array([[0.0, 1.0], [2.0, 1.0]])
  found = timing.effect(np.array([0, 1]), logits, np.array([1, 1]))
  assert found == {'mean_exit': 0.5, 'accuracy': 0.5}


def test_images_are_read_as_they_were_written(tmp_path):
  written = timing.Test(np.ones((2, 4, 4, 3), np.uint8), np.array([3, 4]))
  timing.write_test(str(tmp_path), written)
  found = timing.read_test(str(tmp_path))
  assert found.images.dtype == np.uint8 and found.labels.tolist() == [3, 4]


def test_every_batch_is_timed_once_after_a_warm_up():
  called = []
  batches = timing.in_batches(np.arange(6).reshape(6, 1, 1, 1), 2)
  timing.mean_ms(lambda images: called.append(images.ravel().tolist()), batches)
  assert called == [[0, 1], [0, 1], [2, 3], [4, 5]]


def test_saving_is_a_share_of_what_the_segments_allow():
  turn = [[10.0, 6.0, 4.0, 6.0], [10.0, 8.0, 4.0, 6.0]]  # whole, early exit, two segments
  slow = [[90.0, 90.0, 90.0, 90.0]] * 2  # a turn beside other work, which medians leave out
  exits = np.array([[0, 0], [0, 1]])  # half of the second batch reaches the second segment
  found = timing.saved(np.array([turn, slow, turn]), exits)
  assert found['static_ms'] == 10 and found['dynamic_ms'] == 7
  assert found['allowed_ms'] == (4 + 7) / 2
  assert found['share_reached'] == pytest.approx(0.3 / 0.45)
  assert timing.saved(np.array([turn]), np.ones((2, 2), int))['share_reached'] is None


def test_missing_bundles_are_exported(monkeypatch, tmp_path):
  exported = []

  def export(workdir, precision):
    exported.append(precision)
    folder = workdir / cases.folder_of(precision)
    folder.mkdir()
    (folder / 'bundle.json').write_text('{"policies": {}}')

  monkeypatch.setattr(deploy, '_export', export)
  (tmp_path / 'bundle').mkdir()
  (tmp_path / 'bundle/bundle.json').write_text('{"policies": {"fast": {}}}')
  found = deploy.read_bundles(tmp_path)
  assert exported == ['float16', 'int8']
  assert list(found) == list(PRECISIONS) and 'fast' in found['float32']['policies']


def test_failed_export_is_one_line(tmp_path, capfd):
  assert deploy.main([f'--workdir={tmp_path / "nowhere"}']) == 1
  assert 'has no bundle, and its export failed' in capfd.readouterr().err
