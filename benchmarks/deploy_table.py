"""Tables in Markdown of the deployment benchmark, for docs/deploy.md."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.deployed.cases import EXIT, FLOAT32, JAX, PRECISIONS, TORCH

BLOCK = 'onnx'
NOT_YET = (
  'Nothing has been measured with this version yet. One command does it:'
  ' `python -m benchmarks.deploy --workdir=RUN`.'
)
ABOUT = """\
Bundles answer by their `early_exit.py`, JAX by `mecl_jax.inference.EarlyExit` with the operating
points of the float32 bundle, PyTorch eagerly up to the last exit, through the same layers with
random weights. All use all cores and take turns. Images stop at one exit, or leave by an operating
point. Accuracies are of the test split. Times are milliseconds of a batch, medians over the turns;
`JAX / float32` is a ratio within a turn, with the smallest and the largest one. Deadlines are
shares of the time that one image takes through all segments of the float32 bundle on the idle
machine; mean exits count from 0."""
SIDES = {**{name: name for name in PRECISIONS}, JAX: 'JAX', TORCH: 'PyTorch'}

Measured = Mapping[str, Any]  # facts and result of a run


def block(found: Sequence[Measured]) -> str:
  """Returns the block of the document for some runs."""
  lines = [ABOUT if found else NOT_YET, '', *(line for each in found for line in _of_run(each))]
  return '\n'.join(lines).rstrip() + '\n'


def line_of(row: Mapping[str, Any]) -> str:
  """Returns the times of a case as a row of the table.

  Args:
    row: as of `deploy.time_case`.
  """
  sides = row['sides']
  cells = [f'{sides[name]["ms"]["median"]:.2f}' if name in sides else '' for name in SIDES]
  place = f'exit `{row["name"]}`' if row['kind'] == EXIT else f'point `{row["name"]}`'
  return _line(place, row['batch'], *cells, _range(sides[FLOAT32]['jax_to_this']))


def _of_run(measured: Measured) -> Iterator[str]:
  facts, result = measured['facts'], measured['result']
  versions = [f'ONNX Runtime {facts["onnxruntime"]}', f'jax {facts["jax"]}']
  versions += [f'torch {facts["torch"]}'] if 'torch' in facts else []
  yield f'### `{result["name"]}`: {result["run"]["backbone"]} on {result["run"]["dataset"]}'
  yield (
    f'On {facts["device"]}, {", ".join(versions)}, {facts["commit"][:7]}, {facts["date"][:10]}:'
    f' `python -m benchmarks.deploy --workdir=runs/{result["name"]}`.'
  )
  yield ''
  yield from _accuracies(result['bundles'])
  yield from _times(result['times'])
  yield from map(_saving, result['savings'])
  yield ''
  yield from _deadlines(result['deadlines'])


def _accuracies(bundles: Mapping[str, Any]) -> Iterator[str]:
  names = [each['name'] for each in bundles[FLOAT32]['exits']], bundles[FLOAT32]['policies']
  yield _line('bundle', 'kB', *(f'exit `{n}`' for n in names[0]), *(f'`{n}`' for n in names[1]))
  yield _line(*['---'] * (2 + sum(map(len, names))))
  for precision, each in bundles.items():
    exits = [f'{row["test_accuracy"]:.2%}' for row in each['exits']]
    policies = [each['policies'].get(name) for name in names[1]]
    points = [f'{row["test"]["accuracy"]:.2%}' if row else '' for row in policies]
    yield _line(precision, f'{each["bytes"] / 1000:,.0f}', *exits, *points)
  yield ''


def _times(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  yield _line('images leave at', 'batch', *SIDES.values(), 'JAX / float32')
  yield _line(*['---'] * (3 + len(SIDES)))
  yield from map(line_of, rows)
  yield ''


def _saving(row: Mapping[str, Any]) -> str:
  start = f'At batch {row["batch"]}, `{row["policy"]}` saves {row["measured_saving"]:.1%} of'
  start += f' {row["static_ms"]:.2f} ms'
  if row['share_reached'] is None:
    return f'{start}; the times of the segments allow no saving.'
  return (
    f'{start}, {row["share_reached"]:.1%} of the {row["allowed_saving"]:.1%} that the times of the'
    ' segments allow.'
  )


def _deadlines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  yield _line('deadline', 'ms', 'busy processes', 'in time', 'mean exit', 'accuracy')
  yield _line(*['---'] * 6)
  for row in rows:
    shown = f'{row["in_time"]:.1%}', f'{row["mean_exit"]:.2f}', f'{row["accuracy"]:.1%}'
    yield _line(f'{row["share"]:.0%}', f'{row["deadline_ms"]:.2f}', row['busy'], *shown)
  yield ''


def _range(spread: Mapping[str, float]) -> str:
  return f'{spread["median"]:.2f} ({spread["min"]:.2f} to {spread["max"]:.2f})'


def _line(*cells: Any) -> str:
  return f'| {" | ".join(map(str, cells))} |'
