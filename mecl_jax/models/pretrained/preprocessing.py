"""The values of `model.preprocessing`, which selects mean and deviation for the pixels."""

from mecl_jax.models.pretrained.publishers import FILES, IMAGENET, STYLES, style

DATASET = 'dataset'  # statistics of the training images
RUN = 'run'  # statistics of the run whose weights are loaded
PREPROCESSING = (DATASET, *STYLES, RUN)


def is_workdir(source: str) -> bool:
  """Returns whether a source of weights is the work directory of another run.

  >>> [is_workdir(source) for source in ('', 'imagenet', 'a/b.safetensors', 'runs/first')]
  [False, False, False, True]

  Args:
    source: value of `model.pretrained`.
  """
  return bool(source) and source != IMAGENET and not source.endswith(FILES)


def default_preprocessing(source: str, backbone: str) -> str:
  """Returns the value of `model.preprocessing` that 'auto' stands for; opens no file.

  >>> default_preprocessing('imagenet', 'densenet121')
  'torch'

  Args:
    source: value of `model.pretrained`; '' for no weights.
    backbone: value of `model.backbone`.

  Raises:
    UserError: there are no published weights of this kind for the backbone.
  """
  if not source:
    return DATASET
  return RUN if is_workdir(source) else style(source, backbone)
