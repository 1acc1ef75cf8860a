"""Blocks of a document that a command writes, between two comments."""

import pathlib
import re

from mecl_jax.errors import UserError


def with_block(document: pathlib.Path, name: str, block: str) -> str:
  """Returns the text of a document with another block.

  Args:
    document: has the lines `<!-- NAME -->` and `<!-- /NAME -->`.
    name: of the block.
    block: the new lines between these two.

  Raises:
    UserError: the document has no such block.
  """
  text, marks = document.read_text(), (f'<!-- {name} -->', f'<!-- /{name} -->')
  parts = re.split('|'.join(map(re.escape, marks)), text)
  if len(parts) != 3 or text.find(marks[0]) > text.find(marks[1]):
    raise UserError(f'{document} has no block for {name}; add the lines {" and ".join(marks)}')
  return f'{parts[0]}{marks[0]}\n{block}{marks[1]}{parts[2]}'
