import numpy as np
import pytest

from mecl_jax.report.figures import exits
from tests.report.figures.drawings import THREE, draw, lines

pytestmark = pytest.mark.filterwarnings('error')


def test_overthinking_shows_both_tables():
  left, right = draw('overthinking').axes
  assert [bar.get_width() for bar in left.patches] == pytest.approx([70, 63, 60, 7])
  assert [bar.get_width() for bar in right.patches] == pytest.approx([60, 20 / 3, 20 / 3, 20])
  assert right.get_yticklabels()[-1].get_text() == 'never'


def test_agreement_ignores_the_order_of_pairs():
  rows = THREE['agreement']
  for order in (rows, [*rows[:1], *rows[2:], rows[1]]):
    same, ratio = exits.agreement(order).axes
    cells = {tuple(t.get_position()): t.get_text() for t in same.texts}
    assert len(cells) == 6  # none on the diagonal
    assert cells[0, 1] == cells[1, 0] == '95' and cells[0, 2] == '90'
    assert {t.get_text() for t in ratio.texts} == {'1.6', '1.7', '1.8'}


def test_exits_without_errors_have_no_ratio():
  rows = [row | {'ratio': None} for row in THREE['agreement']]
  assert not exits.agreement(rows).axes[1].texts


def test_ensembles_show_accuracy_and_nll():
  accuracy, nll = draw('ensembles').axes
  np.testing.assert_allclose(lines(accuracy)[1], [[1, 61], [2, 62], [3, 63]])
  np.testing.assert_allclose([line[0, 1] for line in lines(nll)], [1.1, 1.0, 0.9])
