"""Published weights of a plain backbone for a network with exits.

`read` opens a source, `convert` gives its arrays our names and layouts, `fit` puts them into the
network and says what does not match; `load` is the three in turn. `style` says how the weights want
their pixels.
"""

from collections.abc import Sequence

from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.convert import convert
from mecl_jax.models.pretrained.files import read
from mecl_jax.models.pretrained.fit import Report, fit
from mecl_jax.models.pretrained.names import name_of, named
from mecl_jax.models.pretrained.publishers import PUBLISHED, STYLES, style

__all__ = [
  'PUBLISHED', 'STYLES', 'Report', 'convert', 'fit', 'load', 'name_of', 'named', 'read', 'style',
]  # fmt: skip


def load(model: MultiExit, source: str, backbone: str, *, skip: Sequence[str]) -> Report:
  """Puts published weights into a network.

  Args:
    model: changed in place.
    source: 'imagenet', a .weights.h5 or a .safetensors, see `read`.
    backbone: the model's.
    skip: patterns of names to leave as they are, see `fit`.

  Raises:
    UserError: as of `read` and `fit`.
  """
  arrays = convert(read(source, backbone), model, source, backbone)
  return fit(model, arrays, skip=skip, source=source)
