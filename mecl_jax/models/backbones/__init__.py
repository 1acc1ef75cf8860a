"""Backbones: each a list of named stages that knows nothing of exits."""
