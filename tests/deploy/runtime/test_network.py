"""The runtime answers as the policies of the program do, given the logits of all exits."""

import copy
import json
import sys

import numpy as np
import pytest
import scipy.special

from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.rules import FEW
from mecl_jax.evaluation import policies
from mecl_jax.evaluation.rules import CONFIDENCES, GATE, GATE_FEATURES, PATIENCE, RULES, Rule
from tests.deploy import bundles
from tests.deploy.bundles import make_images, make_policy, on_run, rewrite, write_bundle

onnx = pytest.importorskip('onnx', reason='the models of these tests are made with it')
pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')

COEFFICIENTS = ((1.5, 0.3, -2.0, 0.4, -0.5), (0.5, 1.0, 2.0, -0.3, 0.1), (0.0,) * 5)
ALL = [*map(Rule, CONFIDENCES), Rule(GATE, GATE_FEATURES, COEFFICIENTS)]
ROWS = np.arange(256)
IMAGES = make_images(ROWS)


def policy_for(rule, logits):
  """Returns a policy at whose thresholds some images are exactly."""
  confidence = rule.confidence(logits)[:, :-1]
  thresholds = np.quantile(confidence, 0.6, axis=0, method='lower')
  if rule.name == PATIENCE:
    thresholds[:] = 2  # at the first exit the patience of all images is 1
  assert (confidence == thresholds).any(axis=0)[-1]
  return policies.Policy(rule, thresholds)


def fields_of(policy):
  rule = policy.rule
  return make_policy(rule.name, policy.thresholds.tolist(), rule.features, rule.coefficients)


@pytest.fixture(scope='module', params=[None, 1, 2], ids=['plain', 'cascade1', 'cascade2'])
def toy(request, tmp_path_factory):
  """A network with a policy of each rule; those policies; its logits [rows, exits, classes]."""
  tables = bundles.random_tables()
  for table in tables:
    table[::7] = table[::7].round()  # equal logits, and equal confidences
  logits = bundles.known_logits(tables, request.param)
  by_name = {rule.name: policy_for(rule, logits) for rule in ALL}
  fields = {name: fields_of(policy) for name, policy in by_name.items()}
  by_name |= {'first': policies.fixed(0, 3), 'second': policies.fixed(1, 3)}
  fields |= {name: make_policy('fixed', by_name[name].thresholds) for name in ('first', 'second')}
  folder = tmp_path_factory.mktemp('toy')
  write_bundle(folder, tables, policies=fields, cascade=request.param)
  return Network(folder, threads=1), by_name, logits


def test_all_rules_are_compared():
  assert {rule.name for rule in ALL} == set(RULES)


@pytest.mark.parametrize('name', [*RULES, 'first', 'second'])
def test_answers_are_those_of_the_policy(toy, name):
  network, by_name, logits = toy
  expected = by_name[name].leaves_at(logits)
  if name in RULES:
    assert len(set(expected.tolist())) == (2 if name == PATIENCE else 3)
  at_exit = logits[ROWS, expected]
  scaled = at_exit / np.array(bundles.TEMPERATURES)[expected, None]
  probabilities = scipy.special.softmax(scaled.astype(np.float64), axis=-1).max(axis=-1)
  for batch_size in (1, 7, 256):
    answers = network(IMAGES, policy=name, batch_size=batch_size)
    assert (answers.exits == expected).all()
    assert (answers.classes == at_exit.argmax(axis=-1)).all()
    assert (answers.logits == at_exit).all()
    np.testing.assert_allclose(answers.probabilities, probabilities, rtol=1e-6)
  alone = [network.answer(image, policy=name) for image in IMAGES]
  assert [each.exit for each in alone] == expected.tolist()
  assert [each.class_number for each in alone] == at_exit.argmax(axis=-1).tolist()
  assert [each.class_name for each in alone] == [f'class {each.class_number}' for each in alone]
  assert (np.stack([each.logits for each in alone]) == at_exit).all()
  np.testing.assert_allclose([each.probability for each in alone], probabilities, rtol=1e-6)
  assert all(each.in_time and each.elapsed_ms > 0 for each in alone)


def test_segments_that_are_not_needed_do_not_run(toy):
  network, by_name, logits = toy
  network, ran = copy.copy(network), []
  on_run(network, lambda number, images: ran.append((number, images)))
  exits = by_name['margin'].leaves_at(logits)
  network(IMAGES, policy='margin', batch_size=256)
  assert ran == [(k, int((exits >= k).sum())) for k in range(3)]
  for number in range(3):
    ran.clear()
    network.answer(IMAGES[exits == number][0], policy='margin')
    assert ran == [(k, 1) for k in range(number + 1)]
  ran.clear()
  network(IMAGES[exits == 0], policy='margin', batch_size=256)
  network(IMAGES, policy='second', batch_size=256)
  assert ran == [(0, int((exits == 0).sum())), (0, 256), (1, 256)]


def test_default_policy_is_that_of_the_bundle(toy):
  network, by_name, logits = toy
  assert network.bundle['default_policy'] == ALL[0].name
  assert (network(IMAGES).exits == by_name[ALL[0].name].leaves_at(logits)).all()


def test_layout_of_an_array_does_not_matter(toy):
  network, expected = toy[0], toy[0](IMAGES, policy='second').logits
  upside_down = IMAGES[:, ::-1].copy()[:, ::-1]
  read_only = np.asfortranarray(IMAGES)
  read_only.flags.writeable = False
  for images in (upside_down, read_only, np.repeat(IMAGES, 2, axis=0)[::2]):
    assert (network(images, policy='second').logits == expected).all()
    assert (network.answer(images[9], policy='second').logits == expected[9]).all()


