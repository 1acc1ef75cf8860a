from collections import Counter

import numpy as np
import pytest

from mecl_jax.curriculum import Curriculum, pacing, sampler
from mecl_jax.curriculum.permutation import permute
from mecl_jax.errors import UserError


def make(size=1000, batch_size=10, pace=None, seed=0, host=0, hosts=1):
  order = np.random.default_rng(9).permutation(size)
  return Curriculum(order, pace or pacing.constant(), batch_size, seed, host, hosts)


def share_out(hosts, **arguments):
  """Returns the same curriculum for each of `hosts` hosts."""
  return [make(host=host, hosts=hosts, **arguments) for host in range(hosts)]


@pytest.fixture
def permuted(monkeypatch):
  """Records the number of positions of every call of `permute`."""
  lengths = []

  def counting(positions, *rest):
    lengths.append(np.size(positions))
    return permute(positions, *rest)

  monkeypatch.setattr(sampler, 'permute', counting)
  return lengths


def test_batch_is_a_pure_function_of_the_step():
  one, other = make(), make()
  later = one.batch_ids(777)
  for step in range(5):
    one.batch_ids(step)
  assert np.array_equal(one.batch_ids(777), later)
  assert np.array_equal(other.batch_ids(777), later)
  assert not np.array_equal(make(seed=1).batch_ids(777), later)


def test_several_steps_equal_single_steps():
  curriculum = make(pace=pacing.fixed_exponential(start=0.1, increase=1.3, step_length=3))
  together = curriculum.batch_ids(range(5, 40))
  assert together.shape == (35, 10)
  assert np.array_equal(together, [curriculum.batch_ids(step) for step in range(5, 40)])


def test_every_pass_is_another_permutation():
  curriculum = make(size=100, batch_size=10)
  passes = [np.concatenate([curriculum.batch_ids(10 * p + s) for s in range(10)]) for p in range(3)]
  for shown in passes:
    assert sorted(shown) == list(range(100))
  assert not np.array_equal(passes[0], passes[1])


def test_batches_may_span_two_passes():
  curriculum = make(size=101, batch_size=10)
  shown = Counter(np.concatenate([curriculum.batch_ids(s) for s in range(101)]).tolist())
  assert set(shown.values()) == {10} and len(shown) == 101


def test_shows_only_the_visible_prefix():
  curriculum = make(pace=pacing.fixed_exponential(start=0.1, increase=2.0, step_length=50))
  for start, visible in ((0, 100), (50, 200), (100, 400), (150, 800), (200, 1000)):
    assert curriculum.visible(start) == curriculum.visible(start + 49) == visible
    ids = np.concatenate([curriculum.batch_ids(s) for s in range(start, start + 50)])
    assert set(ids) <= set(curriculum.order[:visible])
    assert curriculum.ranks(start).max() < visible
  first = np.concatenate([curriculum.batch_ids(s) for s in range(50)])
  assert set(first) == set(curriculum.order[:100])


def test_visible_count_is_rounded_up_exactly():
  pace = pacing.fixed_exponential(0.04, 1.9, 100)
  assert make(size=45000, pace=pace).visible(0) == 1800
  assert make(size=45001, pace=pace).visible(0) == 1801


def test_at_least_one_batch_is_visible():
  curriculum = make(batch_size=64, pace=pacing.constant(0.001))
  assert curriculum.visible(0) == 64
  assert sorted(curriculum.batch_ids(0)) == sorted(curriculum.order[:64])


@pytest.mark.parametrize('step', [0, 777, 10_000_000])
def test_cost_does_not_depend_on_the_step(permuted, step):
  curriculum = make(size=1000, batch_size=10)  # a pass has 100 whole batches
  assert curriculum.batch_ids(step).shape == (10,)
  assert permuted == [10]


def test_host_computes_its_part_only(permuted):
  make(batch_size=100, host=3, hosts=20).batch_ids(10_000_000)
  assert permuted == [5]


def test_steps_with_equal_prefix_share_a_permutation(permuted):
  make(size=1000, batch_size=10, hosts=2).batch_ids(range(50, 150))
  assert permuted == [
    250,
    250,
  ]  # half of the last 50 batches of one pass and of the first 50 of the next


def test_far_steps_are_exact():
  size, batch_size = 100_003, 4096
  curriculum = make(size=size, batch_size=batch_size, seed=5)
  for step in (10**7, 10**12, 10**16):  # the last position exceeds 64 bits
    number, place = divmod(step * batch_size, size)
    whole = permute(np.arange(size), size, 5, size, number)
    after = permute(np.arange(size), size, 5, size, number + 1)
    shown = np.concatenate([whole, after])[place : place + batch_size]
    assert np.array_equal(curriculum.batch_ids(step), curriculum.order[shown])


def test_batches_of_a_seed_do_not_change():
  """Runs can resume in the middle of a pass after an update of this package."""
  curriculum = make(size=45000, batch_size=4, pace=pacing.constant(0.04), seed=7)
  assert curriculum.ranks([0, 449, 450, 10**7]).tolist() == [
    [1275, 1030, 402, 1490],
    [275, 625, 289, 495],
    [1304, 1143, 703, 1073],
    [931, 986, 887, 964],
  ]


