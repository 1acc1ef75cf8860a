"""A seeded permutation of 0..n-1 that is evaluated at single positions, in O(1) memory.

A Feistel network permutes the numbers of `bits` bits, where 2^bits < 2n. It is applied again to
results outside of 0..n-1 until they fall inside. This "cycle walking" keeps it a permutation.

References:
  Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002.
"""

import numpy as np

_ROUNDS = 8
_BLOCK = 16384  # values per block
_FEW = 8  # up to this many values are faster in a Python loop than as an array

# Arrays without dimensions, because NumPy is slower with its own scalar types. That matters for
# calls with few values.
_MULTIPLIER = np.array(0x9E3779B97F4A7C15, np.uint64)  # 2^64 / golden ratio: separates neighbours
_HALF = np.array(32, np.uint64)
_DROPPED = np.array(29, np.uint64)  # low bits of the last product, the least mixed ones


def permute(positions: np.ndarray, size: int, *seed: int) -> np.ndarray:
  """Returns the images of `positions` under a random permutation of 0..size-1.

  Args:
    positions: integers in 0..size-1, any shape.
    size: number of permuted elements.
    *seed: integers, at least 0, that determine the permutation.

  Returns:
    int64 array of the same shape; distinct positions give distinct results.
  """
  bits = max(2, (size - 1).bit_length())
  keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)
  result = np.array(positions, np.uint64, order='C')
  flat = result.reshape(-1)  # a view
  _feistel(flat, bits, keys)
  outside = np.flatnonzero(flat >= size)
  while len(outside) > _FEW:
    walked = flat[outside]
    _feistel(walked, bits, keys)
    flat[outside] = walked
    outside = outside[walked >= size]
  numbers = keys.tolist()
  for index in outside.tolist():
    flat[index] = _walk(int(flat[index]), size, bits, numbers)
  return result.view(np.int64)


def _feistel(values: np.ndarray, bits: int, keys: np.ndarray) -> None:
  """Permutes the numbers of `bits` bits, in place.

  In each round, one half of the bits is combined with a hash of the other half.

  Args:
    values: uint64 [n], overwritten. It is processed in blocks that fit into the processor's cache.
    bits: at least 2.
    keys: uint64 [rounds].
  """
  low_bits = np.array(bits // 2, np.uint64)
  low_mask = np.array((1 << bits // 2) - 1, np.uint64)
  high_mask = np.array((1 << (bits - bits // 2)) - 1, np.uint64)
  for start in range(0, len(values), _BLOCK):
    block = values[start : start + _BLOCK]
    low, high = block & low_mask, block >> low_bits
    mixed, shifted = np.empty_like(block), np.empty_like(block)
    for round_, key in enumerate(keys[:, None]):
      if round_ % 2:
        high ^= _hash(low, key, high_mask, mixed, shifted)
      else:
        low ^= _hash(high, key, low_mask, mixed, shifted)
    np.left_shift(high, low_bits, out=block)
    block |= low


def _hash(
  values: np.ndarray, key: np.ndarray, mask: np.ndarray, mixed: np.ndarray, shifted: np.ndarray
) -> np.ndarray:
  """Hashes 64-bit numbers with wrapping products; every input bit affects the low bits.

  Args:
    values: uint64 [n].
    key: uint64 [1], determines the hash.
    mask: uint64 [], bits of the result to keep.
    mixed: uint64 [n], overwritten by the result.
    shifted: uint64 [n], overwritten.

  Returns:
    `mixed`.
  """
  np.bitwise_xor(values, key, out=mixed)
  mixed *= _MULTIPLIER
  np.right_shift(mixed, _HALF, out=shifted)
  mixed ^= shifted
  mixed *= _MULTIPLIER
  mixed >>= _DROPPED
  mixed &= mask
  return mixed


def _walk(value: int, size: int, bits: int, keys: list[int]) -> int:
  """Applies `_feistel` to one number until it is below `size`, without the overhead of NumPy."""
  low_bits, factor, all_bits = bits // 2, int(_MULTIPLIER), (1 << 64) - 1
  masks = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
  while value >= size:
    halves = [value & masks[0], value >> low_bits]
    for round_, key in enumerate(keys):
      changed = round_ % 2
      mixed = (halves[1 - changed] ^ key) * factor & all_bits
      mixed = (mixed ^ mixed >> 32) * factor & all_bits
      halves[changed] ^= mixed >> 29 & masks[changed]
    value = halves[1] << low_bits | halves[0]
  return value
