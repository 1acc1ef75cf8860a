from mecl_jax import config
from mecl_jax.teachers import plain_run


def test_plain_run_has_no_evaluation_target(toy_config):
  toy_config.evaluation.policy_file = 'of_three_exits.json'  # a fold has one
  assert plain_run.plain_config(toy_config).evaluation == config.default().evaluation
