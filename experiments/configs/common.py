"""Fields that the studies share: networks so small that two CPU cores can train many of them."""

# Images are shrunk to 16x16 on the device. Heads are a learned mix of max and average pooling and a
# dense layer: the internal classifiers of SDN (Kaya et al., ICML 2019), on a frozen backbone.
COMMON = {
  'strategy': 'classifier_wise',
  'data.image_size': 16,
  'augment.crop': 2,
  'model.head': 'mixed_pool',
  'steps_per_dispatch': 50,  # these heads have no convolution, whose gradient a scan slows down
  'report.page': False,
}

# Heads as in `configs/`, with fewer channels, instead of those of SDN.
CONV_HEADS = {'model.head': 'conv', 'model.head_width': 16, 'steps_per_dispatch': 0}

# The same for all studies, whatever their heads, so that they share the runs.
BACKBONE = {
  'steps_per_dispatch': 0,
  'model.head': 'mixed_pool',
  'model.head_width': 64,
  'phases.joint.duration': '6 epochs',
  'phases.joint.warmup': '10%',
  'logging.validate_every': '50%',
}

RESNET = {
  'model.backbone': 'resnet14',
  'model.width': 12,
  'model.exits': ('stage1_block2', 'stage2_block1', 'stage2_block2'),
}
VGG = {
  'model.backbone': 'vgg11',
  'model.width': 3,
  'model.exits': ('stage1_block1', 'stage2_block1', 'stage3_block2'),
}

# EfficientNet-Lite0 with its weights from ImageNet, which stay as they are.
LITE0 = {
  'strategy': 'classifier_wise',
  'data.image_size': 128,
  'model.backbone': 'efficientnet_lite0',
  'model.pretrained': 'lite0.safetensors',
  'model.frozen': True,
  'model.exits': ('stage2_block2', 'stage3_block2', 'stage4_block3', 'stage5_block3'),
  'model.head': 'mixed_pool',  # as in COMMON
  'steps_per_dispatch': 50,
  'report.page': False,
}
# Its final exit: one dense layer, trained on the data set.
LITE0_BACKBONE = {
  'phases.joint.duration': '4 epochs',
  'phases.joint.optimizer': 'adam',
  'phases.joint.weight_decay': 0.0,
  'phases.joint.learning_rate': 'auto',
  'logging.validate_every': '50%',
}

SETTINGS = {
  f'{data} {name}': {'data.name': data, **backbone}
  for name, backbone in (('resnet14', RESNET), ('vgg11', VGG))
  for data in ('cifar10', 'cifar100')
}


def at_rates(rates):
  """Returns all settings at each of these learning rates, named 'NAME at RATE'."""
  return {
    f'{name} at {rate}': {**fields, 'phases.heads.learning_rate': rate}
    for data in ('cifar10', 'cifar100')
    for rate in rates
    for name, fields in SETTINGS.items()
    if fields['data.name'] == data
  }


# The rates that every searched arm tries.
RATES = {'phases.heads.learning_rate': [0.003, 0.01, 0.03, 0.1, 0.3]}
# The rate that is best for standard training in the study `tuned`, averaged over its exits.
TUNED_RATE = {'phases.heads.learning_rate': 0.03}

NO_ORDER = {'curriculum.order': 'none'}
STANDARD = TUNED_RATE | NO_ORDER
# All data at every step; the earlier the exit, the more easy examples count in its loss.
WEIGHTED = NO_ORDER | {'curriculum.sample_weights': 'easy_weighted'}
# The recipe of the repository's configs/: the strength that validation chose in `strengths`.
RECIPE = WEIGHTED | {'curriculum.easy_strength': 0.4}
DISTILLED = {'distillation.weight': 0.5}  # of the final exit, beside the labels


def linear(start, full_after):
  """Returns the fields of a pacing with easy examples first and a linearly growing share."""
  return {
    'curriculum.order': 'easy_first',
    'curriculum.pacing': 'linear',
    'curriculum.start': start,
    'curriculum.full_after': full_after,
  }


# For studies of what goes with a pacing, at the rate of standard training.
EASY_FIRST = TUNED_RATE | linear(0.3, '25%')
