"""Modules that run the pieces of a network between its cuts."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from mecl_jax.errors import UserError
from mecl_jax.models.backbones.backbone import Features
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import parameter_dtype
from mecl_jax.models.own.cutting import Cutting, feature_map


class Layer(nnx.Module):
  """A group of variables and layers, with the names that they have in the user's network."""


def _attribute(place: nnx.Module, name: str) -> str:
  """Returns the attribute for a name in the user's network, which is not that of a method."""
  return f'{name}_' if hasattr(type(place), name) else name


class _Piece(nnx.Module):
  """A piece of a network, with the variables that it uses.

  Args:
    cutting: of the network.
    index: of the piece.
    variables: path -> variable, of the whole network.

  Attributes:
    deterministic: whether the network is in evaluation mode; `train()` and `eval()` set it.
  """

  def _hold(self, cutting: Cutting, index: int, variables: Mapping[str, nnx.Variable]) -> None:
    self._cutting, self._index = cutting, index
    self._paths = cutting.reads(index)
    self.deterministic = True
    for path in self._paths:
      *above, name = path.split('.')
      place: Any = self
      for part in above:
        attribute = _attribute(place, part)
        if attribute not in vars(place):
          setattr(place, attribute, Layer())
        place = getattr(place, attribute)
      setattr(place, _attribute(place, name), variables[path])

  def _variable(self, path: str) -> nnx.Variable:
    place: Any = self
    for name in path.split('.'):
      place = getattr(place, _attribute(place, name))
    return place

  def _run(self, features: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    piece = self._cutting.piece(self._index, not self.deterministic, features[0].shape[0])
    state = {path: self._variable(path)[...] for path in piece.reads}
    outputs, updates = piece(state, features)
    for path, value in updates.items():
      self._variable(path)[...] = jax.lax.stop_gradient(value)
    return outputs


class Stage(_Piece):
  """A stage: images, or what passes the cut before, to what passes the cut after it.

  Its output is a feature map [B, H, W, C], or a tuple of arrays whose last one is the feature map.
  """

  def __init__(self, cutting: Cutting, index: int, variables: Mapping[str, nnx.Variable]):
    self._hold(cutting, index, variables)

  def __call__(self, x: Features) -> Features:
    arrays = x if isinstance(x, tuple) else (x,)
    if self._index:
      arrays = arrays[: len(self._cutting.end(self._index - 1).values)]
    else:
      self._check(arrays[0])
      arrays = (arrays[0].astype(self._cutting.dtype),)
    *passing, feature = self._run(arrays)
    return (*passing, feature_map(feature)) if passing else feature_map(feature)

  def _check(self, images: jax.Array) -> None:
    if images.shape[1:] != self._cutting.image_shape:
      given, cut = ('x'.join(map(str, s)) for s in (images.shape[1:], self._cutting.image_shape))
      raise UserError(f'images are {given}, but the network was cut for {cut}')


class Classifier(_Piece, Head):
  """The last layers of a network, from the output of the last stage to logits."""

  def __init__(self, cutting: Cutting, index: int, variables: Mapping[str, nnx.Variable]):
    self._hold(cutting, index, variables)

  def summarise(self, features: jax.Array) -> jax.Array:
    return features.reshape(features.shape[0], *self._shape)

  @property
  def _shape(self) -> tuple[int, ...]:
    return self._cutting.end(self._index - 1).feature.aval.shape[1:]

  def embed(self, summary: jax.Array) -> jax.Array:
    return summary.reshape(summary.shape[0], math.prod(self._shape))

  def answer(self, embedded: jax.Array) -> jax.Array:
    features = embedded.reshape(embedded.shape[0], *self._shape)
    logits = self._run((features,))[0]
    return logits.astype(parameter_dtype(logits.dtype))


def parts(
  cutting: Cutting, values: Mapping[str, jax.Array], last: str
) -> tuple[dict[str, nnx.Module], Classifier | None]:
  """Returns the stages of a network by name, and its own classifier.

  Args:
    cutting: of the network, after `Cutting.cut`.
    values: path of a variable -> array, copied.
    last: name of the last stage.

  Returns:
    the stages, first to last; and the classifier, None if it has none for these classes.

  Raises:
    UserError: two stages would have the same name.
  """
  _check_names(cutting.names)
  variables = {path: _variable(cutting.kind(path), value) for path, value in values.items()}
  names = [*(stage_name(name) for name in cutting.names), last]
  stages = {name: Stage(cutting, k, _with_own_keys(variables)) for k, name in enumerate(names)}
  if cutting.ending != 'own':
    return dict(stages), None
  return dict(stages), Classifier(cutting, len(names), _with_own_keys(variables))


def _check_names(parts: Sequence[str]) -> None:
  of_stages = dict[str, str]()
  for part in parts:
    other = of_stages.setdefault(stage_name(part), part)
    if other != part:
      raise UserError(
        f'the parts {other} and {part} of the network would both be the stage {stage_name(part)};'
        ' give one of them another name'
      )


def stage_name(part: str) -> str:
  """Returns the name of the stage that ends with a part: 'layer1_0' for 'layer1.0'."""
  return part.replace('.', '_')


def _variable(kind: type[nnx.Variable], value: Any) -> nnx.Variable:
  copied = jnp.array(value)  # training may donate its buffers
  return kind(copied, tag='dropout') if issubclass(kind, nnx.RngState) else kind(copied)


def _with_own_keys(variables: Mapping[str, nnx.Variable]) -> dict[str, nnx.Variable]:
  """Returns variables, of which random keys and counts are copies: every stage has its own."""
  return {
    path: _variable(type(variable), variable[...])
    if isinstance(variable, nnx.RngState)
    else variable
    for path, variable in variables.items()
  }
