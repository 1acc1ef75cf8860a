"""Every kind of input that the program reads: valid files, a reader, and what is sane."""

from collections.abc import Callable
import dataclasses
import functools
import json
import os
import pathlib
import random
import tempfile

import numpy as np
from rich.console import Console

from mecl_jax import config, data, evaluation, inference, models
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import deadlines
from mecl_jax.models import pretrained
from mecl_jax.training import learning_speed, log, workdir
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.run import set_up_run
from tests import mutations, toys

IDS = np.array([f'train_{i:05d}' for i in range(40)])
EXITS = ('stage1', 'final')


class Nonsense(Exception):
  """A reader accepted a file, but what it returned cannot be used."""


def _require(condition: object, what: str) -> None:
  if not condition:
    raise Nonsense(what)


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of input.

  Attributes:
    write: writes a valid input to an empty folder.
    read: reads it, and raises `Nonsense` if it accepts what cannot be used.
  """

  write: Callable[[pathlib.Path], object]
  read: Callable[[pathlib.Path], object]


def _load_arrays(folder: pathlib.Path, **options) -> None:
  loaded = data.load(validation_size=20, **options)
  shape = loaded.train.images.shape
  _require(len(shape) == 4 and min(shape) > 0, f'images of shape {shape}')
  for part in (loaded.train, loaded.validation, loaded.test):
    _require(part.labels.max() < loaded.num_classes, 'labels outside the classes')
    _require(len(part.images) == len(part.labels) == len(part.ids), 'lengths differ')
  _require(1 < loaded.num_classes <= len(loaded.train), f'{loaded.num_classes} classes')


def _write_tfds(folder: pathlib.Path) -> None:
  import tensorflow_datasets as tfds

  from tests.data import tiny_sets

  class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = 'tiny'
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      features = tfds.features.FeaturesDict(tiny_sets.features(with_id=False))
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {
        split: tiny_sets.records(tiny_sets.images(count, (8, 8, 3)))
        for split, count in (('train', 60), ('test', 9))
      }

    def _generate_examples(self):
      raise AssertionError('the splits are given')

  with data_quiet():
    Tiny(data_dir=folder, file_format='array_record').download_and_prepare()


def data_quiet():
  from mecl_jax.data import tfds_source

  return tfds_source.quiet()


def _read_tfds(folder: pathlib.Path) -> None:
  os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
  _load_arrays(folder, name='tiny', data_dir=folder)


def _read_config(folder: pathlib.Path) -> None:
  resolve(config.read(folder / 'config.json'))


def _write_run(folder: pathlib.Path) -> None:
  np.savez(folder / 'toy.npz', **toys.make_arrays())
  c = resolve(toys.make_config(folder / 'toy.npz'))
  loaded = data.load(**{k: c.data[k] for k in ('name', 'arrays', 'validation_size')})
  workdir.describe_run(folder, c, loaded, 'd' * 16)
  (folder / 'toy.npz').unlink()


def _read_run(folder: pathlib.Path) -> None:
  _, identity = workdir.read_run(folder)
  shape = identity['image_shape']
  _require(len(shape) == 3 and all(type(side) is int for side in shape), f'image shape {shape}')
  _require(type(identity['num_classes']) is int, 'classes')
  _require(isinstance(identity['fingerprint'], str), 'fingerprint')


def _write_metrics(folder: pathlib.Path) -> None:
  lines = [{'step': s, 'phase': 'joint', 'loss': 1 / s, 'lr': 0.1} for s in range(5, 60, 5)]
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))


def _read_metrics(folder: pathlib.Path) -> None:
  for line in log.read_metrics(folder / 'metrics.jsonl'):
    _require(isinstance(line['step'], int), 'a record without a step')


def _difficulty() -> Difficulty:
  contradicted = np.arange(40) % 3 == 0
  return Difficulty(
    IDS, np.linspace(0, 1, 40), 'final_exit', 'confidence', 'toy', 'f' * 16, contradicted
  )


def _write_csv(folder: pathlib.Path) -> None:
  lines = [f'{name},{k / 40}' for k, name in enumerate(IDS)]
  (folder / 'd.csv').write_text('\n'.join(['id,score', *lines, '']))


def _write_parquet(folder: pathlib.Path) -> None:
  import pyarrow
  from pyarrow import parquet

  table = pyarrow.table({'id': IDS.tolist(), 'score': np.linspace(0, 1, 40)})
  parquet.write_table(table, folder / 'd.parquet')


def _read_difficulty(name: str, folder: pathlib.Path) -> None:
  found = Difficulty.load(folder / name)
  _require(all(isinstance(v, str) for v in (found.teacher, found.dataset)), 'the header')
  aligned = found.aligned(IDS, name)
  _require(np.isfinite(aligned.score).all(), 'scores that are not finite')
  wrong = aligned.contradicted
  _require(wrong is None or (wrong.dtype, wrong.shape) == (bool, IDS.shape), 'contradicted')


def _write_speed(folder: pathlib.Path) -> None:
  record = {'learned': np.arange(40), 'errors': np.arange(40)}
  learning_speed.save(folder, IDS, record, 50)


def _read_speed(folder: pathlib.Path) -> None:
  learned, errors, epochs = learning_speed.load(folder, IDS)
  _require(learned.shape == errors.shape == IDS.shape and epochs > 0, 'shapes')


def _write_predictions(folder: pathlib.Path) -> None:
  rng = np.random.default_rng(0)
  splits = {
    split: {
      'logits': rng.normal(size=(20, 2, 4)).astype(np.float32),
      'labels': rng.integers(0, 4, 20),
      'ids': IDS[:20],
    }
    for split in ('validation', 'test')
  }
  evaluation.predictions.save_predictions(folder / 'predictions.npz', EXITS, splits)


def _read_predictions(folder: pathlib.Path) -> None:
  found = evaluation.load_predictions(folder / 'predictions.npz')
  for split in ('validation', 'test'):
    part = evaluation.predictions.predicted(found, split)
    _require(part.logits.ndim == 3 and part.logits.dtype.kind == 'f', 'logits')
    _require(part.labels.shape == part.logits.shape[:1], 'labels')
    _require(np.isfinite(part.logits).all(), 'logits that are not finite')


def _write_policy(folder: pathlib.Path) -> None:
  policy = evaluation.Policy(evaluation.rules.Rule('max_probability'), np.array([0.7]))
  evaluation.policies.save_policy(folder / 'policy.json', policy, 'toy')


def _read_policy(folder: pathlib.Path) -> None:
  policy = evaluation.load_policy(folder / 'policy.json', 'toy')
  policy.leaves_at(np.zeros((3, len(policy.thresholds) + 1, 4), np.float32))


def _latency() -> inference.Latency:
  rows = [
    dict(zip(inference.latency.LATENCY, (e, b, 9, 1.5, 2.5, 9.0, 0.1), strict=True))
    for e in EXITS
    for b in (1, 4)
  ]
  segments = [{'exit': e, 'batch': b, 'p50_ms': 1.0} for e in EXITS for b in (1, 4)]
  return inference.Latency('cpu', '0', 'float32', (8, 8, 1), EXITS, (5, 9), rows, segments)


def _write_latency(folder: pathlib.Path) -> None:
  inference.save_latency(folder / 'latency.json', _latency())


def _read_latency(folder: pathlib.Path) -> None:
  found = inference.load_latency(folder / 'latency.json', EXITS)
  _require(found.prefix_ms(found.smallest_batch).shape == (2,), 'times')
  _require(all(type(macs) is int and macs > 0 for macs in found.macs), f'MACs {found.macs}')
  found.segment_ms(found.smallest_batch)


def _write_trace(folder: pathlib.Path) -> None:
  (folder / 'trace.csv').write_text('deadline_ms\n' + '\n'.join(map(str, range(1, 40))) + '\n')


def _read_trace(folder: pathlib.Path) -> None:
  found = deadlines.read_trace(folder / 'trace.csv')
  _require(np.isfinite(found).all(), 'deadlines that are not finite')


@functools.cache
def _model(backbone: str) -> models.MultiExit:
  return models.build(
    backbone=backbone, exits=(), head='linear', num_classes=4, image_shape=(32, 32, 3),
    mean=[0.5] * 3, std=[0.25] * 3, seed=0,
  )  # fmt: skip


def _write_safetensors(folder: pathlib.Path) -> None:
  from safetensors.numpy import save_file

  arrays = {'conv1.weight': np.ones((64, 3, 7, 7), np.float32), 'fc.bias': np.zeros(4, np.float32)}
  save_file(arrays, folder / 'w.safetensors')


def _write_keras(folder: pathlib.Path) -> None:
  import h5py

  layers = {'conv2d': ('conv1', [(3, 3, 3, 32)]), 'batch_normalization': ('conv1_bn', [(32,)] * 4)}
  with h5py.File(folder / 'w.weights.h5', 'w') as file:
    for group, (name, shapes) in layers.items():
      variables = file.create_group(f'layers/{group}/vars')
      variables.attrs['name'] = name
      for index, shape in enumerate(shapes):
        variables[str(index)] = np.ones(shape, np.float32)


def _read_weights(name: str, backbone: str, folder: pathlib.Path) -> None:
  model = _model(backbone)
  pretrained.load(model, str(folder / name), backbone, skip=('*',))
  arrays = pretrained.named(model).values()
  _require(all(np.isfinite(a[...]).all() for a in arrays), 'weights that are not finite')


def _write_python(folder: pathlib.Path) -> None:
  (folder / 'mine.py').write_text(
    'import mecl_jax\n\n\ndef get_config():\n  c = mecl_jax.default_config()\n'
    '  c.batch_size = 20\n  c.model.exits = ("stage1", 0.5)\n'
    '  c.phases.joint.duration = "12 epochs"\n  return c\n'
  )


def _read_python(folder: pathlib.Path) -> None:
  resolve(config.load_config(str(folder / 'mine.py')))


def _write_toy(folder: pathlib.Path) -> None:
  np.savez(folder / 'toy.npz', **toys.make_arrays())


def read_value(folder: pathlib.Path, rng: random.Random) -> None:
  """Sets one field of a configuration file to a drawn value, and sets up its run."""
  fields = sorted(name for name, _ in config.all_fields())
  name, value = rng.choice(fields), rng.choice(mutations.VALUES)
  if rng.randrange(4):  # mostly a value of the field's type
    kinds = {'None': type(None)} | {v: type(eval(v, {'np': np})) for v in mutations.VALUES}
    default = type(dict(config.all_fields())[name].default)
    near = {float: (float, int), tuple: (tuple, list)}.get(default, (default,))
    value = rng.choice([v for v in mutations.VALUES if issubclass(kinds[v], (*near, type(None)))])
  path = folder / 'mine.py'
  path.write_text(
    'import numpy as np\nfrom tests import toys\n\n\ndef get_config():\n'
    f'  c = toys.make_config({str(folder / "toy.npz")!r})\n  c.{name} = {value}\n  return c\n'
  )
  c = resolve(config.load_config(str(path)))
  with Interruption() as interruption:
    run = set_up_run(c, folder / 'run', Console(quiet=True), interruption)
  _require(all(plan.steps > 0 for plan in run.plans), 'a phase without steps')
  for plan in run.plans:
    _require(np.isfinite(plan.learning_rates).all(), 'learning rates that are not finite')


def _arrays_of(folder: pathlib.Path) -> None:
  _load_arrays(folder, name='toy', arrays=folder / 'toy.npz')


KINDS = {
  'values': Kind(_write_toy, lambda folder: None),
  'config.py': Kind(_write_python, _read_python),
  'arrays.npz': Kind(lambda f: np.savez(f / 'toy.npz', **toys.make_arrays(60, 9)), _arrays_of),
  'TFDS': Kind(_write_tfds, _read_tfds),
  'config.json': Kind(_write_run, _read_config),
  'identity.json': Kind(_write_run, _read_run),
  'metrics.jsonl': Kind(_write_metrics, _read_metrics),
  'difficulty.npz': Kind(
    lambda folder: _difficulty().save(folder / 'd.npz'),
    functools.partial(_read_difficulty, 'd.npz'),
  ),
  'difficulty.csv': Kind(_write_csv, functools.partial(_read_difficulty, 'd.csv')),
  'difficulty.parquet': Kind(_write_parquet, functools.partial(_read_difficulty, 'd.parquet')),
  'learning_speed.npz': Kind(_write_speed, _read_speed),
  'predictions.npz': Kind(_write_predictions, _read_predictions),
  'policy.json': Kind(_write_policy, _read_policy),
  'latency.json': Kind(_write_latency, _read_latency),
  'deadlines.csv': Kind(_write_trace, _read_trace),
  'safetensors': Kind(
    _write_safetensors, functools.partial(_read_weights, 'w.safetensors', 'resnet18')
  ),
  'weights.h5': Kind(
    _write_keras, functools.partial(_read_weights, 'w.weights.h5', 'mobilenet_v1')
  ),
}
ONLY = {'config.json': 'config.json', 'identity.json': 'identity.json'}  # the file that is mutated


@functools.cache
def _valid(kind: str) -> dict[str, bytes]:
  """Returns the valid files of a kind: path in its folder -> content."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    KINDS[kind].write(folder)
    return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in sorted(folder.rglob('*'))
      if path.is_file()
    }


def valid_files(kind: str, folder: pathlib.Path) -> None:
  """Writes the valid files of a kind."""
  for name, content in _valid(kind).items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def try_one(kind: str, rng: random.Random, folder: pathlib.Path) -> str:
  """Reads one mutated input; returns 'accepted' or 'rejected'.

  Args:
    kind: a key of `KINDS`.
    rng: draws the mutation.
    folder: empty.

  Raises:
    Exception: the reader raised another error than one line, or accepted nonsense.
  """
  valid_files(kind, folder)
  if kind != 'values':
    names = [name for name in _valid(kind) if ONLY.get(kind, name) == name]
    path = folder / rng.choice(names)
    others = [next(iter(_valid(other).values())) for other in KINDS if other not in ('TFDS', kind)]
    path.write_bytes(mutations.mutate(rng, path.read_bytes(), others))
  try:
    if kind == 'values':
      read_value(folder, rng)
    else:
      KINDS[kind].read(folder)
  except (UserError, RunError) as error:
    if '\n' in str(error) or len(str(error)) > 2000:
      raise Nonsense(f'a message that is not one line: {error}') from error
    return 'rejected'
  return 'accepted'
