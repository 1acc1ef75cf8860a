"""The PyTorch side: training steps as fast as we can make them, for a worker.

Channels last, mixed precision, images on the device, augmentation on the device, fused SGD. The
fastest of four forms is measured: eager or compiled, each with or without one CUDA graph of the
whole step. What is compiled is one graph of gather, augmentation, forward pass and loss, with its
backward pass; random numbers and the fused optimiser have kernels of their own.
"""

from collections.abc import Callable
import gc
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.networks import CLASSES, SIDE, network
from benchmarks.peers import make

FORMS = ('eager', 'eager, CUDA graph', 'compiled', 'compiled, CUDA graph')
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}
CROP, RATE = 4, 0.01

Step = Callable[[], torch.Tensor]

_forms: dict[str, dict[str, 'Timed']] = {}  # prepared, of which one will be chosen
_prepared: dict[str, 'Timed'] = {}


def _device() -> torch.device:
  return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def _wait() -> None:
  if torch.cuda.is_available():
    torch.cuda.synchronize()


class Timed:
  """A step that trains, timed over many steps."""

  def __init__(self, step: 'Step', batch_size: int):
    self.step, self._batch_size = step, batch_size
    self._seconds = 0.0  # of a step

  def images_per_second(self, seconds: float) -> float:
    """Trains for about `seconds`; returns the speed."""
    count = max(1, round(seconds / self._seconds)) if self._seconds else 1
    _wait()
    start = time.perf_counter()
    for _ in range(count):
      self.step()
    _wait()
    self._seconds = (time.perf_counter() - start) / count
    return self._batch_size / self._seconds


def facts() -> dict[str, Any]:
  """Returns the device and the versions."""
  on_gpu = torch.cuda.is_available()
  return {
    'torch': torch.__version__,
    'torch_cuda': torch.version.cuda,
    'cudnn': torch.backends.cudnn.version() if on_gpu else None,
    'torch_device': torch.cuda.get_device_name() if on_gpu else 'cpu',
  }


def matrix_peak(size: int, dtype: str) -> float:
  """Measures a product of two random matrices of `size` x `size`; returns FLOP/s."""
  a, b = (torch.randn(size, size, device=_device(), dtype=DTYPES[dtype]) for _ in range(2))
  spent = []
  for _ in range(13):
    _wait()
    start = time.perf_counter()
    torch.matmul(a, b)
    _wait()
    spent.append(time.perf_counter() - start)
  return 2 * size**3 / float(np.median(spent[3:]))


def draws(batch: int, crop: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
  """Draws shifts [2, B, 1] in pixels, and whether an image is mirrored [B, 1]."""
  shifts = torch.randint(0, 2 * crop + 1, (2, batch, 1), device=device)
  return shifts, torch.rand(batch, 1, device=device) < 0.5


def augmented(
  images: torch.Tensor, crop: int, shifts: torch.Tensor, mirrored: torch.Tensor
) -> torch.Tensor:
  """Crops and mirrors images [B, H, W, C], each as `draws` says, in one gather."""
  batch, height, width, _ = images.shape
  rows = torch.arange(height, device=images.device) + shifts[0]
  columns = torch.arange(width, device=images.device).expand(batch, width)
  columns = torch.where(mirrored, columns.flip(1), columns) + shifts[1]
  padded = F.pad(images, (0, 0, crop, crop, crop, crop))
  first = torch.arange(batch, device=images.device)
  return padded[first[:, None, None], rows[:, :, None], columns[:, None, :]]


def prepare(
  key: str,
  name: str,
  *,
  small: bool,
  batch_size: int,
  dtype: str,
  images: int,
  augment: bool = True,
  forms: list[str] | None = None,
  seconds: float = 600,
) -> dict[str, Any]:
  """Makes training steps in several forms, one of which `choose` then keeps under `key`.

  Args:
    key: name of these steps.
    name: of the network.
    small: whether the network is small.
    batch_size: images per step.
    dtype: of the computation.
    images: size of the data set.
    augment: whether images are cropped and mirrored.
    forms: of `FORMS`; None: all that the device can run.
    seconds: no form is begun after this time, except the first.

  Returns:
    facts of the network, and why forms are left out.
  """
  begun, device = time.perf_counter(), _device()
  torch.backends.cudnn.benchmark = True
  torch.manual_seed(0)
  rng = np.random.default_rng(0)
  pixels = torch.from_numpy(rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8))
  truth = torch.from_numpy(rng.integers(0, CLASSES, images))
  data = pixels.to(device), truth.to(device)
  failed, steps, parameters = dict[str, str](), dict[str, Step](), 0
  _forms[key] = made = dict[str, Timed]()
  for form in forms or [f for f in FORMS if device.type == 'cuda' or f == 'eager']:
    if made and time.perf_counter() - begun > seconds:
      failed[form] = 'no time'
      continue
    kind, _, graph = form.partition(', ')
    try:
      if kind not in steps:
        step, parameters = _step(kind, name, small, batch_size, dtype, augment, data)
        steps[kind] = step
      timed = Timed(_in_graph(steps[kind]) if graph else steps[kind], batch_size)
      for _ in range(3):
        timed.step()
      timed.images_per_second(0)
    except Exception as error:  # a form that this version or device cannot run
      failed[form] = f'{type(error).__name__}: {error}'.splitlines()[0][:200]
    else:
      made[form] = timed
  if not made:
    raise RuntimeError(f'no form works: {failed}')
  return {
    'parameters': parameters,
    'prepare_seconds': time.perf_counter() - begun,
    'left_out_forms': failed,
  }


