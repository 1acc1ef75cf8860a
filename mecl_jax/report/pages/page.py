"""The page to read a run by: one HTML file that needs no other, beside its tables as CSV.

A figure names the tables that it is drawn from, and the page links them: whatever is seen can be
followed to its numbers.
"""

import base64
from collections.abc import Mapping, Sequence
import csv
import io
import os
import pathlib
import re
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.report.cells import (
  Cell,
  estimates,
  heading,
  is_number,
  show,
)

Rows = list[dict[str, Cell]]
MARK = '<meta name="generator" content="mecl_jax">'  # of pages that may be written over
TABLES = 'tables'  # folder of the CSV files, beside the page


class Text(NamedTuple):
  """Paragraphs with an empty line between them; what stands in `backticks` is set as code."""

  text: str


class Drawing(NamedTuple):
  """A figure of vectors, and the names of the tables that it is drawn from."""

  figure: Figure
  caption: str
  tables: tuple[str, ...]


class Picture(NamedTuple):
  """A figure of pixels, and the names of the tables that it is made of."""

  png: bytes
  caption: str
  tables: tuple[str, ...]


class Listing(NamedTuple):
  """A table to read; of the columns that it names, or of all. Its CSV always has all."""

  table: str
  caption: str
  columns: tuple[str, ...] | None = None


class Section(NamedTuple):
  """A heading with what stands below it."""

  title: str
  blocks: Sequence[Text | Drawing | Picture | Listing]


def write_page(
  folder: str | os.PathLike,
  title: str,
  facts: Mapping[str, str],
  notes: Sequence[str],
  sections: Sequence[Section],
  tables: Mapping[str, Rows],
) -> pathlib.Path:
  """Writes folder/index.html, and folder/tables/<name>.csv of every table.

  Equal arguments write equal bytes. CSV files of an earlier page that this one has not are removed,
  as nothing on the page speaks of them.

  Args:
    folder: of the page; made where it is not there.
    title: of the page.
    facts: shown on top, name to value.
    notes: what the reader has to know before believing a number; below the facts.
    sections: in order.
    tables: by name, of small letters, digits and underscores; all rows of a table have the same
      keys in the same order.

  Returns:
    the path of the page.

  Raises:
    UserError: there is a page of somebody else's.
    ValueError: a figure names no table, or one that is not there, or a listing a column that is
      not; a table has another name or uneven rows. Nothing is written then.
  """
  folder = pathlib.Path(folder)
  files = {name: _csv(name, rows) for name, rows in tables.items()}
  shown = [
    {'title': section.title, 'blocks': [_view(block, tables) for block in section.blocks]}
    for section in sections
  ]
  sizes = {name: len(rows) for name, rows in tables.items()}
  template = _environment().get_template('page.html')
  page = template.render(title=title, facts=facts, notes=notes, sections=shown, sizes=sizes)
  earlier = _tables_of(folder / 'index.html')
  for name, text in files.items():
    write_text(folder / TABLES / f'{name}.csv', text)
  write_text(folder / 'index.html', page)
  for name in earlier - set(tables):
    (folder / TABLES / f'{name}.csv').unlink(missing_ok=True)
  return folder / 'index.html'


def remove_page(folder: str | os.PathLike) -> None:
  """Removes what `write_page` wrote, if anything.

  Raises:
    UserError: there is a page of somebody else's.
  """
  path = pathlib.Path(folder, 'index.html')
  for name in _tables_of(path):
    (path.parent / TABLES / f'{name}.csv').unlink(missing_ok=True)
  path.unlink(missing_ok=True)


def _tables_of(path: pathlib.Path) -> set[str]:
  """Names of the tables that the page there names; none if there is no page."""
  if not path.exists():
    return set()
  page = path.read_text(errors='replace')
  if MARK not in page:
    raise UserError(f'{path} is no page of this program; move it or choose another folder')
  return set(re.findall(rf'href="{TABLES}/([a-z0-9_]+)\.csv"', page))


def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters['prose'] = _prose
  return environment


def _prose(text: str) -> Markup:
  """Text as HTML; what stands in backticks is set as code."""
  parts = text.split('`')
  if len(parts) % 2 == 0:
    return escape(text)  # one backtick is alone
  return Markup().join(
    Markup('<code>{}</code>').format(part) if k % 2 else escape(part)
    for k, part in enumerate(parts)
  )


def _csv(name: str, rows: Rows) -> str:
  """A table with a line of its keys, numbers in full precision; '' where it has no rows."""
  if not re.fullmatch('[a-z0-9_]+', name):
    raise ValueError(f'{name!r} is no name of a table: small letters, digits and underscores are')
  if any(list(row) != list(rows[0]) for row in rows):
    raise ValueError(f'the rows of table {name} have different keys')
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerows([*(list(row) for row in rows[:1]), *(row.values() for row in rows)])
  return text.getvalue()


def _view(block: Text | Drawing | Picture | Listing, tables: Mapping[str, Rows]) -> dict[str, Any]:
  """A block as the template takes it."""
  match block:
    case Text(text):
      return {'kind': 'text', 'paragraphs': re.split(r'\n\s*\n', text.strip())}
    case Drawing(figure, caption, names):
      return _figure('image/svg+xml', _svg(figure), caption, names, tables)
    case Picture(png, caption, names):
      return _figure('image/png', png, caption, names, tables)
    case Listing(table, caption, columns):
      _check(caption, (table,), tables)
      return {'kind': 'table', 'caption': caption, 'tables': (table,)} | _cells(
        tables[table], columns
      )


def _figure(
  kind: str, data: bytes, caption: str, names: Sequence[str], tables: Mapping[str, Rows]
) -> dict[str, Any]:
  _check(caption, names, tables)
  uri = f'data:{kind};base64,{base64.b64encode(data).decode()}'
  # Whoever cannot see it hears what it is; the rest of the caption follows in the text.
  alt = re.split(r'(?<=\.)\s', caption.replace('`', ''), maxsplit=1)[0]
  return {'kind': 'figure', 'uri': uri, 'alt': alt, 'caption': caption, 'tables': names}


def _check(caption: str, names: Sequence[str], tables: Mapping[str, Rows]) -> None:
  if not names:
    raise ValueError(f'a figure says from no table where it comes from: {caption}')
  for name in names:
    if name not in tables:
      raise ValueError(f'there is no table {name}, which is named by: {caption}')


def _svg(figure: Figure) -> bytes:
  file = io.BytesIO()
  # Names of parts that are drawn by chance otherwise, and no date: equal figures are equal bytes.
  with rc_context({'svg.hashsalt': 'mecl_jax'}):
    figure.savefig(file, format='svg', metadata={'Date': None})
  return file.getvalue()


def _cells(rows: Rows, columns: tuple[str, ...] | None) -> dict[str, Any]:
  """Headings and cells of the columns; bounds of an interval stand beside their estimate."""
  held = list(rows[0]) if rows else []
  for column in columns or ():
    if rows and column not in held:
      raise ValueError(f'there is no column {column} among {", ".join(held)}')
  chosen = [c for c in (columns or estimates(held)) if c in held]
  return {
    'headings': [heading(column) for column in chosen],
    'numeric': [any(is_number(row[column]) for row in rows) for column in chosen],
    'rows': [[show(row, column) for column in chosen] for row in rows],
  }
