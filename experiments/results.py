"""Writes docs/results.md, what it shows, and the headline of the README from the studies' tables.

  python -m experiments.results [--tables=experiments/results] [--docs=docs] [--readme=README.md]
                                [--check]

Every experiments/results/NAME.csv is the table of the study experiments/configs/NAME.py. The text
is experiments/results.md.jinja, in which every number is a call of `quotes.Results`. Tables and
pictures of earlier templates, that nothing makes any more, are deleted. With --check nothing is
written; it exits with 1 where a text on disk is another one (pictures are not compared), or where a
file is to be deleted.
"""

import argparse
from collections.abc import Callable
import os
import pathlib
import re
import sys
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from experiments.paired.table import Rows, read_table
from experiments.quotes import Results
from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.report.style import save

TEMPLATE = pathlib.Path(__file__).with_name('results.md.jinja')
MARKS = ('<!-- results -->', '<!-- /results -->')  # in the README, around the headline


class Built(NamedTuple):
  """What is to be written, and what to be deleted.

  Attributes:
    texts: by their paths.
    pictures: what draws them, by their paths.
    left_over: tables and pictures on disk that nothing makes any more.
  """

  texts: dict[pathlib.Path, str]
  pictures: dict[pathlib.Path, Callable[[], Figure]]
  left_over: list[pathlib.Path]


def build(
  tables: pathlib.Path, docs: pathlib.Path, readme: pathlib.Path, template: pathlib.Path = TEMPLATE
) -> Built:
  """Makes all texts, and draws nothing yet.

  Args:
    tables: folder of the CSV files.
    docs: folder of results.md, its images/ and its results/.
    readme: whose text between `MARKS` is replaced by what the template's macro `headline` says.
      Links in it are, as in the rest of the template, relative to `docs`.
    template: of results.md.

  Raises:
    UserError: there are no tables, one of them is not what it should be, the template asks for
      something that they do not have, or the README has no place for the headline.
  """
  results = Results(_read(tables))
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(template.parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  names = {name: getattr(results, name) for name in dir(results) if not name.startswith('_')}
  try:
    module: Any = environment.get_template(template.name).make_module(names)
    page, headline = _tidy(str(module)), _tidy(module.headline())
  except jinja2.TemplateError as error:
    raise UserError(f'{template}: {error}') from None
  texts = {docs / 'results.md': page, readme: _with_headline(readme, headline, docs)}
  texts |= {docs / name: text for name, text in results.files.items()}
  there = {*docs.glob('results/*.csv'), *docs.glob('images/results-*.png')}
  left_over = sorted(there.difference(texts, (docs / name for name in results.pictures)))
  return Built(texts, {docs / name: draw for name, draw in results.pictures.items()}, left_over)


def write(built: Built) -> None:
  """Writes all texts, draws all pictures, and deletes what is left over."""
  for path, draw in built.pictures.items():
    save(draw(), path)
  for path, text in built.texts.items():
    write_text(path, text)
  for path in built.left_over:
    path.unlink()


def outdated(built: Built) -> list[pathlib.Path]:
  """The texts that are not on disk as they would be written, and the files that are left over."""
  changed = [
    path
    for path, text in built.texts.items()
    if not path.exists() or path.read_bytes() != text.encode()
  ]
  return changed + built.left_over


def _read(folder: pathlib.Path) -> dict[str, Rows]:
  tables = {path.stem: read_table(path) for path in sorted(folder.glob('*.csv'))}
  if not tables:
    raise UserError(f'{folder} has no tables; python -m experiments.paired makes them')
  for name, rows in tables.items():
    if others := {row['study'] for row in rows} - {name}:
      raise UserError(f'{folder / name}.csv has runs of {min(others)!r}; name it after its study')
  return tables


def _with_headline(readme: pathlib.Path, headline: str, docs: pathlib.Path) -> str:
  text = readme.read_text()
  parts = re.split('|'.join(map(re.escape, MARKS)), text)
  if len(parts) != 3 or text.find(MARKS[0]) > text.find(MARKS[1]):
    raise UserError(f'{readme} has no place for the headline; add the lines {" and ".join(MARKS)}')
  to_docs = pathlib.Path(os.path.relpath(docs, readme.parent)).as_posix()
  headline = re.sub(r'\]\((?!\w+:)', f']({to_docs}/', headline)
  return f'{parts[0]}{MARKS[0]}\n{headline}{MARKS[1]}{parts[2]}'


def _tidy(text: str) -> str:
  """Text that ends with one line's end, and without the empty lines that a template leaves."""
  return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--tables', type=pathlib.Path, default=pathlib.Path('experiments/results'))
  parser.add_argument('--docs', type=pathlib.Path, default=pathlib.Path('docs'))
  parser.add_argument('--readme', type=pathlib.Path, default=pathlib.Path('README.md'))
  parser.add_argument('--check', action='store_true', help='write nothing, compare the texts')
  flags = parser.parse_args(argv)
  try:
    built = build(flags.tables, flags.docs, flags.readme)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  if flags.check:
    if found := outdated(built):
      files = ', '.join(map(str, found))
      print(f'not what the tables give: {files}; python -m experiments.results mends them')
    return 1 if found else 0
  write(built)
  return 0


if __name__ == '__main__':
  sys.exit(main())
