"""The options of the program for budgets and stores of energy."""

from __future__ import annotations

import argparse
import math
from typing import Any

from mecl_jax.deploy.runtime.amounts import check_unit, read_amounts, read_costs
from mecl_jax.deploy.runtime.errors import BundleError, need
from mecl_jax.deploy.runtime.network import Answer, Network
from mecl_jax.deploy.runtime.store import Spender, Store


class Spending:
  """The store of the program, with a budget or an income for each image.

  Args:
    spender: answers the images.
    name: 'budget' or 'income'.
    amounts: one for each image.
  """

  def __init__(self, spender: Spender, name: str, amounts: list[float]):
    self._spender, self._name, self._amounts = spender, name, amounts

  def answer(self, number: int, image: Any, deadline_ms: float | None) -> Answer | None:
    """Answers image `number`, from 0; None if it is missed."""
    amount = {self._name: self._amounts[number]}
    return self._spender.answer(image, deadline_ms=deadline_ms, **amount)

  def columns(self) -> dict[str, float]:
    """Returns what the store holds now, and what the first exit costs, in the unit of the costs."""
    store = self._spender.store
    return {'left': store.level, 'first_exit_cost': store.costs[0]}


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of budgets and stores."""
  group = parser.add_argument_group('budgets and stores, in the unit of the costs')
  add = group.add_argument
  add('--costs', metavar='CSV', help='cost of each segment; heading: exit,cost_mJ')
  add('--budget', metavar='NUMBER|CSV', help='what an image may cost; a file has a line for each')
  add('--store', metavar='CAPACITY,LEVEL[,WAKE]', help='energy for all images; WAKE: for each one')
  add('--income', metavar='NUMBER|CSV', help='is added to the store before each image')
  add('--reserve', metavar='SHARE', type=float, help='of the capacity, kept for first exits')


def check_options(options: argparse.Namespace) -> None:
  """Raises BundleError for options of budgets and stores that do not go together."""
  given = [
    n for n in ('costs', 'budget', 'store', 'income', 'reserve') if vars(options)[n] is not None
  ]
  if not given:
    return
  need(options.images, f'--{given[0]} has an effect on image files only')
  need(options.costs is not None, f'--{given[0]} needs --costs, a CSV file with exit,cost_mJ')
  one = (options.budget is None) != (options.store is None)
  need(one, '--costs needs one of --budget and --store')
  for name in ('income', 'reserve'):
    need(options.store is not None or name not in given, f'--{name} needs --store')
  need(
    0 <= (options.reserve or 0) < 1, f'--reserve is {options.reserve}; it must be a share below 1'
  )


def make_spending(network: Network, options: argparse.Namespace) -> Spending | None:
  """Returns what the options say about budgets and stores; None without such options."""
  if options.costs is None:
    return None
  costs, unit = read_costs(options.costs, [each['name'] for each in network.bundle['exits']])
  count = len(options.images)
  if options.budget is not None:
    store, amounts = Store(costs), _amounts('budget', options.budget, count, unit)
    return Spending(Spender(network, store, options.policy), 'budget', amounts)
  capacity, level, wake = _numbers(options.store)
  store = Store(costs, capacity, level, wake, reserve=(options.reserve or 0) * capacity)
  amounts = _amounts('income', options.income or '0', count, unit)
  return Spending(Spender(network, store, options.policy), 'income', amounts)


def _numbers(text: str) -> tuple[float, float, float]:
  try:
    numbers = [float(each) for each in text.split(',')]
    capacity, level, wake = [*numbers, 0.0][:3] if len(numbers) == 2 else numbers
  except ValueError:
    message = f'--store is {text!r:.80}; it must be CAPACITY,LEVEL or CAPACITY,LEVEL,WAKE'
    raise BundleError(message) from None
  return capacity, level, wake


def _amounts(name: str, text: str, count: int, unit: str) -> list[float]:
  """Returns an amount for each image, from a number or from the file of this name."""
  try:
    number = float(text)
  except ValueError:
    values, found = read_amounts(text, name)
    check_unit(text, found, unit)
    lines = f'{text} has {len(values)} amounts, but there are {count} image files'
    need(len(values) >= count, f'{lines}; each needs a line')
    return values
  need(0 <= number < math.inf, f'--{name} is {text}; it must be 0 or above')
  return [number] * count
