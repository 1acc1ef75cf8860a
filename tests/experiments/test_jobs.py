import dataclasses
import json
import pathlib

import pytest

from experiments.paired import jobs
from experiments.paired.search import points
from experiments.paired.study import Arm, backbone_digest, load, load_pairs, studies
from mecl_jax import config as config_lib
from mecl_jax.errors import UserError
from tests.experiments.studies import make_study

ROOT = pathlib.Path(__file__).parents[2]
RATE = 'phases.heads.learning_rate'
RATES = {RATE: [0.001, 0.01, 0.1, 1.0]}
SEARCHED = {
  'standard': Arm({'curriculum.order': 'none'}, space=RATES),
  'easy_first': Arm(
    {'curriculum.order': 'easy_first'},
    space={**RATES, 'curriculum.start': [0.2, 0.5], 'curriculum.max_share': [1.0, 0.9]},
  ),
  'without': Arm({'curriculum.order': 'none'}, like='easy_first'),
}
CELL = ('toy network', 0)


@pytest.fixture
def searched(toy_file):
  return make_study(toy_file, arms=SEARCHED, trials=4, search_seeds=(8, 9), budgets=(4,))


def ended(study, worth):
  """Returns the rows of all trials, with validation accuracies from `worth(job)`."""
  cells = [(CELL[0], seed) for seed in study.search_seeds]
  return [
    {
      **{'setting': job.setting, 'arm': job.arm, 'budget': job.budget, 'kind': job.kind},
      **{'trial': job.trial, 'seed': job.seed, 'fields': json.dumps(dict(job.fields))},
      **{'validation_exit1': worth(job), 'validation_exit2': 1 - worth(job), 'error': ''},
      'backbone_run': 'a run' if study.backbone else '',
      'strategy': study.common['strategy'],
    }
    for cell in cells
    for job in jobs.trials(study, cell)
  ]


def test_a_grid_has_all_combinations_in_order():
  space = {RATE: [0.1, 0.2], 'curriculum.start': [0.2, 0.5, 0.3]}
  grid = [(rate, start) for rate in (0.1, 0.2) for start in (0.2, 0.5, 0.3)]
  assert [tuple(point.values()) for point in points(space)] == grid
  assert points({}) == [{}] and points(space, 6) == points(space)


def test_limited_arms_try_the_same_rates_equally_often(searched):
  found = list(jobs.trials(searched, (CELL[0], 8)))
  rates = {arm: [job.fields[RATE] for job in found if job.arm == arm] for arm in searched.arms}
  assert rates == {'standard': RATES[RATE], 'easy_first': RATES[RATE], 'without': []}
  wide = points(SEARCHED['easy_first'].space, 12)
  assert [point[RATE] for point in wide] == [rate for rate in RATES[RATE] for _ in range(3)]
  assert len({tuple(point.values()) for point in wide}) == 12, 'no point twice'
  assert wide == points(SEARCHED['easy_first'].space, 12), 'on every machine'
  assert points({'curriculum.start': [0.1, 0.2, 0.3]}, 2) != []


def test_other_seeds_have_no_trials(searched):
  assert not list(jobs.trials(searched, CELL))


def test_runs_wait_for_all_trials(searched):
  rows = ended(searched, lambda job: 0.5)
  assert None not in jobs.runs(searched, CELL, rows)
  without_one = [r for r in rows if (r['arm'], r['trial'], r['seed']) != ('standard', 3, 9)]
  found = list(jobs.runs(searched, CELL, without_one))
  assert [job and job.arm for job in found] == [None, 'easy_first', 'without']


def worth(job):
  """Returns accuracies of exit 1: trial 2 is best with seed 9, trial 1 on average."""
  return {(1, 8): 0.7, (1, 9): 0.7, (2, 8): 0.2, (2, 9): 0.9, (0, 8): 0.4}.get(
    (job.trial, job.seed), 0.5
  )


def test_separate_heads_take_their_own_best_trials(searched):
  tried = points(SEARCHED['easy_first'].space, 4)
  _, easy, without = jobs.runs(searched, CELL, ended(searched, worth))
  found = {'exit1': tried[1], 'exit2': tried[0]}
  assert easy.fields == {'curriculum.order': 'easy_first', **found}
  assert without.fields == {'curriculum.order': 'none', **found}
  first, second = without.configs(searched)
  for config, point in ((first, tried[1]), (second, tried[0])):
    assert (
      config.curriculum.order == 'none' and config.curriculum.start == point['curriculum.start']
    )
    assert config.phases.heads.learning_rate == point[RATE]


