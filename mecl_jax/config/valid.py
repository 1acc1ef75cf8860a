"""The kinds of values that a field of the configuration may hold."""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import math
from typing import Any

from mecl_jax.durations import listed, to_steps
from mecl_jax.errors import UserError, choose

Names = Mapping[str, Collection[str]]  # registry -> the names in it

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
      raise UserError(f'{name} is {value!r}; it must be {self.text}')


@dataclasses.dataclass(frozen=True)
class OneOf(Valid):
  """One of a few names."""

  choices: tuple[str, ...] = ()

  def check(self, name: str, value: Any, names: Names) -> None:
    choose(name, value, self.choices)


@dataclasses.dataclass(frozen=True)
class NameIn(Valid):
  """A name that another part of the package registers, such as that of a backbone."""

  registry: str = ''

  def check(self, name: str, value: Any, names: Names) -> None:
    choose(name, value, names[self.registry])


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
    texts: tuple[Any, ...] = (value,)
    if self.several:
      texts = value if isinstance(value, tuple) else listed(value)
    for text in texts:
      steps = to_steps(text, epoch=_LONG, phase=_LONG if self.share else None, field=name)
      if not steps and not self.zero:
        raise UserError(f'{name} is {text!r}; it must be above 0')


def one_of(*choices: str) -> Valid:
  """Returns the kind of a field that holds one of these names."""
  return OneOf(', '.join(f'`{choice}`' for choice in choices), choices=choices)


def name_in(registry: str, document: str) -> Valid:
  """Returns the kind of a field that names an entry of a registry.

  Args:
    registry: a key of the `names` that `Valid.check` takes.
    document: in `docs/`, that lists the entries.
  """
  return NameIn(f'a name in [{document}]({document})', registry=registry)


def duration(*, share: bool = True, zero: bool = True) -> Valid:
  """Returns the kind of a field that holds one duration."""
  units = 'steps, epochs or %' if share else 'steps or epochs'
  return Duration(units if zero else f'{units}, above 0', share=share, zero=zero)


def durations() -> Valid:
  """Returns the kind of a field that holds a list of durations within a phase."""
  return Duration('a list in steps, epochs or %', several=True)


def whole(low: int, high: int | None = None) -> Valid:
  """Returns the kind of a field that holds a whole number from `low` to `high`."""
  text = f'a whole number, at least {low}' if high is None else f'a whole number, {low} to {high}'
  return Valid(text, lambda v: _is_whole(v) and low <= v and (high is None or v <= high))


def whole_or_zero(low: int) -> Valid:
  """Returns the kind of a field that holds 0, or a whole number from `low` on."""
  return Valid(
    f'a whole number, 0 or at least {low}', lambda v: _is_whole(v) and (v == 0 or v >= low)
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
  return Valid(text, lambda v: isinstance(v, int | float) and math.isfinite(v) and test(v))


def numbers(text: str, test: Callable[[tuple[float, ...]], bool]) -> Valid:
  """Returns the kind of a field that holds finite numbers, one for each exit or one for all."""

  def holds(values: Any) -> bool:
    return all(isinstance(v, float) and math.isfinite(v) for v in values) and test(values)

  return Valid(text, holds)


def counts() -> Valid:
  """Returns the kind of a field that holds different whole numbers from 1 on."""

  def holds(values: Any) -> bool:
    positive = bool(values) and all(_is_whole(v) and v >= 1 for v in values)
    return positive and len(set(values)) == len(values)

  return Valid('whole numbers, at least 1, each once', holds)


def flag() -> Valid:
  """Returns the kind of a field that is `True` or `False`."""
  return Valid('`True` or `False`', lambda v: isinstance(v, bool))


def free(text: str) -> Valid:
  """Returns the kind of a field whose values are described and not checked here."""
  return Valid(text)


SHARE = number('a share above 0, at most 1', lambda v: 0 < v <= 1)
FROM_0_TO_1 = number('from 0 to 1', lambda v: 0 <= v <= 1)
BELOW_1 = number('from 0 up to, not including, 1', lambda v: 0 <= v < 1)
NOT_NEGATIVE = number('at least 0, finite', lambda v: v >= 0)
ABOVE_0 = number('above 0, finite', lambda v: v > 0)
SECONDS = Valid('at least 0, or inf', lambda v: isinstance(v, int | float) and v >= 0)
NAME = Valid('a name', lambda v: isinstance(v, str) and bool(v.strip()))


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)
