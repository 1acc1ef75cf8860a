"""Inference: early exit, answers by a deadline, and their latencies."""

from mecl_jax.inference.anytime import Answer, Anytime
from mecl_jax.inference.early_exit import Answers, EarlyExit
from mecl_jax.inference.latency import Latency, load_latency, save_latency
from mecl_jax.inference.measure import disagreements, measure, measure_saving

__all__ = [
  'Answer',
  'Answers',
  'Anytime',
  'EarlyExit',
  'Latency',
  'disagreements',
  'load_latency',
  'measure',
  'measure_saving',
  'save_latency',
]