def test_whole_network_takes_the_best_mean_trial(toy_file):
  more = {'trials': 4, 'search_seeds': (8, 9), 'budgets': (4,), 'backbone': None}
  study = make_study(toy_file, arms=SEARCHED, **more)
  rows = ended(study, worth)
  for row in rows:
    row['validation_exit2'] = row['validation_exit1']
  tried = points(SEARCHED['easy_first'].space, 4)
  _, easy, without = jobs.runs(study, CELL, rows)
  assert easy.fields == {'curriculum.order': 'easy_first', **tried[1]}
  assert without.fields == {**easy.fields, 'curriculum.order': 'none'}
  assert len(easy.configs(study)) == 1


def test_failed_trial_is_not_chosen(searched):
  rows = ended(searched, lambda job: 0.9 if job.trial == 3 else 0.5)
  failed = next(r for r in rows if (r['arm'], r['trial'], r['seed']) == ('standard', 3, 9))
  failed['error'] = 'RunError: ..'
  standard = next(iter(jobs.runs(searched, CELL, rows)))
  rates = [point[RATE] for point in points(SEARCHED['standard'].space, 4)]
  assert standard.fields['exit1'] == {RATE: rates[0]}, 'the first of equals'


def test_runs_wait_if_all_trials_failed(searched):
  rows = [row | {'error': 'RunError: ..'} for row in ended(searched, worth)]
  assert list(jobs.runs(searched, CELL, rows)) == [None, None, None]


def test_shards_split_the_cells(toy_file):
  study = make_study(toy_file, settings={'a': {}, 'b': {}}, seeds=(0, 1, 2))
  whole = jobs.cells(study)
  parts = [jobs.cells(study, shard, 4) for shard in range(4)]
  assert sorted(cell for part in parts for cell in part) == sorted(whole)
  assert len(whole) == len(set(whole)) == 6


def test_cells_with_one_network_share_a_shard(toy_file):
  settings = {f'{name} at {rate}': {RATE: rate} for rate in (0.1, 0.2) for name in ('a', 'b')}
  settings['wide a'] = {'model.head_width': 32}
  study = make_study(toy_file, settings=settings)
  assert jobs.cells(study, 1, 2) == [('wide a', 0)]
  assert len(jobs.cells(study, 0, 2)) == 4


def test_other_labels_make_another_backbone(toy_file):
  settings = {name: {'data.train_labels': f'labels.npz:{name}'} for name in ('aggregate', 'worst')}
  study = make_study(toy_file, settings=settings | {'clean': {}})
  assert len({study.network_digest(setting, 0) for setting in study.settings}) == 3
  digests = {backbone_digest(study.backbone_config(setting, 0)) for setting in study.settings}
  assert len(digests) == 3
  plain = study.backbone_config('clean', 0)  # with the digest that it had before there were labels
  assert backbone_digest(plain) == config_lib.digest(plain)


def test_whole_networks_are_split_one_by_one(toy_file):
  settings = {f'a at {rate}': {RATE: rate} for rate in (0.1, 0.2, 0.3)}
  study = make_study(toy_file, settings=settings, backbone=None)
  assert [len(jobs.cells(study, shard, 3)) for shard in range(3)] == [1, 1, 1]


def test_budget_can_have_fields(toy_file):
  study = make_study(toy_file, budgets={steps: {RATE: 1 / steps} for steps in (4, 8)})
  rates = {job.budget: job.configs(study)[0].phases.heads for job in jobs.runs(study, CELL, [])}
  assert {steps: (heads.learning_rate, heads.duration) for steps, heads in rates.items()} == {
    4: (0.25, '4 steps'),
    8: (0.125, '8 steps'),
  }


def test_digest_changes_with_the_run(toy_file):
  study = make_study(toy_file)
  job = next(iter(jobs.runs(study, CELL, [])))
  others = [
    dataclasses.replace(job, budget=8),
    dataclasses.replace(job, seed=1),
    dataclasses.replace(job, trial=0),
    dataclasses.replace(job, fields={**job.fields, RATE: 0.5}),
  ]
  longer = make_study(toy_file, backbone={'phases.joint.duration': '6 steps'})
  digests = [job.digest(study), job.digest(longer), *(other.digest(study) for other in others)]
  assert len(set(digests)) == len(digests)
  assert job.digest(make_study(toy_file)) == digests[0]


