"""Converts every backbone and every head to ONNX, and writes what comes out to docs/onnx.md.

  pip install -e '.[export]'
  python -m benchmarks.export_all [--backbones=NAME,NAME] [--heads=NAME,NAME] [--width=WIDTH]
                                  [--document=FILE]

Each network has initial parameters and random statistics of batch norms. It becomes one ONNX model
per segment, as by --mode=export, and its logits in ONNX Runtime are compared with those in JAX on a
few images. A backbone has one early exit at half of its MACs, with the head `linear`; a head is at
the two early exits of a ResNet-8. A network that cannot be converted, or whose logits differ by
more than an export allows, is a row with its error, and the exit code is 1. With --backbones or
--heads only these are converted, and nothing is written without --document.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
import pathlib
import sys
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import onnx

from benchmarks import facts
from mecl_jax.deploy.check import TOLERANCE, check_logits
from mecl_jax.deploy.convert import Model, convert
from mecl_jax.deploy.predict import predict
from mecl_jax.errors import UserError, choose, first_line
from mecl_jax.evaluation.predict import predict as predict_in_jax
from mecl_jax.files import write_text
from mecl_jax.inference.latency import device_name
from mecl_jax.models import BACKBONES, HEADS, MultiExit, build
from mecl_jax.models.layers import BatchNorm
from mecl_jax.models.macs import count_parameters

DOCUMENT = pathlib.Path('docs/onnx.md')
IMAGES, SIDE, CLASSES = 4, 32, 10
LARGE, SMALL_WIDTH = 10_000_000, 4  # networks of more parameters are converted at this width
PUBLISHED = 16  # the field `model.width` of a published network
PACKAGES = ('jax2onnx', 'onnx', 'onnxruntime', 'jax', 'flax')

TEXT = """\
# Networks as ONNX models

`--mode=export` converts a network to one ONNX model per segment. The tables below show that this
works for all backbones and all heads of this package. They are the output of
```
python -m benchmarks.export_all
```
with {versions}, on {device}, commit {commit}, {date}.

Every network has initial parameters and random statistics of batch norms. `difference` is the
largest difference between the logits of ONNX Runtime and JAX on {images} images of noise, relative
to the largest logit of the exit; an export allows {tolerance:.0e}. `width` is the field
`model.width`: {published} is the published network, and networks of more than {large} million
parameters are converted at width {small}, which has the same layers with fewer channels. `nodes`
are those of all models.

## Backbones
With one early exit at half of the MACs, whose head is `linear`; images of `side` x `side` pixels.

{backbones}

## Heads
At both early exits of a `resnet8`. The first exit has no exit before it, so its head is `conv`
where the row is of `cascade_conv`.

