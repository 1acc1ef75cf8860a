"""The document of all fields: `python -m mecl_jax.config.document > docs/configuration.md`."""

from collections.abc import Iterator

from mecl_jax.config.field import Field, Group
from mecl_jax.config.fields import FIELDS, MUTABLE_FIELDS

INTRODUCTION = """\
# All fields of the configuration

Made by `python -m mecl_jax.config.document`; a test keeps it true.

A field is set in a file of `configs/` (`c.model.width = 8`) or on the command line
(`--config.model.width=8`). A field or a value that does not exist is an error that lists the
valid ones. Durations have a unit: `300 steps`, `20 epochs`, or `8%` of the phase they belong to. A
list is written as `--config.model.exits=stage1,0.5` or `--config.model.exits="('stage1', 0.5)"`.

A run keeps its configuration. Only these may change when it is started again:
"""


def document() -> str:
  """Returns docs/configuration.md."""
  mutable = ', '.join(
    f'`{name}*`' if name.endswith('.') else f'`{name}`' for name in MUTABLE_FIELDS
  )
  return f'{INTRODUCTION}{mutable}.\n' + ''.join(_sections('', FIELDS))


def _sections(name: str, group: Group) -> Iterator[str]:
  """Yields a section for the group, and one for each group in it."""
  fields = {key: entry for key, entry in group.fields.items() if isinstance(entry, Field)}
  yield f'\n## `{name}`\n{group.meaning}\n' if name else f'\n## {group.meaning}\n'
  if fields:
    yield '\n| field | default | valid values | meaning |\n| --- | --- | --- | --- |\n'
  for key, field in fields.items():
    yield f'| `{key}` | `{field.default!r}` | {field.valid.text} | {field.meaning} |\n'
  for key, entry in group.fields.items():
    if isinstance(entry, Group):
      yield from _sections(f'{name}.{key}'.lstrip('.'), entry)


if __name__ == '__main__':
  print(document(), end='')
