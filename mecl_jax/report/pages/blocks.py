"""The parts of a page: paragraphs, figures and tables, in sections."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure


class Text(NamedTuple):
  """Paragraphs, separated by empty lines; `backticks` mark code."""

  text: str


class Drawing(NamedTuple):
  """A vector figure, and the names of the tables that it shows."""

  figure: Figure
  caption: str
  tables: tuple[str, ...]


class Picture(NamedTuple):
  """A PNG, and the names of the tables that it shows."""

  png: bytes
  caption: str
  tables: tuple[str, ...]


class Listing(NamedTuple):
  """A table on the page, with the named columns or all of them; its CSV file has all."""

  table: str
  caption: str
  columns: tuple[str, ...] | None = None


Block = Text | Drawing | Picture | Listing


class Section(NamedTuple):
  """A heading with the blocks below it."""

  title: str
  blocks: Sequence[Block]
