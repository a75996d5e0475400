"""Training: `loop` has the step and the epoch, `run` what is around them, `checkpoints` and `history` what is kept.

`train` trains or goes on with a run, `load_network` reads what came of it.
"""

from course_utils.training.checkpoints import load_checkpoint, load_network, other_data
from course_utils.training.devices import device_of, make_backward, make_fabric, precision_of, seed_everything
from course_utils.training.history import State, is_stale, scored_epoch
from course_utils.training.loop import (
    DivergedError,
    Scores,
    examples_of,
    score,
    targets_of,
    train_epoch,
    training_step,
)
from course_utils.training.run import (
    Metric,
    describe,
    make_optimizer,
    make_schedule,
    own_scores,
    positive_weights,
    train,
)

__all__ = [
    "DivergedError",
    "Metric",
    "Scores",
    "State",
    "describe",
    "device_of",
    "examples_of",
    "is_stale",
    "load_checkpoint",
    "load_network",
    "make_backward",
    "make_fabric",
    "make_optimizer",
    "make_schedule",
    "other_data",
    "own_scores",
    "positive_weights",
    "precision_of",
    "score",
    "scored_epoch",
    "seed_everything",
    "targets_of",
    "train",
    "train_epoch",
    "training_step",
]
