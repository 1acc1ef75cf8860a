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
  """The same curriculum as each of `hosts` hosts has it."""
  return [make(host=host, hosts=hosts, **arguments) for host in range(hosts)]


@pytest.fixture
def asked(monkeypatch):
  """Per call of `permute`, how many positions it was asked for."""
  lengths = []

  def counting(positions, *rest):
    lengths.append(np.size(positions))
    return permute(positions, *rest)

  monkeypatch.setattr(sampler, 'permute', counting)
  return lengths


def test_a_step_is_a_pure_function():
  one, other = make(), make()
  later = one.batch_ids(777)
  for step in range(5):
    one.batch_ids(step)
  assert np.array_equal(one.batch_ids(777), later)
  assert np.array_equal(other.batch_ids(777), later)
  assert not np.array_equal(make(seed=1).batch_ids(777), later)


def test_several_steps_at_once_are_the_same_steps():
  curriculum = make(pace=pacing.fixed_exponential(start=0.1, increase=1.3, step_length=3))
  together = curriculum.batch_ids(range(5, 40))
  assert together.shape == (35, 10)
  assert np.array_equal(together, [curriculum.batch_ids(step) for step in range(5, 40)])


def test_every_pass_shows_every_example_once_and_in_another_order():
  curriculum = make(size=100, batch_size=10)
  passes = [np.concatenate([curriculum.batch_ids(10 * p + s) for s in range(10)]) for p in range(3)]
  for shown in passes:
    assert sorted(shown) == list(range(100))
  assert not np.array_equal(passes[0], passes[1])


def test_passes_that_batches_do_not_divide_are_still_even():
  curriculum = make(size=101, batch_size=10)
  shown = Counter(np.concatenate([curriculum.batch_ids(s) for s in range(101)]).tolist())
  assert set(shown.values()) == {10} and len(shown) == 101


def test_shows_the_visible_prefix_and_nothing_else():
  curriculum = make(pace=pacing.fixed_exponential(start=0.1, increase=2.0, step_length=50))
  for start, visible in ((0, 100), (50, 200), (100, 400), (150, 800), (200, 1000)):
    assert curriculum.visible(start) == curriculum.visible(start + 49) == visible
    ids = np.concatenate([curriculum.batch_ids(s) for s in range(start, start + 50)])
    assert set(ids) <= set(curriculum.order[:visible])
    assert curriculum.ranks(start).max() < visible
  first = np.concatenate([curriculum.batch_ids(s) for s in range(50)])
  assert set(first) == set(curriculum.order[:100])


def test_visible_is_rounded_up_but_not_by_floating_point():
  pace = pacing.fixed_exponential(0.04, 1.9, 100)
  assert make(size=45000, pace=pace).visible(0) == 1800
  assert make(size=45001, pace=pace).visible(0) == 1801


def test_at_least_one_batch_is_visible():
  curriculum = make(batch_size=64, pace=pacing.constant(0.001))
  assert curriculum.visible(0) == 64
  assert sorted(curriculum.batch_ids(0)) == sorted(curriculum.order[:64])


@pytest.mark.parametrize('step', [0, 777, 10_000_000])
def test_any_step_costs_the_same(asked, step):
  curriculum = make(size=1000, batch_size=10)  # 100 batches to a pass, each within one
  assert curriculum.batch_ids(step).shape == (10,)
  assert asked == [10]


def test_a_host_computes_no_more_than_its_part(asked):
  make(batch_size=100, host=3, hosts=20).batch_ids(10_000_000)
  assert asked == [5]


def test_steps_that_see_the_same_prefix_share_their_work(asked):
  make(size=1000, batch_size=10, hosts=2).batch_ids(range(50, 150))
  assert asked == [250, 250]  # a half of the last 50 batches of a pass and of the first 50 of one


def test_far_steps_are_exact():
  size, batch_size = 100_003, 4096
  curriculum = make(size=size, batch_size=batch_size, seed=5)
  for step in (10**7, 10**12, 10**16):  # the last position is beyond 64 bits
    number, place = divmod(step * batch_size, size)
    whole = permute(np.arange(size), size, 5, size, number)
    after = permute(np.arange(size), size, 5, size, number + 1)
    shown = np.concatenate([whole, after])[place : place + batch_size]
    assert np.array_equal(curriculum.batch_ids(step), curriculum.order[shown])


