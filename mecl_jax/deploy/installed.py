"""The packages of the extras `export` and `serve`."""

from collections.abc import Sequence
import importlib.util

from mecl_jax.errors import UserError

PACKAGES = ('jax2onnx', 'onnx', 'onnxruntime')
OF_SERVER = ('onnxruntime', 'starlette', 'uvicorn')


def check_installed() -> None:
  """Checks that the packages that an export needs are there.

  Raises:
    UserError: one is missing.
  """
  _check('--mode=export', 'export', PACKAGES)


def check_can_run(what: str) -> None:
  """Checks that a bundle can be run here.

  Args:
    what: runs it, for the message.

  Raises:
    UserError: ONNX Runtime is missing.
  """
  _check(what, 'serve', ('onnxruntime',))


def check_can_serve(what: str) -> None:
  """Checks that the packages of the server are there.

  Args:
    what: needs them, for the message.

  Raises:
    UserError: one is missing.
  """
  _check(what, 'serve', OF_SERVER)


def _check(what: str, extra: str, packages: Sequence[str]) -> None:
  missing = [name for name in packages if importlib.util.find_spec(name) is None]
  if missing:
    raise UserError(f"{what} needs {', '.join(missing)}; pip install -e '.[{extra}]' installs it")
