"""Figures of the tables in `run_rows`, and what the tests read from them."""

from mecl_jax.report.figures import accuracy, calibration, energy, exits, time, training
from tests.report import run_rows

DRAWN = {
  'against MACs': (accuracy.accuracy_against_macs, 'exits', 'curve', 'operating_points'),
  'against latency': (
    accuracy.accuracy_against_latency,
    *('exits', 'latency', 'curve', 'operating_points'),
  ),
  'leaving': (accuracy.leaving, 'operating_points'),
  'reliability': (calibration.reliability, 'reliability'),
  'effect': (calibration.effect, 'calibration'),
  'effect on rules': (calibration.effect_on_rules, 'areas'),
  'overthinking': (exits.overthinking, 'overthinking', 'first_correct'),
  'agreement': (exits.agreement, 'agreement'),
  'ensembles': (exits.ensembles, 'ensembles'),
  'deadlines': (time.deadlines, 'deadlines', 'exits'),
  'energy': (energy.energy, 'energy', 'energy_trace'),
  'latency': (time.latency, 'latency'),
  'savings': (time.savings, 'savings'),
  'training': (training.training_curves, 'training'),
}
THREE = run_rows.make(3)


def draw(name, tables=THREE):
  """Returns a figure of `DRAWN`."""
  function, *names = DRAWN[name]
  return function(*(tables[table] for table in names))


def lines(axes):
  """Returns the points, float [points, 2], of each line of two points or more."""
  found = [line.get_xydata() for line in axes.lines if line.get_marker() != '_']
  return [points for points in found if len(points) > 1]
