"""Networks of Flax as pure functions of their state and images, with their parts marked."""

from collections.abc import Mapping, Sequence
import functools
import inspect
from typing import Any, Protocol

from flax import linen, nnx
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from mecl_jax.errors import UserError, first_line
from mecl_jax.models.own.program import State, mark

# Names of the argument, or of the field of a Linen module, that says whether the network trains.
TRAINS = ('train', 'training', 'is_training')
EVALUATES = ('deterministic', 'use_running_average', 'eval')

# Modules that write normalised parameters into their layer at each call. What they write is used
# within the call only, as their definition says.
_NORMALISE = tuple(
  getattr(nnx, name) for name in ('SpectralNorm', 'WeightNorm') if hasattr(nnx, name)
)


_PART = '_part_name'  # attribute of modules while their network is traced


class Buffer(nnx.Variable):
  """An array of a network that is neither trained nor changed; saved in checkpoints."""


KINDS: tuple[type[nnx.Variable], ...] = (nnx.Param, nnx.BatchStat, nnx.RngKey, nnx.RngCount)


class Call(Protocol):
  """A network as a pure function.

  Attributes:
    values: path of a variable -> array.
    kinds: path -> its kind, one of `KINDS` or `Buffer`.
    scratch: paths of parameters that a call may overwrite for its own use.
  """

  values: dict[str, jax.Array]
  kinds: dict[str, type[nnx.Variable]]
  scratch: frozenset[str]

  def run(self, training: bool, state: State, images: jax.Array) -> tuple[Any, dict[str, Any]]:
    """Returns the output for images [B, H, W, C], and the new values of the whole state."""


def call_of(
  network: nnx.Module | linen.Module,
  image_shape: Sequence[int],
  variables: Mapping[str, Any] | None = None,
  rngs: nnx.Rngs | None = None,
) -> Call:
  """Returns a network as a pure function.

  Args:
    network: not changed.
    image_shape: (height, width, channels) of its input.
    variables: of a Linen module, as from its `init`; None: drawn.
    rngs: to draw them; None: seed 0.

  Raises:
    UserError: it is no module of Flax, or its mode cannot be set.
  """
  if isinstance(network, linen.Module):
    return _LinenCall(network, image_shape, variables, rngs or nnx.Rngs(0))
  if not isinstance(network, nnx.Module):
    raise UserError(
      f'the network is {type(network).__name__}; it must be an nnx.Module or a Linen module'
    )
  if variables is not None:
    raise UserError('variables= is for Linen modules; the network is an nnx.Module')
  return _NNXCall(network)


class _NNXCall:
  def __init__(self, network: nnx.Module):
    graphdef, state = nnx.split(network)
    flat = flatten_dict(nnx.to_pure_dict(state))
    self._graphdef = graphdef
    self._paths = {_name(path): path for path in flat}
    self.values = {name: flat[path] for name, path in self._paths.items()}
    self.kinds = dict.fromkeys(self._paths, Buffer) | {
      _name(path): kind
      for kind in KINDS
      for path in flatten_dict(nnx.to_pure_dict(nnx.state(network, kind)))
    }
    self.scratch = frozenset(
      _name((*above, *path))
      for above, part in nnx.iter_graph(network)
      if isinstance(part, _NORMALISE)
      for path in flatten_dict(nnx.to_pure_dict(nnx.state(part, nnx.Param)))
    )
    self._mode = _mode_argument(type(network).__call__)

  def run(self, training: bool, state: State, images: jax.Array) -> tuple[Any, dict[str, Any]]:
    pure = unflatten_dict({path: state[name] for name, path in self._paths.items()})
    network = nnx.merge(self._graphdef, pure)
    if training:
      network.train()
    else:
      network.eval()
    for path, part in list(nnx.iter_graph(network)):
      if path and isinstance(part, nnx.Module) and callable(part):
        part.__class__ = _marked(type(part))
        setattr(part, _PART, _name(path))
    output = network(images, **_mode(self._mode, training))
    kept = nnx.state(network, nnx.Not(nnx.Intermediate))
    new = {_name(path): value for path, value in flatten_dict(nnx.to_pure_dict(kept)).items()}
    if added := sorted(set(new) - set(self._paths)):
      raise UserError(f'the network adds the variable {added[0]} to its state during a call')
    return output, {name: new.get(name, state[name]) for name in self._paths}


@functools.cache
def _marked(kind: type[nnx.Module]) -> type[nnx.Module]:
  """Returns a class of modules that mark their outputs with their name."""

  def call(self, *inputs, **settings):
    return mark(getattr(self, _PART), kind.__call__(self, *inputs, **settings))

  made: Any = type(kind)
  return made(kind.__name__, (kind,), {'__call__': call, '__module__': kind.__module__})


