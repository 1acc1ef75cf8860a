"""Tiny bundles whose logits are known: each image names its row in a table of logits per exit."""

import hashlib
import json

import numpy as np

from mecl_jax.deploy.early_exit import source
from mecl_jax.files import json_checksum

SHAPE = (2, 2, 3)  # of an image; its first pixel value is the row of the tables
NAMES, TEMPERATURES = ('early', 'middle', 'late'), (1.0, 2.0, 0.5)


def make_images(rows):
  """Returns images uint8 [N, 2, 2, 3] of rows 0..255; their other pixels are noise."""
  images = np.random.default_rng(1).integers(0, 256, (len(rows), *SHAPE), np.uint8)
  images[:, 0, 0, 0] = rows
  return images


def make_policy(rule='fixed', thresholds=('inf', 'inf'), features=(), coefficients=(), share=None):
  """Returns a policy of bundle.json; infinite thresholds become text."""
  texts = [t if np.isfinite(float(t)) else str(t) for t in thresholds]
  share = share or [0.5, *[0.0] * (len(texts) - 1), 0.5][-1 - len(texts) :]
  split = {'accuracy': 0.75, 'share': share, 'macs': 1500.0}
  return {
    **{'rule': rule, 'features': list(features), 'coefficients': [list(c) for c in coefficients]},
    **{'thresholds': texts, 'meaning': f'by {rule}', 'validation': split, 'test': split},
  }


def make_segment(table, number, last, takes_before, own=()):
  """Returns the bytes of an ONNX model.

  Its logits are the rows of a table [rows, classes], or those plus half of the logits before. All
  but the last give two features: float16 [1], the row, and float32 [2, 1], minus the row. Both must
  belong to the same image, or the logits are wrong. `own` are nodes instead of those of the logits.
  """
  from onnx import TensorProto, helper, numpy_helper

  node, value = helper.make_node, helper.make_tensor_value_info
  x, h = f'x{number}', f'h{number}'
  if number == 0:
    inputs = [value('images', TensorProto.UINT8, ['B', *SHAPE])]
    nodes = [
      node('Flatten', ['images'], ['flat']),
      node('Slice', ['flat', 'zero', 'one', 'one'], ['first']),
      node('Cast', ['first'], ['row'], to=TensorProto.FLOAT),
    ]
  else:
    inputs = [value(f'x{number - 1}', TensorProto.FLOAT16, ['B', 1])]
    inputs.append(value(f'h{number - 1}', TensorProto.FLOAT, ['B', 2, 1]))
    nodes = [
      node('Cast', [f'x{number - 1}'], ['half'], to=TensorProto.FLOAT),
      node('ReduceMean', [f'h{number - 1}'], ['minus'], axes=[1], keepdims=0),
      node('Sub', ['half', 'minus'], ['twice']),
      node('Mul', ['twice', 'a_half'], ['row']),
    ]
  nodes += [
    node('Cast', ['row'], ['wide'], to=TensorProto.INT64),
    node('Squeeze', ['wide', 'one'], ['index']),
    node('Gather', ['table', 'index'], ['found']),
  ]
  if takes_before:
    inputs.append(value('before', TensorProto.FLOAT, ['B', table.shape[1]]))
    nodes += [
      node('Mul', ['before', 'a_half'], ['halved']),
      node('Add', ['halved', 'found'], ['z']),
    ]
  nodes += own or [node('Identity', ['z' if takes_before else 'found'], ['logits'])]
  outputs = [value('logits', TensorProto.FLOAT, ['B', table.shape[1]])]
  if not last:
    nodes += [
      node('Cast', ['row'], [x], to=TensorProto.FLOAT16),
      node('Neg', ['row'], ['negative']),
      node('Concat', ['negative', 'negative'], ['both'], axis=1),
      node('Unsqueeze', ['both', 'two'], [h]),
    ]
    outputs += [value(x, TensorProto.FLOAT16, ['B', 1]), value(h, TensorProto.FLOAT, ['B', 2, 1])]
  constants = {'zero': [0], 'one': [1], 'two': [2], 'a_half': np.float32([0.5]), 'table': table}
  tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
  graph = helper.make_graph(nodes, 'segment', inputs, outputs, tensors)
  opset = [helper.make_opsetid('', 17)]
  return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def make_coders(number):
  """Returns the bytes of two ONNX models: rows 0..255 as codes of a byte, and back.

  The codes of the features of exit `number`, float16 [1] and float32 [2, 1], are their sizes.
  """
  from onnx import TensorProto, helper

  node, value = helper.make_node, helper.make_tensor_value_info
  shapes = (TensorProto.FLOAT16, ['B', 1]), (TensorProto.FLOAT, ['B', 2, 1])
  names = [f'x{number}', f'h{number}']
  features = [value(name, *one) for name, one in zip(names, shapes, strict=True)]
  codes = [value(f'c{k}', TensorProto.UINT8, shape) for k, (_, shape) in enumerate(shapes)]
  encoder = [
    node('Cast', [names[0]], ['c0'], to=TensorProto.UINT8),
    node('Neg', [names[1]], ['row']),
    node('Cast', ['row'], ['c1'], to=TensorProto.UINT8),
  ]
  decoder = [
    node('Cast', ['c0'], [names[0]], to=TensorProto.FLOAT16),
    node('Cast', ['c1'], ['row'], to=TensorProto.FLOAT),
    node('Neg', ['row'], [names[1]]),
  ]
  opset = [helper.make_opsetid('', 17)]
  return [
    helper.make_model(
      helper.make_graph(nodes, 'coder', *ends), opset_imports=opset, ir_version=8
    ).SerializeToString()
    for nodes, ends in ((encoder, (features, codes)), (decoder, (codes, features)))
  ]


