"""Networks as other people write them; nothing in them is made for exits."""

from flax import linen, nnx
import jax
import jax.numpy as jnp

SHAPE, CLASSES = (8, 8, 1), 4


class CNN(nnx.Module):
  def __init__(self, classes, rngs):
    self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
    self.bn1 = nnx.BatchNorm(4, rngs=rngs)
    self.conv2 = nnx.Conv(4, 8, (3, 3), strides=2, rngs=rngs)
    self.bn2 = nnx.BatchNorm(8, rngs=rngs)
    self.conv3 = nnx.Conv(8, 8, (3, 3), rngs=rngs)
    self.bn3 = nnx.BatchNorm(8, rngs=rngs)
    self.fc = nnx.Linear(8, classes, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.bn1(self.conv1(x)))
    x = nnx.relu(self.bn2(self.conv2(x)))
    x = nnx.relu(self.bn3(self.conv3(x)))
    return self.fc(x.mean((1, 2)))


class LinenCNN(linen.Module):
  classes: int

  @linen.compact
  def __call__(self, x, train: bool):
    for k, channels in enumerate((4, 8)):
      x = linen.Conv(channels, (3, 3), strides=1 + k, name=f'conv{k}')(x)
      x = linen.BatchNorm(use_running_average=not train, name=f'bn{k}')(x)
      x = linen.relu(x)
    x = linen.Dropout(0.2, deterministic=not train)(x.mean((1, 2)))
    return linen.Dense(self.classes, name='fc')(x)


class BasicBlock(nnx.Module):
  def __init__(self, inplanes, planes, stride, downsample, rngs):
    conv = {'use_bias': False, 'padding': 1, 'rngs': rngs}
    self.conv1 = nnx.Conv(inplanes, planes, (3, 3), strides=stride, **conv)
    self.bn1 = nnx.BatchNorm(planes, rngs=rngs)
    self.conv2 = nnx.Conv(planes, planes, (3, 3), **conv)
    self.bn2 = nnx.BatchNorm(planes, rngs=rngs)
    self.downsample = downsample

  def __call__(self, x):
    out = nnx.relu(self.bn1(self.conv1(x)))
    out = self.bn2(self.conv2(out))
    identity = x if self.downsample is None else self.downsample(x)
    return nnx.relu(out + identity)


class ResNet(nnx.Module):
  """The names and the layout of torchvision's ResNets."""

  def __init__(self, classes, rngs, planes=(4, 4, 8, 8), blocks=1):
    self.inplanes = planes[0]
    self.conv1 = nnx.Conv(1, planes[0], (3, 3), use_bias=False, rngs=rngs)
    self.bn1 = nnx.BatchNorm(planes[0], rngs=rngs)
    for number, width in enumerate(planes, 1):
      layer = self.make_layer(width, blocks, 1 if number == 1 else 2, rngs)
      setattr(self, f'layer{number}', nnx.data(layer) if hasattr(nnx, 'data') else layer)
    self.fc = nnx.Linear(planes[-1], classes, rngs=rngs)

  def make_layer(self, planes, blocks, stride, rngs):
    made = []
    for k in range(blocks):
      stride = stride if k == 0 else 1
      downsample = None
      if stride != 1 or self.inplanes != planes:
        downsample = nnx.Sequential(
          nnx.Conv(self.inplanes, planes, (1, 1), strides=stride, use_bias=False, rngs=rngs),
          nnx.BatchNorm(planes, rngs=rngs),
        )
      made.append(BasicBlock(self.inplanes, planes, stride, downsample, rngs))
      self.inplanes = planes
    return made

  def __call__(self, x):
    x = nnx.relu(self.bn1(self.conv1(x)))
    for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
      for block in layer:
        x = block(x)
    return self.fc(jnp.mean(x, axis=(1, 2)))


