"""Devices: a mesh with one axis, over which batches are split, and their memory."""

import os

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mecl_jax.errors import UserError

AXIS = 'data'


def make_mesh(batch_size: int) -> Mesh:
  """Makes a mesh over all local devices.

  Raises:
    UserError: the batch cannot be split evenly over them.
  """
  devices = jax.local_devices()
  if batch_size % len(devices):
    raise UserError(f'batch_size is {batch_size}; it must be a multiple of {len(devices)} devices')
  return Mesh(np.array(devices), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def split_over(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """Returns the sharding of an array that is split over the devices along `axis`."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def for_batch(mesh: Mesh, batch_size: int) -> NamedSharding:
  """Returns the sharding of a batch: split if it can be split evenly, else whole."""
  return replicated(mesh) if batch_size % mesh.size else split_over(mesh)


def memory_budget() -> int:
  """Returns the bytes of one device that data may use: half of its memory."""
  stats = jax.local_devices()[0].memory_stats() or {}
  machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // jax.local_device_count()
  return stats.get('bytes_limit', machine) // 2


def on_cpu() -> bool:
  """Returns whether JAX computes on a CPU."""
  return jax.default_backend() == 'cpu'
