"""Checks the pages of the built site: `python docs/site/check.py site`.

Every link to a file or an anchor must lead somewhere, also those that MkDocs does not see, and no
page may load anything from the internet.
"""

import html.parser
import pathlib
import re
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
  """The anchors of a page, its links, and what it loads when it is viewed."""

  def __init__(self, text: str):
    super().__init__()
    self.anchors: set[str] = set()
    self.links: list[str] = []
    self.loaded: list[str] = re.findall(r'url\(["\']?([^"\')]+)', text)
    self.feed(text)

  def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
    given = {name: value or '' for name, value in attributes}
    self.anchors |= {given[name] for name in ('id', 'name') if name in given}
    if 'src' in given or tag == 'link':
      self.loaded.append(given.get('src', given.get('href', '')))
    elif 'href' in given:
      self.links.append(given['href'])


def problems(site: pathlib.Path) -> list[str]:
  """Returns a line for each link that leads nowhere, and for each address that a page loads."""
  pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob('*.html'))}
  found = []
  for path, page in pages.items():
    shown = path.relative_to(site.resolve())
    if path.name == '404.html':  # has absolute links
      continue
    for link in page.links + page.loaded:
      target = urllib.parse.urlsplit(link)
      if target.scheme == 'data' or (target.scheme and link in page.links):
        continue
      if target.scheme or target.netloc:
        found.append(f'{shown} loads {link}')
        continue
      file = (path.parent / urllib.parse.unquote(target.path)).resolve() if target.path else path
      anchor = urllib.parse.unquote(target.fragment)
      if not file.is_file():
        found.append(f'{shown} links to {link}, which does not exist')
      elif file in pages and anchor and anchor not in pages[file].anchors:
        found.append(f'{shown} links to {link}, and there is no such anchor')
  return found


def main() -> int:
  site = pathlib.Path(sys.argv[1])
  found = problems(site)
  print('\n'.join(found) or f'{len(list(site.rglob("*.html")))} pages, all links lead somewhere')
  return bool(found)


if __name__ == '__main__':
  sys.exit(main())
