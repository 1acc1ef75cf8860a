"""The pictures of a run's curriculum: easy and hard images, scores, pacing, agreement."""

import csv
import io
import itertools
import pathlib
from typing import Any

import numpy as np

from mecl_jax.curriculum import Curriculum, Difficulty
from mecl_jax.durations import listed
from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.report.pictures.agreement import draw_agreement
from mecl_jax.report.pictures.examples import draw_contact_sheet
from mecl_jax.report.pictures.pacing import draw_visible_shares
from mecl_jax.report.pictures.scores import draw_scores
from mecl_jax.terminal import FittedTable
from mecl_jax.training.batches import visible_by_exit
from mecl_jax.training.run import Run

# Measures whose score is one minus what their name says.
_AXES = {'confidence': '1 - confidence', 'margin': '1 - margin'}


def write(run: Run, folder: pathlib.Path) -> dict[str, Any]:
  """Writes pacing*.png, and, where there are scores, easy_and_hard.png, scores.png, agreement.*.

  Args:
    run: its scores are read from difficulty.npz.
    folder: to write to.

  Returns:
    for the summary, if they apply: `noise_auroc`, how well the score separates wrong labels from
    others, `dropped`, the number of examples that are never shown because the teacher contradicts
    them, `dropped_wrong`, how many of them have wrong labels, and `agreement`, Spearman's
    correlation with each of `report.compare_with`.

  Raises:
    UserError: a run or file to compare with is missing, or of other examples.
  """
  _draw_pacing(run, folder)
  path = run.workdir / 'difficulty.npz'
  if not path.exists():
    return {}
  train, names, flipped = run.dataset.train, run.dataset.class_names, run.dataset.flipped
  labels = train.labels
  if labels.ndim > 1:  # no classes: all images are one group
    labels, names = np.zeros(len(train), np.int32), ('all images',)
  difficulty = Difficulty.load(path).aligned(train.ids, path)
  score = difficulty.score
  draw_contact_sheet(
    train.images, labels, names, score, folder / 'easy_and_hard.png', flipped=flipped
  )
  draw_scores(
    score,
    labels,
    names,
    folder / 'scores.png',
    measure=f'{difficulty.teacher}: {_AXES.get(difficulty.measure, difficulty.measure)}',
    flipped=flipped,
  )
  facts: dict[str, Any] = {}
  if flipped is not None and 0 < flipped.sum() < len(flipped):
    from sklearn.metrics import roc_auc_score  # importing it takes a second

    facts['noise_auroc'] = float(roc_auc_score(flipped, score))
    run.console.print(f'AUROC of the score for finding wrong labels: {facts["noise_auroc"]:.3f}')
  dropped = difficulty.contradicted
  if run.config.curriculum.contradicted == 'drop' and dropped is not None:
    facts['dropped'] = int(dropped.sum())
    if flipped is not None:
      facts['dropped_wrong'] = int((dropped & flipped).sum())
  if run.config.report.compare_with:
    facts['agreement'] = _compare(run, difficulty, score, folder)
  return facts


def _draw_pacing(run: Run, folder: pathlib.Path) -> None:
  """Draws a picture per phase with a curriculum."""
  plans = [plan for plan in run.plans if plan.order != 'none']
  size, batch_size = len(run.dataset.train), run.config.batch_size
  for plan in plans:
    curriculum = Curriculum(np.arange(size), plan.pacing, batch_size, seed=0)
    counts = visible_by_exit(plan, curriculum, range(plan.steps))
    shares = dict(zip(plan.phase.exits, counts.T / size, strict=True))
    name = 'pacing' if len(plans) == 1 else f'pacing_{plan.phase.name}'
    draw_visible_shares(shares, folder / f'{name}.png', steps_per_epoch=size / batch_size)


def scores_to_compare(run: Run) -> list[tuple[str, str, np.ndarray]]:
  """Reads the scores of each of `report.compare_with`.

  Returns:
    for each: teacher and measure, its path, and the scores [N].

  Raises:
    UserError: one is missing, of other examples, or named twice.
  """
  places = listed(run.config.report.compare_with)
  if len(set(places)) != len(places):
    raise UserError(f'report.compare_with names a path twice: {", ".join(places)}')
  found = []
  for place in places:
    path = pathlib.Path(place)
    path = path / 'difficulty.npz' if path.is_dir() else path
    other = Difficulty.load(path)
    score = other.align(run.dataset.train.ids, path)
    found.append((f'{other.teacher}, {other.measure}', place, score))
  return found


def _compare(
  run: Run, difficulty: Difficulty, score: np.ndarray, folder: pathlib.Path
) -> dict[str, float | None]:
  """Draws, prints and writes the rank correlations of the scores; returns the run's own row."""
  scores = {f'{difficulty.teacher}, {difficulty.measure}': score}
  for name, place, other in scores_to_compare(run):
    # Scores of the same kind are distinguished by their paths.
    scores[name if name not in scores else f'{name}, {place}'] = other
  matrix = draw_agreement(scores, folder / 'agreement.png')
  columns, shown = [str(number) for number in range(1, len(scores) + 1)], []
  text = io.StringIO()
  rows = csv.writer(text)
  rows.writerow(('', *scores))
  for number, (name, row) in enumerate(zip(scores, matrix, strict=True), start=1):
    shown.append((f'{number} {name}', *(f'{value:.3f}' for value in row)))
    rows.writerow((name, *row))
  write_text(folder / 'agreement.csv', text.getvalue())
  title = "agreement of the scores: Spearman's rank correlation"
  optional = columns[:0:-1]
  run.console.print(FittedTable(title, ('', *columns), shown, columns, optional, ('',)))
  # The correlation of a constant score is NaN, which JSON does not have.
  own = [None if np.isnan(rho) else float(rho) for rho in matrix[0]]
  return dict(itertools.islice(zip(scores, own, strict=True), 1, None))
