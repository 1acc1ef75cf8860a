"""Parts of the deployment benchmark: what is timed, and the sides, which a worker runs."""
