"""Where a run stands, epoch by epoch, and which of its epochs counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils.configuration import Config


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: Finished epochs.
        best: The highest validation mAP so far.
        best_epoch: The epoch that reached it, counted from 1.
        threshold: The score from which a class counts as predicted; tuned on validation after every epoch.
        history: One row per finished epoch.
        interrupted: Whether Ctrl-C ended the run.
    """

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    threshold: float = 0.5
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False


def is_stale(state: State, config: Config) -> bool:
    """Say whether the validation score has not improved for `patience` epochs."""
    return bool(config.patience) and state.best_epoch > 0 and state.epoch - state.best_epoch >= config.patience


def scored_epoch(state: State, config: Config) -> int:
    """Return the epoch whose weights count: the last of a whole one-cycle, for which the rate came down, else the best."""
    came_down = config.schedule == "onecycle" and state.epoch == config.epochs
    return state.epoch if came_down else state.best_epoch


def open_tensorboard(folder: Path, epoch: int) -> Any:
    """Return what writes the history for TensorBoard, from this epoch on; None where there is no TensorBoard."""
    with contextlib.suppress(ImportError):  # a machine that only trains may lack it; history.csv has the same numbers
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=epoch)
    return None


def log(board: Any, state: State) -> None:
    """Write the last epoch for TensorBoard."""
    if board is not None:
        for name, value in state.history[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, state.epoch)
        board.flush()
