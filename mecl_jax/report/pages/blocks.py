"""The parts of a page: paragraphs, figures and tables, in sections."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from mecl_jax.report.rows import Cell


class Text(NamedTuple):
  """Paragraphs, separated by empty lines; `backticks` mark code."""

  text: str


class Drawing(NamedTuple):
  """A vector figure, and the names of the tables that it shows.

  The label of the figure is the name of its file, see `style.new_figure`.
  """

  figure: Figure
  caption: str
  tables: tuple[str, ...]


class Picture(NamedTuple):
  """A PNG or SVG, the names of the tables that it shows, and the name of its file."""

  data: bytes
  caption: str
  tables: tuple[str, ...]
  name: str


class Listing(NamedTuple):
  """A table on the page; its CSV file has all rows and columns.

  Attributes:
    table: name.
    caption: above the table.
    columns: that are shown; None: all.
    where: column to the value that a row must have to be shown.
    joined: column whose values are listed in one row if rows are equal in all other shown columns.
  """

  table: str
  caption: str
  columns: tuple[str, ...] | None = None
  where: Mapping[str, Cell] = {}
  joined: str | None = None


Block = Text | Drawing | Picture | Listing


class Section(NamedTuple):
  """A heading with the blocks below it."""

  title: str
  blocks: Sequence[Block]
