"""The bundle: a folder that answers early without JAX and without mecl_jax."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import math
import pathlib
from typing import Any

import numpy as np

from mecl_jax.deploy import early_exit, points
from mecl_jax.deploy.convert import Codec, Features, Model
from mecl_jax.deploy.readme import render_readme
from mecl_jax.evaluation.costs import UnitCosts
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import RULES
from mecl_jax.files import write_checked_json, write_text
from mecl_jax.models import ExitCost
from mecl_jax.version import __version__

FORMAT, VERSION = 'mecl_jax bundle', 1
MANIFEST, README, RUNTIME = 'bundle.json', 'README.md', 'early_exit.py'
PICTURE = 'segments.png'
RESIZING = 'crop_then_bilinear'  # of image files: the largest centred crop, then bilinear
DEFAULT_POINT = 'balanced'
Draw = Callable[[pathlib.Path, Mapping[str, Any], Sequence[int]], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
  """A bottleneck, and what the exits behind it predict of validation and test through it."""

  codec: Codec
  validation: Predicted
  test: Predicted


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
  """What a bundle is made of.

  Attributes:
    models: the segments, first to last.
    bottlenecks: behind each exit.
    precision: 'float32', 'float16' or 'int8'.
    image_shape: (height, width, channels).
    class_names: by class.
    exits: costs of each exit alone.
    costs: of an image that leaves at each exit, in MACs.
    temperatures: float [exits].
    validation, test: predictions of the models.
    checkpoint: predictions of the network in JAX on validation and test, to say what smaller
      numbers cost.
    targets, policies: by the name of the operating point.
    check: figures of the check against the checkpoint.
    run: facts of the run, for information only.
  """

  models: Sequence[Model]
  bottlenecks: Sequence[Sequence[Measured]]
  precision: str
  image_shape: Sequence[int]
  class_names: Sequence[str]
  exits: Sequence[ExitCost]
  costs: UnitCosts
  temperatures: np.ndarray
  validation: Predicted
  test: Predicted
  checkpoint: tuple[Predicted, Predicted]
  targets: Mapping[str, Target]
  policies: Mapping[str, Policy]
  check: Mapping[str, Any]
  run: Mapping[str, Any]


def write_bundle(folder: pathlib.Path, content: Content, draw: Draw) -> dict[str, Any]:
  """Writes a bundle into an empty folder.

  Args:
    folder: of the bundle.
    content: of the bundle.
    draw: draws a picture of the bundle for its README.md; its arguments are the path of the
      picture, the fields of bundle.json without `files`, and the sizes of the models in bytes.

  Returns:
    the fields of bundle.json.
  """
  for number, model in enumerate(content.models, 1):
    (folder / _file(number)).write_bytes(model.data)
    for each in content.bottlenecks[number - 1]:
      (folder / _coder_file(number, each.codec, 'encoder')).write_bytes(each.codec.encoder)
      (folder / _coder_file(number, each.codec, 'decoder')).write_bytes(each.codec.decoder)
  write_text(folder / RUNTIME, early_exit.source())
  fields = _fields(content)
  draw(folder / PICTURE, fields, [len(model.data) for model in content.models])
  write_text(folder / README, render_readme(fields))
  files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
  fields |= {'files': files}
  write_checked_json(folder / MANIFEST, fields)
  return fields


def _fields(content: Content) -> dict[str, Any]:
  names = list(content.policies)
  return {
    'format': FORMAT,
    'version': VERSION,
    'made_by': f'mecl_jax {__version__}',
    'run': dict(content.run),
    'class_names': [str(name) for name in content.class_names],
    'image_shape': list(content.image_shape),
    'resizing': RESIZING,
    'precision': content.precision,
    'exits': [_exit(content, number) for number in range(len(content.models))],
    'policies': {name: _policy(content, name) for name in names},
    'default_policy': DEFAULT_POINT if DEFAULT_POINT in names else names[0],
    'check': dict(content.check),
  }


def _exit(content: Content, number: int) -> dict[str, Any]:
  model, cost = content.models[number], content.exits[number]
  early = content.costs.of(RULES[0])  # MACs are the same for all rules
  before = early[number - 1] if number else 0
  return {
    'name': cost.name,
    'file': _file(number + 1),
    'macs': int(cost.macs),
    'segment_macs': int(early[number] - before),
    'temperature': float(content.temperatures[number]),
    'takes_before': model.takes_before,
    'features': _features(model.features),
    'bottlenecks': [_bottleneck(number, each) for each in content.bottlenecks[number]],
    'validation_accuracy': _accuracy(content.validation, number),
    'test_accuracy': _accuracy(content.test, number),
    'checkpoint_validation_accuracy': _accuracy(content.checkpoint[0], number),
    'checkpoint_test_accuracy': _accuracy(content.checkpoint[1], number),
  }


def _features(features: Sequence[Features]) -> list[dict[str, Any]]:
  return [{'name': one.name, 'dtype': one.dtype, 'shape': list(one.shape)} for one in features]


def _bottleneck(number: int, measured: Measured) -> dict[str, Any]:
  codec, later = measured.codec, range(measured.test.exits)
  return {
    'channels': codec.channels,
    'encoder': _coder_file(number + 1, codec, 'encoder'),
    'decoder': _coder_file(number + 1, codec, 'decoder'),
    'codes': _features(codec.codes),
    'bytes': sum(math.prod(one.shape) for one in codec.codes),
    'validation_accuracy': [_accuracy(measured.validation, k) for k in later],
    'test_accuracy': [_accuracy(measured.test, k) for k in later],
  }


def _accuracy(split: Predicted, number: int) -> float:
  """Returns the accuracy of an exit, by its number from 0."""
  return float(split.right()[:, number].mean())


def _policy(content: Content, name: str) -> dict[str, Any]:
  policy, costs = content.policies[name], content.costs
  return {
    'rule': policy.rule.name,
    'features': list(policy.rule.features),
    'coefficients': [list(of_exit) for of_exit in policy.rule.coefficients],
    # JSON has no infinity.
    'thresholds': [t if math.isfinite(t) else str(t) for t in policy.thresholds.tolist()],
    'meaning': points.meaning(content.targets[name]),
    'validation': points.effect(policy, content.validation, costs),
    'test': points.effect(policy, content.test, costs),
  }


def _file(number: int) -> str:
  return f'segment_{number}.onnx'


def _coder_file(number: int, codec: Codec, part: str) -> str:
  return f'bottleneck{codec.channels}_{number}_{part}.onnx'


def _digest(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
