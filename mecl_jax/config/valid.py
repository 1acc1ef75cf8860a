"""The kinds of values that a field of the configuration may hold."""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import math
import os
from typing import Any
import unicodedata

from mecl_jax.durations import listed, to_steps
from mecl_jax.errors import UserError, choose

Names = Mapping[str, Collection[str]]  # registry -> the names in it

# Characters of a name and of a part of a path: the limit of the file systems in common use.
LONGEST_NAME = 255
LONGEST_TEXT = 4095  # characters of a path or of a list in one text: the limit of a path in Linux
MOST_ITEMS = 1000  # entries of a list, such as exits or milestones

# Steps of a phase and of an epoch: long enough that only a duration of 0 has no step.
_LONG = 10**9


@dataclasses.dataclass(frozen=True)
class Valid:
  """Values that a field may hold.

  Attributes:
    text: what the value must be, for messages and documents, as 'above 0, at most 1'.
    test: returns whether a value is valid.
  """

  text: str
  test: Callable[[Any], bool] = lambda value: True

  def check(self, name: str, value: Any, names: Names) -> None:
    """Checks the value of a field.

    Args:
      name: of the field, as 'curriculum.start'.
      value: to check.
      names: that registries hold; only `NameIn` reads them.

    Raises:
      UserError: the value is not valid; the message says what is.
    """
    if not self.test(value):
      raise UserError(f'{name} is {shown(value)}; it must be {self.text}')


def shown(value: Any) -> str:
  """Returns a value for a message: one line of at most about 100 characters."""
  text = ascii(value) if isinstance(value, str) and not is_text(value) else repr(value)
  text = ' '.join(text.split())
  return text if len(text) <= 100 else f'{text[:80]}.. ({len(text)} characters)'


def is_text(value: Any, longest: int = LONGEST_TEXT) -> bool:
  """Returns whether a value is text that can be printed, and written to a file.

  Control characters and lone surrogates, of which a terminal or a file system accepts only some,
  are no text here.
  """
  if not isinstance(value, str) or len(value) > longest:
    return False
  return not any(unicodedata.category(character) in ('Cc', 'Cs') for character in value)


def is_path(value: Any) -> bool:
  """Returns whether a value is text, each part of which can be the name of a file."""
  return is_text(value) and all(len(os.fsencode(part)) <= LONGEST_NAME for part in value.split('/'))


@dataclasses.dataclass(frozen=True)
class OneOf(Valid):
  """One of a few names."""

  choices: tuple[str, ...] = ()

  def check(self, name: str, value: Any, names: Names) -> None:
    choose(name, value if isinstance(value, str) else shown(value), self.choices)


@dataclasses.dataclass(frozen=True)
class NameIn(Valid):
  """A name that another part of the package registers, such as that of a backbone."""

  registry: str = ''
  hint: str = ''

  def check(self, name: str, value: Any, names: Names) -> None:
    try:
      choose(name, value if isinstance(value, str) else shown(value), names[self.registry])
    except UserError as error:
      raise UserError('; '.join(filter(None, (str(error), self.hint)))) from None


@dataclasses.dataclass(frozen=True)
class Duration(Valid):
  """A duration, as '300 steps', or a list of durations.

  Attributes:
    share: whether '8%' of the phase is allowed.
    zero: whether a duration of 0 is allowed.
    several: whether the field holds a list, as 'A,B' or ('A', 'B').
  """

  share: bool = True
  zero: bool = True
  several: bool = False

  def check(self, name: str, value: Any, names: Names) -> None:
    texts: Any = (value,)
    if self.several:
      texts = listed(value) if isinstance(value, str) else value
    if not isinstance(texts, tuple) or len(texts) > MOST_ITEMS:
      raise UserError(f'{name} is {shown(value)}; it must be {self.text}')
    for text in texts:
      steps = to_steps(text, epoch=_LONG, phase=_LONG if self.share else None, field=name)
      if not steps and not self.zero:
        raise UserError(f'{name} is {text!r}; it must be above 0')


def one_of(*choices: str) -> Valid:
  """Returns the kind of a field that holds one of these names."""
  return OneOf(', '.join(f'`{choice}`' for choice in choices), choices=choices)


def name_in(registry: str, document: str, hint: str = '') -> Valid:
  """Returns the kind of a field that names an entry of a registry.

  Args:
    registry: a key of the `names` that `Valid.check` takes.
    document: in `docs/`, that lists the entries.
    hint: follows the names in the message for an unknown one.
  """
  return NameIn(f'a name in [{document}]({document})', registry=registry, hint=hint)


