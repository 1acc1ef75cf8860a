"""Tables of a bundle, for a terminal."""

from collections.abc import Mapping
import math
from typing import Any

from mecl_jax.models.macs import quantity
from mecl_jax.terminal import FittedTable


def exit_table(fields: Mapping[str, Any]) -> FittedTable:
  """Returns a table with the accuracy of every exit on test, in the bundle and before.

  Args:
    fields: of bundle.json.
  """
  numbers = ('checkpoint (%)', 'bundle (%)', 'MACs')
  rows = [
    (
      one['name'],
      _percent(one['checkpoint_test_accuracy']),
      _percent(one['test_accuracy']),
      quantity(one['macs']),
    )
    for one in fields['exits']
  ]
  title = f'test accuracy of the exits, {fields["precision"]}'
  return FittedTable(title, ('exit', *numbers), rows, numbers, ('MACs',))


def point_table(fields: Mapping[str, Any], ties: Mapping[str, int]) -> FittedTable:
  """Returns a table with a row per operating point.

  Args:
    fields: of bundle.json.
    ties: `changed_exits` and `changed_classes` of the check of its answers.
  """
  rows = []
  for name, policy in fields['policies'].items():
    validation, test = policy['validation'], policy['test']
    shares = ', '.join(f'{100 * share:.0f}' for share in test['share'])
    accuracies = (_percent(split['accuracy']) for split in (validation, test))
    rows.append((name, policy['rule'], *accuracies, shares, quantity(test['macs'])))
  check = fields['check']
  caption = (
    'images: % of the test split that leave at each exit. On'
    f' {check["images"]:,} validation images, the logits of the float32 models differ from those'
    f' of the network by {check["largest_difference"]:.0e} of the largest one.'
    ' Answers of the bundle that rounding changes against the policies:'
    f' exits {ties["changed_exits"]}, classes {ties["changed_classes"]}'
  )
  numbers = ('validation (%)', 'test (%)', 'images', 'MACs')
  columns = ('operating point', 'rule', *numbers)
  return FittedTable('operating points', columns, rows, numbers, ('rule', 'MACs'), caption=caption)


def bottleneck_table(fields: Mapping[str, Any]) -> FittedTable:
  """Returns a table with a row per bottleneck, beside the features that it stands for.

  Args:
    fields: of bundle.json.
  """
  rows, last = [], fields['exits'][-1]
  for each in fields['exits']:
    for one in each['bottlenecks']:
      sent = sum(2 * math.prod(feature['shape']) for feature in each['features'])
      accuracies = (_percent(one[f'{split}_accuracy'][-1]) for split in ('validation', 'test'))
      rows.append(
        (each['name'], str(one['channels']), f'{one["bytes"]:,}', f'{sent:,}', *accuracies)
      )
  numbers = ('channels', 'bytes', 'float16 bytes', 'validation (%)', 'test (%)')
  caption = (
    f'accuracy of the exit {last["name"]} with restored features; without a bottleneck it has'
    f' {_percent(last["validation_accuracy"])} and {_percent(last["test_accuracy"])} %'
  )
  optional = ('float16 bytes', 'validation (%)')
  return FittedTable(
    'bottlenecks', ('sent after', *numbers), rows, numbers, optional, caption=caption
  )


def _percent(share: float) -> str:
  return f'{100 * share:.2f}'
