"""Which score and which pacing: all at one learning rate, Adam's own, which is that of SDN too.

Every pacing begins with a tenth of the data and shows all of it at half of the steps.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, SETTINGS, linear
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.001}
PACED = linear(0.1, '50%')
# As near to the same shares as they come: all at 48 %, and at half of the steps.
EXPONENTIAL = {'curriculum.increase': 1.5, 'curriculum.step_length': '8%'}
AT_HALF = {'curriculum.step_length': '50%'}


def get_study():
  def scored(**settings):
    return Arm(RATE | PACED | {f'curriculum.{name}': value for name, value in settings.items()})

  def paced(pacing, more=None):
    return Arm(RATE | PACED | {'curriculum.pacing': pacing} | (more or {}))

  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(RATE | NO_ORDER),
      'confidence': scored(),
      'margin': scored(measure='margin'),
      'entropy': scored(measure='entropy'),
      'transfer': scored(teacher='transfer', classifier='logistic_regression'),
      'unbalanced': scored(class_balanced=False),
      'capped': scored(max_share=0.9),
      'fixed_exponential': paced('fixed_exponential', EXPONENTIAL),
      'single_step': paced('single_step', AT_HALF),
      'log': paced('log'),
      'exp': paced('exp'),
      'root': paced('root'),
      'quadratic': paced('quadratic'),
    },
    budgets=(300, 1000),
    seeds=range(8),
  )
