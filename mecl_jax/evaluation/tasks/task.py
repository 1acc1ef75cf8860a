"""What a task is: its labels, how outputs are judged, and how sure exits are of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from mecl_jax.evaluation.intervals import Interval


class ExitLogits(Protocol):
  """What a rule may compute with, for many examples or for one.

  A value is an array [N] for many examples and a number for one. A rule combines values by Python
  operators and these methods, so that one function serves both.
  """

  def predicted(self) -> list[Any]:
    """Returns the predicted class at each exit so far, earliest first."""

  def outputs(self) -> list[np.ndarray]:
    """Returns the outputs of each exit so far, float64 [N, outputs] each; [outputs] for one."""

  def exp(self, value: Any) -> Any:
    """Returns the exponential."""

  def sigmoid(self, value: Any) -> Any:
    """Returns 1 / (1 + exp(-value))."""

  def largest(self) -> Any:
    """Returns the log probability of the likeliest class at the last exit."""

  def two_largest(self) -> tuple[Any, Any]:
    """Returns the log probabilities of the two likeliest classes at the last exit."""

  def total(self, function: Callable[[Any], Any]) -> Any:
    """Returns the sum over the classes of a function of the log probability at the last exit."""


Confidence = Callable[[ExitLogits], Any]


class LossSettings(NamedTuple):
  """What losses depend on besides outputs and labels.

  Attributes:
    label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    huber_delta: error in standard deviations from which the loss of regression grows linearly.
    scale: standard deviation of the training targets, [outputs]; 1 for labels that are not numbers.
  """

  label_smoothing: float = 0.0
  huber_delta: float = 1.0
  scale: jax.Array | float = 1.0


class Shown(NamedTuple):
  """How the quality of predictions is shown in tables, figures and records.

  Attributes:
    column: of tables, as 'accuracy'.
    label: for sentences, as 'accuracy'.
    short: for axes, as 'accuracy'.
    is_share: whether it is a share of 1, shown in per cent; else it has the unit of the targets.
    sign: 1, or -1 if the shown value is an error, which falls where the quality rises.
    units: of the targets, '' if it is unknown or the value is a share.
  """

  column: str
  label: str
  short: str
  is_share: bool = True
  sign: int = 1
  units: str = ''

  @property
  def axis(self) -> str:
    """Short name with the unit, as 'accuracy (%)'."""
    units = '%' if self.is_share else self.units
    return f'{self.short} ({units})' if units else self.short

  @property
  def factor(self) -> int:
    """Factor of values in figures: 100 for shares, which are drawn in per cent."""
    return 100 if self.is_share else 1

  @property
  def loss(self) -> str:
    """Column of what is lost against the final exit: a drop of a share, or a rise of an error."""
    return 'test_drop' if self.is_share else 'test_rise'

  @property
  def target(self) -> str:
    """Name of the target that limits this loss."""
    return 'max_accuracy_drop' if self.is_share else 'max_error_rise'

  def text(self, quality: float) -> str:
    """Formats a quality, as '91.2%' or '0.812'."""
    return f'{quality:.1%}' if self.is_share else f'{self.sign * quality:.4g}'


class Learned(NamedTuple):
  """An exit rule that is fitted on the validation split.

  Attributes:
    name: of the rule.
    features: names of the confidences that it combines.
    fit: from features [N, features] and qualities [N] to coefficients and, last, the intercept.
    is_probability: whether its confidence is the sigmoid of the sum, and not the sum itself.
  """

  name: str
  features: tuple[str, ...]
  fit: Callable[[np.ndarray, np.ndarray], tuple[float, ...]]
  is_probability: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """One kind of prediction, from its labels to its report.

  Outputs are what heads predict: logits, or numbers in the unit of the targets. Functions of
  [.., exits, outputs] return a value per example and exit. Labels are int [N] for classes, and
  [N, outputs] for other kinds.

  Attributes:
    name: a value of the field `task`.
    labels: kind of the labels, one of `data.labels.KINDS`.
    losses: (outputs [B, exits, outputs], labels, settings) -> [B, exits], in JAX.
    quality: (outputs, labels) -> [B, exits], of NumPy or JAX arrays; larger is better. It judges
      exit policies.
    measures: of difficulty by name, the default first: (outputs [N, outputs], labels) -> [N].
    contradicted: (outputs [N, outputs], labels) -> bool [N], whether another class than the label
      is predicted; None where there are no classes.
    confidences: exit rules by name.
    hidden: further confidences by name, which only `learned` uses.
    learned: the fitted exit rule; None: there is none.
    metrics: (outputs [N, exits, outputs], labels, names with an interval or None for all) -> values
      and 95 % intervals by name, [exits] each.
    shown: how the quality is shown; `metrics` has an entry of this name.
    from_features: (features [N, features], labels) -> outputs [N, outputs], of a model that is
      fitted to them, for the teacher `transfer`; None: the one that `curriculum.classifier` names.
    outputs: what the outputs are called, as 'classes'.
    words: (an output or label [outputs], their names) -> a text for the table of examples; None:
      the name of the class.
    frame: what a frame around an image on the page of a run means.
    about: explains the metrics on that page.
  """

  name: str
  labels: str
  losses: Callable[[jax.Array, jax.Array, LossSettings], jax.Array]
  quality: Callable[[Any, Any], Any]
  measures: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]
  contradicted: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
  confidences: Mapping[str, Confidence]
  learned: Learned | None
  metrics: Callable[[np.ndarray, np.ndarray, Collection[str] | None], dict[str, Interval]]
  shown: Shown
  from_features: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
  hidden: Mapping[str, Confidence] = dataclasses.field(default_factory=dict)
  outputs: str = 'outputs'
  words: Callable[[np.ndarray, Sequence[str]], str] | None = None
  frame: str = 'wrong prediction'
  about: str = ''

  @property
  def rules(self) -> tuple[str, ...]:
    """Names of all exit rules."""
    return (*self.confidences, *([self.learned.name] if self.learned else []))

  def counted(self, number: int) -> str:
    """Returns a number of outputs with what they are called, as '10 classes' or '1 output'."""
    return f'{number} {self.outputs if number != 1 else self.outputs.removesuffix("s")}'
