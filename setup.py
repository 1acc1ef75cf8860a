"""The packages of the wheel; all other settings are in pyproject.toml.

`configs/` is at the top of the repository, and `mecl_jax/configs/` in the wheel.
"""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=['mecl_jax*']), 'mecl_jax.configs'],
  package_dir={'mecl_jax.configs': 'configs'},
)
