"""Networks of the user: what a run records of them, and whether they are still the same."""

from collections.abc import Mapping
import hashlib
import pathlib
import re
from typing import Any

import flax
from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.files import arrays_checksum
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.models.assemble import OWN
from mecl_jax.models.own import factories

KEY = 'own_network'  # of identity.json


def facts(
  config: ConfigDict, model: MultiExit, image_shape: tuple[int, int, int]
) -> dict[str, str]:
  """Returns what identity.json records of a network of the user; nothing of another network.

  `structure` is a digest of names, shapes and dtypes of its arrays; `source` is one of the file
  that has its function. A network that was given in Python has, instead of a file, `parameters`, a
  digest of its initial values, and `program`, one of what it computes, which can be compared with
  others of the same `traced_by` only.

  Args:
    config: resolved.
    model: with its initial parameters.
    image_shape: (height, width, channels) of the images of the run.
  """
  name = config.model.backbone
  if not factories.is_own(name):
    return {}
  found = {'structure': factories.structure(model), 'source': factories.source(name)}
  if name.startswith(factories.GIVEN):
    state = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
    paths = jax.tree_util.tree_flatten_with_path(state)[0]
    found['parameters'] = arrays_checksum(
      {jax.tree_util.keystr(path): np.asarray(array) for path, array in paths}
    )
    found['program'] = program_digest(model, image_shape)
    found['traced_by'] = _traced_by()
  return found


def _traced_by() -> str:
  """Returns what the text of a traced program depends on besides the network."""
  return f'jax {jax.__version__}, flax {flax.__version__}, {jax.default_backend()}'


def check(
  workdir: pathlib.Path, config: ConfigDict, model: MultiExit, identity: Mapping[str, Any]
) -> str:
  """Checks that the network of a run is the one that the run began with.

  Args:
    workdir: of the run.
    config: of the run.
    model: as it is built now.
    identity: of the run; nothing for a new one.

  Returns:
    a line to print if the file of its function has changed; else ''.

  Raises:
    UserError: its arrays have other names, shapes or dtypes, so that no checkpoint fits; or it was
      given in Python, and another one was given in its place.
  """
  before, name = identity.get(KEY), config.model.backbone
  if not isinstance(before, dict) or not factories.is_own(name):
    return ''
  if before.get('structure') != factories.structure(model):
    raise UserError(
      f'{name} makes another network than when the run in {workdir} began: its arrays have other'
      ' names, shapes or dtypes; restore the file of the function, or choose another --workdir'
    )
  if before.get('traced_by') == _traced_by() and before['program'] != program_digest(
    model, tuple(identity['image_shape'])
  ):
    raise UserError(
      'the network that was given in Python computes something else than when the run in'
      f' {workdir} began, although its arrays are alike; make the network of that run again, and'
      ' call mecl_jax.register_network(network) before'
    )
  if before.get('source') != factories.source(name):
    return (
      f'the file of {name} has changed since the run in {workdir} began; its arrays are the same,'
      ' but what it computes may not be'
    )
  return ''


def check_start(workdir: pathlib.Path, own: Mapping[str, str], identity: Mapping[str, Any]) -> None:
  """Checks that a network that was given in Python has the parameters that its run began with.

  Args:
    workdir: of the run.
    own: from `facts`.
    identity: of the run.

  Raises:
    UserError: it has others.
  """
  before = identity.get(KEY)
  was = before.get('parameters') if isinstance(before, dict) else None
  if was is not None and was != own.get('parameters'):
    raise UserError(
      f'the run in {workdir} began with other parameters of this network; choose another workdir,'
      ' or give the network as it was'
    )


def check_final(config: ConfigDict, model: MultiExit, trainable: set[tuple[str, ...]]) -> None:
  """Raises UserError if the final exit of a user's network must train, and no phase trains it."""
  if not factories.is_own(config.model.backbone) or not model.final_must_train:
    return
  if {('heads',), ('heads', FINAL)} & trainable:
    return
  if model.head_kinds[-1] == OWN:
    why = (
      'the last layer of the network itself does not predict standardised numbers, as exits do with'
      f' task={config.task}'
    )
  else:
    why = 'the network has no classifier for these classes, so that its final exit is new'
  raise UserError(
    f'{why}, and no phase trains it; set phases.backbone.duration above 0, or model.frozen=True'
  )


def program_digest(model: MultiExit, image_shape: tuple[int, int, int]) -> str:
  """Returns a digest of what a network computes in evaluation mode, wherever its arrays lie."""
  graphdef, state = nnx.split(model)
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
  shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)

  def run(state, x):
    network = nnx.merge(graphdef, state)
    network.eval()
    network.remat = False  # changes how gradients are computed only
    return network(x)

  program = jax.make_jaxpr(run)(shapes, images)
  text = re.sub(r'0x[0-9a-f]+', '', str(program))  # addresses of objects
  return hashlib.sha256(text.encode()).hexdigest()