def duration(*, share: bool = True, zero: bool = True) -> Valid:
  """Returns the kind of a field that holds one duration."""
  units = 'steps, epochs or %' if share else 'steps or epochs'
  return Duration(units if zero else f'{units}, above 0', share=share, zero=zero)


def durations() -> Valid:
  """Returns the kind of a field that holds a list of durations within a phase."""
  return Duration('a list in steps, epochs or %', several=True)


def whole(low: int, high: int) -> Valid:
  """Returns the kind of a field that holds a whole number from `low` to `high`."""
  return Valid(f'a whole number, {low} to {high}', lambda v: _is_whole(v) and low <= v <= high)


def whole_or_zero(low: int, high: int) -> Valid:
  """Returns the kind of a field that holds 0, or a whole number from `low` to `high`."""
  return Valid(
    f'a whole number, 0 or {low} to {high}', lambda v: _is_whole(v) and (v == 0 or low <= v <= high)
  )


def count_or_share() -> Valid:
  """Returns the kind of a field that holds a number of images, or their share."""

  def holds(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
      return False
    return 0 < value < 1 or (1 <= value < 2**31 and value == round(value))

  return Valid('a whole number, at least 1, or a share above 0 and below 1', holds)


def number(text: str, test: Callable[[float], bool]) -> Valid:
  """Returns the kind of a field that holds a finite number for which `test` is true."""
  return Valid(text, lambda v: _is_number(v) and test(v))


def numbers(text: str, test: Callable[[tuple[float, ...]], bool]) -> Valid:
  """Returns the kind of a field that holds finite numbers, one for each exit or one for all."""

  def holds(values: Any) -> bool:
    return _is_list(values) and all(_is_number(v) for v in values) and test(values)

  return Valid(text, holds)


def number_or_numbers_or(name: str, text: str, test: Callable[[float], bool]) -> Valid:
  """Returns the kind of a field that holds a finite number, one for each exit, or a name."""

  def holds(value: Any) -> bool:
    if isinstance(value, str):
      return value == name
    values = value if _is_list(value) else (value,)
    return bool(values) and all(_is_number(v) and test(v) for v in values)

  return Valid(f'{text}, several of these, or `{name}`', holds)


def counts(high: int, *, none: bool = False) -> Valid:
  """Returns the kind of a field that holds different whole numbers from 1 to `high`.

  Args:
    high: the largest.
    none: whether there may be no number.
  """

  def holds(values: Any) -> bool:
    if not _is_list(values) or not all(_is_whole(v) and 1 <= v <= high for v in values):
      return False
    return (none or len(values) > 0) and len(set(values)) == len(values)

  return Valid(f'whole numbers, 1 to {high}, each once', holds)


def items(text: str) -> Valid:
  """Returns the kind of a field that holds names and finite numbers."""

  def holds(values: Any) -> bool:
    return _is_list(values) and all(_is_number(v) or is_text(v, LONGEST_NAME) for v in values)

  return Valid(text, holds)


def flag() -> Valid:
  """Returns the kind of a field that is `True` or `False`."""
  return Valid('`True` or `False`', lambda v: isinstance(v, bool))


def free(text: str) -> Valid:
  """Returns the kind of a field that holds text which is not checked further here."""
  return Valid(text, is_text)


def path(text: str) -> Valid:
  """Returns the kind of a field that holds a path, or nothing."""
  return Valid(f'{text} (each name in the path at most {LONGEST_NAME} bytes)', is_path)


SHARE = number('a share above 0, at most 1', lambda v: 0 < v <= 1)
FROM_0_TO_1 = number('from 0 to 1', lambda v: 0 <= v <= 1)
BELOW_1 = number('from 0 up to, not including, 1', lambda v: 0 <= v < 1)
NOT_NEGATIVE = number('at least 0, finite', lambda v: v >= 0)
ABOVE_0 = number('above 0, finite', lambda v: v > 0)
SECONDS = Valid('at least 0, or inf', lambda v: (_is_number(v) or v == math.inf) and v >= 0)
NAME = Valid(
  f'a name, at most {LONGEST_NAME} characters',
  lambda v: is_text(v, LONGEST_NAME) and is_path(v) and bool(v.strip()),
)


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
  """Returns whether a value is a finite number; a larger integer than any float is not."""
  if _is_whole(value):
    return abs(value) < 10**300
  return isinstance(value, float) and math.isfinite(value)


def _is_list(value: Any) -> bool:
  return isinstance(value, tuple) and len(value) <= MOST_ITEMS
