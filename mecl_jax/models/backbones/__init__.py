"""Backbones: sequences of named stages, independent of exits."""
