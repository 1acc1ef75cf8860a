"""A trained run in JAX, by `mecl_jax.inference.EarlyExit`."""

import functools
import pathlib
from typing import Any

import numpy as np

from benchmarks.deployed.onnx_side import WHOLE
from benchmarks.deployed.timing import Call, Test, effect, in_batches, mean_ms, write_test
from mecl_jax import compiler
from mecl_jax.commands.session import restored_run
from mecl_jax.deploy.convert import convert
from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.rules import Rule
from mecl_jax.inference import EarlyExit
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.report.style import evenly
from mecl_jax.training.log import make_console

IMAGES = 1024  # of the test split, at most

_model: MultiExit
_test: Test
_policies: dict[str, Policy] = {}


def open_run(workdir: str, folder: str, policies: dict[str, Any]) -> dict[str, Any]:
  """Opens a run at its newest checkpoint; writes test images and the whole network to a folder.

  Args:
    workdir: of the run.
    folder: to write to.
    policies: of a bundle, by name.

  Returns:
    what another side needs to build the same layers.

  Raises:
    UserError: the run cannot be opened, or does not compute in float32.
  """
  global _model, _test
  compiler.use_cache()
  with restored_run(pathlib.Path(workdir), None, make_console()) as (run, _):
    _model, split = run.model, run.dataset.test
    shape, model = run.dataset.image_shape, run.config.model.to_dict()
  if model['dtype'] != 'float32':
    raise UserError(f'model.dtype is {model["dtype"]}; networks are compared in float32 only')
  _test = Test(evenly(split.images, IMAGES), evenly(split.labels, IMAGES))
  write_test(folder, _test)
  (whole,) = convert(without_early_exits(_model), shape)
  pathlib.Path(folder, WHOLE).write_bytes(whole.data)
  _policies.update({name: _policy(each) for name, each in policies.items()})
  return {
    'backbone': model['backbone'],
    'width': model['width'],
    'image_size': run.config.data.image_size,
    'channels': _model.channels,
    'classes': run.dataset.num_classes,
  }


def without_early_exits(model: MultiExit) -> MultiExit:
  """Returns the network with its final exit alone; parameters are shared."""
  return MultiExit(
    model.backbone,
    {FINAL: model.heads[FINAL]},
    model.exit_stages[-1:],
    model.head_kinds[-1:],
    channels=model.channels,
    image_size=model.image_size,
    mean=model.mean[...],
    std=model.std[...],
    dtype=model.dtype,
  )


def _policy(fields: dict[str, Any]) -> Policy:
  coefficients = tuple(map(tuple, fields['coefficients']))
  rule = Rule(fields['rule'], tuple(fields['features']), coefficients)
  return Policy(rule, np.array([float(threshold) for threshold in fields['thresholds']]))


@functools.cache
def _early_exit(key: str, batch: int) -> EarlyExit:
  """Returns the network for one exit, by its name, or for all rules, which share it."""
  names = _model.exit_names
  if key in names:
    return EarlyExit(_model, fixed(names.index(key), len(names)), batch_size=batch)
  return EarlyExit(_model, next(iter(_policies.values())), batch_size=batch)


def _call(kind: str, name: str, batch: int) -> Call:
  if kind != 'point':
    return _early_exit(name if kind == 'exit' else FINAL, batch)
  policy = _policies[name]
  if policy.fixed_exit is not None:
    return _early_exit(_model.exit_names[policy.fixed_exit], batch)
  early = _early_exit('rules', batch)
  early.policy = policy
  return early


def prepare(kind: str, name: str, batch: int, calls: int) -> dict[str, float]:
  """Compiles, and answers the first images of `measure`; returns the mean exit and the accuracy."""
  test = _test.first(batch * calls)
  answers = [_call(kind, name, batch)(images) for images in in_batches(test.images, batch)]
  _, exits, logits = (np.concatenate(part) for part in zip(*answers, strict=True))
  return effect(exits, logits, test.labels)


def measure(kind: str, name: str, batch: int, calls: int) -> float:
  """Returns the mean milliseconds of some batches; see `onnx_side.measure`."""
  return mean_ms(_call(kind, name, batch), in_batches(_test.first(batch * calls).images, batch))
