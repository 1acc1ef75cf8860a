"""The table of the accelerator benchmark."""

from collections.abc import Iterator, Mapping
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

Row = tuple[str, str, str, str, str]
HEADER = ('what', 'mecl_jax', 'PyTorch', 'ratio', 'more')


def show(results: Mapping[str, Any]) -> None:
  """Prints all results, and what was left out."""
  table = Table(*HEADER, title='one accelerator')
  for name, part in results['parts'].items():
    for row in rows(name, part['result']):
      table.add_row(*row)
    table.add_section()
  Console(width=None if Console().is_terminal else 150, highlight=False).print(table)
  for reason in sorted({_where(part['facts']) for part in results['parts'].values()}):
    print(reason)
  for name, reason in results.get('left_out', {}).items():
    print(f'left out: {name}: {reason}')


def rows(name: str, result: Mapping[str, Any]) -> Iterator[Row]:
  """Yields the rows of a part."""
  kind, _, network = name.partition('/')
  yield from {
    'training': _training,
    'curriculum': _curriculum,
    'scoring': _scoring,
    'early_exit': _early_exit,
    'fast': _fast,
    'recipe': _recipe,
  }[kind](network, result)


def _where(found: Mapping[str, Any]) -> str:
  """Returns device, versions and commit in one line."""
  changed = {None: ', changes unknown', True: ', changed', False: ''}[found['changed']]
  versions = ', '.join(f'{k} {found[k]}' for k in ('python', 'jax', 'flax', 'torch') if found[k])
  driver = f', driver {found["driver"]}' if found['driver'] else ''
  small = 'SMALL SIZES, for a test only; ' if found['small'] else ''
  commit = f'commit {found["commit"][:10]}{changed}'
  return f'{small}{found["device"]}{driver}; {versions}; {commit}; {found["date"]}'


def _ratio(spread: Mapping[str, float], digits: int = 2) -> str:
  median, low, high = (f'{spread[k]:.{digits}f}' for k in ('median', 'min', 'max'))
  return f'{median} ({low}..{high})'


def _training(network: str, r: Mapping[str, Any]) -> Iterator[Row]:
  ours, theirs = r['jax'], r['torch']
  share, reason = f'{ours["share_of_matrix_peak"]:.1%}', ''
  if 'images_per_second' in theirs:
    beside = f'{theirs["images_per_second"]["median"]:,.0f} ({theirs["form"]})'
    ratio, share = _ratio(r['ratio']), f'{share} and {theirs["share_of_matrix_peak"]:.1%}'
  else:
    beside, ratio, reason = 'left out', '', f'; left out: {theirs["left_out"]}'
  yield (
    f'training {network}, {ours["exits"]} exits, batch {r["batch_size"]}, {r["dtype"]}, images/s',
    f'{ours["images_per_second"]["median"]:,.0f}',
    beside,
    ratio,
    f'{share} of the matrix peak; {r["rounds"]} rounds{reason}',
  )


def _curriculum(_: str, r: Mapping[str, Any]) -> Iterator[Row]:
  for arm, speed in r['images_per_second'].items():
    ratio = f'{_ratio(r["ratio"][arm], 3)} of none' if arm in r['ratio'] else ''
    step = f'{r["ms_per_step"][arm]:.3f} ms a step; {r["rounds"]} rounds'
    what = f'curriculum {arm}, {r["network"]}, images/s'
    yield what, f'{speed["median"]:,.0f}', '', ratio, step


def _scoring(_: str, r: Mapping[str, Any]) -> Iterator[Row]:
  for what in ('predictions', 'features'):
    median = '' if r[what] is None else f'{statistics.median(r[what]):,.0f}'
    more = '' if median else 'left out: they do not fit into the memory of the device'
    yield f'scoring, {what}, {r["network"]}, images/s', median, '', '', more


def _early_exit(_: str, r: Mapping[str, Any]) -> Iterator[Row]:
  for row in r['rows']:
    what = f'inference {r["network"]}, exit {row["exit"]}, batch {row["batch"]}, ms'
    speed = f'{row["images_per_second"]:,.0f} images/s; 99 %: {row["p99_ms"]:.3f} ms'
    yield what, f'{row["p50_ms"]:.3f}', '', '', speed
  for row in r['savings']:
    what = f'early exit, batch {row["batch"]}, {r["left_early"]:.0%} leave at exit 1, ms'
    ratio = f'{row["dynamic_ms"] / row["static_ms"]:.2f} of whole'
    more = f'whole {row["static_ms"]:.3f} ms; saved {row["measured_saving"]:.0%}, by MACs'
    yield what, f'{row["dynamic_ms"]:.3f}', '', ratio, f'{more} {row["macs_saving"]:.0%}'


def _fast(_: str, r: Mapping[str, Any]) -> Iterator[Row]:
  seconds, count = r['seconds'], len(r['seconds']['values'])
  compiled = f'{count} seeds; set-up {r["set_up_seconds"]:.1f} s; first, with compilation,'
  compiled += f' {r["first_seconds"]:.1f} s'
  compiled += f'; ended: {r["ended"]}' if r['ended'] else ''
  yield f'{r["config"]}, training, s', f'{seconds["mean"]:.2f}', '', '', compiled
  for row in r['exits']:
    low, high = row['interval'] or (row['mean'],) * 2
    yield f'  accuracy of {row["name"]}', f'{row["mean"]:.2%}', '', '', f'{low:.2%} to {high:.2%}'


def _recipe(_: str, r: Mapping[str, Any]) -> Iterator[Row]:
  seconds = r['seconds']
  more = f'compilation {seconds["compile"]:.0f} s of it; data {seconds["data"]:.0f} s apart'
  yield f'{r["config"]}, whole run, s', f'{seconds["run"]:.0f}', '', '', more
  for row in r['exits']:
    yield f'  accuracy of {row["name"]}', f'{row["accuracy"]:.2%}', '', '', ''
