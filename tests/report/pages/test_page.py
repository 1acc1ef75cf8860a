import base64
import csv
import html.parser
import io
import json
import math
import pathlib
import re
import shutil
import subprocess
import tomllib

from matplotlib.figure import Figure
from matplotlib.image import imread
import numpy as np
from PIL import Image
import pytest

import mecl_jax
from mecl_jax.report.pages.blocks import Drawing, Listing, Picture, Section, Text
from mecl_jax.report.pages.page import write_page

pytestmark = pytest.mark.filterwarnings('error')

NASTY = '<script>alert("1")</script> & \'x\' https://example.org/a.png'
GREEN, BLUE = (0, 158, 115), (0, 114, 178)
NOTHING = dict.fromkeys(('accuracy', 'accuracy_low', 'accuracy_high'))
TABLES = {
  'exits': [
    {'exit': 'stage1', 'accuracy': 1 / 3, 'accuracy_low': 0.3, 'accuracy_high': 0.4, 'macs': 2**21},
    {'exit': NASTY, **NOTHING, 'macs': 40_551_808},
  ],
  'latency': [{'batch': 1, 'p50_ms': 0.1234, 'warm': True, 'leave:stage1': 0.5, 'limit': math.inf}],
  'training': [],
}


class Page(html.parser.HTMLParser):
  """Collects all tags with their attributes, and the text."""

  def __init__(self, path):
    super().__init__()
    self.tags, self.text, self.style = [], '', ''
    self.inside = []
    self.source = path.read_text()
    self.feed(self.source)
    self.close()

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag not in ('meta', 'link', 'img', 'br'):
      self.inside.append(tag)

  def handle_endtag(self, tag):
    assert self.inside.pop() == tag  # well formed

  def handle_data(self, data):
    if self.inside and self.inside[-1] == 'style':
      self.style += data
    else:
      self.text += data

  def all(self, tag):
    return [attributes for name, attributes in self.tags if name == tag]


def figure(name='lines'):
  drawn = Figure(figsize=(3, 2))
  drawn.set_label(name)
  axes = drawn.subplots()
  axes.plot([1, 2], [1, 4], color='#0072B2', linewidth=20)
  axes.set_title('$x^2$')
  return drawn


def png():
  file = io.BytesIO()
  Image.new('RGB', (300, 200), GREEN).save(file, 'png')
  return file.getvalue()


def sections():
  blocks = [
    Text(f'One `--mode=a<b` here.\nStill one.\n\nTwo: {NASTY}'),
    Drawing(figure(), f'Lines go up. {NASTY}', ('exits', 'latency')),
    Picture(png(), 'A picture. It is green.', ('latency',), 'green'),
    Listing('exits', 'What they are `worth`.'),
  ]
  return [
    Section(f'First {NASTY}', blocks),
    Section('Second', [Listing('latency', 'Times.', ('p50_ms', 'batch'))]),
  ]


def write(folder, tables=TABLES, **changes):
  arguments = {'title': f'A run {NASTY}', 'facts': {'data': NASTY}, 'notes': [f'Mind: {NASTY}']}
  return write_page(folder, **(arguments | {'sections': sections()} | changes), tables=tables)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  path = write(tmp_path_factory.mktemp('page'))
  return path, Page(path)


def test_page_links_only_itself_and_its_tables(page):
  path, read = page
  ids = [attributes['id'] for _, attributes in read.tags if 'id' in attributes]
  assert len(set(ids)) == len(ids)
  for tag, attributes in read.tags:
    for name, value in attributes.items():
      if name == 'href' and value.startswith('#'):
        assert value[1:] in ids
      elif name == 'href' and tag == 'a':
        assert re.fullmatch(r'tables/[a-z0-9_]+\.csv|figures/[a-z0-9_]+\.(svg|png)', value)
        assert (path.parent / value).is_file()
      elif name in ('src', 'href'):
        assert value.startswith('data:')
      else:
        assert name not in ('srcset', 'style', 'action', 'poster', 'background')
        assert not name.startswith('on')
  assert not {'script', 'iframe', 'object', 'base', 'form'} & {tag for tag, _ in read.tags}
  assert 'url(' not in read.style and '@import' not in read.style
  for image in read.all('img'):
    if 'svg' in image['src'][:20]:
      svg = base64.b64decode(image['src'].partition(',')[2]).decode()
      assert 'href="http' not in svg and 'url(http' not in svg and '<script' not in svg


def test_html_in_texts_is_escaped(page):
  _, read = page
  # The title twice, the fact, the note, the section twice, the paragraph, the caption, the cell.
  assert read.text.count(NASTY) == 9
  assert '<script' not in read.source


