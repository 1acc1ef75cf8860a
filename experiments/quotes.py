"""The functions that the template of docs/results.md takes its numbers from."""

from collections.abc import Mapping
from typing import Any

from experiments import published, wording
from experiments.paired import analysis
from experiments.paired.study import BASELINE
from experiments.studies import StudyResults
from mecl_jax.errors import UserError

EARLY = ('exit 1', 'exit 2', 'exit 3')


class Quotes:
  """Numbers from the results of studies, as text; public methods are functions of the template.

  `where` selects runs by columns of the table, one value or a list of them: `budget=[300, 1000]`,
  `noise=0.2`, `dataset='cifar10'`, `rate='0.03'`. What a study does not have is a UserError.
  """

  def __init__(self, studies: Mapping[str, StudyResults], pictures: set[str]):
    self._studies, self._pictures = studies, pictures

  def functions(self) -> dict[str, Any]:
    """Returns the functions of the template by their names."""
    return {name: getattr(self, name) for name in dir(self) if not name.startswith('_')}

  def effect(
    self, study: str, arm: str, measure: str, against: str = BASELINE, **where: Any
  ) -> str:
    """Returns the difference of each seed's mean over settings and budgets, with its interval."""
    pooled = self._of(study).pooled(arm, against, **where)
    found = pooled[pooled['measure'] == measure].to_dict('records')
    if not found:
      raise UserError(f'{study} has no {measure!r}; valid: {", ".join(pooled["measure"])}')
    return wording.points(found[0])

  def effects(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns the cells of a table with the differences at the early exits."""
    return ' | '.join(self.effect(study, arm, measure, against, **where) for measure in EARLY)

  def above_zero(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns how many intervals of early exits are above zero, as '11 of 12'."""
    return wording.above(self._of(study).intervals(arm, against, **where))

  def below_zero(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns how many intervals of early exits are below zero, as '0 of 12'."""
    return wording.below(self._of(study).intervals(arm, against, **where))

  def span(self, study: str, arm: str, against: str = BASELINE, **where: Any) -> str:
    """Returns the least and the greatest difference in single settings, as '+0.42 to +1.83'."""
    found = self._of(study).intervals(arm, against, **where)['difference']
    return f'{found.min():+.2f} to {found.max():+.2f}'

  def accuracy(self, study: str, arm: str, measure: str, **where: Any) -> str:
    """Returns a mean test accuracy over the selected runs, as '58.70 %'."""
    runs = self._of(study).select(arm=arm, **where)
    return wording.percent(runs[analysis.column_of(measure)])

  def validated(self, study: str, arm: str, **where: Any) -> str:
    """Returns the mean validation accuracy of the early exits, as '58.70 %'."""
    return StudyResults.validated(self._of(study).select(arm=arm, **where))

  def values(self, study: str, column: str, **where: Any) -> list:
    """Returns the different values of a column, in the order of the table."""
    return self._of(study).select(**where)[column].drop_duplicates().tolist()

  def seeds(self, study: str) -> str:
    """Returns the number of paired seeds, as '8' or '7 to 8'."""
    return self._of(study).seeds

  def best_rate(self, study: str) -> str:
    """Returns the learning rate at which standard training is best on validation."""
    rates = self.values(study, 'rate')
    return max(rates, key=lambda rate: self.validated(study, BASELINE, rate=rate))

  def published_table(self, study: str) -> str:
    """Returns a table of published accuracies and our own."""
    return wording.table(published.levels(self._of(study).runs))

  def above_published(self, study: str, arm: str, method: str, measure: str) -> str:
    """Returns by how many points an arm is above a published method, with the interval."""
    runs = self._of(study).select(arm=arm)
    theirs = published.of_network(runs['backbone'].iloc[0], runs['dataset'].iloc[0])
    place = measure.replace(' ', '')
    accuracy = published.accuracy_of(theirs, method, place)
    return wording.points(published.above(runs, place, accuracy))

  def picture(self, name: str) -> str:
    """Returns the address of a picture that a page of a study has."""
    if (path := f'images/results-{name}.png') not in self._pictures:
      raise UserError(f'no page has the picture {path}; there are: {", ".join(self._pictures)}')
    return path

  def command(self, study: str) -> str:
    """Returns the command that makes the runs of a study."""
    return self._of(study).command

  def _of(self, study: str) -> StudyResults:
    if study not in self._studies:
      raise UserError(f'there is no table of {study!r}; there are: {", ".join(self._studies)}')
    return self._studies[study]
