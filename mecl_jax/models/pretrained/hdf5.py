"""Reading of a Keras weights file in a process of its own: `python hdf5.py FILE OUTPUT.npz`.

HDF5 may not end, or end the process, when it reads damaged bytes. This file needs only NumPy and
h5py. `files.py` runs it.
"""

from collections.abc import Iterator
import json
import os
import re
import sys

import h5py
import numpy as np

# Classes with variables that are not weights: scaling of pixels, and random states of dropout.
NO_WEIGHTS = ('normalization', 'seed_generator')
MAX_GROWTH = 50  # of the bytes of arrays over those of the file, which may be compressed


def layers(file: h5py.File, limit: int) -> Iterator[tuple[str, str, list[np.ndarray]]]:
  """Yields class, name and arrays of every layer with weights in an open HDF5 file.

  The file of a trained network also has groups for its optimiser and metrics; they are ignored.

  Args:
    file: open.
    limit: bytes that the arrays may have together.
  """
  groups: list = []
  if 'layers' in file:
    file['layers'].visititems(lambda path, item: groups.append((path, item)))
  for path, group in groups:
    parent, _, last = path.rpartition('/')
    kind = re.sub(r'_\d+$', '', parent.rpartition('/')[2])
    if last == 'vars' and len(group) and 'name' in group.attrs and kind not in NO_WEIGHTS:
      name, datasets = group.attrs['name'], [group[key] for key in sorted(group, key=int)]
      if not isinstance(name, str):
        raise ValueError(f'the name of {path} is not text')
      limit -= sum(dataset.nbytes for dataset in datasets)
      if limit < 0:
        raise ValueError('its arrays are far larger than the file')
      yield kind, name, [dataset[()] for dataset in datasets]


def main(source: str, output: str) -> None:
  """Writes `names`, a JSON list of [class, name, arrays], and the arrays '0', '1', .. in order."""
  names, arrays = [], []
  with h5py.File(source) as file:
    for kind, name, values in layers(file, max(1 << 30, MAX_GROWTH * os.path.getsize(source))):
      names.append((kind, name, len(values)))
      arrays += values
  found = {str(index): array for index, array in enumerate(arrays)}
  np.savez(output, names=np.array(json.dumps(names)), **found)  # type: ignore[arg-type]


if __name__ == '__main__':
  try:
    main(*sys.argv[1:])
  except Exception as error:  # h5py raises nearly any kind of error
    sys.exit((str(error).splitlines() or [type(error).__name__])[0])
