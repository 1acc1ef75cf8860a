"""Scores and pacings.

Which difficulty score and which pacing help most? All arms have a learning rate of 0.001, Adam's
default and that of SDN, at which a pacing gains. Pacings begin with a tenth of the data and show
all of it from about half of the steps on, except `capped`, which never shows the hardest tenth.
`confidence`, `margin` and `entropy` are scores of the final exit; `transfer` is the confidence of a
logistic regression on the last features of the backbone; `unbalanced` ranks all classes together.
These arms have the linear pacing; the pacings all have the score `confidence`, the reference of all
others.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, SETTINGS, linear
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.001}
PACED = linear(0.1, '50%')
# As near to the same shares as they come: all at 48 %, and at half of the steps.
EXPONENTIAL = {'curriculum.increase': 1.5, 'curriculum.step_length': '8%'}
AT_HALF = {'curriculum.step_length': '50%'}
SCORES = ('margin', 'entropy', 'transfer', 'unbalanced', 'capped')
PACINGS = ('fixed_exponential', 'single_step', 'log', 'exp', 'root', 'quadratic')
PAIRS = [(arm, 'confidence') for arm in SCORES + PACINGS]


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
