"""Training in phases: the plan, the compiled step, the loop, checkpoints, the work directory."""
