"""Writes a page: one HTML file that needs no other file, and its tables as CSV files beside it.

Every figure names the tables that it shows, and the page links them, so that each number can be
looked up.
"""

import base64
from collections.abc import Mapping, Sequence
import csv
import io
import os
import pathlib
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.report.cells import estimates, heading, is_number, show
from mecl_jax.report.pages.blocks import Block, Drawing, Listing, Picture, Section, Text
from mecl_jax.report.rows import Rows

MARK = '<meta name="generator" content="mecl_jax">'  # marks a page that may be overwritten
TABLES = 'tables'  # folder of the CSV files, beside the page


def write_page(
  folder: str | os.PathLike,
  title: str,
  facts: Mapping[str, str],
  notes: Sequence[str],
  sections: Sequence[Section],
  tables: Mapping[str, Rows],
  *,
  verdict: str = '',
) -> pathlib.Path:
  """Writes folder/index.html, and folder/tables/NAME.csv of every table.

  Equal arguments give equal bytes. CSV files of the page that is overwritten are removed if this
  page does not have them.

  Args:
    folder: of the page; created if missing.
    title: of the page.
    facts: name to value, at the top of the page.
    notes: warnings about the numbers, below the facts.
    sections: in order.
    tables: by name, of lower-case letters, digits and underscores. All rows of a table have the
      same keys in the same order.
    verdict: a sentence before everything else, or ''.

  Returns:
    the path of the page.

  Raises:
    UserError: folder/index.html is a file that mecl_jax did not write.
    ValueError: a figure names no table or an unknown one, a listing names an unknown column, the
      name of a table is not valid, or its rows have different keys. Nothing is written then.
  """
  folder = pathlib.Path(folder)
  files = {name: _csv(name, rows) for name, rows in tables.items()}
  shown = [
    {'title': section.title, 'blocks': [_view(block, tables) for block in section.blocks]}
    for section in sections
  ]
  sizes = {name: len(rows) for name, rows in tables.items()}
  template = _environment().get_template('page.html')
  page = template.render(
    title=title, verdict=verdict, facts=facts, notes=notes, sections=shown, sizes=sizes
  )
  earlier = _tables_of(folder / 'index.html')
  for name, text in files.items():
    write_text(folder / TABLES / f'{name}.csv', text)
  write_text(folder / 'index.html', page)
  for name in earlier - set(tables):
    (folder / TABLES / f'{name}.csv').unlink(missing_ok=True)
  return folder / 'index.html'


def remove_page(folder: str | os.PathLike) -> None:
  """Removes the files that `write_page` wrote, if any.

  Raises:
    UserError: folder/index.html is a file that mecl_jax did not write.
  """
  path = pathlib.Path(folder, 'index.html')
  for name in _tables_of(path):
    (path.parent / TABLES / f'{name}.csv').unlink(missing_ok=True)
  path.unlink(missing_ok=True)


def _tables_of(path: pathlib.Path) -> set[str]:
  """Returns the names of the tables that a page links; none if there is no page."""
  if not path.exists():
    return set()
  page = path.read_text(errors='replace')
  if MARK not in page:
    raise UserError(
      f'{path} is a file that mecl_jax did not write; move it or choose another folder'
    )
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
  """Returns text as HTML; backticks mark code, and no line breaks before a % sign."""
  parts = text.split('`')
  if len(parts) % 2 == 0:
    return escape(text)  # a backtick without a partner
  return Markup().join(
    Markup('<code>{}</code>').format(part) if k % 2 else escape(re.sub(r'(?<=\d) %', '\xa0%', part))
    for k, part in enumerate(parts)
  )


def _csv(name: str, rows: Rows) -> str:
  """Returns a table as CSV with a line of headings, numbers in full precision; '' without rows."""
  if not re.fullmatch('[a-z0-9_]+', name):
    raise ValueError(f'the name of table {name!r} must consist of a-z, 0-9 and _')
  if any(list(row) != list(rows[0]) for row in rows):
    raise ValueError(f'the rows of table {name} have different keys')
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerows([*(list(row) for row in rows[:1]), *(row.values() for row in rows)])
  return text.getvalue()


def _view(block: Block, tables: Mapping[str, Rows]) -> dict[str, Any]:
  """Returns the values of a block for the template."""
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
  # A screen reader reads the first sentence, and then the whole caption below the figure.
  alt = re.split(r'(?<=\.)\s', caption.replace('`', ''), maxsplit=1)[0]
  return {'kind': 'figure', 'uri': uri, 'alt': alt, 'caption': caption, 'tables': names}


def _check(caption: str, names: Sequence[str], tables: Mapping[str, Rows]) -> None:
  if not names:
    raise ValueError(f'a figure must name the tables that it shows; this one names none: {caption}')
  for name in names:
    if name not in tables:
      raise ValueError(f'there is no table {name}, which is named by the block: {caption}')


def _svg(figure: Figure) -> bytes:
  file = io.BytesIO()
  # A fixed salt for the identifiers and no date, so that equal figures are equal bytes.
  with rc_context({'svg.hashsalt': 'mecl_jax'}):
    figure.savefig(file, format='svg', metadata={'Date': None})
  return file.getvalue()


def _cells(rows: Rows, columns: tuple[str, ...] | None) -> dict[str, Any]:
  """Returns headings and cells; the bounds of an interval are part of their estimate's cell."""
  held = list(rows[0]) if rows else []
  for column in columns or ():
    if rows and column not in held:
      raise ValueError(f'there is no column {column}; the table has {", ".join(held)}')
  chosen = [c for c in (columns or estimates(held)) if c in held]
  return {
    'headings': [heading(column) for column in chosen],
    'numeric': [any(is_number(row[column]) for row in rows) for column in chosen],
    'rows': [[show(row, column) for column in chosen] for row in rows],
  }
