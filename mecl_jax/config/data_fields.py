"""The fields of the data set, see `fields.py`."""

from mecl_jax.config.field import Field, Group
from mecl_jax.config.valid import NAME, count_or_share, number, one_of, path, whole, whole_or_zero

LAST_SEED = 2**32 - 1

DATA = Group(
  'The data set, and how it is cut.',
  {
    'name': Field('cifar10', NAME, 'TFDS set of labelled images, as `name` or `name/config`'),
    'data_dir': Field(
      '', path('a folder'), 'prepared TFDS data; empty: `$TFDS_DATA_DIR` or `~/tensorflow_datasets`'
    ),
    'arrays': Field(
      '', path('a .npz file'), 'arrays `{train,test}_{images,labels}`, read instead of TFDS'
    ),
    'folder': Field(
      '',
      path('a folder'),
      'image files `train/CLASS/*.jpg`, `test` and `val` likewise, or `CLASS/*.jpg`; see'
      ' [data.md](data.md)',
    ),
    'folder_size': Field(
      0,
      whole_or_zero(1, 4096),
      'side in pixels that the files of `folder` are resized to, once; 0: images of one size, of at'
      ' most 256, are unchanged, and others get 64',
    ),
    'label': Field('label', NAME, 'feature to predict, as `coarse_label` of CIFAR-100'),
    'train_split': Field('train', NAME, 'TFDS split to train on'),
    'test_split': Field('test', NAME, 'TFDS split to test on'),
    'validation_size': Field(
      0.1,
      count_or_share(),
      'images cut from the training split for validation, balanced by class: their number, or their'
      ' share',
    ),
    'test_size': Field(
      0.1,
      count_or_share(),
      'likewise for the test split, of a `folder` without `test`',
    ),
    'split_seed': Field(
      0,
      whole(0, LAST_SEED),
      'seed of these cuts; separate from `seed`, so that compared runs share the cut',
    ),
    'label_noise': Field(
      0.0,
      number('a share from 0 up to, not including, 1', lambda v: 0 <= v < 1),
      'share of the training labels that are flipped on purpose, evenly over the other classes',
    ),
    'noise_seed': Field(0, whole(0, LAST_SEED), 'seed of the flipped labels'),
    'train_labels': Field(
      '',
      path('an .npz or .csv file, or FILE:NAME'),
      'labels of the training split, as people gave them, with errors; see `curriculum.md`',
    ),
    'validation_labels': Field(
      'given',
      one_of('given', 'clean'),
      'with `train_labels`: the labels of the validation split, those of the file or the official',
    ),
    'image_size': Field(
      0,
      whole_or_zero(8, 4096),
      'side in pixels that images are resized to on the device; 0: unchanged',
    ),
    'placement': Field(
      'auto',
      one_of('auto', 'device', 'host'),
      '`device`: all images on the accelerator; `host`: streamed; `auto`: by size',
    ),
  },
)
