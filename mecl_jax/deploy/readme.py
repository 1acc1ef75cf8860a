"""README.md of a bundle: what it contains, and how to use it."""

from collections.abc import Mapping
import pathlib
from typing import Any

import jinja2

from mecl_jax.evaluation.rules import FIXED, GATE, PATIENCE

_MEANINGS = {
  'max_probability': 'the largest p',
  'entropy': 'the sum of p log p, which is minus the entropy in nats',
  'margin': 'the largest p minus the second largest',
  PATIENCE: 'how many exits in a row, up to this one, predict the class of this one',
  GATE: '1 / (1 + exp(-s)), where s is the sum of `coefficients[exit]` times the confidences that'
  ' `features` names, plus the last of the coefficients',
  FIXED: 'none is needed: all images leave at the exit with the threshold -inf, else at the last',
}


def render_readme(bundle: Mapping[str, Any]) -> str:
  """Returns the text of README.md.

  Args:
    bundle: the fields of bundle.json; `files` and `checksum` are not needed, since the SHA-256 of
      README.md is among them.

  Raises:
    jinja2.UndefinedError: a field is missing.
  """
  used = {policy['rule'] for policy in bundle['policies'].values()}
  used |= {name for policy in bundle['policies'].values() for name in policy['features']}
  rules = [rule for rule in _MEANINGS if rule in used]
  template = _environment().get_template('readme.md.jinja')
  return template.render(bundle=bundle, rules=rules, meanings=_MEANINGS)


def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=False,  # Markdown, not HTML
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters |= {'cell': _cell, 'percent': _percent, 'millions': _millions}
  return environment


def _cell(text: str) -> str:
  """Returns text that fits into a cell of a table."""
  return ' '.join(text.split()).replace('|', '\\|')


def _percent(share: float) -> str:
  return f'{100 * share:.1f} %'


def _millions(macs: float) -> str:
  return f'{macs / 1e6:.2f} M' if macs >= 1e6 else f'{macs / 1e3:.1f} k'
