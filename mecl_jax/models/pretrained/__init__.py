"""Loading published weights into the backbone and the final exit of a network.

`read` reads a source, `convert` changes its arrays to the names and layouts of this package, and
`fit` checks them and puts them into the network; `load` does all three.
"""

from collections.abc import Sequence

from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.convert import convert
from mecl_jax.models.pretrained.files import read
from mecl_jax.models.pretrained.fit import Report, fit
from mecl_jax.models.pretrained.names import name_of, named
from mecl_jax.models.pretrained.preprocessing import (
  DATASET,
  PREPROCESSING,
  RUN,
  default_preprocessing,
  is_workdir,
)
from mecl_jax.models.pretrained.publishers import PUBLISHED, STYLES, style

__all__ = [
  'DATASET',
  'PREPROCESSING',
  'PUBLISHED',
  'RUN',
  'STYLES',
  'Report',
  'convert',
  'default_preprocessing',
  'fit',
  'is_workdir',
  'load',
  'name_of',
  'named',
  'read',
  'style',
]


def load(model: MultiExit, source: str, backbone: str, *, skip: Sequence[str]) -> Report:
  """Puts published weights into a network.

  Args:
    model: changed in place.
    source: 'imagenet', or the path of a .weights.h5 or .safetensors file; see `read`.
    backbone: name of the backbone of the model.
    skip: glob patterns of names that need not match; see `fit`.

  Raises:
    UserError: see `read` and `fit`.
  """
  arrays = convert(read(source, backbone), model, source, backbone)
  return fit(model, arrays, skip=skip, source=source)
