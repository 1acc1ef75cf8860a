import numpy as np

from mecl_jax.report.style import COLOURS, evenly, look


def test_28_lines_differ_without_colours():
  looks = [look(k) for k in range(28)]
  assert len({(look['marker'], str(look['linestyle'])) for look in looks}) == 28
  assert [look['color'] for look in looks[:7]] == list(COLOURS)


def test_evenly_keeps_first_and_last():
  assert evenly(np.arange(7), 20).tolist() == list(range(7))
  chosen = evenly(np.arange(100), 20)
  assert len(set(chosen)) == 20 and chosen[0] == 0 and chosen[-1] == 99
  assert set(np.diff(chosen)) <= {5, 6}
  assert len(set(evenly(np.arange(21), 20))) == 20