def test_figures_have_a_description_and_sources(page):
  _, read = page
  first, second = read.all('img')
  assert first['alt'] == 'Lines go up.' and second['alt'] == 'A picture.'
  assert base64.b64decode(second['src'].removeprefix('data:image/png;base64,')) == png()
  links = [a['href'] for a in read.all('a') if a['href'].startswith('tables/')]
  assert links[:3] == ['tables/exits.csv', 'tables/latency.csv', 'tables/latency.csv']
  assert 'Figure 1.' in read.text and 'Figure 2.' in read.text and 'Table 2.' in read.text


def test_figures_are_files_beside_the_page(page):
  path, read = page
  links = [a['href'] for a in read.all('a') if a['href'].startswith('figures/')]
  assert links == ['figures/lines.svg', 'figures/green.png']
  for link, image in zip(links, read.all('img'), strict=True):
    assert (path.parent / link).read_bytes() == base64.b64decode(image['src'].partition(',')[2])
  svg = (path.parent / links[0]).read_text()
  assert '<dc:date>' not in svg and len(svg) < 20_000


@pytest.mark.parametrize('name', ['', 'lines', '../x', 'Ä'])
def test_figures_have_names_of_their_own(tmp_path, name):
  blocks = [Drawing(figure(n), 'Made up.', ('exits',)) for n in ('lines', name)]
  with pytest.raises(ValueError, match='must be unique'):
    write(tmp_path, sections=[Section('All', blocks)])
  assert not list(tmp_path.iterdir())


def test_broad_tables_have_a_hint_for_phones(tmp_path):
  table = [{'exit': 'stage1', 'accuracy': 0.5} | {f'column_{k}': 0.12345 for k in range(10)}]
  narrow = Listing('exits', 'Narrow.', ('exit', 'accuracy'))
  path = write(tmp_path, {'exits': table}, sections=[Section('All', [narrow])])
  assert 'to see all' not in Page(path).text
  path = write(tmp_path, {'exits': table}, sections=[Section('All', [Listing('exits', 'All.')])])
  assert 'scroll sideways to see all 12 columns' in Page(path).text


def test_rows_are_chosen_joined_and_marked(tmp_path):
  table = [
    {'rule': rule, 'way': way, 'chosen': way == 'b', 'value': area, 'calibrated': calibrated}
    for calibrated in (False, True)
    for rule, way, area in (('x', 'a', 1), ('x', 'b', 1), ('x', 'c', 1), ('y', 'a', 2))
  ]
  columns = ('rule', 'way', 'value', 'chosen')
  block = Listing('exits', 'All.', columns, where={'calibrated': False}, joined='way')
  path = write(tmp_path, {'exits': table}, sections=[Section('All', [block])])
  rows = re.findall(r'<tr( class="chosen")?>\s*(.*?)\s*</tr>', Page(path).source, re.S)[1:]
  found = [(bool(mark), re.findall(r'>([^<>]+)</t[hd]>', row)) for mark, row in rows]
  assert found == [
    (False, ['x', 'a, c', '1', 'no']),
    (True, ['x', 'b', '1', 'yes']),
    (False, ['y', 'a', '2', 'no']),
  ]


def test_sections_are_listed_and_code_is_marked(page):
  _, read = page
  targets = [a['href'] for a in read.all('a') if a['href'].startswith('#')]
  assert targets == ['#section-1', '#section-2', '#tables']
  assert '<code>--mode=a&lt;b</code>' in read.source and '<code>worth</code>' in read.source
  assert '<p>One <code>' in read.source and '<p>Two: &lt;script&gt;' in read.source


def test_listings_have_headings_and_few_digits(page):
  _, read = page
  rows = re.findall(r'<tr>\s*(.*?)\s*</tr>', read.source, re.S)
  cells = [
    re.findall(r'<t[hd](?: scope="\w+")?(?: class="number")?>(.*?)</t[hd]>', row) for row in rows
  ]
  assert cells[0] == ['exit', 'accuracy (%)', 'MACs']
  assert cells[1] == ['stage1', '33.33 <small>30.00 to 40.00</small>', '2.10 M']
  assert cells[2][1:] == ['–', '40.6 M']
  assert cells[3:] == [['median (ms)', 'batch size'], ['0.123', '1']]


def test_csv_files_have_full_precision(page):
  path, _ = page
  with (path.parent / 'tables' / 'exits.csv').open(newline='') as file:
    read = list(csv.DictReader(file))
  assert [list(row) for row in read] == [list(row) for row in TABLES['exits']]
  assert float(read[0]['accuracy']) == 1 / 3 and read[1]['accuracy'] == ''
  assert read[1]['exit'] == NASTY
  latency = (path.parent / 'tables' / 'latency.csv').read_text()
  assert latency == 'batch,p50_ms,warm,leave:stage1,limit\n1,0.1234,True,0.5,inf\n'
  assert (path.parent / 'tables' / 'training.csv').read_text() == ''