ORDER = {'curriculum.order': 'none'}
OF_HEADS = {
  'curriculum.sample_weights': 'easy_weighted',
  'curriculum.class_balanced': False,
  'distillation.weight': 0.5,
  RATE: 0.5,
}


def test_head_training_does_not_change_the_backbone(toy_file):
  study = make_study(toy_file, settings={'plain': {}, 'other': OF_HEADS})
  plain, other = (study.backbone_config(setting, 0) for setting in study.settings)
  assert plain == other and other.curriculum.sample_weights == 'none'
  assert len({study.network_digest(setting, 0) for setting in study.settings}) == 1
  common = {**study.common, **OF_HEADS}
  assert make_study(toy_file, common=common).backbone_config(CELL[0], 0) == plain


def test_mixed_training_does_not_change_the_backbone(toy_file):
  mixed = {'strategy': 'mixed', 'phases.joint.learning_rate': 0.5}
  common = {**make_study(toy_file).common, **mixed}
  arms = {'standard': Arm(ORDER), 'fast': Arm({**ORDER, 'phases.joint.learning_rate': 0.9})}
  study = make_study(toy_file, common=common, budget_of='joint', arms=arms)
  default = config_lib.default().phases.joint.learning_rate
  assert study.backbone_config(CELL[0], 0).phases.joint.learning_rate == default
  with pytest.raises(UserError, match=r'has phases\.heads\.learning_rate; on a shared backbone'):
    make_study(toy_file, common=common, budget_of='joint', arms={'standard': Arm({RATE: 0.1})})


def test_limits_of_shared_backbones_apply_only_to_them(toy_file):
  common = {**make_study(toy_file).common, 'strategy': 'joint', 'distillation.weight': 0.5}
  study = make_study(toy_file, common=common, backbone=None, budget_of='joint')
  assert study.config(CELL[0], seed=0).distillation.weight == 0.5


def test_settings_with_other_data_share_no_backbone(toy_file, tmp_path):
  places = {name: {'data.arrays': str(tmp_path / f'{name}.npz')} for name in ('a', 'b')}
  with pytest.raises(UserError, match=r"'a' and 'b' would share .* different data\.names"):
    make_study(toy_file, settings=places)
  # With other heads, too: a backbone's folder is not named after them.
  with pytest.raises(UserError, match=r'different data\.names'):
    make_study(toy_file, settings={**places, 'b': places['b'] | {'model.exits': ('stage1',)}})
  make_study(toy_file, settings={n: {**f, 'data.name': n} for n, f in places.items()})
  make_study(toy_file, settings=places, backbone=None)


@pytest.mark.parametrize(
  ('arm', 'message'),
  [
    (Arm({'curriculum.oder': 'none'}), 'invalid field or value'),
    (Arm({'curriculum.order': 'easy_frist'}), 'easy_frist'),
    (Arm(ORDER, space={'curriculum.start': [0.5, -1]}), 'start'),
    (Arm(ORDER, like='other'), "like is 'other'"),
    (Arm(ORDER, space={RATE: [0.1, 1.0]}, like='searched'), 'set only one of them'),
    (Arm({RATE: 0.1}, space={RATE: [0.1, 1.0]}), 'remove one of them'),
    (Arm(ORDER, space={RATE: []}), 'has no values of phases.heads.learning_rate'),
    (Arm(ORDER, space={RATE: [0.1, 0.2]}), 'arms searched and arm search different values of phas'),
    (Arm(ORDER, space={RATE: [0.1, 1.0], 'curriculum.start': []}), 'no values of curriculum.start'),
    (Arm({'phases.heads.duration': '9 steps'}), 'which the budgets set'),
    (Arm({'model.head': 'linear'}), 'may differ only in'),
    (Arm({'data.label_noise': 0.2}), 'may differ only in'),
    (Arm({'curriculum.sample_weights': 'survivors'}, like='searched'), 'survivors'),
  ],
)
def test_invalid_arm_is_rejected(toy_file, arm, message):
  arms = {'standard': Arm(ORDER), 'searched': Arm(ORDER, space={RATE: [0.1, 1.0]}), 'arm': arm}
  with pytest.raises(UserError, match=message):
    make_study(toy_file, arms=arms, trials=2, search_seeds=(9,))


