"""Hooks of MkDocs: pages from files outside of docs/, links to them, and names of the public API.

Each Markdown file in docs/site/ is a page of the site. A line `<!-- from README.md: HEADING -->` in
it stands for the text below that heading, so that the README and the site have one source.
"""

from collections.abc import Iterator
import os
import pathlib
import posixpath
import re
import sys

from markdown.extensions.toc import slugify
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[2]
DOCS, SITE = ROOT / 'docs', ROOT / 'docs/site'
WHOLE = {'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}
ASSETS = ('site.css', 'iframe-worker.js')
FROM = re.compile(r'^<!-- from (\S+): (.+) -->$', re.MULTILINE)
HEADING = re.compile(r'(?:\A# |^##+ )(.+)$', re.MULTILINE)  # `# ` also begins comments in code
LINK = re.compile(r'(\[[^\[\]]*\])\(([^()\s]+)\)')
# A heading is the title of its page only if nothing is before it.
COMMENT = re.compile(r'\A(?:<!--.*?-->\s*)+', re.DOTALL)
STARTS = {'table': re.compile(r'\|'), 'item': re.compile(r'(?:[-*]|1\.) ')}
FLAG = re.compile(r'(<code>)(--[\w.]{1,30})')
API = re.compile(r'^::: mecl_jax\.(\w+)$', re.MULTILINE)

sys.path.insert(0, str(ROOT))
import mecl_jax  # noqa: E402  its table of names; JAX is not imported

_page_of: dict[str, str] = {}  # of a heading of the README, by its anchor


def on_config(config: MkDocsConfig) -> None:
  """Replaces patterns in the navigation by the pages that match, and leaves out missing pages."""
  config.nav = list(_expanded(config.nav or []))


def _expanded(entries: list) -> Iterator[dict]:
  for entry in entries:
    ((title, place),) = entry.items()
    if isinstance(place, list):
      yield {title: list(_expanded(place))}
    elif '*' in place:
      yield {title: sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob(place))}
    elif place in WHOLE.values() or any((folder / place).exists() for folder in (DOCS, SITE)):
      yield entry


def on_files(files: Files, config: MkDocsConfig) -> None:
  """Adds the pages of docs/site/, and those of files in the root of the repository."""
  for path in sorted(SITE.glob('*.md')):
    text = FROM.sub(lambda found, page=path.name: _section(*found.groups(), page), path.read_text())
    files.append(File.generated(config, path.name, content=API.sub(_api, text)))
  for name, page in WHOLE.items():
    files.append(File.generated(config, page, content=_relinked((ROOT / name).read_text(), name)))
  for name in ASSETS:
    files.append(File.generated(config, name, abs_src_path=str(SITE / name)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Points the links of a page that leave docs/ to pages, or to copies of files, of the site.

  The page also loses comments before its heading, and gets the empty lines that MkDocs needs.
  """
  here = posixpath.dirname(page.file.src_uri)
  text = COMMENT.sub('', _relinked(markdown, f'docs/{page.file.src_uri}', here))
  for name in set(re.findall(r'\((?:\.\./)*repository/([^()\s]+)\)', text)):
    if not files.get_file_from_path(f'repository/{name}'):
      path = str(ROOT / name)
      files.append(File.generated(config, f'repository/{name}', abs_src_path=path))
  return _spaced(text)


def _section(name: str, heading: str, page: str) -> str:
  """Returns the text below a heading of a file of the repository, up to the next heading."""
  parts = HEADING.split((ROOT / name).read_text())
  sections = dict(zip(parts[1::2], parts[2::2], strict=True))
  if heading not in sections:
    raise PluginError(
      f'docs/site/{page}: {name} has no heading {heading!r}; choose one of: {", ".join(sections)}'
    )
  _page_of[slugify(heading, '-')] = page
  return _relinked(sections[heading].strip(), name)


def _relinked(text: str, source: str, here: str = '') -> str:
  """Returns text of a file of the repository, with links for a page of the site.

  Args:
    text: Markdown.
    source: path of the file in the repository, which its links start from.
    here: folder of the page in the site.
  """

  def link(found: re.Match) -> str:
    label, target = found.groups()
    path, hash_, anchor = target.partition('#')
    full = os.path.normpath(ROOT / posixpath.dirname(source) / path)
    inside = posixpath.relpath(full, ROOT)
    if ':' in target or not path or not os.path.exists(full):
      return found[0]  # checked by MkDocs
    if os.path.isdir(full):
      return label[1:-1]
    if inside == 'README.md':
      place, hash_, anchor = _page_of.get(anchor, 'index.md'), '', ''
    elif inside.startswith('docs/'):
      place = inside.removeprefix('docs/')
    else:
      place = WHOLE.get(inside, f'repository/{inside}')
    return f'{label}({posixpath.relpath(place, here or ".")}{hash_}{anchor})'

  return LINK.sub(link, text)


def _spaced(text: str) -> str:
  """Returns Markdown with an empty line before each table and list, and after each block of code.

  GitHub does without these lines; MkDocs would take the table or list for text.
  """
  spaced: list[str] = []
  before, in_code = '', False
  for line in text.splitlines():
    fence = line.lstrip().startswith('```')
    kind = '```' if fence else next((k for k, start in STARTS.items() if start.match(line)), 'text')
    begins = (kind in ('table', 'item') and kind != before) or before == '```' != kind
    if begins and not in_code and spaced and spaced[-1].strip() and not line.startswith(' '):
      spaced.append('')
    spaced.append(line)
    in_code ^= fence
    before = before if kind == 'text' and line.startswith(' ') and not in_code else kind
  return '\n'.join(spaced)


def _api(found: re.Match) -> str:
  """Returns where a public name is defined, for mkdocstrings, with the name as the heading."""
  name = found[1]
  module, original = mecl_jax._PUBLIC[name], mecl_jax._NAMES.get(name, name)
  place = f'{module}.{original}' if module else mecl_jax._MODULES[name]
  if module and (ROOT / 'mecl_jax' / module.replace('.', '/') / f'{original}.py').exists():
    place += f'.{original}'  # a function that has the name of its module
  return f'::: mecl_jax.{place}\n    options:\n      heading: {name}\n      toc_label: {name}'


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Keeps flags in one line, and shows functions by their public names."""
  if page.file.src_uri == 'api.md':
    if '<blockquote>' in html:
      raise PluginError('an example (>>>) in a docstring lacks the heading `Examples:` above it')
    parts = re.split('(?=<h3 id=")', html)
    html = ''.join(_with_public_name(part) for part in parts)
  return FLAG.sub(r'\1<span class="flag">\2</span>', html)


def _with_public_name(part: str) -> str:
  """Returns the part of the API that belongs to one heading, with the public name in its code."""
  for name, original in mecl_jax._NAMES.items():
    if re.match(rf'<h3 id="[^"]+\.{original}"[^>]*>\s*{name}\s', part):
      part = re.sub(
        rf'(<span class="nf?">){original}(?=</span><span class="p">\()', rf'\g<1>{name}', part
      )
  return part
