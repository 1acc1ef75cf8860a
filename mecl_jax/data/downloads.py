"""Downloads of published archives, verified by the checksums in `checksums.txt`."""

import contextlib
import pathlib
import sys

from absl import logging
import pooch

from mecl_jax.data import cache, internet
from mecl_jax.errors import UserError

_CHECKSUMS = pathlib.Path(__file__).with_name('checksums.txt')
_STALLED_SECONDS = 30.0  # without a byte for this long, a download is given up
_CHUNK = 1 << 16  # bytes


def fetch(name: str) -> list[pathlib.Path]:
  """Returns the archives of a data set; downloads those that are missing or damaged.

  Archives lie in `downloads/NAME` of the cache folder, see `cache.directory`. An archive takes
  its final name when it is complete and its checksum is right.

  Args:
    name: a data set of `checksums.txt`.

  Returns:
    The paths, in the order of the registry.

  Raises:
    UserError: the server does not answer, the download stalls or is damaged, or the folder
      cannot be written.
  """
  store = pooch.create(cache.directory() / 'downloads', base_url='', retry_if_failed=2)
  store.load_registry(_CHECKSUMS)
  pooch.get_logger().setLevel('WARNING')
  folder = store.abspath / name
  files = [file for file in store.registry if file.startswith(f'{name}/')]
  archives = ', '.join(file.partition('/')[2] for file in files)
  remedy = (
    f'copy {archives} from {store.get_url(files[0]).rpartition("/")[0]} to {folder}, or set '
    f'--config.data.data_dir=DIR to a TFDS folder with {name}, or --config.data.arrays=FILE.npz'
  )

  def download(url: str, output: str, store: pooch.Pooch) -> None:
    internet.check_reachable(name, url, remedy)
    logging.info('downloading %s to %s', url, folder)
    options = {'progressbar': sys.stderr.isatty(), 'timeout': _STALLED_SECONDS}
    pooch.HTTPDownloader(chunk_size=_CHUNK, **options)(url, output, store)

  complete = all((store.abspath / file).is_file() for file in files)
  with contextlib.nullcontext() if complete else internet.lock(name, folder):
    if not complete:
      for unfinished in folder.glob('tmp????????'):  # Pooch's name, left by a killed process
        unfinished.unlink(missing_ok=True)
    try:
      return [pathlib.Path(store.fetch(file, downloader=download)) for file in files]
    except OSError as error:  # includes the errors of requests
      reason = internet.first_line(error)
    except ValueError:
      reason = 'the SHA-256 of the downloaded file is not the published one'
  raise UserError(f'{name} could not be downloaded: {reason}; try again, or {remedy}')