def test_the_batches_of_a_seed_stay_what_they_were():
  """Runs resume in the middle of a pass, also after an update of this package."""
  curriculum = make(size=45000, batch_size=4, pace=pacing.constant(0.04), seed=7)
  assert curriculum.ranks([0, 449, 450, 10**7]).tolist() == [
    [1275, 1030, 402, 1490],
    [275, 625, 289, 495],
    [1304, 1143, 703, 1073],
    [931, 986, 887, 964],
  ]


@pytest.mark.parametrize('hosts', [1, 2, 4, 12])
def test_the_parts_of_all_hosts_are_the_batch_of_one(hosts):
  pace = pacing.fixed_exponential(start=0.1, increase=1.3, step_length=3)
  parts = share_out(hosts, size=1001, batch_size=12, pace=pace, seed=4)
  whole = make(size=1001, batch_size=12, pace=pace, seed=4)
  steps = [0, 7, 8, 9, 100, 101, 83, 10_000_000, 5, 5]
  assert parts[0].batch_ids(steps).shape == (10, 12 // hosts)
  together = np.concatenate([part.batch_ids(steps) for part in parts], axis=1)
  assert np.array_equal(together, whole.batch_ids(steps))
  assert np.array_equal(np.concatenate([part.batch_ids(8) for part in parts]), whole.batch_ids(8))


def test_256_hosts_show_every_example_of_the_prefix_once_a_pass():
  size, batch_size, visible = 6400, 512, 2560  # 5 batches to a pass
  parts = share_out(256, size=size, batch_size=batch_size, pace=pacing.constant(0.4))
  shown = np.stack([part.ranks(range(10)) for part in parts])
  for steps in (slice(0, 5), slice(5, 10)):
    counts = np.bincount(shown[:, steps].ravel(), minlength=size)
    assert (counts[:visible] == 1).all() and not counts[visible:].any()
  # A host has other examples in the next pass: its part of the batch is not its part of the data.
  assert (np.sort(shown[:, :5].reshape(256, -1)) != np.sort(shown[:, 5:].reshape(256, -1))).any()


def test_hosts_are_even_where_batches_do_not_divide_the_prefix():
  visible = 101
  parts = share_out(8, size=1000, batch_size=16, pace=pacing.constant(0.101))
  shown = np.concatenate([part.ranks(range(visible)).ravel() for part in parts])
  assert np.array_equal(np.bincount(shown), np.full(visible, 16))


class CountingOrder:
  """An order that counts what is read of it."""

  def __init__(self, size):
    self.size, self.read = size, 0

  def __len__(self):
    return self.size

  def __getitem__(self, places):
    self.read += np.size(places)
    return places


def test_reads_of_the_order_what_is_asked_for_and_no_more():
  order = CountingOrder(10**9)
  curriculum = Curriculum(order, pacing.constant(0.04), 4096, seed=0, host=255, hosts=256)
  assert order.read == 0
  curriculum.visible(0)
  curriculum.ranks(0)
  assert order.read == 0
  curriculum.batch_ids(10_000_000)
  assert order.read == 16


def test_takes_a_memory_mapped_order_of_a_billion(tmp_path):
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
  assert type(ids) is np.ndarray  # holds no mapping


def test_a_batch_larger_than_the_split_is_an_error():
  with pytest.raises(UserError, match='batch_size is 11; the training split has 10 '):
    make(size=10, batch_size=11)


def test_hosts_that_do_not_divide_the_batch_are_an_error():
  with pytest.raises(UserError, match='batch_size is 10; 3 hosts do not divide it'):
    make(batch_size=10, hosts=3)
  with pytest.raises(UserError, match='batch_size is 10; 0 hosts'):
    make(batch_size=10, hosts=0)


@pytest.mark.parametrize('host', [-1, 5])
def test_a_host_that_is_not_there_is_an_error(host):
  with pytest.raises(UserError, match=f'host is {host}; with 5 hosts it is 0 to 4'):
    make(batch_size=10, host=host, hosts=5)
