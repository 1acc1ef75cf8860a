"""Multi-exit networks: backbones as named stages, exit heads, and their costs."""

from mecl_jax.models.factory import build
from mecl_jax.models.macs import ExitCost, StageCost, count_macs, exit_costs, quantity, stage_costs
from mecl_jax.models.multi_exit import (
  FINAL,
  MultiExit,
  PixelStatistic,
  draw_dropout,
  exit_scope,
  set_trainable,
)
from mecl_jax.models.registry import BACKBONES, DTYPES, HEADS, STEMS
from mecl_jax.models.whitening import fit_to_images

__all__ = [
  'BACKBONES',
  'DTYPES',
  'FINAL',
  'HEADS',
  'STEMS',
  'ExitCost',
  'MultiExit',
  'PixelStatistic',
  'StageCost',
  'build',
  'count_macs',
  'draw_dropout',
  'exit_costs',
  'exit_scope',
  'fit_to_images',
  'quantity',
  'set_trainable',
  'stage_costs',
]
