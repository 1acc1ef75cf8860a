"""The configuration of a file: --config=mecl_jax/commands/config_of_file.py:FILE.py:VARIANT.

`main.py` replaces --config by this file, so that an error in FILE.py is reported as one line.
"""

from mecl_jax import config


def get_config(name):
  return config.load_config(name)