@pytest.mark.parametrize('hosts', [1, 2, 4, 12])
def test_parts_of_all_hosts_form_the_batch(hosts):
  pace = pacing.fixed_exponential(start=0.1, increase=1.3, step_length=3)
  parts = share_out(hosts, size=1001, batch_size=12, pace=pace, seed=4)
  whole = make(size=1001, batch_size=12, pace=pace, seed=4)
  steps = [0, 7, 8, 9, 100, 101, 83, 10_000_000, 5, 5]
  assert parts[0].batch_ids(steps).shape == (10, 12 // hosts)
  together = np.concatenate([part.batch_ids(steps) for part in parts], axis=1)
  assert np.array_equal(together, whole.batch_ids(steps))
  assert np.array_equal(np.concatenate([part.batch_ids(8) for part in parts]), whole.batch_ids(8))


def test_256_hosts_show_every_example_once_per_pass():
  size, batch_size, visible = 6400, 512, 2560  # 5 batches per pass
  parts = share_out(256, size=size, batch_size=batch_size, pace=pacing.constant(0.4))
  shown = np.stack([part.ranks(range(10)) for part in parts])
  for steps in (slice(0, 5), slice(5, 10)):
    counts = np.bincount(shown[:, steps].ravel(), minlength=size)
    assert (counts[:visible] == 1).all() and not counts[visible:].any()
  # A host has other examples in the next pass, because parts are those of batches, not of the data.
  assert (np.sort(shown[:, :5].reshape(256, -1)) != np.sort(shown[:, 5:].reshape(256, -1))).any()


def test_hosts_with_batches_that_span_two_passes():
  visible = 101
  parts = share_out(8, size=1000, batch_size=16, pace=pacing.constant(0.101))
  shown = np.concatenate([part.ranks(range(visible)).ravel() for part in parts])
  assert np.array_equal(np.bincount(shown), np.full(visible, 16))


class CountingOrder:
  """An order that counts the entries that are read."""

  def __init__(self, size):
    self.size, self.read = size, 0

  def __len__(self):
    return self.size

  def __getitem__(self, places):
    self.read += np.size(places)
    return places


def test_reads_only_the_entries_of_the_batch():
  order = CountingOrder(10**9)
  curriculum = Curriculum(order, pacing.constant(0.04), 4096, seed=0, host=255, hosts=256)
  assert order.read == 0
  curriculum.visible(0)
  curriculum.ranks(0)
  assert order.read == 0
  curriculum.batch_ids(10_000_000)
  assert order.read == 16


def test_memory_mapped_order_of_a_billion(tmp_path):
  path = tmp_path / 'order.npy'
  written = np.lib.format.open_memmap(path, 'w+', np.int32, (10**9,))  # sparse: a few kilobytes
  curriculum = Curriculum(written, pacing.constant(0.04), 4096, seed=0)
  ranks = curriculum.ranks(10_000_000)
  written[ranks[:5]] = [11, 12, 13, 14, 15]
  written.flush()
  order = np.load(path, mmap_mode='r')
  ids = Curriculum(order, pacing.constant(0.04), 4096, seed=0).batch_ids(10_000_000)
  assert ids.dtype == np.int32 and ids.shape == (4096,)
  assert ids[:5].tolist() == [11, 12, 13, 14, 15] and not ids[5:].any()
  assert type(ids) is np.ndarray  # not a memory map


def test_too_large_batch_is_rejected():
  with pytest.raises(UserError, match='batch_size is 11; it must be between 1 and the 10 '):
    make(size=10, batch_size=11)


def test_indivisible_batch_is_rejected():
  with pytest.raises(UserError, match=r'batch_size is 10; .* divisible by the number of hosts, 3'):
    make(batch_size=10, hosts=3)
  with pytest.raises(UserError, match=r'batch_size is 10; .* divisible by the number of hosts, 0'):
    make(batch_size=10, hosts=0)


@pytest.mark.parametrize('host', [-1, 5])
def test_unknown_host_is_rejected(host):
  with pytest.raises(UserError, match=f'host is {host}; with 5 hosts it must be between 0 and 4'):
    make(batch_size=10, host=host, hosts=5)


def test_passes_show_every_visible_example_once():
  curriculum = make(size=101, batch_size=10)  # batches span two passes
  ids, passes = curriculum.batch_ids(range(40)), curriculum.passes(range(40))
  assert passes.shape == ids.shape and passes.max() == 3
  for number in range(3):
    assert sorted(ids[passes == number]) == list(range(101))


def test_passes_of_several_hosts_are_those_of_one():
  curricula = share_out(2, size=101, batch_size=10)
  parts = [curriculum.passes(range(40)) for curriculum in curricula]
  assert np.array_equal(np.concatenate(parts, axis=1), make(size=101).passes(range(40)))


def test_passes_count_within_a_constant_prefix():
  pace = pacing.fixed_exponential(start=0.1, increase=2.0, step_length=20)
  curriculum = make(pace=pace)  # 100 visible for 20 steps, then 200
  assert (curriculum.passes(range(20)) == np.repeat([0, 1], 10)[:, None]).all()
  assert (np.diff(curriculum.passes(range(20, 40))[:, 0]) >= 0).all()
  for first in (20,):
    shown = curriculum.batch_ids(range(first, 40)), curriculum.passes(range(first, 40))
    assert len(set(zip(*map(np.ravel, shown), strict=True))) == 200
