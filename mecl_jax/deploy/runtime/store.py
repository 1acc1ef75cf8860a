"""Budgets and stores of energy: how deep an image may go, for what there is to spend."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import math
from typing import Any

from mecl_jax.deploy.runtime.errors import need
from mecl_jax.deploy.runtime.network import Answer, Network

SLACK = 1e-9  # relative to the cost, far above the rounding of sums


def affordable(costs: Sequence[float], amount: float, reserve: float = 0.0) -> int:
  """Returns how many segments an amount pays for, from the first one on.

  Args:
    costs: of each segment, first to last.
    amount: what there is to spend, in the unit of the costs.
    reserve: what must be left if more than the first segment runs, in the same unit.

  Examples:
    >>> costs = [1, 2, 3]
    >>> affordable(costs, 3.5), affordable(costs, 0.5), affordable(costs, 3.5, reserve=1)
    (2, 0, 1)
  """
  spent = 0.0
  for number, cost in enumerate(costs):
    spent += cost
    if spent * (1 - SLACK) > (amount - reserve if number else amount):
      return number
  return len(costs)


class Store:
  """A store that pays for segments, and is filled between images.

  Args:
    costs: of each segment for one image, first to last.
    capacity: the most that it holds, in the unit of the costs; infinite for plain budgets.
    level: what it holds at the start.
    wake: what an image costs besides its segments, as to wake the device.
    reserve: what must be left if more than the first segment runs; with 0, an image may go as deep
      as the store allows.

  Attributes:
    costs: as given, with the cost to wake as part of the first.
    capacity: as given.
    level: what it holds now.

  Raises:
    BundleError: a number is negative or not finite, or the level is above the capacity.
  """

  def __init__(
    self,
    costs: Sequence[float],
    capacity: float = math.inf,
    level: float = 0.0,
    wake: float = 0.0,
    reserve: float = 0.0,
  ):
    fits = all(0 <= each < math.inf for each in (*costs, level, wake, reserve))
    need(costs and fits, 'costs, level, wake and reserve must be finite numbers of 0 or more')
    need(capacity > 0, f'the capacity of the store is {capacity}; it must be above 0')
    above = f'the level of the store is {level}, above its capacity {capacity}'
    need(level <= capacity, above)
    self.capacity, self.level, self._reserve = capacity, float(level), reserve
    self.costs = [wake + costs[0], *costs[1:]]
    self._sums = [0.0, *itertools.accumulate(self.costs)]

  def add(self, income: float) -> float:
    """Adds an income; returns what is lost because the store is full."""
    level = self.level + income
    self.level = min(level, self.capacity)
    return level - self.level

  def refill(self, budget: float) -> float:
    """Replaces what is left by a budget; returns what is lost because it is above the capacity."""
    self.level = 0.0
    return self.add(budget)

  def segments(self) -> int:
    """Returns how many segments the next image may run; 0 if not even the first can be paid."""
    return affordable(self.costs, self.level, self._reserve)

  def pay(self, segments: int) -> float:
    """Pays for an image that ran so many segments; returns the cost, which is 0 for none."""
    cost = self._sums[segments]
    left = self.level - cost
    self.level = left if left > SLACK * cost else 0.0
    return cost


class Spender:
  """Answers images as deep as a store can pay for.

  Args:
    network: that answers.
    store: with a cost for each of its segments.
    policy: name of an exit rule by which images leave earlier; None: they go as deep as they may.

  Raises:
    BundleError: the network has no such policy, or another number of segments.
  """

  def __init__(self, network: Network, store: Store, policy: str | None = None):
    exits = len(network.bundle['exits'])
    found = f'there are costs of {len(store.costs)} segments'
    need(len(store.costs) == exits, f'{found}, but the bundle has {exits}')
    if policy is not None:
      network.policy(policy)
    self.network, self.store, self.policy = network, store, policy

  def answer(
    self,
    image: Any,
    income: float = 0.0,
    budget: float | None = None,
    deadline_ms: float | None = None,
  ) -> Answer | None:
    """Answers an image, uint8 [height, width, channels], as deep as the store can pay for.

    Args:
      image: to answer.
      income: is added to the store before.
      budget: replaces what the store holds, instead of an income; None: there is none.
      deadline_ms: as of `Network.answer`.

    Returns:
      the answer; None if the store cannot pay for the first segment. The image is missed then, and
      nothing is paid.
    """
    if budget is None:
      self.store.add(income)
    else:
      self.store.refill(budget)
    segments = self.store.segments()
    if not segments:
      return None
    answer = self.network.answer(image, deadline_ms, self.policy, segments)
    self.store.pay(answer.exit + 1)
    return answer
