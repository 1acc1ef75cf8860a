"""Writes a page: one HTML file that needs no other file, and its tables as CSV files beside it.

Every figure names the tables that it shows, and the page links them, so that each number can be
looked up.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import os
import pathlib
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mecl_jax.errors import UserError
from mecl_jax.files import atomic, write_text
from mecl_jax.report.cells import estimates, heading, is_number, show
from mecl_jax.report.pages.blocks import Block, Drawing, Listing, Picture, Section, Text
from mecl_jax.report.rows import Rows
from mecl_jax.report.style import as_svg

MARK = '<meta name="generator" content="mecl_jax">'  # marks a page that may be overwritten
TABLES = 'tables'  # folder of the CSV files, beside the page
FIGURES = 'figures'  # folder of the figures, beside the page
PHONE = 50  # characters of a table that a phone shows
GAP = 3  # characters that the space beside a column takes
SMALL = 0.8  # size of an interval, relative to its estimate

Shown = tuple[str, str]  # a value, and its interval or ''


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
  """Writes folder/index.html, with folder/tables/NAME.csv and folder/figures/NAME.svg.

  Equal arguments give equal bytes. Tables and figures of the page that is overwritten are removed
  if this page does not have them.

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
      name of a table or figure is not valid or not unique, or the rows of a table have different
      keys. Nothing is written then.
  """
  folder = pathlib.Path(folder)
  files = {name: _csv(name, rows) for name, rows in tables.items()}
  shown: list[dict[str, Any]] = [
    {'title': section.title, 'blocks': [_view(block, tables) for block in section.blocks]}
    for section in sections
  ]
  figures = _figures(block for section in shown for block in section['blocks'])
  sizes = {name: len(rows) for name, rows in tables.items()}
  template = _environment().get_template('page.html')
  page = template.render(
    title=title, verdict=verdict, facts=facts, notes=notes, sections=shown, sizes=sizes
  )
  earlier, earlier_figures = _tables_of(folder / 'index.html'), _figures_of(folder / 'index.html')
  for name, content in figures.items():
    with atomic(folder / FIGURES / name) as file:
      file.write(content)
  for name, text in files.items():
    write_text(folder / TABLES / f'{name}.csv', text)
  write_text(folder / 'index.html', page)
  for name in earlier - set(tables):
    (folder / TABLES / f'{name}.csv').unlink(missing_ok=True)
  for name in earlier_figures - set(figures):
    (folder / FIGURES / name).unlink(missing_ok=True)
  return folder / 'index.html'


def check_page(folder: str | os.PathLike) -> None:
  """Checks that a page can be written to a folder.

  Raises:
    UserError: folder/index.html is a file that mecl_jax did not write.
  """
  _tables_of(pathlib.Path(folder, 'index.html'))


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


def _figures_of(path: pathlib.Path) -> set[str]:
  """Returns the names of the files of figures that a page of ours links."""
  page = path.read_text(errors='replace') if path.exists() else ''
  return set(re.findall(rf'href="{FIGURES}/([a-z0-9_]+\.(?:svg|png))"', page))


def _figures(blocks: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
  """Returns the files of the figures among the blocks, by name."""
  found: dict[str, bytes] = {}
  for block in blocks:
    if block['kind'] == 'figure':
      if block['file'] in found or not re.fullmatch(r'[a-z0-9_]+\.(svg|png)', block['file']):
        raise ValueError(f'the name of figure {block["file"]!r} must be unique, of a-z, 0-9 and _')
      found[block['file']] = block['data']
  return found


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
      return _figure(str(figure.get_label()), as_svg(figure), caption, names, tables)
    case Picture(data, caption, names, name):
      return _figure(name, data, caption, names, tables)
    case Listing(table, caption):
      _check(caption, (table,), tables)
      shown = {'kind': 'table', 'caption': caption, 'tables': (table,)}
      return shown | _cells(tables[table], block)


def _figure(
  name: str, data: bytes, caption: str, names: Sequence[str], tables: Mapping[str, Rows]
) -> dict[str, Any]:
  _check(caption, names, tables)
  kind, suffix = ('png', 'png') if data.startswith(b'\x89PNG') else ('svg+xml', 'svg')
  uri = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  # A screen reader reads the first sentence, and then the whole caption below the figure.
  alt = re.split(r'(?<=\.)\s', caption.replace('`', ''), maxsplit=1)[0]
  shown = {'kind': 'figure', 'uri': uri, 'alt': alt, 'caption': caption, 'tables': names}
  return shown | {'file': f'{name}.{suffix}', 'data': data}


def _check(caption: str, names: Sequence[str], tables: Mapping[str, Rows]) -> None:
  if not names:
    raise ValueError(f'a figure must name the tables that it shows; this one names none: {caption}')
  for name in names:
    if name not in tables:
      raise ValueError(f'there is no table {name}, which is named by the block: {caption}')


def _cells(rows: Rows, listing: Listing) -> dict[str, Any]:
  """Returns headings and cells; the bounds of an interval are part of their estimate's cell."""
  held = list(rows[0]) if rows else []
  for column in (*(listing.columns or ()), *listing.where):
    if rows and column not in held:
      raise ValueError(f'there is no column {column}; the table has {", ".join(held)}')
  chosen = [c for c in (listing.columns or estimates(held)) if c in held]
  kept = [row for row in rows if all(row[name] == value for name, value in listing.where.items())]
  cells = [[show(row, column) for column in chosen] for row in kept]
  if listing.joined in chosen:
    cells = _joined(cells, chosen.index(listing.joined))
  headings = [heading(column) for column in chosen]
  return {
    'broad': _width(headings, cells) > PHONE,
    'headings': headings,
    'numeric': [any(is_number(row[column]) for row in kept) for column in chosen],
    'rows': cells,
    'marked': [dict(zip(chosen, row, strict=True)).get('chosen') == ('yes', '') for row in cells],
  }


def _joined(cells: list[list[Shown]], at: int) -> list[list[Shown]]:
  """Returns the rows that are equal in all columns but `at` as one row, with a list there."""
  found: dict[tuple[Shown, ...], list[str]] = {}
  for row in cells:
    found.setdefault((*row[:at], *row[at + 1 :]), []).append(row[at][0])
  return [[*row[:at], (', '.join(names), ''), *row[at:]] for row, names in found.items()]


def _width(headings: Sequence[str], cells: Sequence[Sequence[Shown]]) -> float:
  """Estimates the width of a table in characters; headings wrap between words, cells do not."""
  width = 0.0
  for k, title in enumerate(headings):
    words = max(map(len, title.split()), default=0)
    inside = (max(len(row[k][0]), SMALL * len(row[k][1])) for row in cells)
    width += max(words, *inside) + GAP if cells else words + GAP
  return width
