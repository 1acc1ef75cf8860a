"""The configuration of a run that is there: --config=mecl_jax/config_of_run.py:DIR.

`main.py` takes it where --workdir is given and --config is not, so that fields can be set.
"""

import pathlib

from mecl_jax import config


def get_config(workdir=''):
  return config.read(pathlib.Path(workdir, 'config.json'))
