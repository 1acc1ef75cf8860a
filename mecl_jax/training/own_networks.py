"""Networks of the user: what a run records of them, and whether they are still the same."""

from collections.abc import Mapping
import hashlib
import pathlib
import re
from typing import Any

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


def facts(config: ConfigDict, model: MultiExit) -> dict[str, str]:
  """Returns what identity.json records of a network of the user; nothing of another network.

  `structure` is a digest of names, shapes and dtypes of its arrays; `source` is one of the file
  that has its function; `parameters`, of a network that was given in Python, is one of its initial
  values.

  Args:
    config: resolved.
    model: with its initial parameters.
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
  return found


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
    UserError: its arrays have other names, shapes or dtypes, so that no checkpoint fits.
  """
  before, name = identity.get(KEY), config.model.backbone
  if not isinstance(before, dict) or not factories.is_own(name):
    return ''
  if before.get('structure') != factories.structure(model):
    raise UserError(
      f'{name} makes another network than when the run in {workdir} began: its arrays have other'
      ' names, shapes or dtypes; restore the file of the function, or choose another --workdir'
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
  """Raises UserError if a network of the user got a new final head that no phase trains."""
  if not factories.is_own(config.model.backbone) or model.head_kinds[-1] == OWN:
    return
  if not {('heads',), ('heads', FINAL)} & trainable:
    raise UserError(
      'the network has no classifier for these classes, so that its final exit is new, and no phase'
      ' trains it; set phases.backbone.duration above 0, or model.frozen=True'
    )


def program_digest(model: MultiExit, image_shape: tuple[int, int, int]) -> str:
  """Returns a digest of what a network computes in evaluation mode."""
  graphdef, state = nnx.split(model)
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
  program = jax.make_jaxpr(lambda state, x: nnx.merge(graphdef, state)(x))(state, images)
  text = re.sub(r'0x[0-9a-f]+', '', str(program))  # addresses of objects
  return hashlib.sha256(text.encode()).hexdigest()
