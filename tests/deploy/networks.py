"""Small networks whose batch norms are not those of a fresh network, and images for them."""

from flax import nnx
import jax.numpy as jnp
import numpy as np

from mecl_jax import models
from mecl_jax.evaluation import predict
from mecl_jax.models.layers import BatchNorm


def build(backbone='resnet8', head='conv', exits=('stage1', 'stage2'), side=16, **changes):
  """Builds a network with random batch statistics, which folding must not lose."""
  model = models.build(
    backbone=backbone,
    exits=exits,
    head=head,
    num_classes=5,
    image_shape=(side, side, 3),
    mean=np.full(3, 0.5),
    std=np.full(3, 0.25),
    seed=0,
    width=changes.pop('width', 4),
    head_width=8,
    **changes,
  )
  draw = np.random.default_rng(1)
  for _, part in nnx.iter_graph(model):
    if isinstance(part, BatchNorm):
      part.mean[...] = jnp.asarray(draw.normal(0, 0.3, part.mean.shape), part.mean.dtype)
      part.var[...] = jnp.asarray(draw.uniform(0.5, 2, part.var.shape), part.var.dtype)
  return model


def images_for(model_or_side, count=5):
  """Returns uint8 images [count, side, side, 3]."""
  side = model_or_side
  return np.random.default_rng(2).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def difference(model, models, images):
  """Returns the largest difference of logits, relative to the largest logit."""
  from mecl_jax.deploy.predict import predict as predict_onnx

  ours = predict(model, images)
  return np.abs(ours - predict_onnx(models, images)).max() / np.abs(ours).max()
