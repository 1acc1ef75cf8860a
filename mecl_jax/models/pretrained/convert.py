"""Converting a publisher's arrays to the names and layouts of this package."""

from collections.abc import Mapping
import fnmatch

from flax import nnx
import numpy as np

from mecl_jax.models.multi_exit import MultiExit
from mecl_jax.models.pretrained.names import Rules, named, their_names
from mecl_jax.models.pretrained.publishers import kind_of, published

# Counters, and the auxiliary classifier of torchvision's Inception.
IGNORED = ('*.num_batches_tracked', 'AuxLogits.*')


def convert(
  raw: Mapping[str, np.ndarray], model: MultiExit, source: str, backbone: str
) -> dict[str, np.ndarray]:
  """Converts the arrays of a source to our names and layouts.

  If a convolution of the source has a bias and ours has none, the bias is subtracted from the
  moving mean of the next batch norm. This is exact, because normalisation removes any constant. The
  input channels of the first convolution are reversed for networks whose images have the order
  blue, green, red (the ResNets of Keras); ours always have red, green, blue.

  Args:
    raw: name -> array, as returned by `read`.
    model: the network that gets the weights; only its names and numbers of axes are used.
    source, backbone: see `read`.

  Returns:
    our name -> array, for example 'stage1_block1.conv1.kernel'. Unused arrays keep the name of the
    publisher. Shapes are not checked; see `fit`.

  Raises:
    UserError: the backbone has no weights of this kind.
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
  """Returns our name -> name in `raw`, for all names that match one table."""
  positions = {stage: position for position, stage in enumerate(model.backbone.stage_names)}
  pairs = ((ours, theirs) for ours in wanted for theirs in their_names(ours, rules, positions))
  return {ours: theirs for ours, theirs in pairs if theirs in raw}


def _bias_before(mean: str, found: Mapping[str, str], wanted: Mapping[str, nnx.Variable]) -> str:
  """Returns the source's name of the bias of the convolution before a norm, '' if not needed."""
  norm = mean.removesuffix('.mean')
  parent, dot, last = norm.rpartition('.')
  layer = parent + dot + last.replace('norm', 'conv')
  if f'{layer}.bias' in wanted or f'{layer}.kernel' not in found:
    return ''
  return found[f'{layer}.kernel'].rpartition('.')[0] + '.bias'


def _in_our_layout(array: np.ndarray, theirs: str, ndim: int) -> np.ndarray:
  """Returns an array in the layout of our layers.

  Args:
    array: in the layout of the publisher. Dense kernels of PyTorch are [out, in], its convolution
      kernels [out, in, height, width]; depthwise kernels of Keras are [height, width, channels, 1].
    theirs: its name in the source; the end of the name determines the layout.
    ndim: number of axes of our array. Additional leading axes of length 1 are removed: those of 1x1
      convolutions that are dense layers here, and the batch axis of position embeddings.
  """
  if theirs.endswith('weight') and array.ndim in (2, 4):
    array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
  elif theirs.endswith('depthwise_kernel') and array.ndim == 4:
    array = array.swapaxes(2, 3)
  while array.ndim > ndim and array.shape[0] == 1:
    array = array[0]
  return array
