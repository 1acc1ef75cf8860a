"""From a publisher's arrays to ours: other names, other layouts."""

from collections.abc import Mapping
import fnmatch

from flax import nnx
import numpy as np

from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.names import Rules, named, their_names
from mecl_jax.models.pretrained.publishers import kind_of, published

# Counters, and the classifier at the side of torchvision's Inception.
IGNORED = ('*.num_batches_tracked', 'AuxLogits.*')


def convert(
  raw: Mapping[str, np.ndarray], model: MultiExit, source: str, backbone: str
) -> dict[str, np.ndarray]:
  """Gives the arrays of a source our names and layouts.

  A bias of a convolution that has none here goes into the batch norm behind it: its moving mean
  becomes mean - bias, which is exact, since normalising takes any constant away. The first
  convolution of networks that want blue, green, red (Keras's ResNets) is turned around: ours take
  red, green, blue, always.

  Args:
    raw: as `read` returns them.
    model: that is to take them; nothing but its names and numbers of axes matters.
    source, backbone: as of `read`.

  Returns:
    By our name, as 'stage1_block1.conv1.kernel', float arrays. What nothing in the model asked for
    keeps its own name. Shapes are not checked, see `fit`.

  Raises:
    UserError: the backbone is none for such weights.
  """
  entry = published(backbone)
  wanted = named(model)
  kind = kind_of(source, backbone)
  candidates = [_found(raw, wanted, model, rules) for rules in entry.rules(kind)]
  found = max(candidates, key=len)
  result, used = {}, set(found.values())
  for ours, theirs in found.items():
    result[ours] = _in_our_layout(raw[theirs], theirs, wanted[ours].ndim)
    if ours.endswith('.mean') and (bias := _bias_before(ours, found, wanted)) in raw:
      result[ours] = result[ours] - raw[bias]
      used.add(bias)
  if kind == 'keras' and entry.bgr in result:
    result[entry.bgr] = result[entry.bgr][:, :, ::-1]
  ignored = {name for pattern in IGNORED for name in fnmatch.filter(raw, pattern)}
  return result | {name: raw[name] for name in raw if name not in used | ignored}


def _found(
  raw: Mapping[str, np.ndarray], wanted: Mapping[str, nnx.Variable], model: MultiExit, rules: Rules
) -> dict[str, str]:
  """Our name -> that of the array in `raw`, for all that one table of names leads to."""
  positions = {stage: position for position, stage in enumerate(model.backbone.stage_names)}
  pairs = ((ours, theirs) for ours in wanted for theirs in their_names(ours, rules, positions))
  return {ours: theirs for ours, theirs in pairs if theirs in raw}


def _bias_before(mean: str, found: Mapping[str, str], wanted: Mapping[str, nnx.Variable]) -> str:
  """The source's name of the bias that our convolution before a norm would have, '' for none."""
  norm = mean.removesuffix('.mean')
  parent, dot, last = norm.rpartition('.')
  layer = parent + dot + last.replace('norm', 'conv')
  if f'{layer}.bias' in wanted or f'{layer}.kernel' not in found:
    return ''
  return found[f'{layer}.kernel'].rpartition('.')[0] + '.bias'


def _in_our_layout(array: np.ndarray, theirs: str, ndim: int) -> np.ndarray:
  """An array as our layers have it.

  Args:
    array: PyTorch's dense kernels are [out, in], its convolutions' [out, in, height, width];
      Keras's depthwise ones [height, width, channels, 1].
    theirs: its name, whose end says which.
    ndim: of ours. Axes of length 1 in front of as many are dropped: those of 1x1 convolutions where
      we have a dense layer, and the batch axis of position embeddings.
  """
  if theirs.endswith('weight') and array.ndim > 1:
    array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
  elif theirs.endswith('depthwise_kernel'):
    array = array.swapaxes(2, 3)
  while array.ndim > ndim and array.shape[0] == 1:
    array = array[0]
  return array