class Encoder(nnx.Module):
  """A transformer block; with a dropout, and attention of Flax."""

  def __init__(self, width, rngs):
    self.norm1 = nnx.LayerNorm(width, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(
      2, width, dropout_rate=0.1, deterministic=False, decode=False, rngs=rngs
    )
    self.norm2 = nnx.LayerNorm(width, rngs=rngs)
    self.mlp = nnx.Sequential(
      nnx.Linear(width, 2 * width, rngs=rngs),
      nnx.gelu,
      nnx.Dropout(0.1, rngs=rngs),
      nnx.Linear(2 * width, width, rngs=rngs),
    )

  def __call__(self, x):
    x = x + self.attention(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class ViT(nnx.Module):
  """Tokens [B, 1 + 16, D] pass from block to block."""

  def __init__(self, classes, rngs, width=8, depth=2):
    self.patch_embed = nnx.Conv(1, width, (2, 2), strides=2, rngs=rngs)
    self.cls_token = nnx.Param(jnp.zeros((1, 1, width)))
    self.pos_embed = nnx.Param(jax.random.normal(rngs.params(), (1, 17, width)))
    made = [Encoder(width, rngs) for _ in range(depth)]
    self.blocks = nnx.data(made) if hasattr(nnx, 'data') else made
    self.norm = nnx.LayerNorm(width, rngs=rngs)
    self.head = nnx.Linear(width, classes, rngs=rngs)

  def __call__(self, x):
    x = self.patch_embed(x)
    tokens = x.reshape(x.shape[0], -1, x.shape[-1])
    first = jnp.broadcast_to(self.cls_token[...], (x.shape[0], 1, x.shape[-1]))
    x = jnp.concatenate([first, tokens], axis=1) + self.pos_embed[...]
    for block in self.blocks:
      x = block(x)
    return self.head(self.norm(x)[:, 0])


class Tuples(nnx.Module):
  """Two resolutions pass from stage to stage, as in HRNet."""

  class Stage(nnx.Module):
    def __init__(self, rngs):
      self.fine = nnx.Conv(4, 4, (3, 3), rngs=rngs)
      self.coarse = nnx.Conv(4, 4, (3, 3), strides=2, rngs=rngs)

    def __call__(self, maps):
      fine, coarse = maps
      return nnx.relu(self.fine(fine)), nnx.relu(coarse + self.coarse(fine))

  def __init__(self, classes, rngs):
    self.stem = nnx.Conv(1, 4, (3, 3), rngs=rngs)
    self.stage1, self.stage2 = self.Stage(rngs), self.Stage(rngs)
    self.fc = nnx.Linear(8, classes, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.stem(x))
    maps = self.stage2(self.stage1((x, x[:, ::2, ::2])))
    return self.fc(jnp.concatenate([m.mean((1, 2)) for m in maps], axis=-1))


class Spectral(nnx.Module):
  def __init__(self, classes, rngs):
    self.conv1 = nnx.SpectralNorm(nnx.Conv(1, 4, (3, 3), rngs=rngs), rngs=rngs)
    self.conv2 = nnx.SpectralNorm(nnx.Conv(4, 4, (3, 3), rngs=rngs), rngs=rngs)
    self.fc = nnx.SpectralNorm(nnx.Linear(4, classes, rngs=rngs), rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
    return self.fc(x.mean((1, 2)))


class UNet(nnx.Module):
  """A skip connection passes over the cuts; one stream of random keys for all dropouts."""

  def __init__(self, classes, rngs):
    self.down = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
    self.middle = nnx.Conv(4, 4, (3, 3), rngs=rngs)
    self.up = nnx.ConvTranspose(4, 4, (2, 2), strides=(2, 2), rngs=rngs)
    self.last = nnx.Conv(5, 8, (3, 3), rngs=rngs)
    self.drop = nnx.Dropout(0.3, rngs=rngs)
    self.fc = nnx.Linear(8, classes, rngs=rngs)

  @nnx.jit
  def __call__(self, x):
    y = self.drop(nnx.relu(self.down(x)))
    y = nnx.relu(self.middle(y))
    y = self.drop(nnx.relu(self.up(y)))
    y = nnx.relu(self.last(jnp.concatenate([x, y], axis=-1)))
    return self.fc(y.mean((1, 2)))


def make_cnn(num_classes, rngs):
  """Makes the network of `model.backbone=tests.models.own.networks:make_cnn`."""
  return CNN(num_classes, rngs)


# Class, and the parts after which it is cut.
NETWORKS = {
  'cnn': (CNN, ('bn1', 'bn2')),
  'resnet': (ResNet, ('layer1', 'layer3')),
  'vit': (ViT, ('blocks.0',)),
  'tuples': (Tuples, ('stage1',)),
  'spectral': (Spectral, ('conv1',)),
  'unet': (UNet, ('middle', 'up')),
}
if not hasattr(nnx, 'SpectralNorm'):  # Flax has it since 0.12
  del NETWORKS['spectral']


def make(name, classes=CLASSES, seed=0):
  """Returns a new network of `NETWORKS`."""
  return NETWORKS[name][0](classes, nnx.Rngs(seed))