@pytest.mark.parametrize(
  ('images', 'found'),
  [
    (IMAGES.astype(np.float32), 'an image is float32 [2, 2, 3]; it must be'),
    (IMAGES.astype(np.int8), 'int8 [2, 2, 3]'),
    (IMAGES[..., :1], 'uint8 [2, 2, 1]'),
    (IMAGES[:, :, :1], 'uint8 [2, 1, 3]'),
    (IMAGES[None], 'uint8 [256, 2, 2, 3]'),
    (IMAGES.tolist(), 'list'),
    (None, 'NoneType; it must be a NumPy array, uint8 [2, 2, 3]'),
    (np.uint8(3), 'uint8'),
    (IMAGES[:0], 'there are no images'),
  ],
)
def test_other_images_are_rejected(toy, images, found):
  with pytest.raises(BundleError) as caught:
    toy[0](images)
  assert found in str(caught.value)


@pytest.mark.parametrize('image', [IMAGES[:1], IMAGES[0, 0], IMAGES[0] / 255, None, 'cat.png'])
def test_other_single_images_are_rejected(toy, image):
  with pytest.raises(BundleError, match=r'it must be a NumPy array, uint8 \[2, 2, 3\]'):
    toy[0].answer(image)


def test_impossible_arguments_are_rejected(toy):
  with pytest.raises(BundleError, match="policy 'Margin' is not one of max_probability, entropy,"):
    toy[0](IMAGES, policy='Margin')
  with pytest.raises(BundleError, match='batch_size is 0; it must be 1 or more'):
    toy[0](IMAGES, batch_size=0)


@pytest.fixture
def tables():
  return bundles.random_tables()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_rejected(tables, bad, tmp_path):
  tables[0][5, 1] = tables[2][6, 1] = bad
  chosen = {'decides': make_policy('margin', [0.9, 0.9]), 'last': make_policy()}
  network = Network(write_bundle(tmp_path, tables, policies=chosen))
  for policy, row, others in (('decides', 5, [4, 7]), ('last', 6, [4, 5, 7])):
    for images in (IMAGES[row : row + 1], IMAGES[[row, *others]]):
      message = f'1 of {len(images)} images have logits that are not finite'
      with pytest.raises(BundleError, match=message):
        network(images, policy=policy)
    with pytest.raises(BundleError, match='1 of 1 images have logits that are not finite'):
      network.answer(IMAGES[row], policy=policy)
    assert np.isfinite(network(IMAGES[others], policy=policy).logits).all()
    assert np.isfinite(network.answer(IMAGES[others[0]], policy=policy).logits).all()


def test_single_exit(tables, tmp_path):
  chosen = {'only': make_policy('margin', []), 'fixed': make_policy('fixed', [])}
  network = Network(write_bundle(tmp_path, tables[:1], policies=chosen))
  for policy in chosen:
    assert (network(IMAGES, policy=policy).logits == tables[0]).all()
    assert network.answer(IMAGES[3], policy=policy).exit == 0


def test_many_classes(tmp_path):
  many = bundles.random_tables(classes=FEW + 1)
  network = Network(write_bundle(tmp_path, many))
  answers = network(IMAGES[:20])
  for number, image in enumerate(IMAGES[:20]):
    answer = network.answer(image)
    assert answer.class_number == answers.classes[number]
    assert answer.probability == pytest.approx(answers.probabilities[number], rel=1e-9)


def rejects(folder, *parts, threads=1):
  """Checks that opening raises one line with all these parts."""
  with pytest.raises(BundleError) as caught:
    Network(folder, threads)
  message = str(caught.value)
  assert '\n' not in message and all(part in message for part in parts), message


def test_models_that_do_not_fit_bundle_json_are_rejected(tables, tmp_path):
  write_bundle(tmp_path, tables)
  whole = json.loads((tmp_path / 'bundle.json').read_text())
  del whole['checksum']

  def change(function):
    fields = copy.deepcopy(whole)
    function(fields)
    rewrite(tmp_path, fields)

  change(lambda fields: fields['class_names'].append('one more'))
  rejects(tmp_path, 'segment_1.onnx returns', '[4]', 'bundle.json has', '[5]')
  change(lambda fields: fields['exits'][1]['features'][0].update(dtype='float32'))
  rejects(tmp_path, 'segment_2.onnx returns', 'bundle.json has')
  change(lambda fields: fields['exits'][1]['features'][0].update(name='x9'))
  rejects(tmp_path, 'segment_2.onnx cannot be run')
  change(lambda fields: fields['exits'][0].update(file='segment_2.onnx'))
  rejects(tmp_path, 'segment_2.onnx cannot be run')
  change(lambda fields: fields['exits'][2].update(file='README.md'))
  rejects(tmp_path, 'README.md cannot be opened')
  change(lambda fields: fields.update(image_shape=[3, 2, 3]))
  rejects(tmp_path, 'segment_1.onnx cannot be run')


def test_operator_of_a_library_is_rejected(tables, tmp_path):
  own = [onnx.helper.make_node('Shell', ['found'], ['logits'], domain='some.library')]
  rejects(write_bundle(tmp_path, tables, own=[(), own, ()]), 'segment_2.onnx cannot be opened')


def test_segment_that_fails_is_named(tables, tmp_path):
  network = Network(write_bundle(tmp_path, [tables[0], tables[1][:255], tables[2]]))
  network.answer(IMAGES[254], policy='last')
  with pytest.raises(BundleError, match=r'^segment_2.onnx cannot be run: .*out of'):
    network.answer(IMAGES[255], policy='last')


def test_threads_and_onnxruntime_are_needed(tables, tmp_path, monkeypatch):
  write_bundle(tmp_path, tables)
  rejects(tmp_path, 'threads is 0; it must be 1 or more', threads=0)
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  rejects(tmp_path, 'pip install onnxruntime')
