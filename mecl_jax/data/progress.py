"""How the readers of images show their progress: a function that the caller passes."""

from collections.abc import Callable, Iterator
import contextlib
import sys

from rich.console import Console
from rich.progress import Progress

# Takes what is done and the number of images; its context is a function of the images done so far.
Show = Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]


@contextlib.contextmanager
def on_stderr(what: str, total: int) -> Iterator[Callable[[int], None]]:
  """Shows a bar on a terminal, and nothing in other output."""
  hidden = not sys.stderr.isatty()
  with Progress(console=Console(stderr=True), transient=True, disable=hidden) as bar:
    task = bar.add_task(what, total=total)
    yield lambda done: bar.update(task, completed=done)
