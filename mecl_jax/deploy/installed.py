"""The packages of the extra `export`."""

import importlib.util

from mecl_jax.errors import UserError

PACKAGES = ('jax2onnx', 'onnx', 'onnxruntime')


def check_installed() -> None:
  """Checks that the packages that an export needs are there.

  Raises:
    UserError: one is missing.
  """
  missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
  if missing:
    raise UserError(
      f"--mode=export needs {', '.join(missing)}; pip install -e '.[export]' installs it"
    )
