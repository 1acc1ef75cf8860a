import io
import pathlib
import shutil

from PIL import Image
import pytest

from experiments import pictures
from mecl_jax import load_config
from mecl_jax.config import flatten
from mecl_jax.errors import UserError
from mecl_jax.training.workdir import read_summary
from tests.report.png import size

ROOT = pathlib.Path(__file__).parents[2]


def test_every_picture_is_shown_in_a_document():
  text = ''.join(path.read_text() for path in (ROOT / 'README.md', *ROOT.glob('docs/*.md')))
  names = (*pictures.SOURCES, *pictures.REPORT_FIGURES, pictures.REPORT_TOP)
  assert all(f'images/{name})' in text for name in names)


@pytest.mark.slow
def test_pictures_are_drawn_and_ended_runs_are_not_trained_again(
  toy_config, tmp_path, monkeypatch, capsys
):
  source = pictures.Source('toy', {'seed': 1}, 'exits.png')
  monkeypatch.setattr(pictures, 'SOURCES', {'toy-exits.png': source})
  monkeypatch.setattr(pictures, 'load_config', lambda name: toy_config)
  timed = []
  monkeypatch.setattr(pictures, 'latency', lambda workdir, config: timed.append(workdir))
  monkeypatch.setattr(pictures, 'REPORT_FIGURES', {'figure.png': 'exits.png'})
  monkeypatch.setattr(pictures, 'screenshot', lambda page: str(page).encode())
  flags = [f'--runs={tmp_path / "runs"}', f'--images={tmp_path / "images"}']
  assert pictures.main(flags) == 0
  summary = read_summary(tmp_path / 'runs/toy-exits')
  assert summary['seed'] == 1 and size(tmp_path / 'images/toy-exits.png') == (900, 600)
  report = tmp_path / 'runs/digits-report'
  assert timed == [report] and size(tmp_path / 'images/figure.png') == (900, 600)
  page = (tmp_path / 'images' / pictures.REPORT_TOP).read_text()
  assert page == str(report / 'report/index.html')
  monkeypatch.setattr(pictures, 'train', None)
  assert pictures.main(flags) == 0
  assert 'images/toy-exits.png' in capsys.readouterr().out


@pytest.mark.skipif(not any(map(shutil.which, pictures.BROWSERS)), reason='needs Chromium')
def test_screenshot_is_the_top_of_a_page(tmp_path):
  page = tmp_path / 'page.html'
  page.write_text('<body style="margin: 0; height: 3000px; background: #0072b2">')
  picture = Image.open(io.BytesIO(pictures.screenshot(page, width=600, height=400)))
  assert picture.size == (900, 600)
  assert picture.convert('RGB').getpixel((450, 300)) == (0x00, 0x72, 0xB2)


def test_screenshot_without_a_browser_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(pictures, 'BROWSERS', ('no-such-browser',))
  with pytest.raises(UserError, match='needs a browser; install one of'):
    pictures.screenshot(tmp_path / 'page.html')


def test_configurations_have_the_fields():
  for source in (*pictures.SOURCES.values(), pictures.REPORT):
    config = load_config(source.config)
    config.update_from_flattened_dict(source.fields)
    fields = dict(flatten(config))
    assert {name: fields[name] for name in source.fields} == dict(source.fields)
