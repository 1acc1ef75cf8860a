"""The check of a bundle against the network that it was made of."""

from collections.abc import Mapping, Sequence
import pathlib

import jax
import numpy as np

from mecl_jax.deploy.bottleneck import Bottleneck
from mecl_jax.deploy.convert import Codec
from mecl_jax.deploy.predict import session
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.errors import RunError
from mecl_jax.evaluation.policies import Policy

IMAGES, CODED_IMAGES = 1000, 64  # of the validation split, at most
TOLERANCE = 1e-4  # of logits, relative to the largest one
# Images whose answer may change because a confidence is as close to its threshold as rounding.
MOST_TIES = 0.01


def check_logits(exit_names: Sequence[str], ours: np.ndarray, theirs: np.ndarray) -> float:
  """Compares logits of the float32 models with those of the network.

  Args:
    exit_names: earliest first.
    ours: float [N, exits, classes], of the network in JAX.
    theirs: of the models.

  Returns:
    the largest difference, relative to the largest logit of its exit.

  Raises:
    RunError: it is above `TOLERANCE` at an exit, or a logit is not a finite number.
  """
  largest = np.abs(ours).max(axis=(0, 2))
  differences = np.abs(ours - theirs).max(axis=(0, 2))
  relative = np.divide(differences, largest, where=largest > 0, out=differences)
  for name, value in zip(exit_names, relative.tolist(), strict=True):
    if not value <= TOLERANCE:  # NaN too
      raise RunError(
        f'the ONNX models differ from the network: the logits of exit {name} by {value:.1e} of the'
        f' largest one, where {TOLERANCE:.0e} is allowed; no bundle is written'
      )
  return float(relative.max())


def check_codes(
  exit_name: str, bottleneck: Bottleneck, codec: Codec, x: Sequence[np.ndarray]
) -> None:
  """Compares the codes of the ONNX encoder with those of the network.

  Args:
    exit_name: of the exit before the bottleneck.
    bottleneck: as trained.
    codec: the same as ONNX models.
    x: features of some images, [N, .., C] each.

  Raises:
    RunError: more codes differ than rounding explains, or one by more than a level.
  """
  run = jax.jit(bottleneck.encode)
  codes = map(_channels_first, map(np.asarray, run(x)))
  encoder = session(codec.encoder)
  names = [one.name for one in encoder.get_inputs()]
  given = dict(zip(names, map(_channels_first, x), strict=True))
  found = encoder.run([one.name for one in codec.codes], given)
  for ours, theirs in zip(codes, found, strict=True):
    apart = np.abs(ours.astype(int) - theirs)
    if apart.max() > 1 or apart.mean() > MOST_TIES:
      raise RunError(
        f'the bottleneck of {codec.channels} channels behind exit {exit_name}: {apart.mean():.2%}'
        f' of its codes differ from the network, by up to {apart.max()}; no bundle is written'
      )


def _channels_first(x: np.ndarray) -> np.ndarray:
  return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def check_answers(
  folder: pathlib.Path, policies: Mapping[str, Policy], images: np.ndarray, logits: np.ndarray
) -> dict[str, int]:
  """Compares the answers of a bundle with those of its policies on logits of all exits.

  Args:
    folder: of the bundle.
    policies: by name.
    images: uint8 [N, height, width, channels].
    logits: float [N, exits, classes], of the same images.

  Returns:
    `changed_exits` and `changed_classes`: images that were answered otherwise, summed over the
    policies.

  Raises:
    RunError: they are too many to be explained by rounding.
  """
  network, exits, classes = Network(folder), 0, 0
  for name, policy in policies.items():
    answers, expected = network(images, policy=name), policy.leaves_at(logits)
    predicted = logits[np.arange(len(images)), expected].argmax(axis=-1)
    other_exit, other_class = answers.exits != expected, answers.classes != predicted
    ties = int((other_exit | other_class).sum())
    if ties > max(
      MOST_TIES * len(images), policy.exits - 1
    ):  # of few images, one tie per threshold
      raise RunError(
        f'the bundle answers {ties} of {len(images)} images otherwise than the policy {name} on the'
        ' logits of all exits; no bundle is written'
      )
    exits, classes = exits + int(other_exit.sum()), classes + int(other_class.sum())
  return {'changed_exits': exits, 'changed_classes': classes}