def test_equal_pages_are_equal_bytes(tmp_path, page):
  again = write(tmp_path)
  assert again.read_bytes() == page[0].read_bytes()


def test_tables_and_figures_of_an_older_page_are_removed(tmp_path):
  write(tmp_path)
  tables = {'exits': TABLES['exits']}
  (tmp_path / 'other.csv').write_text('mine')
  block = Drawing(figure('other'), 'Made up.', ('exits',))
  write(tmp_path, tables, sections=[Section('All', [block])])
  names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file())
  assert names == ['figures/other.svg', 'index.html', 'other.csv', 'tables/exits.csv']


@pytest.mark.parametrize(
  'block, message',
  [
    (Drawing(Figure(), 'Made up.', ()), 'names none.*Made up'),
    (Drawing(Figure(), 'Made up.', ('exits', 'none')), 'no table none.*Made up'),
    (Picture(b'', 'Made up.', ('none',), 'made'), 'no table none'),
    (Listing('none', 'Made up.'), 'no table none'),
    (Listing('exits', 'Made up.', ('exit', 'none')), 'no column none'),
    (Listing('exits', 'Made up.', where={'none': 1}), 'no column none'),
  ],
)
def test_a_block_without_its_table_is_rejected(tmp_path, block, message):
  path = write(tmp_path)
  before = path.read_bytes()
  with pytest.raises(ValueError, match=message):
    write(tmp_path, {'exits': TABLES['exits']}, sections=[Section('All', [block])])
  assert path.read_bytes() == before and (tmp_path / 'tables' / 'latency.csv').exists()


@pytest.mark.parametrize(
  'tables, message',
  [
    ({'../exits': []}, 'must consist of'),
    ({'exits': [{'a': 1, 'b': 2}, {'b': 2, 'a': 1}]}, 'different keys'),
  ],
)
def test_an_invalid_table_is_rejected(tmp_path, tables, message):
  with pytest.raises(ValueError, match=message):
    write(tmp_path, tables, sections=[])
  assert not list(tmp_path.iterdir())


def test_facts_notes_and_rows_are_optional(tmp_path):
  block = Listing('training', 'Nothing yet.', ('step',))
  path = write(tmp_path, facts={}, notes=[], sections=[Section('Training', [block])])
  assert 'Nothing yet.' in Page(path).text and not Page(path).all('dl')


def test_template_is_part_of_the_package():
  root = pathlib.Path(mecl_jax.__file__).parent
  settings = tomllib.loads((root.parent / 'pyproject.toml').read_text())
  listed = [
    root.parent / package.replace('.', '/') / name
    for package, names in settings['tool']['setuptools']['package-data'].items()
    for name in names
  ]
  assert set(root.rglob('*.html')) <= set(listed)
  assert all(path.exists() for path in listed)


CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
QUIET = ('background-networking', 'component-update', 'default-apps', 'gpu', 'quic', 'sync')


def browse(path, folder):
  """Returns console messages, requested addresses and a screenshot of a page in a browser."""
  log, picture = folder / 'net.json', folder / 'page.png'
  command = [
    *(CHROMIUM, '--headless', '--no-sandbox', '--no-first-run', '--hide-scrollbars'),
    *(f'--disable-{what}' for what in QUIET),
    *(f'--user-data-dir={folder / "profile"}', '--window-size=900,3000'),
    *('--enable-logging=stderr', '--v=0', f'--log-net-log={log}', f'--screenshot={picture}'),
    *('--proxy-server=127.0.0.1:9', path.as_uri()),  # no proxy listens there
  ]
  done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
  events = [event.get('params', {}) for event in json.loads(log.read_text())['events']]
  # Requests of the browser itself, for example for updates, have no page as origin.
  requested = [e['url'] for e in events if e.get('initiator', 'not an origin') != 'not an origin']
  return (
    [line for line in done.stderr.splitlines() if 'CONSOLE' in line],
    requested,
    imread(picture),
  )


@needs_chromium
def test_browser_reports_no_error_and_no_request(tmp_path, page):
  console, requested, picture = browse(page[0], tmp_path)
  assert not console and not requested
  pixels = (picture[..., :3] * 255).round().astype(int)
  for colour in (BLUE, GREEN):  # of the drawing and of the picture
    assert (np.abs(pixels - colour).max(axis=-1) <= 2).sum() > 1000


@needs_chromium
def test_browser_notices_errors_and_requests(tmp_path):
  page = tmp_path / 'bad.html'
  page.write_text('<img src="http://example.org/a.png"><script>console.error("oops")</script>')
  console, requested, _ = browse(page, tmp_path)
  assert any('oops' in line for line in console) and requested == ['http://example.org/a.png']
