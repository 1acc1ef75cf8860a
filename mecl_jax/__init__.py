"""Multi-Exit Curriculum Learning in JAX/Flax (Bakhtiarnia et al., arXiv 2104.10461)."""

__version__ = '0.1.0'
