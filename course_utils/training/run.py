"""A run: data, network and loop put together, with checkpoints, a history, and as many processes as asked for.

A run is a folder: `best.pt` (the weights that count, configuration, classes, threshold), `last.pt` (the last epoch, with
the optimiser), `history.csv`, and `tensorboard/`. A run that was killed goes on from its last finished epoch, and ends with
the same weights.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_utils import data as run_data
from course_utils import evaluation, models
from course_utils.configuration import Config, ConfigurationError
from course_utils.data import Mixtures
from course_utils.files import FolderInUseError, alone_in
from course_utils.mixing import Batch, sets_of
from course_utils.progress import bar
from course_utils.training.checkpoints import is_finite, load_checkpoint, restore, save
from course_utils.training.devices import (
    fabric_batches,
    give_memory_back,
    machines_of,
    make_backward,
    make_fabric,
    precision_of,
    seed_everything,
)
from course_utils.training.history import State, is_stale, log, open_tensorboard, scored_epoch
from course_utils.training.loop import DivergedError, Loss, examples_of, score, train_epoch, training_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Metric = Callable[[NDArray, NDArray], float]  # truth and scores, [N, n_classes] each, to one number


@dataclass(frozen=True)
class Own:
    """The parts of a run that its author brings along.

    Attributes:
        network: Instead of the one that `config.model` names.
        loss: Instead of the binary cross-entropy.
        augment: Augmentation of training batches, on the device.
        metrics: Metrics of the validation part, besides the course's.
    """

    network: nn.Module | None = None
    loss: Loss | None = None
    augment: Callable[[Batch], Batch] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """Return what a checkpoint notes: the kind of part → where it is defined."""
        parts = {"network": type(self.network), "loss": self.loss, "augment": self.augment}
        return {kind: _name_of(part) for kind, part in parts.items() if getattr(self, kind) is not None}


def train(
    config: Config,
    out: Path | str,
    data: Mixtures | None = None,
    progress: bool | None = None,
    *,
    network: nn.Module | None = None,
    loss: Loss | None = None,
    augment: Callable[[Batch], Batch] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    on_epoch: Callable[[State], bool | None] = lambda state: None,
) -> State:
    """Train a network, or go on with a run that was stopped.

    A run that is finished is returned as it is: `on_epoch` is not called, and `metrics` are not computed.

    Args:
        config: What to run.
        out: The folder of the run: `best.pt`, `last.pt`, `history.csv`, `tensorboard`.
        data: The data, if `data.prepare` has been called already. They serve all configurations that differ only in network,
            front end or training.
        progress: Show a progress bar; None: only in a terminal.
        network: A network of your own, which takes sounds `[B, T]` and lengths `[B]`, and returns logits `[B, outputs]`.
        loss: A loss of your own: logits and targets, `[B, outputs]` each, to the mean over the batch.
        augment: Changes every training batch, on the device; it draws from torch's generator, which is seeded.
        metrics: Name → a metric of your own: truth and scores, `[N, n_classes]` each, to one number. For each epoch the
            history has `valid_NAME`.
        on_epoch: Called after every epoch; the run ends when it returns True. A sweep prunes with it.

    Returns:
        The state of the run at its end.

    Raises:
        ConfigurationError: If the folder holds a run of another configuration or with other parts of your own, the data were
            prepared by a configuration with another split or recipe, or patience has nothing to go by.
        DivergedError: If the loss is no longer a number; the epochs before are kept.
        FolderInUseError: If another process trains in the folder.

    Example:
        >>> state = train(Config("mini", width=8, epochs=10), "runs/first")  # doctest: +SKIP
        >>> state.history[-1]["valid_mAP"]  # doctest: +SKIP

    Lesson: 07_training_cnn10
    """
    if network is None:
        models.builder_of(config.model)  # refuses an unknown one before any work
    out = Path(out)
    fabric = make_fabric(config, config.devices, machines_of(config))
    fabric.launch()
    data = data or run_data.prepare(config, progress)
    with _alone(fabric, out):
        run = _Run(fabric, config, out, data, Own(network, loss, augment, metrics or {}), progress)
        return run.to_the_end(on_epoch)


class _Run:
    """All that a run needs from epoch to epoch."""

    def __init__(
        self, fabric: Fabric, config: Config, out: Path, data: Mixtures, own: Own, progress: bool | None
    ) -> None:
        _check(config, data, own)
        self.fabric, self.config, self.out, self.data, self.own = fabric, config, out, data, own
        seed_everything(config.seed, 0, fabric.global_rank)
        self.network = models.build(config, data.taxonomy) if own.network is None else own.network
        optimizer = make_optimizer(config, self.network)
        self.model, self.optimizer = fabric.setup(self.network, optimizer)
        self.backward = make_backward(fabric, self.model, self.optimizer, config)
        self.workers = _workers(config, fabric)
        self.steps = len(self._batches(0, workers=0))
        self.scheduler = make_schedule(config, optimizer, self.steps)
        self.parts: dict[str, Any] = {  # what is saved and restored
            "network": self.network,
            "optimizer": optimizer,
            "scheduler": self.scheduler,
            "precision": fabric.strategy.precision,
        }
        begun = (out / "last.pt").is_file()
        if len(set(cast(Tensor, fabric.all_gather(torch.tensor(int(begun)))).flatten().tolist())) > 1:
            raise ConfigurationError(
                f"{out}: there is a checkpoint on one machine and none on another; all need one shared folder"
            )
        self.state = restore(out, config, data, own=own.names(), **self.parts) if begun else State()
        self.validation_loss = own.loss or binary_cross_entropy_with_logits
        self.loss = own.loss or partial(binary_cross_entropy_with_logits, pos_weight=self._pos_weight())
        self.valid = run_data.loader(config, data.valid, data.taxonomy, workers=self.workers)
        self.shown = bar(
            total=config.epochs * self.steps,
            initial=self.state.epoch * self.steps,
            unit="batch",
            progress=progress if fabric.is_global_zero else False,
            leave=True,
        )

    def to_the_end(self, on_epoch: Callable[[State], bool | None]) -> State:
        """Train epoch by epoch; Ctrl-C ends it with what is on the disk."""
        writes = self.fabric.is_global_zero and not self._is_done()
        board = open_tensorboard(self.out / "tensorboard", self.state.epoch + 1) if writes else None
        try:
            while not self._is_done():
                started = time.perf_counter()
                row = self._learn()
                row |= self._validate()
                self._finish(row, started)
                if self.fabric.is_global_zero:
                    log(board, self.state)
                self.fabric.barrier()
                give_memory_back()
                if on_epoch(self.state):
                    break
        except KeyboardInterrupt:  # what counts is what is on the disk: whole epochs
            kept = self.out / "last.pt"
            self.state = State(**load_checkpoint(kept)["state"]) if kept.is_file() else State()
            self.state.interrupted = True
        finally:
            self.shown.close()
            if board is not None:
                board.close()
        return self.state

    def _is_done(self) -> bool:
        return self.state.epoch >= self.config.epochs or is_stale(self.state, self.config)

    def _learn(self) -> dict[str, float]:
        """Train one epoch; return its mean loss and its learning rate."""
        config, epoch = self.config, self.state.epoch
        seed_everything(config.seed, epoch, self.fabric.global_rank)
        if hasattr(self.data.train, "set_epoch"):
            self.data.train.set_epoch(epoch)
        self.shown.set_description(f"epoch {epoch + 1}/{config.epochs}")
        batches = map(self._examples, self._batches(epoch + config.seed, self.workers))
        self.model.train()
        losses = train_epoch(
            self.model, self.optimizer, batches, loss=self.loss, backward=self.backward, after_step=self._after_step
        )
        # Also the mean over all processes, so that all of them see a loss that is not a number.
        loss = float(cast(Tensor, self.fabric.all_reduce(torch.stack(losses).mean())))
        if not math.isfinite(loss):
            raise DivergedError(self._says_diverged("the loss"))
        return {"train_loss": loss, "learning_rate": float(self.scheduler.get_last_lr()[0])}

    def _batches(self, shuffle_seed: int, workers: int) -> Any:
        processes = self.fabric.world_size
        data = self.data
        batches = run_data.loader(
            self.config, data.train, data.taxonomy, shuffle_seed, workers=workers, processes=processes
        )
        return fabric_batches(self.fabric, batches)

    def _examples(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        batch = batch.to(self.fabric.device)
        return examples_of(self.own.augment(batch) if self.own.augment else batch, self.config)

    def _after_step(self, losses: list[Tensor]) -> None:
        self.scheduler.step()
        self.shown.update()
        if len(losses) % 10 == 0:  # reading a loss waits for the device
            self.shown.set_postfix(loss=f"{losses[-1]:.3f}", mAP=f"{max(self.state.best, 0):.3f}")
        if len(losses) % 50 == 0:
            give_memory_back()

    def _validate(self) -> dict[str, float]:
        """Score the validation part and tune the threshold on it; without one, it stays 0.5 and nothing is returned."""
        if not len(self.data.valid):
            return {}
        self.model.eval()
        try:
            scores = score(
                self.model,
                self.valid,
                self.config.head,
                self.data.taxonomy,
                device=self.fabric.device,
                progress=False,
                loss=self.validation_loss,
                as_combinations=self.data.have_combinations(self.config.head),
            )
        except DivergedError:
            row, threshold = {"valid_loss": math.nan}, 0.5
        else:
            threshold = evaluation.tune_threshold(scores.multi_hot, scores.label_scores)
            counts = evaluation.confusion_counts(scores.multi_hot, scores.label_scores >= threshold)
            row = {
                "valid_loss": scores.loss,
                "valid_mAP": evaluation.mean_average_precision(scores.multi_hot, scores.label_scores),
                "valid_macro_f1": evaluation.average(counts)["macro"]["f1"],
                "valid_exact_match": scores.exact_match(threshold),
            }
            row |= own_scores(self.own.metrics, scores.multi_hot, scores.label_scores, "valid_")
        # Every process scores all of it; the first one decides, so that all stop in the same epoch.
        row, self.state.threshold = self.fabric.broadcast((row, threshold))
        if not all(map(math.isfinite, row.values())):
            raise DivergedError(self._says_diverged("a result of the validation part"))
        return row

    def _finish(self, row: dict[str, float], started: float) -> None:
        """Note the epoch in the state, and write its checkpoints."""
        state = self.state
        if not is_finite(self.network.state_dict()):
            raise DivergedError(self._says_diverged("a weight"))
        state.epoch += 1
        improved = row.get("valid_mAP", state.epoch) > state.best
        if improved:
            state.best, state.best_epoch = row.get("valid_mAP", -1.0), state.epoch
        state.history.append({"epoch": state.epoch, **row, "seconds": time.perf_counter() - started})
        if self.fabric.is_global_zero:
            counts = improved or scored_epoch(state, self.config) == state.epoch
            save(self.out, self.config, self.data, state, counts=counts, own=self.own.names(), **self.parts)

    def _pos_weight(self) -> Tensor | None:
        if not self.config.pos_weight:
            return None
        if hasattr(self.data.train, "set_epoch"):
            self.data.train.set_epoch(0)  # the same weights, whichever epoch this data has seen
        return positive_weights(self.config, self.data).to(self.fabric.device)

    def _says_diverged(self, what: str) -> str:
        return (
            f"{self.out}: {what} in epoch {self.state.epoch + 1} is no longer a number; use a smaller --learning-rate than "
            f"{self.config.learning_rate:g}, or --precision 32-true, and another folder"
        )


def own_scores(metrics: Mapping[str, Metric], truth: NDArray, scores: NDArray, prefix: str = "") -> dict[str, float]:
    """Return what metrics of one's own say.

    Args:
        metrics: Name → metric.
        truth: `[N, n_classes]`.
        scores: `[N, n_classes]`.
        prefix: Prefix of the names in the result.

    Raises:
        ConfigurationError: If a metric returns anything but one finite number.
    """
    found = {}
    for name, metric in metrics.items():
        value = metric(truth, scores)
        try:
            found[f"{prefix}{name}"] = float(value)
        except (TypeError, ValueError):
            raise ConfigurationError(f"the metric {name!r} returned {value!r}; it must return one number") from None
        if not math.isfinite(found[f"{prefix}{name}"]):
            raise ConfigurationError(f"the metric {name!r} returned {value}; it must return a finite number")
    return found


def _name_of(part: object) -> str:
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__}"


def _check(config: Config, data: Mixtures, own: Own) -> None:
    """Refuse what cannot be trained, before anything is written."""
    run_data.check_fits(config, data)
    if config.patience and not len(data.valid):
        raise ConfigurationError(
            f"patience {config.patience} stops by the validation mAP, and no mixtures validate; ask for a larger "
            "valid_fraction, or for valid_folds, or set patience to 0"
        )
    if config.pos_weight and own.loss:
        raise ConfigurationError(
            "pos_weight weights the course's loss; with a loss of your own, weight that one instead"
        )


@contextlib.contextmanager
def _alone(fabric: Fabric, out: Path) -> Iterator[None]:
    """Keep other runs out of a folder: the first process of a run holds it, and all of them hear if it cannot."""
    with contextlib.ExitStack() as stack:
        refusal = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(alone_in(out, "trains a network"))
            except FolderInUseError as error:
                refusal = str(error)
        refusal = fabric.broadcast(refusal)
        if refusal:
            raise FolderInUseError(refusal)
        yield


def positive_weights(config: Config, data: Mixtures) -> Tensor:
    """Return, for each output, the number of training mixtures without it divided by the number with it.

    Args:
        config: The run.
        data: Its data; the pairs of the present epoch count.

    Returns:
        Weights, float32 `[outputs]`; 1 for an output that no mixture has.

    Lesson: 12_going_further
    """
    sets = sets_of(data.train.plan, data.taxonomy)
    if config.head == "labels":
        present = sets.sum(axis=0, dtype=np.float64)
    else:
        present = np.bincount(data.taxonomy.from_multi_hot(sets), minlength=data.taxonomy.n_combinations)
    weights = np.where(present > 0, (len(sets) - present) / present.clip(min=1), 1.0)
    return torch.from_numpy(weights.astype(np.float32))


def make_optimizer(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """Return Adam, AMSGrad or AdamW, whose decay acts on what `config.decay` says.

    Example:
        >>> optimizer = make_optimizer(Config("mini", learning_rate=0.003), nn.Linear(4, 2))
        >>> type(optimizer).__name__
        'AdamW'
    """
    kind = {"adam": torch.optim.Adam, "amsgrad": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    how = {"weight_decay": config.weight_decay, "amsgrad": config.optimizer == "amsgrad"}
    parts: Any = list(network.parameters())
    if config.decay == "weights":
        # Biases, and the scales and shifts of batch norm, are vectors; a weight that multiplies an input is a matrix.
        vectors = {"params": [p for p in parts if p.ndim < 2], "weight_decay": 0.0}
        parts = [{"params": [p for p in parts if p.ndim >= 2]}, vectors]
    return kind(parts, config.learning_rate, (config.beta1, 0.999), **how)


def make_schedule(config: Config, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of the learning rate, which is stepped after every batch.

    Args:
        config: The run.
        optimizer: The optimiser whose rate is set.
        steps: Batches in an epoch.

    Example:
        >>> config = Config("mini", epochs=2, learning_rate=0.003)
        >>> schedule = make_schedule(config, make_optimizer(config, nn.Linear(4, 2)), 100)
        >>> type(schedule).__name__
        'OneCycleLR'
    """
    if config.schedule == "onecycle":
        total = config.epochs * steps
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total + 1, cycle_momentum=False)
    if config.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, 10 * steps, 0.5)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def describe(config: Config, data: Mixtures, out: Path | str, network: nn.Module | None = None) -> str:
    """Say what a run will do and, from three batches on a copy of the network, about how long it will take.

    Args:
        config: The run.
        data: Its data.
        out: Its folder; epochs that are finished there are not counted.
        network: A network of your own, instead of the one that `config.model` names.

    Returns:
        One line.

    Raises:
        ConfigurationError: If this machine has no such device, or the checkpoint cannot be read.
    """
    out = Path(out)
    done = load_checkpoint(out / "last.pt")["state"]["epoch"] if (out / "last.pt").is_file() else 0
    if done >= config.epochs:
        return f"{out}: all epochs are done already ({config.epochs})"
    name = config.model if network is None else _name_of(type(network))
    network = models.build(config, data.taxonomy) if network is None else copy.deepcopy(network)
    fabric = make_fabric(config, devices=1)
    model, optimizer = fabric.setup(network, make_optimizer(config, network))
    backward = make_backward(fabric, model, optimizer, config)
    batches = run_data.loader(config, data.train, data.taxonomy, shuffle_seed=0)
    seconds, started = [], time.perf_counter()
    for batch in itertools.islice(batches, 3):
        examples = examples_of(batch.to(fabric.device), config)
        training_step(model, optimizer, examples, backward=backward).item()  # waits for the device
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    left = config.epochs - done
    total = min(seconds) * len(batches) * left / (config.devices * machines_of(config))
    size = f"{name}, {models.count_parameters(network):,} parameters, head {config.head}"
    return (
        f"{size}: {left} epoch{'s' * (left != 1)} of {len(batches)} batches of {config.batch_size} on {fabric.device.type}, "
        f"{precision_of(config)}, about {_readable(total)}"
    )


def _readable(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _workers(config: Config, fabric: Fabric) -> int:
    if config.workers is not None:
        return config.workers
    return min(8, (os.cpu_count() or 2) - 1) if fabric.device.type == "cuda" else 0
