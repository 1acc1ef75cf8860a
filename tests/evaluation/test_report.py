import pytest

from mecl_jax.evaluation.report import quantity


@pytest.mark.parametrize(
  ('number', 'expected'),
  [
    (0, '0'),
    (999, '999'),
    (1000, '1.00 k'),
    (999_499, '999 k'),
    (999_500, '1.00 M'),
    (31_119_616, '31.1 M'),
    (4_291_365_888, '4.29 G'),
    (252_893_440, '253 M'),
  ],
)
def test_quantities_have_three_digits_and_a_unit(number, expected):
  assert quantity(number) == expected
