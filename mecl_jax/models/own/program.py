"""The program of a call of a network, as JAX traces it, and its pieces between two positions.

The outputs of the parts of a network are marked while the call is traced, see `mark`. What a part
is named and where it ends is then read from the program itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from mecl_jax.models.macs import count_equation, sub_jaxprs

MARK = 'mecl_jax.part:'  # before the name of a part

# Equations that run their inner program once; it may be put in their place.
_INLINED = ('jit', 'pjit', 'closed_call', 'core_call', 'checkpoint', 'remat', 'remat2')

State = Mapping[str, Any]  # path of a variable, as 'conv1.kernel' -> array, or its shape and dtype


def mark(name: str, outputs: Any) -> Any:
  """Returns the outputs of a part of a network, whose arrays have its name in the program."""
  return jax.tree.map(
    lambda x: checkpoint_name(x, MARK + name) if isinstance(x, jax.Array) else x, outputs
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """A part of a program, as a function.

  Attributes:
    run: (values of `reads`, features) -> (features, values of `updates`), as flat lists.
    reads: paths of the variables that it needs.
    updates: paths of the variables that it changes.
    features: number of arrays that it returns before the updates.
  """

  run: Callable[..., list[jax.Array]]
  reads: tuple[str, ...]
  updates: tuple[str, ...]
  features: int

  def __call__(
    self, state: State, features: Sequence[jax.Array]
  ) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array]]:
    """Returns the features at the end of the piece, and the changed variables by path."""
    outputs = self.run(*(state[path] for path in self.reads), *features)
    updates = dict(zip(self.updates, outputs[self.features :], strict=True))
    return tuple(outputs[: self.features]), updates


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
  """A call of a part of a network.

  Attributes:
    end: number of equations before its end.
    outputs: variables of the program, the last of which is the feature map for heads.
  """

  end: int
  outputs: tuple[Any, ...]


class Program:
  """A call of a network as a list of equations.

  Args:
    function: (state, images) -> (output, new values of the state).
    state: shapes and dtypes.
    images: shape and dtype.
    wanted: names of parts; those that are inside of `jax.jit` or `jax.checkpoint` are found too.

  Attributes:
    equations: in order, without marks.
    parts: name -> its calls, in order.
    hidden: names of parts that are called inside of loops, conditions or functions with gradients
      of their own, where the program cannot be cut.
    image: variable of the images.
    output: variable of the result.
    updates: path -> variable of its new value, of the state that the call changes.
  """

  def __init__(self, function: Callable, state: State, images: Any, wanted: Sequence[str] = ()):
    traced = jax.make_jaxpr(function)(dict(state), images)
    self._traced = traced
    traced = _inlined(traced, set(wanted))
    self._jaxpr: Jaxpr = traced.jaxpr
    self._constants = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    *variables, self.image = traced.jaxpr.invars
    self._paths = dict(zip(variables, sorted(state), strict=True))
    self.equations, self.parts, aliases = _without_marks(traced.jaxpr.eqns)
    output, *new = (_resolved(atom, aliases) for atom in traced.jaxpr.outvars)
    self.output = output
    self.updates = {
      path: atom
      for (variable, path), atom in zip(self._paths.items(), new, strict=True)
      if atom is not variable
    }
    self.hidden = _names(traced.jaxpr) - set(self.parts)
    self._defined = {
      variable: k for k, equation in enumerate(self.equations) for variable in equation.outvars
    }
    self._of_images = self._dependents()

  def text(self) -> str:
    """Returns the program as text, to compare it with others."""
    return str(self._traced)

  def _dependents(self) -> set[Var]:
    """Returns the variables whose values depend on the images."""
    found = {self.image}
    for equation in self.equations:
      if any(atom in found for atom in _variables(equation.invars)):
        found.update(equation.outvars)
    return found

  def depends(self, atom: Any) -> bool:
    """Returns whether a value depends on the images."""
    return not isinstance(atom, Literal) and atom in self._of_images

  def end_of(self, atom: Any) -> int:
    """Returns the number of equations up to the one that computes a value."""
    return 0 if isinstance(atom, Literal) else self._defined.get(atom, -1) + 1

  def products(self, start: int, stop: int) -> list[int]:
    """Returns the positions of the equations with MACs whose input depends on the images."""
    return [k for k in range(start, stop) if self._is_product(self.equations[k])]

  def _is_product(self, equation: JaxprEqn) -> bool:
    if not any(map(self.depends, equation.invars)):
      return False
    if '.' in equation.primitive.name:  # a layer as a whole, as 'nnx.linear' of jax2onnx
      others: list[Any] = [v.aval for v in equation.invars if not self.depends(v)]
      return any(aval.ndim > 1 for aval in others)
    return bool(count_equation(equation))

  def last_uses(self, ends: Sequence[tuple[Any, int]]) -> dict[Var, int]:
    """Returns where each value that depends on the images is needed for the last time.

    Args:
      ends: values to compute, each with the position up to which it is needed.

    Returns:
      value -> number of equations before the last one that needs it.
    """
    uses = dict[Var, int]()
    for k in sorted(self._needed([atom for atom, _ in ends], stop=set())):
      uses.update({v: k for v in _variables(self.equations[k].invars) if self.depends(v)})
    for atom, position in ends:
      if self.depends(atom):
        uses[atom] = max(position, uses.get(atom, 0))
    return uses

  def crossing(self, position: int, uses: Mapping[Var, int]) -> list[Var]:
    """Returns the values that cross a position, in the order in which they are computed.

    These are the values that depend on the images, are computed before the position, and are needed
    after it. All others are computed again where they are needed.

    Args:
      position: number of equations before it.
      uses: see `last_uses`.
    """
    found = [v for v, last in uses.items() if self.end_of(v) <= position <= last]
    return sorted(found, key=lambda v: (self.end_of(v), self._defined_place(v)))

  def _defined_place(self, atom: Var) -> int:
    place = self._defined.get(atom)
    return 0 if place is None else self.equations[place].outvars.index(atom)

  def _needed(self, targets: Sequence[Any], stop: set[Var]) -> set[int]:
    """Returns the positions of the equations that compute values, from those in `stop`."""
    waiting, needed = [*_variables(targets)], set[int]()
    while waiting:
      place = self._defined.get(variable) if (variable := waiting.pop()) not in stop else None
      if place is not None and place not in needed:
        needed.add(place)
        waiting += _variables(self.equations[place].invars)
    return needed

  def piece(self, inputs: Sequence[Var], outputs: Sequence[Any], updates: Sequence[str]) -> Piece:
    """Returns the function of the equations that lead from some values to others.

    Args:
      inputs: values that depend on the images, on which all others that do are based.
      outputs: values to compute.
      updates: paths of variables whose new values it returns too.
    """
    ends = [*outputs, *(self.updates[path] for path in updates)]
    needed = sorted(self._needed(ends, stop=set(inputs)))
    equations = [self.equations[k] for k in needed]
    read = {*_variables(ends), *(v for e in equations for v in _variables(e.invars))}
    read -= {variable for equation in equations for variable in equation.outvars}
    variables = [v for v in self._paths if v in read]
    constants = {v: value for v, value in self._constants.items() if v in read}
    run = _function(self._jaxpr, equations, [*constants, *variables, *inputs], ends)
    values = tuple(constants.values())
    return Piece(
      lambda *arguments: run(*values, *arguments),
      tuple(self._paths[v] for v in variables),
      tuple(updates),
      len(outputs),
    )


def _function(
  jaxpr: Jaxpr, equations: Sequence[JaxprEqn], inputs: Sequence[Var], outputs: Sequence[Any]
) -> Callable[..., list[jax.Array]]:
  """Returns the function of some equations of a program."""
  part = jaxpr.replace(
    constvars=[], invars=list(inputs), outvars=list(outputs), eqns=list(equations)
  )
  return jaxpr_as_fun(ClosedJaxpr(part, ()))


def _variables(atoms: Sequence[Any]) -> Iterator[Var]:
  return (atom for atom in atoms if not isinstance(atom, Literal))


def _kept(variables: Sequence[Var]) -> list[Var]:
  """Returns the outputs of an equation that are used."""
  return [variable for variable in variables if _is_used(variable)]


def _is_used(variable: Var) -> bool:
  return type(variable).__name__ != 'DropVar'  # JAX 0.7 does not have that class in `jax.extend`


def _resolved(atom: Any, aliases: Mapping[Var, Any]) -> Any:
  return atom if isinstance(atom, Literal) else aliases.get(atom, atom)


def _name_of(equation: JaxprEqn) -> str | None:
  """Returns the name of the part that an equation marks; None if it marks none."""
  if equation.primitive.name != 'name' or not str(equation.params['name']).startswith(MARK):
    return None
  return equation.params['name'].removeprefix(MARK)


def _without_marks(
  equations: Sequence[JaxprEqn],
) -> tuple[list[JaxprEqn], dict[str, list[Part]], dict[Var, Any]]:
  """Returns equations without marks, the calls of the parts, and what marked values stand for."""
  kept, parts, aliases = list[JaxprEqn](), dict[str, list[Part]](), dict[Var, Any]()
  last = None
  for equation in equations:
    inputs = [_resolved(atom, aliases) for atom in equation.invars]
    name = _name_of(equation)
    if name is None:
      kept.append(equation.replace(invars=inputs))
    else:
      aliases[equation.outvars[0]] = inputs[0]
      calls = parts.setdefault(name, [])
      if name == last and calls[-1].end == len(kept):  # the next output of the same call
        calls[-1] = Part(len(kept), (*calls[-1].outputs, inputs[0]))
      else:
        calls.append(Part(len(kept), (inputs[0],)))
    last = name
  return kept, parts, aliases


def _names(jaxpr: Jaxpr) -> set[str]:
  """Returns the names of all parts in a program, also inside of equations."""
  found = {name for name in map(_name_of, jaxpr.eqns) if name is not None}
  for equation in jaxpr.eqns:
    for inner in sub_jaxprs(equation.params):
      found |= _names(inner)
  return found


def _inlined(traced: ClosedJaxpr, wanted: set[str]) -> ClosedJaxpr:
  """Returns a program in which equations of `_INLINED` with parts are their inner programs."""
  if not any(_opens(equation, wanted) for equation in traced.jaxpr.eqns):
    return traced
  shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.invars]
  return jax.make_jaxpr(lambda *inputs: _interpreted(traced, inputs, wanted))(*shapes)


def _opens(equation: JaxprEqn, wanted: set[str]) -> bool:
  if equation.primitive.name not in _INLINED:
    return False
  return any(_names(inner) & wanted for inner in sub_jaxprs(equation.params))


def _interpreted(traced: ClosedJaxpr, inputs: Sequence[Any], wanted: set[str]) -> list[Any]:
  """Runs a program equation by equation, and the inner programs of `_INLINED` likewise."""
  jaxpr = traced.jaxpr
  values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*traced.consts, *inputs), strict=True))

  def read(atoms: Sequence[Any]) -> list[Any]:
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in atoms]

  for equation in jaxpr.eqns:
    if _opens(equation, wanted):
      inner = equation.params.get('jaxpr', equation.params.get('call_jaxpr'))
      closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
      found = zip(
        equation.outvars, _interpreted(closed, read(equation.invars), wanted), strict=True
      )
      outputs = [value for variable, value in found if _is_used(variable)]
    else:
      variables = [*dict.fromkeys(_variables(equation.invars))]
      run = _function(jaxpr, [equation], variables, _kept(equation.outvars))
      outputs = run(*(values[variable] for variable in variables))
    values.update(zip(_kept(equation.outvars), outputs, strict=True))
  return read(jaxpr.outvars)