def choose(key: str, seconds: float) -> dict[str, Any]:
  """Measures all forms while nothing else runs, and keeps the fastest for `measure`."""
  forms = _forms.pop(key)
  speeds: dict[str, list[float]] = {form: [] for form in forms}
  for _ in range(3):
    for form, timed in forms.items():
      speeds[form].append(timed.images_per_second(seconds))
  medians = {form: float(np.median(values)) for form, values in speeds.items()}
  fastest = max(medians, key=lambda form: medians[form])
  _prepared[key] = forms[fastest]
  return {'form': fastest, 'forms': medians}


def measure(key: str, seconds: float) -> float:
  """Trains for about `seconds`; returns images per second."""
  return _prepared[key].images_per_second(seconds)


def release() -> None:
  """Forgets all prepared steps, and frees their memory."""
  _forms.clear()
  _prepared.clear()
  torch.compiler.reset()
  gc.collect()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def threads(count: int) -> None:
  """Sets the number of threads on the CPU."""
  torch.set_num_threads(count)


def _step(
  kind: str,
  name: str,
  small: bool,
  batch_size: int,
  dtype: str,
  augment: bool,
  data: tuple[torch.Tensor, torch.Tensor],
) -> tuple[Step, int]:
  """Returns a function that takes a step, and the number of parameters."""
  device, (pixels, truth) = _device(), data
  model = make(network(name, small=small)).to(device)
  model = model.to(memory_format=torch.channels_last).train()
  kernels = [p for p in model.parameters() if p.ndim > 1]
  others = [p for p in model.parameters() if p.ndim <= 1]
  groups = [{'params': kernels, 'weight_decay': 5e-4}, {'params': others, 'weight_decay': 0.0}]
  fast = {'fused': True} if device.type == 'cuda' else {'foreach': True}
  optimizer = torch.optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True, **fast)
  mixed = torch.autocast(device.type, DTYPES[dtype], enabled=dtype != 'float32')

  def loss_of(ids: torch.Tensor, shifts: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    images, labels = pixels[ids], truth[ids]
    if augment:
      images = augmented(images, CROP, shifts, mirrored)
    with mixed:
      outputs = model(images)
    return torch.stack([F.cross_entropy(x.float(), labels) for x in outputs]).sum()

  compiled = kind == 'compiled'
  loss_of_batch = torch.compile(loss_of, fullgraph=True, dynamic=False) if compiled else loss_of

  def step() -> torch.Tensor:
    ids = torch.randint(0, len(truth), (batch_size,), device=device)
    loss = loss_of_batch(ids, *draws(batch_size, CROP, device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()

  return step, sum(p.numel() for p in model.parameters())


def _in_graph(step: Step) -> Step:
  """Captures a whole step in one CUDA graph; returns a function that replays it."""
  side = torch.cuda.Stream()
  side.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(side):  # kernels and optimiser state must exist before the capture
    for _ in range(3):
      step()
  torch.cuda.current_stream().wait_stream(side)
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    loss = step()

  def replay() -> torch.Tensor:
    graph.replay()
    return loss

  return replay
