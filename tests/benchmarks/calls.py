"""Functions that tests run in workers."""

import os
import time


def die():
  os._exit(3)


def work(seconds):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    pass
