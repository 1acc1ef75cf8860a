"""The command line of early_exit.py with budgets and stores of energy."""

import json

from PIL import Image
import pytest

from mecl_jax.deploy.runtime.program import main
from tests.deploy.bundles import make_images, make_policy, random_tables, write_bundle

pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A folder with a bundle, four image files, costs and traces."""
  folder = tmp_path_factory.mktemp('toy')
  policies = {'last': make_policy(), 'first': make_policy('fixed', ['-inf', 'inf'])}
  write_bundle(folder / 'bundle', random_tables(), policies=policies)
  for row, image in enumerate(make_images(range(4))):
    Image.fromarray(image).save(folder / f'{row}.png')
  files = {
    'costs.csv': 'exit,cost_mJ\nearly,1\nmiddle,2\nlate,4\n',
    'other.csv': 'exit,cost_mJ\nfirst,1\nlast,2\n',
    'budgets.csv': 'budget_mJ\n0.5\n1\n3\n8\n',
    'income.csv': '2\n0\n6\n4\n',
    'joules.csv': 'income_J\n1\n1\n1\n1\n',
    'short.csv': '1\n2\n',
  }
  for name, text in files.items():
    (folder / name).write_text(text)
  return folder


@pytest.fixture
def run(folder, capsys):
  """Runs the program on all images; returns exit code, lines of output and of errors."""

  def call(*arguments, images=4):
    paths = [f'{folder}/{row}.png' for row in range(images)]
    code = main([f'--bundle={folder}/bundle', *paths, *(a.format(folder) for a in arguments)])
    output, errors = capsys.readouterr()
    return code, output.splitlines(), errors.splitlines()

  return call


def test_budget_of_each_image(run, folder):
  code, lines, errors = run('--costs={}/costs.csv', '--budget={}/budgets.csv')
  assert (code, errors) == (0, [])
  assert lines[0] == f'{folder}/0.png: missed, the first exit costs 1, 0.5 left'
  for line, end in zip(lines[1:], ('early', 'middle', 'late'), strict=True):
    assert f', exit {end}, ' in line
  assert [line.rpartition(', ')[2] for line in lines[1:]] == ['0 left', '0 left', '1 left']


def test_one_budget_for_all_images_as_json(run):
  code, lines, errors = run('--costs={}/costs.csv', '--budget=3.5', '--json')
  rows = [json.loads(line) for line in lines]
  assert (code, errors) == (0, [])
  assert [(row['exit'], row['left'], row['first_exit_cost']) for row in rows] == [(1, 0.5, 1)] * 4


def test_store_with_income(run):
  settings = ('--costs={}/costs.csv', '--store=8,1', '--income={}/income.csv', '--json')
  rows = [json.loads(line) for line in run(*settings)[1]]
  # 1 + 2 pays for two segments; 0 for none; 6 for two; then 3 + 4 for all.
  assert [row['exit'] for row in rows] == [1, None, 1, 2]
  assert [row['left'] for row in rows] == [0, 0, 3, 0]
  assert rows[1] == {
    **{'image': rows[1]['image'], 'class': None, 'probability': None, 'exit': None},
    **{'exit_name': None, 'ms': None, 'left': 0, 'first_exit_cost': 1},
  }


def test_reserve_wake_and_policy(run):
  store = ('--costs={}/costs.csv', '--json')
  rows = [json.loads(line) for line in run(*store, '--store=10,10', '--reserve=0.5')[1]]
  assert [row['exit'] for row in rows] == [1, 0, 0, 0]  # 10 - 3 - 1 - 1 - 1
  rows = [json.loads(line) for line in run(*store, '--store=10,10,2', '--policy=first')[1]]
  assert [row['exit'] for row in rows] == [0, 0, 0, None]
  assert [row['left'] for row in rows] == [7, 4, 1, 1] and rows[0]['first_exit_cost'] == 3


def test_missed_image_with_a_deadline(run):
  code, lines, _ = run('--costs={}/costs.csv', '--budget=0', '--deadline-ms=60000', images=1)
  assert code == 0 and lines[0].endswith(': missed, the first exit costs 1, 0 left')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('--budget=3',), '--budget needs --costs, a CSV file with exit,cost_mJ'),
    (('--costs={}/costs.csv',), '--costs needs one of --budget and --store'),
    (('--costs={}/costs.csv', '--budget=3', '--store=4,4'), 'needs one of --budget and --store'),
    (('--costs={}/costs.csv', '--budget=3', '--income=1'), '--income needs --store'),
    (('--costs={}/costs.csv', '--budget=3', '--reserve=0.1'), '--reserve needs --store'),
    (('--costs={}/costs.csv', '--store=4,4', '--reserve=1'), '--reserve is 1.0; it must be a'),
    (('--costs={}/costs.csv', '--store=4,4', '--reserve=nan'), '--reserve is nan; it must be a'),
    (('--costs={}/costs.csv', '--store=4'), "--store is '4'; it must be CAPACITY,LEVEL or CAP"),
    (('--costs={}/costs.csv', '--store=full,1'), "--store is 'full,1'; it must be"),
    (('--costs={}/costs.csv', '--store=4,5'), 'level of the store is 5.0, above its capacity 4.0'),
    (('--costs={}/costs.csv', '--budget=-1'), '--budget is -1; it must be 0 or above'),
    (('--costs={}/costs.csv', '--budget=nan'), '--budget is nan; it must be 0 or above'),
    (('--costs={}/costs.csv', '--budget={}/short.csv'), 'has 2 amounts, but there are 4 image'),
    (('--costs={}/costs.csv', '--budget={}/none.csv'), 'cannot be read as a CSV file of amounts'),
    (('--costs={}/costs.csv', '--store=4,4', '--income={}/joules.csv'), 'is in J, but the costs'),
    (('--costs={}/other.csv', '--budget=3'), "has exit 'first'; the exits are early, middle, late"),
    (('--costs={}/none.csv', '--budget=3'), 'none.csv cannot be read as a CSV file of costs'),
  ],
)
def test_bad_options_are_one_line(run, arguments, message):
  code, lines, errors = run(*arguments)
  assert (code, lines) == (2, [])
  assert len(errors) == 1 and errors[0].startswith('early_exit.py: ') and message in errors[0]


def test_options_of_energy_need_images(folder, capsys):
  code = main([f'--bundle={folder}/bundle', '--list', '--budget=3'])
  assert code == 2 and '--budget has an effect on image files only' in capsys.readouterr().err
