"""The files of a bundle: their types, values and checksums are verified before use."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import re
from typing import Any

from mecl_jax.deploy.runtime.errors import BundleError, first_line, need
from mecl_jax.deploy.runtime.rules import CONFIDENCES

FORMAT, VERSION = 'mecl_jax bundle', 1

# A form is a type, a value, a tuple of alternatives, [form of all items], or {name: form}, where
# '*' stands for any names, and a name with '?' may be missing.
_SPLIT = {'accuracy': float, 'share': [float], 'macs': float}
_POLICY = {
  'rule': (*CONFIDENCES, 'gate', 'fixed'),
  'features': [CONFIDENCES],
  'coefficients': [[float]],
  'thresholds': [(float, 'inf', '-inf')],
  'meaning': str,
  'validation': _SPLIT,
  'test': _SPLIT,
}
_FEATURE = {'name': str, 'dtype': ('float32', 'float16', 'uint8', 'int8'), 'shape': [int]}
_CODE = {**_FEATURE, 'dtype': 'uint8'}
_BOTTLENECK = {
  'channels': int,
  'encoder': str,
  'decoder': str,
  'codes': [_CODE],
  'validation_accuracy': [float],  # of the exits behind it
  'test_accuracy': [float],
}
_EXIT = {
  'name': str,
  'file': str,
  'macs': int,
  'segment_macs': int,
  'temperature': float,
  'takes_before': bool,
  'features': [_FEATURE],
  'bottlenecks?': [_BOTTLENECK],
  'validation_accuracy': float,
  'test_accuracy': float,
}
_BUNDLE = {
  'class_names': [str],
  'image_shape': [int],
  'resizing': 'crop_then_bilinear',
  'precision': ('float32', 'float16', 'int8'),
  'exits': [_EXIT],
  'policies': {'*': _POLICY},
  'default_policy': str,
  'files': {'*': str},
}


def read_bundle(folder: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
  """Reads a bundle and verifies all of it.

  Args:
    folder: of the bundle.

  Returns:
    the fields of bundle.json without its checksum, and the content of the other files by name.

  Raises:
    BundleError: a file is missing, or is not what was exported.
  """
  path, files = pathlib.Path(folder, 'bundle.json'), {}
  fields = _read_json(path)
  _check_form(fields, _BUNDLE, str(path))
  _check_values(fields, path)
  for name, digest in fields['files'].items():
    is_name = re.fullmatch(r'\w[\w.-]*', name, re.ASCII)  # of a file in this folder
    need(is_name, f'{path}: {name!r:.80} is not a file name')
    files[name] = _read(path.with_name(name))
    same = hashlib.sha256(files[name]).hexdigest() == digest
    need(same, f'{path.with_name(name)} is not the exported file: copy the bundle again')
  return fields, files


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  data = _read(path)
  try:
    fields = json.loads(data)
    checksum = fields.pop('checksum', None) if isinstance(fields, dict) else None
    same = _checksum(fields) == checksum
  except (ValueError, RecursionError) as error:
    raise BundleError(f'{path} is not JSON: {first_line(error)}; copy the bundle again') from None
  is_bundle = isinstance(fields, dict) and fields.get('format') == FORMAT
  need(is_bundle, f'{path} is not the bundle.json of a mecl_jax bundle')
  found = f'{path} has version {fields.get("version")!r:.80}; this program reads {VERSION}'
  need(fields.get('version') == VERSION, f'{found}: use the early_exit.py of that bundle')
  need(same, f'{path} is damaged, its checksum differs: copy the bundle again')
  return fields


def _checksum(fields: Any) -> str:
  return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def identity_of(bundle: dict[str, Any]) -> str:
  """Returns 16 hexadecimal digits that differ for other bundles, from the fields of bundle.json."""
  return _checksum(bundle)[:16]


def bottlenecks_of(exit_: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the bottlenecks behind an exit, from its fields in bundle.json."""
  return exit_.get('bottlenecks', [])


def _read(path: pathlib.Path) -> bytes:
  try:
    need(path.is_file(), f'{path} does not exist: copy the whole bundle')
    return path.read_bytes()
  except (OSError, MemoryError) as error:
    raise BundleError(f'{path} cannot be read: {first_line(error)}') from None


def _check_form(value: Any, form: Any, where: str) -> None:
  """Checks a value that was read from JSON; `where` is its place, for the message."""
  if isinstance(form, list) and isinstance(value, list):
    for number, item in enumerate(value):
      _check_form(item, form[0], f'{where}[{number}]')
  elif isinstance(form, dict) and isinstance(value, dict):
    forms = dict.fromkeys(value, form['*']) if '*' in form else form
    for key, each in forms.items():
      name = key.rstrip('?') if key in form else key
      if name in value:
        _check_form(value[name], each, f'{where}.{name:.80}')
      else:
        need(name != key, f'{where}: {name} is missing')
  else:
    alternatives = form if isinstance(form, tuple) else (form,)
    fits = any(_fits(value, each) for each in alternatives)
    need(fits, f'{where} is {value!r:.80}, which is not valid')


def _fits(value: Any, form: Any) -> bool:
  if form in (int, float):  # infinity and NaN are within no bounds
    return type(value) in (int, form) and -1e15 < value < 1e15
  return type(value) is form if isinstance(form, type) else value == form


def _check_values(fields: dict[str, Any], path: pathlib.Path) -> None:
  """Checks what the types of the fields do not show."""
  exits, shape, policies = fields['exits'], fields['image_shape'], fields['policies']
  need(exits and len(fields['class_names']) > 1, f'{path} needs an exit and two classes')
  fits = len(shape) == 3 and min(shape) > 0 and math.prod(shape) < 1 << 28
  need(fits, f'{path}: image_shape is {shape}')
  for k, each in enumerate(exits):
    fits = each['file'] in fields['files'] and each['temperature'] > 0
    fits = fits and bool(each['features']) == (k < len(exits) - 1)
    need(fits and (k or not each['takes_before']), f'{path}: exit {k} is {each!r:.200}')
    for one in bottlenecks_of(each):
      fits = {one['encoder'], one['decoder']} <= set(fields['files'])
      fits = fits and len(one['codes']) == len(each['features'])
      need(fits, f'{path}: a bottleneck of exit {k} is {one!r:.200}')
  default = fields['default_policy']
  need(default in policies, f'{path}: default_policy is {default!r:.80}')
  for name, each in policies.items():
    need(_is_policy(each, len(exits)), f'{path}: policy {name!r:.80} is not for {len(exits)} exits')


def _is_policy(policy: dict[str, Any], exits: int) -> bool:
  """Returns whether the parts of a policy fit each other and the number of exits."""
  thresholds, infinite = policy['thresholds'], ('inf', '-inf')
  widths = [len(policy['features']) + 1] * exits if policy['rule'] == 'gate' else []
  is_fixed = all(each in infinite for each in thresholds) and thresholds.count('-inf') <= 1
  return (
    len(thresholds) == exits - 1
    and [len(of_exit) for of_exit in policy['coefficients']] == widths
    and (is_fixed or policy['rule'] != 'fixed')
    and all(len(policy[split]['share']) == exits for split in ('validation', 'test'))
  )
