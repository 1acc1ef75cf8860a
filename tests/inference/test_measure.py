import sys

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.predict import predict
from mecl_jax.evaluation.rules import RULES, Rule
from mecl_jax.inference import latency, load_latency, measure, measure_saving, save_latency
from mecl_jax.models import exit_costs
from tests.inference.networks import IMAGES, build


def test_every_exit_is_timed_at_every_batch_size(tmp_path):
  model, progress = build(dtype='bfloat16', exits=('stage2',)), []
  made = measure(model, IMAGES[:2], batch_sizes=(1, 4), seconds=0.01, on_progress=progress.append)
  assert progress == ['batch size 1', 'batch size 4']
  assert made.exits == ('stage2', 'final')
  assert made.image_shape == (8, 8, 3) and made.dtype == 'bfloat16'
  for rows, columns in ((made.rows, latency.LATENCY), (made.segments, latency.SEGMENTS)):
    assert all(tuple(row) == columns for row in rows)
    assert [(row['exit'], row['batch']) for row in rows] == [
      (name, batch) for batch in (1, 4) for name in made.exits
    ]
  for row in made.rows:
    assert 0 < row['p50_ms'] <= row['p99_ms'] and row['compile_seconds'] > 0
    assert row['images_per_second'] == pytest.approx(1000 * row['batch'] / row['p50_ms'])
  assert [tuple(row) for row in made.answers] == [latency.ANSWERS] * 2 * (1 + len(RULES))
  assert {row['batch'] for row in made.answers} == {1}  # the smallest
  times = made.per_image()
  assert times.fixed.shape == (2,) and (times.fixed > 0).all()
  assert list(times.early) == list(RULES) and all((ms > 0).all() for ms in times.early.values())
  save_latency(tmp_path / 'latency.json', made)
  assert load_latency(tmp_path / 'latency.json', made.exits) == made


def test_time_of_early_exit_includes_heads_and_decisions(monkeypatch):
  model, ran, module = build(), [], sys.modules[measure.__module__]
  decide = Rule.one_reaches

  def spy(rule, by_exit, threshold):
    leaves = decide(rule, by_exit, threshold)
    ran.append((rule.name, len(by_exit), leaves))
    return leaves

  monkeypatch.setattr(Rule, 'one_reaches', spy)
  paths = module._paths(model, 1)
  assert list(paths) == [(r, name) for r in ('fixed', *RULES) for name in model.exit_names]
  for rule in RULES:
    for k, name in enumerate(model.exit_names):
      ran.clear()
      assert paths[rule, name](IMAGES[:1]).exits.tolist() == [k]
      # A decision at every exit up to it, but none at the last.
      assert ran == [(rule, i + 1, i == k) for i in range(min(k + 1, 2))]
  ran.clear()
  assert [paths['fixed', n](IMAGES[:1]).exits[0] for n in model.exit_names] == [0, 1, 2]
  assert not ran


@pytest.mark.parametrize('number', [0, 1, 2])
def test_saving_of_a_fixed_exit_counts_its_head_only(number):
  model = build(exits=('stage1', 'stage2'))
  row = measure_saving(model, fixed(number, 3), IMAGES, batch_size=4, turns=1)
  assert row['disagreements'] == 0 and row['allowed_ms'] == row['dynamic_ms']
  costs = exit_costs(model, (8, 8, 3))
  assert row['macs_saving'] == pytest.approx(1 - costs[number].macs / costs[-1].macs)


@pytest.mark.parametrize(('batch_size', 'used'), [(4, 28), (1, 30)])
def test_saving_uses_full_batches_only(batch_size, used):
  model = build(exits=('stage1',))
  policy = Policy(Rule('max_probability'), np.array([-1.0]))  # all leave at the first exit
  row = measure_saving(model, policy, IMAGES, batch_size=batch_size, turns=1)
  assert tuple(row) == latency.SAVINGS
  assert (row['batch'], row['images'], row['disagreements']) == (batch_size, used, 0)
  costs = exit_costs(model, (8, 8, 3))
  assert row['macs_saving'] == pytest.approx(1 - dynamic_macs(costs)[0] / costs[-1].macs)
  assert row['allowed_saving'] == pytest.approx(1 - row['allowed_ms'] / row['static_ms'])
  assert row['measured_saving'] == pytest.approx(1 - row['dynamic_ms'] / row['static_ms'])


def test_allowed_time_counts_images_that_reach_a_segment(monkeypatch):
  model, images = build(exits=('stage1',)), IMAGES[:8]
  rule = Rule('max_probability')
  # Between the third and the fourth of the first batch and of the second: 3 and some leave at once.
  confidence = rule.confidence(predict(model, images))[:, 0]
  policy = Policy(rule, np.array([np.median(confidence)]))
  leaving = (confidence >= policy.thresholds[0]).reshape(2, 4).sum(axis=1)
  spent = np.array([[[10, 6, 4, 8], [20, 10, 6, 12]], [[10, 6, 4, 8], [20, 10, 6, 12]]], float)
  module = sys.modules[measure_saving.__module__]
  monkeypatch.setattr(module, '_take_turns', lambda *_: spent)
  row = measure_saving(model, policy, images, batch_size=4)
  allowed = np.mean([4 + 8 * (4 - leaving[0]) / 4, 6 + 12 * (4 - leaving[1]) / 4])
  assert row['static_ms'] == 15 and row['dynamic_ms'] == 8
  assert row['allowed_ms'] == pytest.approx(allowed)
  assert row['share_reached'] == pytest.approx((1 - 8 / 15) / (1 - allowed / 15))


def test_too_few_images_are_rejected():
  policy = Policy(Rule('margin'), np.zeros(2))
  with pytest.raises(UserError, match='fewer images than a batch of 32'):
    measure_saving(build(), policy, IMAGES, batch_size=32)
  with pytest.raises(UserError, match='there are no images'):
    measure(build(), IMAGES[:0])
