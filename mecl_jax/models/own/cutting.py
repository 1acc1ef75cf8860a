"""Decides where the call of a network is cut, and returns the pieces for a mode and batch size."""

from collections.abc import Sequence
import dataclasses
import functools
import math
import re
from typing import Any, Literal

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.errors import UserError
from mecl_jax.models.own.calls import Call, traced
from mecl_jax.models.own.program import Part, Piece, Program

USE_STAGES = 'give the stages as modules or functions, as stages={"stem": f, "rest": g}'

# What becomes of the last layers: 'own' are the classifier, 'replaced' are left out since they have
# another number of classes, and 'none': the network has no classifier.
Ending = Literal['own', 'replaced', 'none']


LAST = 'the last stage'
CHECKED = (False, 2), (True, 2), (False, 3)  # mode and number of images
MOVING = (nnx.BatchStat, nnx.RngKey, nnx.RngCount)  # kinds of variables that a call may change


@dataclasses.dataclass(frozen=True)
class End:
  """The end of a stage, in a program.

  Attributes:
    position: number of equations before it.
    feature: for heads.
    values: that pass the cut.
    adds: whether the stage returns the feature for heads beside these values.
  """

  position: int
  feature: Any
  values: Sequence[Any]
  adds: bool


@dataclasses.dataclass(frozen=True)
class Shape:
  """The shape of an array without its first axis, that of the images, and its dtype."""

  shape: tuple[int, ...]
  dtype: Any


