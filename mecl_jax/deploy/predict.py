"""Predictions of the ONNX models of a network, of every exit."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnxruntime

from mecl_jax.deploy.convert import BEFORE, IMAGES, LOGITS, Codec, Model

BATCH = 64  # images at a time


def session(data: bytes) -> onnxruntime.InferenceSession:
  """Opens an ONNX model on the CPU."""
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # errors
  return onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])


def predict(
  models: Sequence[Model],
  images: np.ndarray,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """Predicts images with all segments.

  Args:
    models: the segments, first to last.
    images: uint8 [N, height, width, channels].
    on_batch: is called with the number of images done.

  Returns:
    float32 [N, exits, classes].
  """
  sessions = [session(model.data) for model in models]
  found = list[np.ndarray]()
  for start in range(0, len(images), BATCH):
    batch = images[start : start + BATCH]
    outputs = walk(models, sessions, {IMAGES: batch})
    found.append(np.stack([of_exit[LOGITS] for _, of_exit in outputs], axis=1))
    on_batch(start + len(batch))
  return np.concatenate(found)


def predict_through(
  models: Sequence[Model],
  codec: Codec,
  start: int,
  images: np.ndarray,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """Predicts images with the segments behind a bottleneck.

  Args:
    models: the segments, first to last.
    codec: before segment `start`.
    start: number of the segment, from 1.
    images: uint8 [N, height, width, channels].
    on_batch: is called with the number of images done.

  Returns:
    float32 [N, exits - start, classes].
  """
  sessions = [session(model.data) for model in models]
  encoder, decoder = session(codec.encoder), session(codec.decoder)
  names = [one.name for one in models[start - 1].features]
  found = list[np.ndarray]()
  for at in range(0, len(images), BATCH):
    batch = images[at : at + BATCH]
    *_, (_, last) = walk(models[:start], sessions[:start], {IMAGES: batch})
    codes = encoder.run([one.name for one in codec.codes], {name: last[name] for name in names})
    restored = decoder.run(
      names, {one.name: code for one, code in zip(codec.codes, codes, strict=True)}
    )
    inputs = dict(zip(names, restored, strict=True))
    outputs = walk(models[start:], sessions[start:], inputs, last[LOGITS])
    found.append(np.stack([of_exit[LOGITS] for _, of_exit in outputs], axis=1))
    on_batch(at + len(batch))
  return np.concatenate(found)


def walk(
  models: Sequence[Model],
  sessions: Sequence[onnxruntime.InferenceSession],
  inputs: dict[str, np.ndarray],
  logits: np.ndarray | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], Mapping[str, np.ndarray]]]:
  """Yields inputs and outputs, by name, of one segment after the other.

  Args:
    models: the segments, first to last.
    sessions: of these or of equivalent models.
    inputs: of the first one: images, or features.
    logits: of the exit before it.
  """
  for model, runs in zip(models, sessions, strict=True):
    if model.takes_before and logits is not None:
      inputs |= {BEFORE: logits}
    names = [one.name for one in runs.get_outputs()]
    outputs = dict(zip(names, runs.run(names, inputs), strict=True))
    yield inputs, outputs
    logits = outputs[LOGITS]
    inputs = {one.name: outputs[one.name] for one in model.features}
