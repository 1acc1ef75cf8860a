import pathlib

import pytest

from experiments import pictures
from mecl_jax import load_config
from mecl_jax.config import flatten
from mecl_jax.training.workdir import read_summary
from tests.report.png import size

ROOT = pathlib.Path(__file__).parents[2]


def test_every_picture_is_shown_in_a_document():
  text = ''.join(path.read_text() for path in (ROOT / 'README.md', *ROOT.glob('docs/*.md')))
  assert all(f'images/{name})' in text for name in pictures.SOURCES)


@pytest.mark.slow
def test_pictures_are_drawn_and_ended_runs_are_not_trained_again(
  toy_config, tmp_path, monkeypatch, capsys
):
  source = pictures.Source('toy', {'seed': 1}, 'exits.png')
  monkeypatch.setattr(pictures, 'SOURCES', {'toy-exits.png': source})
  monkeypatch.setattr(pictures, 'load_config', lambda name: toy_config)
  flags = [f'--runs={tmp_path / "runs"}', f'--images={tmp_path / "images"}']
  assert pictures.main(flags) == 0
  summary = read_summary(tmp_path / 'runs/toy-exits')
  assert summary['seed'] == 1 and size(tmp_path / 'images/toy-exits.png') == (900, 600)
  monkeypatch.setattr(pictures, 'train', None)
  assert pictures.main(flags) == 0
  assert 'images/toy-exits.png' in capsys.readouterr().out


def test_configurations_have_the_fields():
  for source in pictures.SOURCES.values():
    config = load_config(source.config)
    config.update_from_flattened_dict(source.fields)
    fields = dict(flatten(config))
    assert {name: fields[name] for name in source.fields} == dict(source.fields)