class _LinenCall:
  def __init__(
    self,
    network: linen.Module,
    image_shape: Sequence[int],
    variables: Mapping[str, Any] | None,
    rngs: nnx.Rngs,
  ):
    self._network, self._mode = network, _mode_argument(type(network).__call__)
    self._field = next(
      (name for name in (*TRAINS, *EVALUATES) if name in type(network).__dataclass_fields__), None
    )
    if variables is None:
      variables = self._drawn(image_shape, rngs)
    flat = flatten_dict(meta.unbox(variables))
    self._paths = _linen_names(flat)
    self.values = {name: flat[path] for name, path in self._paths.items()}
    kinds: dict[str, type[nnx.Variable]] = {'params': nnx.Param, 'batch_stats': nnx.BatchStat}
    self.kinds = {name: kinds.get(path[0], Buffer) for name, path in self._paths.items()}
    self._key = 'dropout_key' if 'dropout_key' not in self._paths else 'dropout_key_'
    self.values[self._key], self.kinds[self._key] = jax.random.key(0), nnx.RngKey
    self.scratch = frozenset[str]()

  def _drawn(self, image_shape: Sequence[int], rngs: nnx.Rngs) -> dict[str, Any]:
    network, settings = self._in_mode(False)
    keys = {'params': rngs.params(), 'dropout': rngs.dropout()}
    init = jax.jit(lambda keys, images: network.init(keys, images, **settings))
    return dict(init(keys, jnp.zeros((1, *image_shape))))

  def _in_mode(self, training: bool) -> tuple[linen.Module, dict[str, Any]]:
    if self._mode is None and self._field is not None:
      return self._network.clone(**_mode(self._field, training)), {}
    return self._network, _mode(self._mode, training)

  def run(self, training: bool, state: State, images: jax.Array) -> tuple[Any, dict[str, Any]]:
    variables = unflatten_dict({path: state[name] for name, path in self._paths.items()})
    network, settings = self._in_mode(training)

    def marking(call, inputs, named, context):
      output = call(*inputs, **named)
      path = context.module.path
      return mark('.'.join(path), output) if path and context.method_name == '__call__' else output

    rngs = {'dropout': state[self._key]} if training else {}
    mutable = [name for name in variables if name != 'params'] if training else []
    with linen.intercept_methods(marking):
      output, changed = network.apply(variables, images, mutable=mutable, rngs=rngs, **settings)
    new = flatten_dict({**variables, **changed})
    known = set(self._paths.values())
    if added := sorted('.'.join(path) for path in new if path not in known):
      raise UserError(f'the network adds the variable {added[0]} to its state during a call')
    return output, {**state, **{name: new[path] for name, path in self._paths.items()}}


def _linen_names(flat: Mapping[tuple[str, ...], Any]) -> dict[str, tuple[str, ...]]:
  """Returns name -> path of variables; a name has no collection unless two would be the same."""
  names = dict[str, tuple[str, ...]]()
  for path in flat:
    name = '.'.join(path[1:])
    names['.'.join(path) if name in names else name] = path
  return names


def _name(path: Sequence[Any]) -> str:
  """Returns the name of a part or a variable from its path in a module."""
  return '.'.join('_'.join(map(str, key)) if isinstance(key, tuple) else str(key) for key in path)


def _mode_argument(call: Any) -> str | None:
  names = inspect.signature(call).parameters
  return next((name for name in (*TRAINS, *EVALUATES) if name in names), None)


def _mode(argument: str | None, training: bool) -> dict[str, Any]:
  return {} if argument is None else {argument: training if argument in TRAINS else not training}


def traced(call: Call, training: bool) -> Any:
  """Returns `call.run` in a mode; its errors are one line."""

  def run(state: State, images: jax.Array) -> tuple[Any, dict[str, Any]]:
    try:
      output, new = call.run(training, state, images)
    except UserError:
      raise
    except Exception as error:  # of the user's code
      mode = 'training' if training else 'evaluation'
      shape = ', '.join(map(str, images.shape))
      raise UserError(
        f'the network cannot be called with images [{shape}] in {mode} mode: {first_line(error)}'
      ) from error
    if not isinstance(output, jax.Array):
      raise UserError(
        f'the network returns {type(output).__name__}; it must return one array, logits'
        ' [B, classes] or a feature map [B, H, W, C]'
      )
    return output, new

  return run