{heads}
"""


class Case(NamedTuple):
  """A network to convert: fields of the configuration, and the side of its images in pixels."""

  backbone: str
  head: str
  exits: tuple[str | float, ...]
  side: int
  width: int

  def build(self) -> MultiExit:
    """Returns the network with initial parameters."""
    return build(
      backbone=self.backbone,
      exits=self.exits,
      head=self.head,
      num_classes=CLASSES,
      image_shape=(self.side, self.side, 3),
      mean=np.full(3, 0.5),
      std=np.full(3, 0.25),
      seed=0,
      width=self.width,
    )


class Row(NamedTuple):
  """What came out of a case; `error` is empty, or why the other figures are missing."""

  name: str
  case: Case
  difference: float = 0.0
  megabytes: float = 0.0
  nodes: int = 0
  error: str = ''


def backbone_case(name: str, width: int) -> Case:
  """Returns the case of a backbone; width 0 is the published one unless the network is large."""
  case = Case(name, 'linear', (0.5,), max(SIDE, BACKBONES[name].smallest), width or PUBLISHED)
  if not width and count_parameters(nnx.eval_shape(case.build)) > LARGE:
    return case._replace(width=SMALL_WIDTH)
  return case


def head_case(name: str, width: int) -> Case:
  """Returns the case of a head."""
  return Case('resnet8', name, ('stage1', 'stage2'), SIDE, width or PUBLISHED)


def randomise_statistics(model: MultiExit) -> None:
  """Replaces the moving averages of all batch norms, which are 0 and 1 in a new network."""
  rng = np.random.default_rng(1)
  for _, part in nnx.iter_graph(model):
    if isinstance(part, BatchNorm):
      shape = part.mean[...].shape
      part.mean[...] = jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)
      part.var[...] = jnp.asarray(rng.uniform(0.5, 2, shape), jnp.float32)


def count_nodes(models: Sequence[Model]) -> int:
  """Counts the nodes of all models."""
  return sum(len(onnx.load_from_string(model.data).graph.node) for model in models)


def convert_case(name: str, case: Case) -> Row:
  """Converts a network and compares its logits with those in JAX."""
  try:
    model = case.build()
    randomise_statistics(model)
    shape = (case.side, case.side, 3)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), np.uint8)
    models = list(convert(model, shape))
    ours, theirs = predict_in_jax(model, images), predict(models, images)
    difference = check_logits(model.exit_names, ours, theirs)
  except Exception as error:  # the row reports it; the converter raises many kinds
    return Row(name, case, error=first_line(error).replace('|', '\\|'))
  finally:
    jax.clear_caches()
  megabytes = sum(len(model.data) for model in models) / 1e6
  return Row(name, case, difference, megabytes, count_nodes(models))


def table(rows: Sequence[Row]) -> str:
  """Returns rows as a table in Markdown."""
  columns = ('network', 'width', 'side', 'difference', 'nodes', 'MB')
  lines = ['| ' + ' | '.join(columns) + ' |', '|---' * len(columns) + '|']
  return '\n'.join([*lines, *map(_line, rows)])


def _line(row: Row) -> str:
  start = f'| `{row.name}` | {row.case.width} | {row.case.side} | '
  if row.error:
    return f'{start}failed: {row.error} | | |'
  return f'{start}{row.difference:.1e} | {row.nodes} | {row.megabytes:.2f} |'


def document(backbones: Sequence[Row], heads: Sequence[Row], found: dict[str, Any]) -> str:
  """Returns the text of the document.

  Args:
    backbones, heads: the rows of the two tables.
    found: `versions`, `device`, `commit` and `date` of the conversions.
  """
  return TEXT.format(
    **found,
    images=IMAGES,
    tolerance=TOLERANCE,
    published=PUBLISHED,
    large=LARGE // 1_000_000,
    small=SMALL_WIDTH,
    backbones=table(backbones),
    heads=table(heads),
  )


def describe() -> dict[str, Any]:
  """Returns device, versions, commit and date, as text."""
  found = facts.of_this_process()
  return {
    'device': f'{device_name()} ({found["cores"]} cores)',
    'versions': ', '.join(f'{name} {metadata.version(name)}' for name in PACKAGES),
    'commit': found['commit'][:7],
    'date': found['date'][:10],
  }


def _converted(make: Callable[[str, int], Case], names: Sequence[str], width: int) -> Iterator[Row]:
  """Yields and prints the row of each name."""
  for name in names:
    row = convert_case(name, make(name, width))
    print(_line(row), flush=True)
    yield row


def _chosen(flag: str, names: str | None, known: Sequence[str]) -> list[str]:
  """Returns the names of a flag; all that are known if no flag is given."""
  if names is None:
    return list(known)
  return [choose(flag, name.strip(), known) for name in names.split(',') if name.strip()]


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='export_all'
  )
  parser.add_argument('--backbones', help='names, with commas; default: all')
  parser.add_argument('--heads', help='names, with commas; default: all')
  parser.add_argument('--width', type=int, default=0, help='of all networks, see model.width')
  parser.add_argument('--document', type=pathlib.Path, help=f'default: {DOCUMENT}, with all rows')
  flags = parser.parse_args(argv)
  part = flags.backbones is not None or flags.heads is not None
  try:
    backbones = _chosen('--backbones', flags.backbones or ('' if part else None), list(BACKBONES))
    heads = _chosen('--heads', flags.heads or ('' if part else None), list(HEADS))
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  of_backbones = list(_converted(backbone_case, backbones, flags.width))
  of_heads = list(_converted(head_case, heads, flags.width))
  path = flags.document or (None if part else DOCUMENT)
  if path:
    write_text(path, document(of_backbones, of_heads, describe()))
    print(path)
  return int(any(row.error for row in (*of_backbones, *of_heads)))


if __name__ == '__main__':
  sys.exit(main())
