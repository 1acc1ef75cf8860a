"""Multi-Exit Curriculum Learning in JAX/Flax (Bakhtiarnia et al., arXiv 2104.10461).

The names that the documents use are here, and loaded when they are first used: importing the
package does not start JAX.
"""

import importlib
from typing import Any

from mecl_jax.version import __version__

# Public name: the module that defines it, or None for a module of the package.
_PUBLIC = {
  'Anytime': 'inference',
  'Curriculum': 'curriculum',
  'Dataset': 'data',
  'Difficulty': 'curriculum',
  'EarlyExit': 'inference',
  'Policy': 'evaluation',
  'RunError': 'errors',
  'UserError': 'errors',
  'add_exits': 'models.own.add_exits',
  'build_network': 'models.factory',
  'compare': 'commands.compare',
  'config': None,
  'default_config': 'config',
  'describe': 'commands.describe',
  'energy': 'commands.energy',
  'evaluate': 'commands.evaluate',
  'exit_costs': 'models',
  'from_source': 'data',
  'latency': 'commands.latency',
  'load_config': 'config',
  'load_data': 'data',
  'load_latency': 'inference',
  'load_network': 'training.networks',
  'load_policy': 'evaluation',
  'load_predictions': 'evaluation',
  'make_order': 'curriculum',
  'make_recommended': 'config',
  'measure_latency': 'inference',
  'pacing': None,
  'predict': 'evaluation',
  'register_backbone': 'models.own.factories',
  'register_network': 'models.own.factories',
  'save_latency': 'inference',
  'score_difficulty': 'commands.difficulty',
  'scores': None,
  'train': 'commands.train',
}
_MODULES = {'config': 'config', 'pacing': 'curriculum.pacing', 'scores': 'curriculum.scores'}
_NAMES = {
  'build_network': 'build',
  'default_config': 'default',
  'load_data': 'load',
  'measure_latency': 'measure',
}

__all__ = ['__version__', *_PUBLIC]


def __getattr__(name: str) -> Any:
  if name in _MODULES:
    return importlib.import_module(f'mecl_jax.{_MODULES[name]}')
  if name in _PUBLIC:
    module = importlib.import_module(f'mecl_jax.{_PUBLIC[name]}')
    return getattr(module, _NAMES.get(name, name))
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted(__all__)