def known_logits(tables, cascade=None):
  """Returns the logits of every row, float32 [rows, exits, classes]."""
  by_exit = []
  for number, table in enumerate(tables):
    by_exit.append(table + by_exit[-1] * np.float32(0.5) if number == cascade else table)
  return np.stack(by_exit, axis=1)


def make_fields(
  exits=3, classes=4, policies=None, cascade=None, class_names=(), has_bottlenecks=False
):
  """Returns bundle.json without `files` and `checksum`."""

  def bottlenecks(k):
    one = {
      **{'channels': 1, 'encoder': f'encoder_{k}.onnx', 'decoder': f'decoder_{k}.onnx'},
      'codes': [
        {'name': 'c0', 'dtype': 'uint8', 'shape': [1]},
        {'name': 'c1', 'dtype': 'uint8', 'shape': [2, 1]},
      ],
      **{'bytes': 3, 'validation_accuracy': [0.7] * (exits - 1 - k)},
      'test_accuracy': [0.65] * (exits - 1 - k),
    }
    return [one] if has_bottlenecks and k < exits - 1 else []

  def features(k):
    x = {'name': f'x{k}', 'dtype': 'float16', 'shape': [1]}
    return [x, {'name': f'h{k}', 'dtype': 'float32', 'shape': [2, 1]}] if k < exits - 1 else []

  default = make_policy('max_probability', [0.5] * (exits - 1))
  run = {'dataset': 'toy', 'backbone': 'table', 'strategy': 'classic', 'seed': 0}
  return {
    **{'format': 'mecl_jax bundle', 'version': 1, 'made_by': 'mecl_jax 0.6.0'},
    'run': {**run, 'steps': 10, 'step_of_checkpoint': 10},
    'class_names': list(class_names) or [f'class {k}' for k in range(classes)],
    'image_shape': list(SHAPE),
    **{'resizing': 'crop_then_bilinear', 'precision': 'float32'},
    'exits': [
      {
        **{'name': NAMES[k], 'file': f'segment_{k + 1}.onnx', 'macs': 1000 * (k + 1)},
        **{'segment_macs': 1000, 'temperature': TEMPERATURES[k], 'takes_before': k == cascade},
        **{
          'bottlenecks': bottlenecks(k),
          'features': features(k),
          'validation_accuracy': 0.8,
          'test_accuracy': 0.75,
        },
      }
      for k in range(exits)
    ],
    'policies': policies
    or {'balanced': default, 'last': make_policy(thresholds=['inf'] * (exits - 1))},
    'default_policy': next(iter(policies or {'balanced': None})),
    'check': {'images': 1000, 'largest_difference': 3e-7, 'tolerance': 1e-4},
  }


def write_files(folder, fields, files):
  """Writes a bundle of these fields of bundle.json and of these other files, by name."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, data in files.items():
    (folder / name).write_bytes(data)
  digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
  rewrite(folder, {'files': digests, **fields})
  return folder


def rewrite(folder, fields):
  """Writes bundle.json with its checksum."""
  whole = {**fields, 'checksum': json_checksum(fields)}
  (folder / 'bundle.json').write_text(json.dumps(whole, indent=2))


def write_bundle(folder, tables, *, own=(), **settings):
  """Writes a bundle of tables of logits, float32 [rows, classes] each; see `make_fields`.

  `own` are the nodes of the logits of each segment, see `make_segment`.
  """
  cascade, exits = settings.get('cascade'), len(tables)
  fields = make_fields(exits, tables[0].shape[1], **settings)
  files = {'early_exit.py': source().encode(), 'README.md': b'A toy.'}
  for k, table in enumerate(tables):
    nodes = own[k] if own else ()
    files[f'segment_{k + 1}.onnx'] = make_segment(table, k, k == exits - 1, k == cascade, nodes)
    for one in fields['exits'][k]['bottlenecks']:
      files[one['encoder']], files[one['decoder']] = make_coders(k)
  return write_files(folder, fields, files)


def on_run(network, function):
  """Calls function(number of the segment, number of images) before each run of a segment."""

  def observed(run, number):
    def call(outputs, inputs):
      function(number, len(next(iter(inputs.values()))))
      return run(outputs, inputs)

    return call

  segments = network._segments
  network._segments = [(observed(run, k), *rest) for k, (run, *rest) in enumerate(segments)]


def random_tables(seed=0, exits=3, classes=4, scale=2.0):
  """Returns tables of logits, float32 [256, classes] for each exit."""
  rng = np.random.default_rng(seed)
  return [rng.normal(0, scale, (256, classes)).astype(np.float32) for _ in range(exits)]
