"""Helpers for tests that write the report of a finished run again."""

import csv

from mecl_jax import config


def with_target(run, **fields):
  """Returns the configuration of a run, with a page and fields of `evaluation`."""
  c = config.read(run / 'config.json')
  c.report.page = True
  c.evaluation.update(fields)
  return c


def with_export(run, **fields):
  """Returns the configuration of a run, with fields of `export`."""
  c = config.read(run / 'config.json')
  c.export.update(fields)
  return c


def with_energy(run, **fields):
  """Returns the configuration of a run, with a page and fields of `energy`."""
  c = with_target(run)
  c.energy.update(fields)
  return c


def table(run, name):
  """Returns the rows of a table of a run's page."""
  with (run / f'report/tables/{name}.csv').open() as file:
    return list(csv.DictReader(file))


TABLES = {
  *('exits', 'calibration', 'reliability', 'overthinking', 'first_correct', 'agreement'),
  *('ensembles', 'curve', 'areas', 'operating_points', 'training', 'examples'),
}  # of a page without latencies
