"""A seeded permutation of 0..n-1, evaluated at any positions in O(1) memory.

A Feistel network permutes the numbers of `bits` bits, where 2^bits < 2n; numbers that fall outside
0..n-1 are sent through again until they come back inside ("cycle walking"), which keeps it a
permutation (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
"""

import numpy as np

_ROUNDS = 8
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads neighbouring inputs


def permute(positions: np.ndarray, size: int, *seed: int) -> np.ndarray:
  """Returns where a permutation of 0..size-1 sends `positions`.

  Args:
    positions: integers in 0..size-1, any shape.
    size: length of what is permuted.
    *seed: whole numbers, at least 0, that choose the permutation.

  Returns:
    int64 array of the same shape; distinct positions give distinct results.
  """
  bits = max(2, (size - 1).bit_length())
  keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)
  result = _feistel(np.asarray(positions, np.uint64), bits, keys)
  outside = result >= size
  while outside.any():
    result[outside] = _feistel(result[outside], bits, keys)
    outside = result >= size
  return result.astype(np.int64)


def _feistel(values: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
  """A permutation of the numbers of `bits` bits: each half is changed by a hash of the other."""
  low_bits = np.uint64(bits // 2)
  low_mask, high_mask = np.uint64((1 << bits // 2) - 1), np.uint64((1 << (bits - bits // 2)) - 1)
  low, high = values & low_mask, values >> low_bits
  for round_, key in enumerate(keys):
    if round_ % 2:
      high = high ^ (_hash(low, key) & high_mask)
    else:
      low = low ^ (_hash(high, key) & low_mask)
  return (high << low_bits) | low


def _hash(values: np.ndarray, key: np.uint64) -> np.ndarray:
  """Mixes 64 bits (wrapping), so that the low bits of the result depend on all of the input."""
  mixed = (values ^ key) * _MULTIPLIER
  mixed = (mixed ^ (mixed >> np.uint64(32))) * _MULTIPLIER
  return mixed >> np.uint64(29)
