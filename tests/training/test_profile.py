import json

import pytest
from rich.console import Console

from mecl_jax.commands.train import train
from mecl_jax.training import profile
from mecl_jax.training.profile import OTHER, Place, instruction_places

pytestmark = pytest.mark.stacks

PROGRAM = """HloModule jit_step

%fused.1 (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %a = f32[4]{0} add(%p, %p), metadata={op_name="jit(step)/jvp(stem)/add"}
  ROOT %b = f32[4]{0} multiply(%a, %a), metadata={op_name="jit(step)/jvp(stem)/mul"}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %fusion.1 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused.1
  %while.2 = (f32[4]{0}) while(%x), metadata={op_name="jit(step)/while"}
  %conv.3 = f32[4]{0} convolution(%x), metadata={op_name="jit(step)/transpose(jvp(stem))/conv"}
  ROOT %copy.4 = f32[4]{0} copy(%fusion.1)
}
"""


def test_instructions_are_placed_by_their_scope():
  places = instruction_places(PROGRAM, ('stem',))
  assert places['fusion.1'] == Place('stem', backward=False)  # that of the instructions within it
  assert places['conv.3'] == Place('stem', backward=True)
  assert places['copy.4'] == Place(OTHER, backward=False)
  assert 'while.2' not in places  # its time is that of its body


def test_profile_of_a_run(toy_config, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(profile, 'TRACED', 4)
  toy_config.strategy, toy_config.curriculum.order = 'joint', 'none'
  console = Console(width=100)
  train(toy_config, tmp_path / 'run', console=console, brief=True, profile=True)
  printed = capsys.readouterr().out
  assert 'profile of 4 steps' in printed and 'exit_final' in printed
  record = json.loads((tmp_path / 'run' / 'profile' / 'joint' / 'profile.json').read_text())
  assert record['steps'] == 4
  assert record['flops_per_step'] > 0
  parts = record['device_ms_per_step']
  assert {'batch forward', 'exit_final forward', 'update forward'} <= parts.keys()
  assert {'stage1_block1 forward', 'stage1_block1 backward'} <= parts.keys()


def test_profile_leaves_the_run_as_it_is(toy_config, tmp_path):
  toy_config.strategy, toy_config.curriculum.order = 'joint', 'none'
  for name, traced in (('plain', False), ('traced', True)):
    train(toy_config, tmp_path / name, console=Console(quiet=True), profile=traced)
  plain, traced = ((tmp_path / n / 'predictions.npz').read_bytes() for n in ('plain', 'traced'))
  assert plain == traced


def test_short_phase_has_no_profile(toy_config, tmp_path, capsys):
  toy_config.strategy, toy_config.curriculum.order = 'joint', 'none'
  toy_config.phases.joint.duration = '5 steps'
  train(toy_config, tmp_path / 'run', console=Console(width=100), brief=True, profile=True)
  assert 'no profile' in capsys.readouterr().out
