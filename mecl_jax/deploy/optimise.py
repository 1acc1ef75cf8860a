"""Optimisation of an ONNX model that suits every device."""

import collections
import pathlib
import tempfile
from typing import NamedTuple

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
import onnxruntime


def optimised(data: bytes) -> bytes:
  """Returns an ONNX model after optimisations that suit every device.

  Those of ONNX Runtime compute constants, fold factors and offsets into the convolution before, and
  remove transpositions. Then activations get operators of their own.
  """
  options = onnxruntime.SessionOptions()
  options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
  options.log_severity_level = 3  # errors
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'model.onnx')
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    model = onnx.load(path)
  _name_activations(model)
  _drop_unused_operator_sets(model)
  onnx.checker.check_model(model)
  return model.SerializeToString()


class _Relu(NamedTuple):
  """A node that is max(x, zero), by the names of its inputs."""

  node: NodeProto
  x: str
  zero: str


def _name_activations(model: ModelProto) -> None:
  """Replaces max(x, 0) by Relu, and min(max(x, 0), limit) by Clip.

  ONNX Runtime computes these together with the convolution before them.
  """
  graph = model.graph
  scalars = {
    one.name: numpy_helper.to_array(one).item() for one in graph.initializer if _is_scalar(one)
  }
  uses = collections.Counter(name for node in graph.node for name in node.input)
  uses.update(one.name for one in graph.output)
  relus = dict[str, _Relu]()  # by their output
  for node in list(graph.node):  # in the order of the computation
    limits = [name for name in node.input if name in scalars]
    others = [name for name in node.input if name not in scalars]
    if len(limits) != 1 or len(others) != 1:
      continue
    (limit,), (x,), outputs = limits, others, list(node.output)
    if node.op_type == 'Max' and scalars[limit] == 0:
      node.CopyFrom(helper.make_node('Relu', [x], outputs, node.name))
      relus[outputs[0]] = _Relu(node, x, limit)
    elif node.op_type == 'Min' and x in relus and uses[x] == 1:
      relu = relus.pop(x)
      node.CopyFrom(helper.make_node('Clip', [relu.x, relu.zero, limit], outputs, node.name))
      graph.node.remove(relu.node)
  read = {name for node in graph.node for name in node.input}
  for one in [one for one in graph.initializer if one.name not in read]:
    graph.initializer.remove(one)


def _is_scalar(one: onnx.TensorProto) -> bool:
  return list(one.dims) in ([], [1])


def _drop_unused_operator_sets(model: ModelProto) -> None:
  """Removes the operator sets of all extensions, which ONNX Runtime adds to what it optimises."""
  used = {node.domain for node in model.graph.node} | {''}
  kept = [one for one in model.opset_import if one.domain in used]
  del model.opset_import[:]
  model.opset_import.extend(kept)
