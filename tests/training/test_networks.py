import logging
import shutil

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.inference import EarlyExit
from mecl_jax.training.networks import load_network

pytestmark = pytest.mark.stacks


def test_loaded_network_exits_as_its_policy_says(ended, toy_file):
  run = ended()
  saved, rule = load_predictions(run / 'predictions.npz'), Rule('max_probability')
  # Between two of the 80 confidences, so that rounding changes no exit.
  policy = Policy(rule, np.median(rule.confidence(saved['test_logits']), axis=0)[:-1])
  answers = EarlyExit(load_network(run), policy)(np.load(toy_file)['test_images'])
  exits = policy.leaves_at(saved['test_logits'])
  assert set(exits.tolist()) == {0, 1, 2}
  np.testing.assert_array_equal(answers.exits, exits)
  predicted = saved['test_logits'][np.arange(len(exits)), exits].argmax(axis=1)
  np.testing.assert_array_equal(answers.classes, predicted)


def test_loading_logs_no_warning_and_writes_nothing(ended, caplog):
  run = ended()

  def files():
    return {path: path.stat().st_mtime_ns for path in (run / 'checkpoints').rglob('*')}

  before = files()
  with caplog.at_level(logging.WARNING, logger='absl'):
    load_network(run)
  assert not caplog.messages and files() == before


def test_folder_without_a_run_is_rejected(tmp_path):
  with pytest.raises(UserError, match='is not the work directory of a run'):
    load_network(tmp_path / 'nothing')


def test_run_without_a_checkpoint_is_rejected(own):
  shutil.rmtree(own / 'checkpoints')
  with pytest.raises(UserError, match='own has no checkpoint that can be read'):
    load_network(own)
