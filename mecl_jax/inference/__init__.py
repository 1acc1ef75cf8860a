"""Answering early for real: stage by stage, with a policy or a deadline, and how long it takes."""
