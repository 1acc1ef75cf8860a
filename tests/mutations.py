"""Mutations of files and of configuration values, drawn by a random number generator."""

from collections.abc import Callable
import io
import random
import re
import zipfile

# Numbers that replace a number in a text, such as a size, a version or a threshold.
NUMBERS = (
  '-1',
  '0',
  '1e999',
  'NaN',
  'null',
  '"x"',
  '1.5',
  '2147483648',
  '1' + '0' * 25,
  '[]',
  '{}',
)
# Expressions of Python that replace the value of a field.
VALUES = (
  *(
    'None',
    'True',
    'False',
    '-1',
    '0',
    '1',
    '3',
    '2**31',
    '2**63',
    '10**18',
    '10**25',
    '-(10**25)',
  ),
  *('0.5', '-0.5', '1e30', '1e300', 'float("nan")', 'float("inf")', '1j', 'b"x"', 'object()'),
  *('np.int64(3)', 'np.float32(0.5)', 'np.bool_(True)', 'np.arange(3)', 'np.str_("stage1")'),
  *('()', '[]', '{}', '(1,)', '(1.0, 2.0)', '[None]', '("stage1",)', '(("a",),)', '{"a": 1}'),
  *('""', '" "', '"10"', '"x" * 300', '"a/" * 200', '"[/red]"', '"$x$"', '"a\\nb"', '"a\\0b"'),
  *('"\\ud800"', '"5 steps"', '"1e25 steps"', '"1" + "0" * 25 + " epochs"', '"-5 steps"', '"0%"'),
  *(
    '"900%"',
    '"nan steps"',
    '"50%,25%"',
    '"train[50:10]"',
    '"train[:1%]"',
    '"train+test"',
    '"auto"',
  ),
  *('"none"', '"imagenet"', '"/"', '"."', '"stage1=vit"', '"every 0"', '"every 99"', '"1.5"'),
)


def _flip_bits(rng: random.Random, data: bytearray) -> bytes:
  for _ in range(rng.randint(1, 8)):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  return bytes(data)


def _truncate(rng: random.Random, data: bytearray) -> bytes:
  return bytes(data[: rng.randrange(len(data))])


def _insert(rng: random.Random, data: bytearray) -> bytes:
  place = rng.randrange(len(data))
  data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 64)))
  return bytes(data)


def _remove(rng: random.Random, data: bytearray) -> bytes:
  place = rng.randrange(len(data))
  del data[place : place + rng.randint(1, 64)]
  return bytes(data)


def _zero(rng: random.Random, data: bytearray) -> bytes:
  place = rng.randrange(len(data))
  block = data[place : place + rng.randint(1, 512)]
  data[place : place + len(block)] = bytes(len(block))
  return bytes(data)


def _swap(rng: random.Random, data: bytearray) -> bytes:
  size = rng.randint(1, max(1, len(data) // 3))
  first, second = rng.randrange(len(data)), rng.randrange(len(data))
  a, b = data[first : first + size], data[second : second + size]
  data[first : first + size], data[second : second + size] = b, a
  return bytes(data)


def _number(rng: random.Random, data: bytearray) -> bytes:
  """Replaces a number in the text; other data get flipped bits."""
  found = list(re.finditer(rb'-?\d+(\.\d+)?(e-?\d+)?', data[:20_000]))
  if not found:
    return _flip_bits(rng, data)
  place = rng.choice(found)
  return bytes(data[: place.start()] + rng.choice(NUMBERS).encode() + data[place.end() :])


MUTATORS: tuple[Callable[[random.Random, bytearray], bytes], ...] = (
  *(_flip_bits, _truncate, _insert, _remove, _zero, _swap, _number, _number),
)


def mutate(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
  """Returns another content for a file.

  Args:
    rng: draws the mutation.
    data: the valid content.
    others: valid contents of other kinds of files; one of them may be the result.
  """
  if rng.randrange(20) == 0:
    return rng.choice(others)
  if data[:4] == b'PK\x03\x04' and rng.randrange(2):
    return _mutate_member(rng, data)
  return rng.choice(MUTATORS)(rng, bytearray(data or b'0'))


def _mutate_member(rng: random.Random, data: bytes) -> bytes:
  """Mutates a file in a zip; the checksum of the zip fits the new content."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  name = rng.choice(sorted(members))
  content = members[name]
  end = 10 + int.from_bytes(content[8:10], 'little')  # of the header of a .npy file
  if rng.randrange(2):  # the same length, since the header has its own
    shape = rng.choice((b'(10000000000,)', b'(0,)', b'(-1,)', b'(3, 3)', b'()', b'(2, 9999999999)'))
    header = re.sub(rb"'shape': \(.*?\)", b"'shape': " + shape, content[10:end])
    header = header.rstrip()[: end - 11].ljust(end - 11) + b'\n'
    members[name] = content[:10] + header + content[end:]
  else:
    members[name] = rng.choice(MUTATORS)(rng, bytearray(content))
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for member, content in members.items():
      archive.writestr(member, content)
  return buffer.getvalue()