SURVIVORS = {'curriculum.sample_weights': 'survivors'}
EXIT_BY_EXIT = {
  'search_seeds': (9,),
  'arms': {
    'standard': Arm({'curriculum.order': 'none'}, space={RATE: [0.1, 1.0]}),
    'like': Arm({'curriculum.order': 'random'}, like='standard'),
  },
}


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (SURVIVORS, 'survivors weights depend on earlier exits'),
    ({'model.head': 'cascade_linear'}, 'cascade_linear takes inputs from the exit before'),
    ({'model.exits': ('stage1', 'stage2=cascade_linear')}, 'cascade_linear takes'),
  ],
)
def test_dependent_exits_are_not_searched_separately(toy_file, fields, message):
  with pytest.raises(UserError, match=message):
    make_study(toy_file, settings={'toy': fields}, **EXIT_BY_EXIT)
  with pytest.raises(UserError, match=message):
    make_study(toy_file, common={**make_study(toy_file).common, **fields}, **EXIT_BY_EXIT)
  whole = {'settings': {'toy': {**fields, 'strategy': 'joint'}}, 'budget_of': 'joint'}
  make_study(toy_file, **whole, **EXIT_BY_EXIT, backbone=None)
  make_study(toy_file, settings={'toy': fields})  # nothing is searched


def test_survivors_are_not_searched_separately(toy_file):
  space = {'curriculum.sample_weights': ['none', 'survivors']}
  arms = {'standard': Arm(ORDER), 'searched': Arm(ORDER, space=space)}
  with pytest.raises(UserError, match=r'arm searched .* survivors weights depend on earlier exits'):
    make_study(toy_file, **EXIT_BY_EXIT | {'arms': arms})


def test_invalid_study_is_rejected(toy_file):
  with pytest.raises(UserError, match='set search_seeds'):
    make_study(toy_file, arms=SEARCHED)
  with pytest.raises(UserError, match="baseline is 'standard'"):
    make_study(toy_file, arms={'plain': Arm(ORDER)})
  with pytest.raises(UserError, match='warmup'):
    make_study(toy_file, backbone={'phases.joint.warmup': 'long'})
  with pytest.raises(UserError, match='with a budget of heads, it must be classifier_wise'):
    make_study(toy_file, settings={'toy': {'strategy': 'mixed'}})
  with pytest.raises(UserError, match='with a budget of joint, it must be mixed'):
    make_study(toy_file, budget_of='joint')
  with pytest.raises(UserError, match='budget_of, on a shared backbone'):
    make_study(toy_file, budget_of='backbone')
  with pytest.raises(UserError, match='cache_features=False'):
    make_study(toy_file, settings={'toy': {'cache_features': False}})
  with pytest.raises(UserError, match=r'search_seeds are \(0, 0\); they must differ'):
    make_study(toy_file, **EXIT_BY_EXIT | {'search_seeds': (0, 0)})
  with pytest.raises(UserError, match='search_seeds and seeds both have 0; values must be chosen'):
    make_study(toy_file, **EXIT_BY_EXIT | {'search_seeds': (9, 0)})
  for trials in (0, 3):
    with pytest.raises(
      UserError, match=f'trials is {trials}; it must be a multiple of the 2 learn'
    ):
      make_study(toy_file, **EXIT_BY_EXIT | {'trials': trials})


def test_studies_are_found():
  names = {path.stem for path in studies(ROOT)}
  assert 'small_rate' in names and not names & {'common', '__init__'}


@pytest.mark.parametrize('path', studies(ROOT), ids=lambda path: path.stem)
def test_every_study_is_valid(path):
  study = load(path)
  assert len(study.seeds) >= 8
  for arm, against in load_pairs(path, study):
    assert arm != against


def test_file_without_a_study_is_rejected(tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  there = ', '.join(str(path.relative_to(ROOT)) for path in studies(ROOT))
  with pytest.raises(UserError, match=f'there is no study .*none.py; valid: {there}$'):
    load(tmp_path / 'none.py')
  (tmp_path / 'pairs.py').write_text("PAIRS = [('easy_first', 'anit')]")
  with pytest.raises(UserError, match=r"an arm of PAIRS in .*pairs\.py is 'anit'"):
    load_pairs(tmp_path / 'pairs.py', load(ROOT / 'experiments/configs/small_rate.py'))
  (tmp_path / 'empty.py').write_text('')
  with pytest.raises(UserError, match='get_study'):
    load(tmp_path / 'empty.py')
