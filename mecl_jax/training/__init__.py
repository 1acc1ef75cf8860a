"""Training in phases: `train` and `evaluate` run a whole configuration in a work directory."""
