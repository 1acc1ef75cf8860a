"""Writes docs/results.md, a page per study, and the block of the README from the studies' tables.

  python -m experiments.results [--tables=experiments/results] [--configs=experiments/configs]
                                [--docs=docs] [--readme=README.md] [--check]

Every experiments/results/NAME.csv is the table of the study experiments/configs/NAME.py, and gets a
page docs/results/NAME.md; that of counting is made by `counting.page`. The text of docs/results.md
is experiments/results.md.jinja, with functions of `quotes.Quotes`. Pages, tables and pictures that
nothing makes any more are deleted.
With --check nothing is written: it exits with 1 if a text on disk is not up to date (pictures are
not compared) or a file would be deleted.
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
import pandas as pd

from experiments import counting
from experiments.blocks import with_block
from experiments.pages import study_page
from experiments.quotes import Quotes
from experiments.studies import read_studies
from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.report.style import save_png

TEMPLATE = pathlib.Path(__file__).with_name('results.md.jinja')


class Built(NamedTuple):
  """The files to write and to delete.

  Attributes:
    texts: by their paths.
    pictures: functions that draw them, by their paths.
    left_over: files on disk that nothing makes any more.
  """

  texts: dict[pathlib.Path, str]
  pictures: dict[pathlib.Path, Callable[[], Figure]]
  left_over: list[pathlib.Path]


def build(
  tables: pathlib.Path,
  configs: pathlib.Path,
  docs: pathlib.Path,
  readme: pathlib.Path,
  template: pathlib.Path = TEMPLATE,
) -> Built:
  """Makes all texts, and draws nothing yet.

  Args:
    tables: folder of the CSV files.
    configs: folder of the files that describe the studies.
    docs: folder of results.md, images/ and results/.
    readme: its block `results` is replaced by the template's macro `headline`. Links in it
      are, as in the rest of the template, relative to `docs`.
    template: of results.md.

  Raises:
    UserError: there are no tables, a table or a description is wrong, the template uses something
      that the tables do not have, or the README has no such block.
  """
  studies = read_studies(tables, configs)
  texts: dict[pathlib.Path, str] = {}
  pictures: dict[str, Callable[[], Figure]] = {}
  for study in studies.values():
    files = study_page(study)
    texts |= {docs / name: text for name, text in files.texts.items()}
    pictures |= files.pictures
  if (counted := tables / counting.TABLE).exists():
    texts[docs / 'results/counting.md'] = counting.page(pd.read_csv(counted))
  page, headline = _rendered(template, Quotes(studies, set(pictures)))
  texts |= {docs / 'results.md': page, readme: _with_headline(readme, headline, docs)}
  drawn = {docs / name: draw for name, draw in pictures.items()}
  on_disk = {*docs.glob('results/*.csv'), *docs.glob('results/*.md')}
  on_disk |= {*docs.glob('images/results-*.png')}
  return Built(texts, drawn, sorted(on_disk.difference(texts, drawn)))


def write(built: Built) -> None:
  """Writes all texts, draws all pictures, and deletes what is left over."""
  for path, draw in built.pictures.items():
    save_png(draw(), path)
  for path, text in built.texts.items():
    write_text(path, text)
  for path in built.left_over:
    path.unlink()


def outdated(built: Built) -> list[pathlib.Path]:
  """Returns the texts that differ from those on disk, and the files that are left over."""
  changed = [
    path
    for path, text in built.texts.items()
    if not path.exists() or path.read_bytes() != text.encode()
  ]
  return changed + built.left_over


def _rendered(template: pathlib.Path, quotes: Quotes) -> tuple[str, str]:
  """Returns the page and the block of the README."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(template.parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  try:
    module: Any = environment.get_template(template.name).make_module(quotes.functions())
    return _tidy(str(module)), _tidy(module.headline())
  except jinja2.TemplateError as error:
    raise UserError(f'{template}: {error}') from None


def _with_headline(readme: pathlib.Path, headline: str, docs: pathlib.Path) -> str:
  to_docs = pathlib.Path(os.path.relpath(docs, readme.parent)).as_posix()
  headline = re.sub(r'\]\((?!\w+:)', f']({to_docs}/', headline)
  return with_block(readme, 'results', headline)


def _tidy(text: str) -> str:
  """Returns the text without repeated empty lines, which a template leaves."""
  return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--tables', type=pathlib.Path, default=pathlib.Path('experiments/results'))
  parser.add_argument('--configs', type=pathlib.Path, default=pathlib.Path('experiments/configs'))
  parser.add_argument('--docs', type=pathlib.Path, default=pathlib.Path('docs'))
  parser.add_argument('--readme', type=pathlib.Path, default=pathlib.Path('README.md'))
  parser.add_argument('--check', action='store_true', help='write nothing, compare the texts')
  flags = parser.parse_args(argv)
  try:
    built = build(flags.tables, flags.configs, flags.docs, flags.readme)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  if flags.check:
    if found := outdated(built):
      files = ', '.join(map(str, found))
      print(f'not up to date: {files}; run python -m experiments.results')
    return 1 if found else 0
  write(built)
  return 0


if __name__ == '__main__':
  sys.exit(main())
