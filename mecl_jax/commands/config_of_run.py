"""The configuration of an existing run: --config=mecl_jax/commands/config_of_run.py:DIR.

`main.py` uses it if --workdir is given and --config is not, so that fields can be set.
"""

import pathlib

from mecl_jax.training.workdir import read_config


def get_config(workdir=''):
  return read_config(pathlib.Path(workdir))
