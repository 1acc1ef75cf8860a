"""A training strategy is a list of phases: what trains, which exits count, with which curriculum.

The names follow Scardapane et al., "Why Should We Add Early Exits to Neural Networks?", 2020, arXiv
2004.12814; 'mixed' is from Kubaty et al., ICML 2025, arXiv 2407.14320.
"""

from collections.abc import Sequence
import dataclasses

STRATEGIES = ('joint', 'classifier_wise', 'layer_wise', 'mixed')
SAMPLE_WEIGHTS = ('none', 'survivors', 'easy_weighted')

Prefix = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Phase:
  """One stretch of training.

  Attributes:
    name: for people; unique within a run.
    settings: which group of `config.phases` holds its duration and optimiser.
    trainable: paths in the model under which parameters and batch statistics move; all else is
      frozen, bit for bit.
    exits: the exits that carry loss, earliest first.
    curriculum: whether the curriculum decides what is shown; otherwise all examples are.
    share: of the duration in `settings`.
    frozen_backbone: whether no stage moves, so that features may be computed once.
  """

  name: str
  settings: str
  trainable: tuple[Prefix, ...]
  exits: tuple[str, ...]
  curriculum: bool
  share: float = 1.0
  frozen_backbone: bool = False


def make_phases(
  strategy: str, exits: Sequence[str], segments: Sequence[Sequence[str]]
) -> tuple[Phase, ...]:
  """The phases of a strategy.

  Args:
    strategy: one of `STRATEGIES`.
    exits: names of all exits, earliest first, 'final' last.
    segments: per exit, the backbone's stages that it needs beyond those of the exit before it.
  """
  everything: tuple[Prefix, ...] = (('backbone',), ('heads',))
  final = exits[-1]
  backbone = Phase('backbone', 'backbone', (('backbone',), ('heads', final)), (final,), False)
  joint = Phase('joint', 'joint', everything, tuple(exits), True)
  early = tuple(exits[:-1])
  heads = Phase(
    'heads', 'heads', tuple(('heads', e) for e in early), early, True, frozen_backbone=True
  )
  layers = tuple(
    Phase(
      name=f'layer_{exit_name}',
      settings='joint',
      trainable=(*(('backbone', 'stages', s) for s in segment), ('heads', exit_name)),
      exits=(exit_name,),
      curriculum=True,
      share=1 / len(exits),
    )
    for exit_name, segment in zip(exits, segments, strict=True)
  )
  return {
    'joint': (joint,),
    'classifier_wise': (backbone, heads),
    'layer_wise': layers,
    'mixed': (backbone, joint),
  }[strategy]