class Cutting:
  """A network whose call is cut after some of its parts.

  Args:
    call: the network.
    image_shape: (height, width, channels) of its input.
    num_classes: of the data.
    dtype: of its input.

  Attributes:
    image_shape, dtype: as given.
    names: of the parts after which it is cut, in the order of the call; set by `cut`.
    ending: what becomes of the last layers; set by `cut`.
  """

  def __init__(self, call: Call, image_shape: Sequence[int], num_classes: int, dtype: DTypeLike):
    self.image_shape, self.dtype = tuple(image_shape), dtype
    self.names: tuple[str, ...] = ()
    self.ending: Ending = 'own'
    self._runs = {training: traced(call, training) for training in (False, True)}
    self._kinds, self._scratch, self._num_classes = call.kinds, call.scratch, num_classes
    self._state = {
      name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in call.values.items()
    }
    self._kept = dict[Any, Any]()

  @functools.cached_property
  def called(self) -> tuple[str, ...]:
    """Returns the names of the parts that the call runs, in order."""
    program = self._program(False, 2, (*self._program(False, 2, ()).hidden,))
    return (*program.parts, *sorted(program.hidden))

  def candidates(self) -> tuple[str, ...]:
    """Returns the outermost parts after which the network can be cut, in order."""
    outer = [name for name in self.called if self._is_outer(name)]
    return tuple(name for name in outer if self._can_cut(name))

  def _is_outer(self, name: str) -> bool:
    above = name.split('.')[:-1]
    return not any('.'.join(above[: k + 1]) in self.called for k in range(len(above)))

  def _can_cut(self, name: str) -> bool:
    try:
      for training, batch in CHECKED:
        program = self._program(training, batch, (name,))
        part = self._part(program, name)
        _check_feature(part.outputs[-1].aval.shape, name)
        if part.end > self._head(program, ())[0]:
          return False
        uses = self._uses(program, (name,), program.output, len(program.equations))
        values = program.crossing(part.end, uses)
        _check_images_first(End(part.end, part.outputs[-1], values, adds=True), batch, name)
    except UserError:
      return False
    return True

  def resolve(self, name: str) -> str:
    """Returns the part that a name means: a part itself, or the last one of a list of parts.

    Raises:
      UserError: the call runs no such part.
    """
    if name in self.called:
      return name
    depth = name.count('.') + 1
    inside = [part for part in self.called if part.startswith(f'{name}.')]
    if members := [part for part in inside if part.count('.') == depth]:
      return members[-1]
    shown = ', '.join(part for part in self.called if self._is_outer(part)) or 'none'
    raise UserError(f'the network calls no part {name!r}; its parts, in order: {shown}')

  def cut(self, names: Sequence[str]) -> None:
    """Cuts the network after parts, given in any order.

    Raises:
      UserError: it cannot be cut there.
    """
    order = {name: place for place, name in enumerate(self.called)}
    self.names = tuple(sorted(set(names), key=lambda name: order[name]))
    first = self._program(False, 2, self.names)
    self._check_repeats(first)
    self.names = tuple(sorted(self.names, key=lambda name: self._part(first, name).end))
    self.ending = self._ending(first)
    forms = [self._check(training, batch) for training, batch in CHECKED]
    for other in forms[1:]:
      for name, ours, theirs in zip((*self.names, LAST), forms[0], other, strict=True):
        if ours != theirs:
          raise UserError(
            f'what passes the cut after {name} depends on the mode or on the number of images;'
            f' {USE_STAGES}'
          )

  def _check_repeats(self, first: Program) -> None:
    run = self._runs[False]  # in a function of its own, since JAX keeps the program of a function
    again = Program(lambda *inputs: run(*inputs), self._state, self._images(2), self.names)
    if _shown(first.text()) != _shown(again.text()):
      raise UserError(
        'the network computes something else each time it is called, since its code depends on'
        f' values outside of JAX; {USE_STAGES}'
      )

  def _check(self, training: bool, batch: int) -> list[tuple[Any, ...]]:
    """Checks a mode for a number of images; returns what passes each cut."""
    program = self._program(training, batch, self.names)
    self._check_state(program, training)
    ends = self._ends(program)
    for name, end in zip((*self.names, LAST), ends, strict=True):
      _check_feature(end.feature.aval.shape, name)
      _check_images_first(end, batch, name)
    self._pieces(program)
    return [
      (end.adds, *(Shape(v.aval.shape[1:], v.aval.dtype) for v in end.values)) for end in ends
    ]

  def _check_state(self, program: Program, training: bool) -> None:
    changed = {path: self._kinds[path] for path in program.updates}
    for path, kind in changed.items():
      if kind not in MOVING and path not in self._scratch:
        raise UserError(
          f'the network changes {path} during a call; only batch statistics'
          ' (nnx.BatchStat) and random keys may change'
        )
    if training and not self._moving(program) and nnx.BatchStat in self._kinds.values():
      raise UserError(
        'the batch statistics of the network do not change in training mode: its moving averages'
        ' would never move. Let __call__ have an argument train, which sets the mode of its batch'
        ' norm, or leave use_running_average to network.train() and network.eval()'
      )

  def _part(self, program: Program, name: str) -> Part:
    calls = program.parts.get(name, [])
    if not calls and name not in program.hidden:
      raise UserError(
        f'the network cannot be cut after {name}, whose call is replaced by that of another'
        ' program; cut it after modules of your own'
      )
    if name in program.hidden:
      raise UserError(
        f'the network cannot be cut after {name}, which it calls inside of a loop, a condition or a'
        f' function with a gradient of its own; {USE_STAGES}'
      )
    if len(calls) > 1:
      raise UserError(
        f'the network calls {name} {len(calls)} times; cut it after a part that is called once'
      )
    return calls[0]

  def _uses(self, program: Program, names: Sequence[str], goal: Any, limit: int) -> dict[Any, int]:
    """Returns `Program.last_uses` of what stages compute up to a position, of which `goal` is."""
    parts = [self._part(program, name) for name in names]
    moved = [program.updates[path] for path in self._moving(program)]
    ends = [(part.outputs[-1], part.end - 1) for part in parts]
    ends += [(atom, end - 1) for atom in moved if (end := program.end_of(atom)) <= limit]
    return program.last_uses([*ends, (goal, limit)])

  def _moving(self, program: Program) -> list[str]:
    """Returns the paths of the batch statistics that a call changes."""
    return [path for path in program.updates if self._kinds[path] is nnx.BatchStat]

  def _head(self, program: Program, names: Sequence[str]) -> tuple[int, Sequence[Any]]:
    """Returns the position at which the classifier begins, and its input.

    It is the last one before the last product, and after the last cut, at which a single array
    [B, D] or [B, H, W, C] is all that is needed after it. Without one it is the end of the program,
    and the input is the output of the network.
    """
    length = len(program.equations)
    uses = self._uses(program, names, program.output, length)
    last = max((self._part(program, name).end for name in names), default=0)
    products = program.products(last, length)
    for position in range(products[-1] if products else -1, last - 1, -1):
      values: list[Any] = program.crossing(position, uses)
      if len(values) == 1 and len(values[0].aval.shape) in (2, 4):
        return position, values
    return length, [program.output]

  def _ending(self, program: Program) -> Ending:
    """Returns what becomes of the last layers."""
    if program.output.aval.shape[1:] == (self._num_classes,):
      return 'own'
    start, values = self._head(program, self.names)
    if start < len(program.equations) and len(values[0].aval.shape) == 2:
      return 'replaced'
    return 'none'

  def _ends(self, program: Program) -> list[End]:
    """Returns the ends of all stages."""
    length = len(program.equations)
    start, values = self._head(program, self.names)
    if self.ending == 'none':
      start, values = length, [program.output]
    goal, limit = (values[0], start) if self.ending == 'replaced' else (program.output, length)
    uses = self._uses(program, self.names, goal, limit)
    ends = []
    for name in self.names:
      part = self._part(program, name)
      feature, crossing = part.outputs[-1], program.crossing(part.end, uses)
      is_map = len(feature.aval.shape) == 4
      if is_map and feature in crossing:
        crossing = [*(value for value in crossing if value is not feature), feature]
      ends.append(End(part.end, feature, crossing, adds=not is_map or feature not in crossing))
    return [*ends, End(start, values[0], values, adds=False)]

  # Of the stages: `len(names)` early ones, the last one, and the head.

  def end(self, index: int) -> End:
    """Returns the end of a stage, in evaluation mode and for two images."""
    if 'ends' not in self._kept:
      self._kept['ends'] = self._ends(self._program(False, 2, self.names))
    return self._kept['ends'][index]

  def piece(self, index: int, training: bool, batch: Any) -> Piece:
    """Returns the program of a stage; that after the last stage is the network's classifier.

    Its inputs and outputs are the arrays that pass the cuts. The last output is the feature for
    heads.

    Args:
      index: of the stage.
      training: mode.
      batch: number of images.
    """
    key = 'pieces', training, batch
    if not isinstance(batch, int):  # a symbolic size is valid in its own trace only
      return self._pieces(self._program(training, batch, self.names))[index]
    if key not in self._kept:
      self._kept[key] = self._pieces(self._program(training, batch, self.names))
    return self._kept[key][index]

  def _pieces(self, program: Program) -> list[Piece]:
    """Returns the programs of all stages, and of the classifier if it is kept."""
    ends = self._ends(program)
    inputs = [[program.image], *(end.values for end in ends)]
    outputs = [[*end.values, *([end.feature] if end.adds else [])] for end in ends]
    limits = [end.position for end in ends]
    if self.ending == 'own':
      outputs.append([program.output])
      limits.append(len(program.equations))
    pairs = list(zip(inputs, outputs, strict=False))
    moved = self._moved_in(program, limits, [program.piece(*pair, []) for pair in pairs])
    return [program.piece(*pair, paths) for pair, paths in zip(pairs, moved, strict=True)]

  def _moved_in(
    self, program: Program, limits: Sequence[int], pieces: Sequence[Piece]
  ) -> list[list[str]]:
    """Returns which variables each piece changes.

    A value that depends on images is computed in one piece. Any other is computed by the last piece
    that reads what it is computed from, since pieces before it need the old value.

    Raises:
      UserError: a piece needs the old value of a variable that a piece before it changes.
    """
    moved: list[list[str]] = [[] for _ in pieces]
    for path in self._moving(program):
      atom = program.updates[path]
      place = next((k for k, limit in enumerate(limits) if program.end_of(atom) <= limit), None)
      if place is None:
        continue  # of a classifier that is left out
      if not program.depends(atom):
        needed = set(program.piece([], [atom], []).reads)
        place = max((k for k, one in enumerate(pieces) if needed <= set(one.reads)), default=place)
      if any(path in later.reads for later in pieces[place + 1 :]):
        raise UserError(
          f'the network cannot be cut there: {path} changes before a cut, and its old value is'
          f' needed after it; {USE_STAGES}'
        )
      moved[place].append(path)
    for piece, paths in zip(pieces, moved, strict=True):
      paths += [p for p in piece.reads if self._kinds[p] is nnx.RngCount and p in program.updates]
    return moved

  def reads(self, index: int) -> tuple[str, ...]:
    """Returns the paths of the variables that a stage needs or changes, in any mode."""
    found = set[str]()
    for training in (False, True):
      piece = self.piece(index, training, 2)
      found |= {*piece.reads, *piece.updates}
    return tuple(sorted(found))

  def kind(self, path: str) -> type[nnx.Variable]:
    """Returns the kind of a variable."""
    return self._kinds[path]

  def _images(self, batch: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, *self.image_shape), self.dtype)

  def _program(self, training: bool, batch: Any, names: Sequence[str]) -> Program:
    """Returns the program of a mode, in which these parts are not hidden if that is possible."""
    if names:
      names = tuple(sorted({*names} & self._program(training, batch, ()).hidden))
    key = 'program', training, batch, tuple(names)
    if key in self._kept:
      return self._kept[key]
    program = Program(self._runs[training], self._state, self._images(batch), names)
    if isinstance(batch, int):
      self._kept[key] = program
    return program


