from mecl_jax.report.tables.training import training_rows


def test_a_row_per_line_of_metrics():
  records = [
    {'step': 5, 'phase': 'joint', 'loss': 2.5, 'visible': 0.25, 'accuracy': {'final': 0.5}},
    {'step': 6, 'phase': 'joint', 'validation': {'final': 0.75}},
  ]
  assert training_rows(records, ('stage1', 'final')) == [
    {'step': 5, 'phase': 'joint', 'loss': 2.5, 'visible': 0.25,
     'validation:stage1': None, 'validation:final': None},
    {'step': 6, 'phase': 'joint', 'loss': None, 'visible': None,
     'validation:stage1': None, 'validation:final': 0.75},
  ]  # fmt: skip
