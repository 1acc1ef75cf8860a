"""How sure an exit is of a single example, by plain numbers.

`Rule.confidence` takes a tenth of a segment's time for one example, whose few numbers NumPy handles
one slow call after the other. These say the same but for the last bits.
"""

from collections.abc import Callable, Sequence
import math

from mecl_jax.evaluation.rules import GATE, Rule

Said = Sequence[list[float]]  # the logits of every exit so far, [exits][classes]


def confidence(rule: Rule, said: Said) -> float:
  """As `Rule.confidence` of the last of these exits; nan if one of its logits is not finite."""
  if not math.isfinite(sum(said[-1])):
    return math.nan
  if rule.name != GATE:
    return MEASURES[rule.name](said)
  *weights, bias = rule.learnt[len(said) - 1]
  measures = (measure(said) for measure in MEASURES.values())
  odds = bias + sum(w * m for w, m in zip(weights, measures, strict=True))
  return (1 + math.tanh(odds / 2)) / 2


def _max_probability(said: Said) -> float:
  return 1 / sum(_odds(said))


def _entropy(said: Said) -> float:
  odds = _odds(said)
  total = sum(odds)
  return sum(o * math.log(o) for o in odds if o) / total - math.log(total)


def _margin(said: Said) -> float:
  odds = _odds(said)
  second, first = sorted(odds)[-2:]
  return (first - second) / sum(odds)


def _patience(said: Said) -> float:
  predicted = [logits.index(max(logits)) for logits in said]
  last, agreeing = predicted.pop(), 1
  while predicted and predicted.pop() == last:
    agreeing += 1
  return float(agreeing)


def _odds(said: Said) -> list[float]:
  """Against the likeliest class, whose own are 1."""
  largest = max(said[-1])
  return [math.exp(logit - largest) for logit in said[-1]]


# In the order of `rules.MEASURES`, which is that of the gate's weights.
MEASURES: dict[str, Callable[[Said], float]] = {
  'max_probability': _max_probability,
  'entropy': _entropy,
  'margin': _margin,
  'patience': _patience,
}