def feature_map(x: jax.Array) -> jax.Array:
  """Returns the feature map [B, H, W, C] of a map, of tokens [B, N, C], or of a vector [B, C]."""
  if x.ndim == 4:
    return x
  if x.ndim == 2:
    return x[:, None, None]
  side, others = _square(x.shape[1])
  return x[:, others:].reshape(x.shape[0], side, side, x.shape[-1])


def _square(tokens: int) -> tuple[int, int]:
  """Returns the side of a square of tokens, and the number of tokens before it; (0, 0): none."""
  for others in (0, 1):
    side = math.isqrt(tokens - others)
    if side and side**2 == tokens - others:
      return side, others
  return 0, 0


def _check_feature(shape: Sequence[int], name: str) -> None:
  """Raises UserError if heads cannot use the output of a part, of this shape with the images."""
  valid = len(shape) == 4 or (len(shape) == 2 and name is LAST)
  if valid or (len(shape) == 3 and _square(shape[1])[0]):
    return
  shown = ', '.join(('B', *map(str, shape[1:])))
  raise UserError(
    f'the output of {name} is [{shown}]; heads need a feature map [B, H, W, C], or tokens [B, N, C]'
    f' of a square with or without a class token before it; {USE_STAGES}'
  )


def _check_images_first(end: End, batch: int, name: str) -> None:
  for value in (*end.values, end.feature):
    if value.aval.shape[:1] != (batch,):
      raise UserError(
        f'the network cannot be cut after {name}: a value of shape {value.aval.shape} for {batch}'
        f' images passes the cut, and its first axis is not that of the images; {USE_STAGES}'
      )


def _shown(text: str) -> str:
  """Returns a program as text without the addresses of objects."""
  return re.sub(r'0x[0-9a-f]+', '', text)
