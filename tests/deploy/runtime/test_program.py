"""The command line of early_exit.py."""

import json

import numpy as np
from PIL import Image
import pytest

from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.program import main, read_image
from tests.deploy.bundles import (
  NAMES,
  TEMPERATURES,
  make_images,
  make_policy,
  random_tables,
  write_bundle,
)

pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')

TABLES = random_tables()
IMAGES = make_images(range(256))
SHARE = [0.25, 0.25, 0.5]


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
  policies = {
    'second': make_policy('fixed', ['inf', '-inf'], share=[0.0, 1.0, 0.0]),
    'sure': make_policy('margin', [0.5, 0.5], share=SHARE),
  }
  return write_bundle(tmp_path_factory.mktemp('toy'), TABLES, policies=policies)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Paths of image files of the first rows."""
  folder = tmp_path_factory.mktemp('images')
  for row in range(3):
    Image.fromarray(IMAGES[row]).save(folder / f'{row}.png')
  return [str(folder / f'{row}.png') for row in range(3)]


@pytest.fixture
def run(bundle, capsys):
  """Runs the program on the toy bundle; returns exit code, lines of output and of errors."""

  def call(*arguments):
    code = main([f'--bundle={bundle}', *arguments])
    output, errors = capsys.readouterr()
    return code, output.splitlines(), errors.splitlines()

  return call


def test_ctrl_c_ends_without_a_word(run, files, monkeypatch):
  def interrupted(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(Network, 'answer', interrupted)
  assert run(*files) == (130, [], [])


def test_policy_by_which_no_image_is_sent_is_one_line(run, files):
  code, lines, errors = run(
    *(files[0], '--policy=second', '--server=http://127.0.0.1:1', '--send-after=middle')
  )
  message = 'all images leave at middle, so that none is sent; choose another --policy, or --sure'
  assert (code, lines, errors) == (2, [], [f'early_exit.py: {message}'])


def test_line_for_each_image(run, files):
  code, lines, errors = run(files[0], '--policy=sure', *files[1:])
  assert (code, errors) == (0, []) and len(lines) == 3
  for path, line, row in zip(files, lines, range(3), strict=True):
    answer, exit_name, ms = line.split(', ')  # 'cat.png: cat 98.1%, exit late, 2.10 ms'
    number = NAMES.index(exit_name.removeprefix('exit '))
    at_exit = TABLES[number][row].astype(float) / TEMPERATURES[number]
    probability = np.exp(at_exit).max() / np.exp(at_exit).sum()
    assert answer == f'{path}: class {at_exit.argmax()} {probability:.1%}'
    assert float(ms.removesuffix(' ms')) > 0


def test_lines_of_json(run, files):
  code, lines, errors = run('--json', *files)
  rows = [json.loads(line) for line in lines]
  assert (code, errors) == (0, [])
  assert [row['image'] for row in rows] == files
  for number, row in enumerate(rows):
    shifted = TABLES[1][number] / 2  # over the temperature
    probability = (np.exp(shifted) / np.exp(shifted).sum()).max()
    assert row['class'] == f'class {shifted.argmax()}'
    assert row['probability'] == pytest.approx(probability, rel=1e-6)
    assert (row['exit'], row['exit_name']) == (1, 'middle') and row['ms'] > 0
    assert set(row) == {'image', 'class', 'probability', 'exit', 'exit_name', 'ms'}


def test_deadline(run, files):
  code, lines, _ = run('--deadline-ms=60000', files[0])
  assert code == 0 and lines[0].endswith(' ms') and ', exit late, ' in lines[0]
  code, lines, _ = run('--deadline-ms=0', files[0])
  assert code == 0 and ', exit early, ' in lines[0]
  assert ' ms, late: the first exit alone takes ' in lines[0] and lines[0].endswith(' ms')
  code, lines, _ = run('--deadline-ms=1e-9', '--json', '--policy=second', files[0])
  row = json.loads(lines[0])
  assert (row['exit'], row['in_time'], row['deadline_ms']) == (0, False, 1e-9)
  assert row['first_exit_ms'] > 0


def test_list(run):
  code, lines, errors = run('--list')
  assert (code, errors) == (0, [])
  assert [line.split() for line in lines[:3]] == [
    ['policy', 'default', 'accuracy', 'macs', 'share', 'meaning'],
    ['second', 'yes', '0.750', '1,500', '0.000', '1.000', '0.000', 'by', 'fixed'],
    ['sure', 'no', '0.750', '1,500', '0.250', '0.250', '0.500', 'by', 'margin'],
  ]
  places = [line.index(word) for line, word in zip(lines, ('meaning', 'by', 'by'), strict=False)]
  assert len(set(places)) == 1  # columns
  first = json.loads(run('--list', '--json')[1][0])
  values = {'accuracy': 0.75, 'macs': 1500.0, 'share': [0.0, 1.0, 0.0], 'meaning': 'by fixed'}
  assert first == {'policy': 'second', 'default': True, **values}


def test_benchmark(run):
  code, lines, errors = run('--benchmark', '--seconds=0.01', '--threads=1')
  assert (code, errors) == (0, [])
  tables = '\n'.join(lines).strip().split('\n\n')
  names, exits, deadlines = (table.splitlines()[0].split() for table in tables)
  assert names == ['exit', 'name', 'median_ms', 'p95_ms']
  assert exits == ['policy', 'mean_exit', 'images_per_s_at_1', 'images_per_s_at_64']
  assert deadlines == ['deadline', 'deadline_ms', 'share_in_time', 'mean_exit']
  assert [len(table.splitlines()) for table in tables] == [4, 3, 4]
  rows = run('--benchmark', '--seconds=0.01', '--policy=sure', '--json')[1]
  assert [json.loads(row).get('policy') for row in rows] == [None] * 3 + ['sure'] + [None] * 3


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((), 'there is no image file; --help lists the options'),
    (('{image}', '--list'), '--benchmark and --list take no image files'),
    (('--benchmark', '--list'), 'not allowed with argument'),
    (('{image}', '--quick'), 'unrecognized arguments: --quick; --help lists the options'),
    (('{image}', '--threads=two'), "argument --threads: invalid int value: 'two'"),
    (('{image}', '--threads=0'), 'threads is 0; it must be 1 or more'),
    (('{image}', '--deadline-ms=soon'), "argument --deadline-ms: invalid float value: 'soon'"),
    (('{image}', '--deadline-ms=nan'), '--deadline-ms is nan; it must be a number'),
    (('--benchmark', '--seconds=0'), '--seconds is 0.0; it must be above 0'),
    (('--benchmark', '--seconds=inf'), '--seconds is inf; it must be above 0'),
    (('none.png', '--policy=best'), "policy 'best' is not one of second, sure"),
    (('--benchmark', '--policy=best'), "policy 'best' is not one of second, sure"),
    (('none.png',), 'none.png cannot be read as an image: [Errno 2] No such file'),
    (('{folder}',), 'cannot be read as an image'),
    (('{folder}/bundle.json',), 'bundle.json cannot be read as an image: cannot identify'),
    (('{image}', '--bundle=none'), 'bundle.json does not exist: copy the whole bundle'),
    (('--list', '--bundle=none'), 'bundle.json does not exist: copy the whole bundle'),
  ],
)
def test_bad_input_is_one_line(run, bundle, files, arguments, message):
  code, lines, errors = run(*(each.format(image=files[0], folder=bundle) for each in arguments))
  assert (code, lines) == (2, [])
  assert len(errors) == 1 and errors[0].startswith('early_exit.py: ') and message in errors[0]


def test_answers_before_a_bad_image_are_printed(run, files):
  code, lines, errors = run(files[0], 'none.png', files[1])
  assert code == 2 and len(lines) == len(errors) == 1
  assert lines[0].startswith(files[0]) and 'none.png' in errors[0]


def save(folder, pixels, name='a.png', **settings):
  Image.fromarray(np.asarray(pixels, np.uint8)).save(folder / name, **settings)
  return folder / name


def test_image_of_the_right_size_is_read_as_it_is(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
  assert (read_image(save(tmp_path, pixels), [6, 5, 3]) == pixels).all()
  gray = read_image(save(tmp_path, pixels[..., 0]), [6, 5, 3])
  assert (gray == pixels[..., :1]).all() and gray.shape == (6, 5, 3)
  assert (read_image(save(tmp_path, pixels[..., 0]), [6, 5, 1]) == pixels[..., :1]).all()


@pytest.mark.parametrize('turned', [False, True])
def test_only_the_centred_crop_is_used(tmp_path, turned):
  pixels = np.zeros((8, 24, 3))
  pixels[:, 8:16] = [[[200, 100, 50]]]
  pixels = pixels.swapaxes(0, 1) if turned else pixels
  image = read_image(save(tmp_path, pixels), [4, 4, 3])
  assert (image == [200, 100, 50]).all()


def test_crop_has_the_aspect_ratio_of_the_images(tmp_path):
  pixels = np.zeros((10, 10, 3))
  pixels[2:7] = 90  # of 10 x 5 pixels, the centred ones
  assert (read_image(save(tmp_path, pixels), [2, 4, 3]) == 90).all()


def test_resizing_is_bilinear_with_antialiasing(tmp_path):
  row = np.array([0, 80, 160, 240, 80, 0, 40, 200])
  image = read_image(save(tmp_path, np.tile(row[None, :, None], (8, 1, 3))), [4, 4, 3])
  weights = np.maximum(0, 1 - abs(np.arange(8) + 0.5 - (2 * np.arange(4)[:, None] + 1)) / 2)
  expected = weights @ row / weights.sum(axis=1)
  assert abs(image[0, :, 0] - expected).max() <= 0.51
  assert (image == image[:1]).all()
  larger = read_image(save(tmp_path, [[[0] * 3, [100] * 3]] * 2), [4, 4, 3])
  assert larger[0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize('size', [(1, 300), (300, 1), (1, 1), (33, 32)])
def test_images_of_any_size_are_read(tmp_path, size):
  image = read_image(save(tmp_path, np.full((*size, 3), 70)), [32, 24, 3])
  assert image.dtype == np.uint8 and (image == 70).all() and image.shape == (32, 24, 3)


def test_orientation_of_a_camera_is_applied(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was turned by a quarter
  pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
  image = read_image(save(tmp_path, pixels, exif=exif), [6, 4, 3])
  assert (image == np.rot90(pixels, -1)).all()


def test_images_that_would_lose_their_meaning_are_rejected(run, tmp_path):
  Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / 'deep.png')
  Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / 'real.tiff')
  whole = save(tmp_path, IMAGES[0].repeat(40, axis=0), 'cut.png')
  whole.write_bytes(whole.read_bytes()[:-60])
  for name, message in (
    ('deep.png', 'it has more than 8 bits per channel'),
    ('real.tiff', 'it has more than 8 bits per channel'),
    ('cut.png', 'cannot be read as an image'),
  ):
    code, _, errors = run(str(tmp_path / name))
    assert code == 2 and len(errors) == 1 and message in errors[0], errors


def test_image_files_need_one_or_three_channels(tmp_path):
  with pytest.raises(ValueError, match='image files have 1 or 3 channels, the bundle takes 4'):
    read_image(save(tmp_path, IMAGES[0]), [2, 2, 4])
