"""Tasks by name: what labels are, how outputs are judged, and how sure exits are. One file each."""

from mecl_jax.evaluation.tasks.classification import CLASSIFICATION
from mecl_jax.evaluation.tasks.multi_label import MULTI_LABEL
from mecl_jax.evaluation.tasks.regression import REGRESSION
from mecl_jax.evaluation.tasks.task import Learned, LossSettings, Shown, Task

TASKS = {task.name: task for task in (CLASSIFICATION, MULTI_LABEL, REGRESSION)}

__all__ = ['CLASSIFICATION', 'TASKS', 'Learned', 'LossSettings', 'Shown', 'Task']
