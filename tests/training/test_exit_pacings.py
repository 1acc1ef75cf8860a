import pytest

from mecl_jax import config
from mecl_jax.config.valid import whole
from mecl_jax.curriculum import pacing
from mecl_jax.errors import UserError
from mecl_jax.training import exit_pacings
from mecl_jax.training.exit_pacings import check, make_pacings

EXITS = ('stage1', 'stage2', 'final')


def settings(**changes):
  c = config.default().curriculum
  c.pacing, c.start, c.full_after = 'linear', 0.1, '50%'
  with c.unlocked():
    c.update(changes)
  return c


def shares(step, **changes):
  """Returns the shares of three exits at a step of a phase of 200 steps, 10 epochs."""
  chosen = settings(**changes)
  check(chosen)
  pacings = make_pacings(chosen, EXITS, steps=200, epoch=20.0)
  assert tuple(pacings) == EXITS
  return pytest.approx([pacing(step) for pacing in pacings.values()])


def test_durations_are_in_steps_epochs_or_percent():
  for full_after in ('50%', '100 steps', '5 epochs'):
    assert shares(50, full_after=full_after) == [0.55] * 3


def test_shared_pacing_is_made_once():
  made = make_pacings(settings(), EXITS, steps=200, epoch=20.0)
  assert len(set(made.values())) == 1


def test_scaled_shares_stay_within_0_and_1():
  factors = {'per_exit': 'scaled', 'exit_factors': (0.5, 1.0, 3.0)}
  assert shares(0, **factors) == [0.05, 0.1, 0.3]
  assert shares(150, **factors) == [0.5, 1.0, 1.0]


def test_each_exit_has_its_own_pacing():
  own = 'root start=0.2 full_after=90%, step full_after=10steps, constant start=1'
  assert shares(0, per_exit='own', exit_pacings=own) == [0.2, 0.1, 1.0]
  assert shares(45, per_exit='own', exit_pacings=own) == [0.2 + 0.8 * 0.5, 1.0, 1.0]


def test_boundaries_are_separated_by_semicolons():
  own = 'varied_exponential start=0.1 increase=2 boundaries=10%;50steps'
  assert shares(20, per_exit='own', exit_pacings=own) == [0.2] * 3
  assert shares(50, per_exit='own', exit_pacings=own) == [0.4] * 3


def test_no_exit_sees_more_than_max_share():
  assert shares(199, max_share=0.9) == [0.9] * 3
  assert shares(199, max_share=0.9, per_exit='scaled', exit_factors=(0.5, 1.0, 2.0)) == [
    0.45,
    0.9,
    0.9,
  ]
  assert shares(0, max_share=0.9, per_exit='own', exit_pacings='constant start=1') == [0.9] * 3


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'exit_factors': (0.5, 1.0)}, 'exit_factors needs curriculum.per_exit=scaled'),
    ({'exit_pacings': 'linear'}, 'exit_pacings needs curriculum.per_exit=own'),
    ({'per_exit': 'own'}, 'per_exit=own needs curriculum.exit_pacings'),
    ({'per_exit': 'scaled'}, 'per_exit=scaled needs curriculum.exit_factors'),
    ({'pacing': 'varied_exponential', 'boundaries': ' '}, 'boundaries is empty'),
    ({'per_exit': 'own', 'exit_pacings': 'linear,,linear'}, "is ''; choose one of: constant"),
    ({'per_exit': 'own', 'exit_pacings': 'linear start=0.1 start=0.2'}, 'start is given twice'),
    ({'per_exit': 'own', 'exit_pacings': 'linear full_after=0%'}, "'0%'; it must be above 0"),
    (
      {'per_exit': 'own', 'exit_pacings': 'fixed_exponential increase=inf'},
      'is inf; it must be above 1',
    ),
    ({'per_exit': 'scaled', 'exit_factors': (0.5, 1.0)}, 'has 2 values; give 1, or 3: stage1, st'),
    ({'per_exit': 'own', 'exit_pacings': 'linear, linear'}, 'has 2 values; give 1, or 3'),
    ({'per_exit': 'own', 'exit_pacings': 'linaer'}, "'linaer'; choose one of: constant, fixed"),
    ({'per_exit': 'own', 'exit_pacings': '0.5'}, "'0.5'; choose one of: constant"),
    ({'per_exit': 'own', 'exit_pacings': 'linear stat=1'}, "'stat'; choose one of: start, full"),
    ({'per_exit': 'own', 'exit_pacings': 'linear increase=2'}, "'increase'; choose one of: st"),
    ({'per_exit': 'own', 'exit_pacings': 'linear start=0'}, 'is 0; it must be a share above 0'),
    ({'per_exit': 'own', 'exit_pacings': 'linear start=x'}, "is 'x'; it must be a share above 0"),
    ({'per_exit': 'own', 'exit_pacings': 'linear full_after=1'}, "'300 steps', '20 epochs'"),
    (
      {'per_exit': 'own', 'exit_pacings': 'fixed_exponential increase=1'},
      'is 1; it must be above 1',
    ),
  ],
)
def test_invalid_pacings_are_rejected(changes, message):
  with pytest.raises(UserError) as error:
    shares(0, **changes)
  assert message in str(error.value)


def test_new_argument_needs_only_a_factory_and_a_field(monkeypatch):
  """Registers a pacing with a whole number, as a user who adds one would."""
  monkeypatch.setitem(pacing._FACTORIES, 'stairs', lambda start, cycles: lambda step: start)
  monkeypatch.setattr(exit_pacings, 'PACINGS', (*pacing.PACINGS, 'stairs'))
  monkeypatch.setattr(pacing, 'PACINGS', (*pacing.PACINGS, 'stairs'))
  monkeypatch.setitem(exit_pacings._KINDS, 'cycles', whole(1, 9))
  name, values = exit_pacings._parse('stairs start=0.5 cycles=3')
  assert (name, values) == ('stairs', {'start': 0.5, 'cycles': 3})
  with pytest.raises(UserError, match=r'cycles .* is 0\.5; it must be a whole number'):
    exit_pacings._parse('stairs cycles=0.5')
