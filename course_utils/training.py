"""One readable training loop, its checkpoints and its history.

A run is a folder: `best.pt` (the weights that count, configuration, classes, threshold), `last.pt` (the last epoch, with
the optimiser), `history.csv`, and `tensorboard/`. A run that was killed goes on from its last finished epoch, and ends with
the same weights.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import math
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from course_utils import evaluation, experiment, models
from course_utils.configuration import Config, ConfigurationError
from course_utils.environment import need_torch
from course_utils.experiment import Mixtures
from course_utils.files import FolderInUseError, alone_in, write_beside
from course_utils.mixing import Batch
from course_utils.progress import bar
from course_utils.taxonomy import Taxonomy

need_torch()

import torch  # noqa: E402
from lightning_fabric import Fabric  # noqa: E402
from lightning_fabric.plugins import MixedPrecision, Precision  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

FORMAT = 1  # of a checkpoint
_PARTS = {"config": dict, "classes": list, "data": str, "state": dict, "network": dict}  # with `format`, what all have

# On a GPU, Fabric advises to multiply float32 in fewer digits. The mel filterbank needs all of them.
logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(
    lambda record: "float32_matmul_precision" not in record.getMessage()
)
# With loss scaling the first steps of the optimiser may be skipped, and the schedule goes on: torch would call that a mistake.
warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)


class DivergedError(ConfigurationError):
    """A network whose loss or outputs are no longer numbers; the message says where, and what to try."""


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: Finished epochs.
        best: The highest validation mAP so far.
        best_epoch: The epoch that reached it, counted from 1.
        threshold: From which score on a class counts as predicted; tuned on validation after every epoch.
        history: One row a finished epoch.
        interrupted: Whether Ctrl-C ended the run.
    """

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    threshold: float = 0.5
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Scores:
    """What a network says about a set of mixtures.

    Attributes:
        loss: Mean loss.
        multi_hot: The truth, `[N, n_classes]`.
        combination: The true combination IDs, `[N]`.
        label_scores: Probability of each class, `[N, n_classes]`.
        predicted_combination: The most probable combination, `[N]`.
    """

    loss: float
    multi_hot: np.ndarray
    combination: np.ndarray
    label_scores: np.ndarray
    predicted_combination: np.ndarray


def train(
    config: Config,
    out: Path | str,
    data: Mixtures | None = None,
    progress: bool | None = None,
    should_stop: Callable[[State], bool] = lambda state: False,
) -> State:
    """Train a network, or go on with a run that was stopped.

    Args:
        config: What to run.
        out: The folder of the run.
        data: The data, if `experiment.prepare(config)` has been called already.
        progress: Show a progress bar; None: only in a terminal.
        should_stop: Asked after every epoch; the run ends when it says yes. A sweep prunes with it.

    Returns:
        Where the run stands at the end.

    Raises:
        ConfigurationError: If the folder holds a run of another configuration, or patience has nothing to go by.
        DivergedError: If the loss is no longer a number; the epochs before are kept.
        FolderInUseError: If another process trains in the folder.

    Lesson: 07_training_cnn10
    """
    out = Path(out)
    fabric = make_fabric(config, config.devices, _machines(config))
    fabric.launch()
    data = data or experiment.prepare(config, progress)
    with _alone(fabric, out):
        return _train(fabric, config, out, data, progress, should_stop)


def _train(
    fabric: Fabric,
    config: Config,
    out: Path,
    data: Mixtures,
    progress: bool | None,
    should_stop: Callable[[State], bool],
) -> State:
    if config.patience and not len(data.valid):
        raise ConfigurationError(
            f"patience {config.patience} stops by the validation mAP, and no mixtures validate; ask for a valid_fraction "
            "above 0, or for valid_folds, or set patience to 0"
        )
    seed_everything(config.seed, 0, fabric.global_rank)
    network = experiment.build_network(config, data.taxonomy)
    optimizer = make_optimizer(config, network)
    model, fabric_optimizer = fabric.setup(network, optimizer)
    workers = _workers(config, fabric)
    parts = fabric.world_size
    steps = len(fabric_batches(fabric, experiment.loader(config, data.train, data.taxonomy, 0, processes=parts)))
    scheduler = make_schedule(config, optimizer, steps)
    begun = (out / "last.pt").is_file()
    if len(set(fabric.all_gather(torch.tensor(int(begun))).flatten().tolist())) > 1:
        raise ConfigurationError(f"{out}: a checkpoint on one machine and none on another; all need one shared folder")
    precision = fabric.strategy.precision
    state = restore(out, config, data, network, optimizer, scheduler, precision) if begun else State()
    if config.pos_weight and hasattr(data.train, "set_epoch"):
        data.train.set_epoch(0)  # the same weights, whichever epoch this data has seen
    pos_weight = positive_weights(config, data).to(fabric.device) if config.pos_weight else None
    shown = bar(
        total=config.epochs * steps,
        initial=state.epoch * steps,
        unit="batch",
        progress=progress if fabric.is_global_zero else False,
        leave=True,
    )
    valid = experiment.loader(config, data.valid, data.taxonomy, workers=workers)
    is_done = state.epoch >= config.epochs or is_stale(state, config)
    board = None if is_done or not fabric.is_global_zero else _open_tensorboard(out / "tensorboard", state.epoch + 1)
    try:
        while state.epoch < config.epochs and not is_stale(state, config):
            started = time.perf_counter()
            seed_everything(config.seed, state.epoch, fabric.global_rank)
            if hasattr(data.train, "set_epoch"):
                data.train.set_epoch(state.epoch)
            shown.set_description(f"epoch {state.epoch + 1}/{config.epochs}")
            batches = experiment.loader(
                config, data.train, data.taxonomy, state.epoch + config.seed, workers, processes=parts
            )
            model.train()
            losses = []
            for batch in fabric_batches(fabric, batches):
                losses.append(training_step(fabric, model, fabric_optimizer, batch, config, pos_weight))
                scheduler.step()
                shown.update()
                if len(losses) % 10 == 0:  # reading a loss waits for the device
                    shown.set_postfix(loss=f"{losses[-1]:.3f}", mAP=f"{max(state.best, 0):.3f}")
                if len(losses) % 50 == 0:
                    _give_memory_back()
            row = {"train_loss": mean_loss(fabric, losses), "learning_rate": scheduler.get_last_lr()[0]}
            if not math.isfinite(row["train_loss"]):
                raise DivergedError(_says_diverged(out, "the loss", state, config))
            row |= validate(model, valid, config, data.taxonomy, state, fabric)
            if not all(map(math.isfinite, row.values())):
                raise DivergedError(_says_diverged(out, "what the network says of the validation part", state, config))
            if not _is_finite(network.state_dict()):
                raise DivergedError(_says_diverged(out, "a weight", state, config))
            state.epoch += 1
            improved = row.get("valid_mAP", state.epoch) > state.best
            if improved:
                state.best, state.best_epoch = row.get("valid_mAP", -1.0), state.epoch
            state.history.append({"epoch": state.epoch, **row, "seconds": time.perf_counter() - started})
            if fabric.is_global_zero:
                counts = improved or scored_epoch(state, config) == state.epoch
                save(out, config, data, network, optimizer, scheduler, precision, state, counts)
                _log(board, state)
            fabric.barrier()
            _give_memory_back()
            if should_stop(state):
                break
    except KeyboardInterrupt:  # what counts is what is on the disk: whole epochs
        kept = out / "last.pt"
        state = State(**load_checkpoint(kept)["state"]) if kept.is_file() else State()
        state.interrupted = True
    finally:
        shown.close()
        if board is not None:
            board.close()
    return state


def _is_finite(weights: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in weights.values())


def _says_diverged(out: Path, what: str, state: State, config: Config) -> str:
    return (
        f"{out}: {what} in epoch {state.epoch + 1} is no longer a number; use a smaller --learning-rate than "
        f"{config.learning_rate:g}, or --precision 32-true, and another folder"
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


def training_step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: Config,
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Take one step of the optimiser on a batch.

    Args:
        fabric: As `make_fabric` gives it.
        model: The network, as `fabric.setup` gives it.
        optimizer: The optimiser, likewise.
        batch: What to learn from; it is moved to the device.
        config: The run.
        pos_weight: See `positive_weights`.

    Returns:
        The loss, on the device: reading it waits for the device.
    """
    sounds, lengths, targets = inputs_and_targets(batch.to(fabric.device), config)
    loss = binary_cross_entropy_with_logits(model(sounds, lengths), targets, pos_weight=pos_weight)
    optimizer.zero_grad()
    fabric.backward(loss)
    if config.clips_gradients_at:
        # What is not finite is left to the loss scaling, which skips the step, or to the check of the loss.
        fabric.clip_gradients(model, optimizer, max_norm=config.clips_gradients_at, error_if_nonfinite=False)
    optimizer.step()
    return loss.detach()


def fabric_batches(fabric: Fabric, batches: DataLoader) -> DataLoader:
    """Share batches out among the processes of a run. They stay on the CPU: `Batch.to` moves what is needed elsewhere."""
    return fabric.setup_dataloaders(batches, move_to_device=False)


def mean_loss(fabric: Fabric, losses: list[Tensor]) -> float:
    """Return the mean over the batches of an epoch and over all processes, so that all of them see what is no number."""
    return float(fabric.all_reduce(torch.stack(losses).mean()))


def inputs_and_targets(batch: Batch, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Return sounds, lengths and targets `[B, outputs]` of a training batch, mixed up if so configured."""
    targets = targets_of(batch, config.head, batch.multi_hot.shape[1])
    if not config.mixup:
        return batch.audio, batch.lengths, targets
    order = torch.randperm(len(targets))  # on the CPU, where the lengths are
    share = torch.rand(len(targets), device=targets.device)  # Beta(1, 1): PANNs' choice of mixup
    per_sound = share.reshape(-1, *[1] * (batch.audio.dim() - 1))
    sounds = per_sound * batch.audio + (1 - per_sound) * batch.audio[order]
    lengths = torch.maximum(batch.lengths, batch.lengths[order])
    return sounds, lengths, share[:, None] * targets + (1 - share[:, None]) * targets[order]


def targets_of(batch: Batch, head: str, n_classes: int) -> Tensor:
    """Return what the logits are compared with: multi-hot classes, or one-hot combinations."""
    if head == "labels":
        return batch.multi_hot
    return one_hot(batch.combination, n_classes * (n_classes + 1) // 2).float()


def positive_weights(config: Config, data: Mixtures) -> Tensor:
    """Return how many training mixtures lack each output for one that has it.

    Args:
        config: The run.
        data: Its data; the pairs of the present epoch count.

    Returns:
        Weights, float32 `[outputs]`; 1 for an output that no mixture has.

    Lesson: 12_going_further
    """
    combinations = data.train.plan["combination"].to_numpy()
    if config.head == "labels":
        present = data.taxonomy.multi_hot(combinations).sum(axis=0)
    else:
        present = np.bincount(combinations, minlength=data.taxonomy.n_combinations)
    weights = np.where(present > 0, (len(combinations) - present) / present.clip(min=1), 1.0)
    return torch.from_numpy(weights.astype(np.float32))


@torch.inference_mode()
def score(
    model: Callable[[Tensor, Tensor], Tensor],
    batches: DataLoader,
    head: str,
    taxonomy: Taxonomy,
    device: torch.device,
    progress: bool | None = None,
) -> Scores:
    """Run a network over mixtures.

    Args:
        model: (audio, lengths) to logits, in evaluation mode.
        batches: The mixtures.
        head: `labels` or `combinations`.
        taxonomy: The classes.
        device: Where the network is.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        Truth and scores of all mixtures, in order.

    Raises:
        DivergedError: If an output of the network is NaN or infinite.
    """
    logits, truths, combinations, losses = [], [], [], []
    for cpu_batch in bar(batches, "score", unit="batch", progress=progress):
        batch = cpu_batch.to(device)
        output = model(batch.audio, batch.lengths).float()
        target = targets_of(batch, head, taxonomy.n_classes)
        losses.append(binary_cross_entropy_with_logits(output, target, reduction="none").mean(dim=1).cpu())
        logits.append(output.cpu())
        truths.append(cpu_batch.multi_hot)
        combinations.append(cpu_batch.combination)
    outputs = torch.cat(logits)
    if not torch.isfinite(outputs).all():
        bad = torch.nonzero(~torch.isfinite(outputs).all(dim=1)).flatten().tolist()
        raise DivergedError(
            f"the network says NaN or infinity of {len(bad):,} of {len(outputs):,} mixtures, first of number {bad[0]}; "
            "if it is of all, the training has diverged: train again with a smaller --learning-rate"
        )
    probabilities = outputs.sigmoid().double().numpy()
    if head == "labels":
        label_scores, predicted = probabilities, evaluation.labels_to_combination(probabilities, taxonomy)
    else:
        label_scores = evaluation.combinations_to_labels(probabilities, taxonomy)
        predicted = probabilities.argmax(axis=1)
    truth, combination = torch.cat(truths).numpy(), torch.cat(combinations).numpy()
    return Scores(float(torch.cat(losses).mean()), truth, combination, label_scores, predicted)


def validate(
    model: nn.Module, batches: DataLoader, config: Config, taxonomy: Taxonomy, state: State, fabric: Fabric
) -> dict[str, float]:
    """Score the validation part and tune the threshold on it; without one, it stays 0.5 and the row is empty.

    Where the network says NaN or infinity, the loss is NaN, and there are no scores.
    """
    if not len(batches.dataset):
        return {}
    model.eval()
    try:
        scores = score(model, batches, config.head, taxonomy, fabric.device, progress=False)
    except DivergedError:
        row, threshold = {"valid_loss": math.nan}, 0.5
    else:
        threshold = evaluation.tune_threshold(scores.multi_hot, scores.label_scores)
        counts = evaluation.confusion_counts(scores.multi_hot, scores.label_scores >= threshold)
        row = {
            "valid_loss": scores.loss,
            "valid_mAP": evaluation.mean_average_precision(scores.multi_hot, scores.label_scores),
            "valid_macro_f1": evaluation.average(counts)["macro"]["f1"],
            "valid_exact_match": float((scores.combination == scores.predicted_combination).mean()),
        }
    # Every process scores all of it; the first one decides, so that all stop in the same epoch.
    row, state.threshold = fabric.broadcast((row, threshold))
    return row


def is_stale(state: State, config: Config) -> bool:
    """Say whether the validation score has not improved for `patience` epochs."""
    return bool(config.patience) and state.best_epoch > 0 and state.epoch - state.best_epoch >= config.patience


def seed_everything(seed: int, epoch: int, rank: int) -> None:
    """Seed what networks draw: initial weights, dropout, SpecAugment, mixup. The only place that does.

    Every epoch has its own seed, so that a run that goes on draws what it would have drawn.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0]) >> 1)


def make_fabric(config: Config, devices: int, machines: int = 1) -> Fabric:
    """Return what moves networks and batches to the devices of a run.

    Args:
        config: The run.
        devices: How many of each machine.
        machines: How many machines work on the run.

    Raises:
        ConfigurationError: If this machine has no such device or precision.
    """
    _keep_freed_memory()
    precision = precision_of(config)
    try:
        half = [] if precision == "32-true" else [_HalfBehindTheFrontEnd(precision, device_of(config).type)]
        return Fabric(accelerator=config.accelerator, devices=devices, num_nodes=machines, plugins=half)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"this machine cannot run accelerator {config.accelerator}, {devices} devices, precision {config.precision}: "
            f"{error}"
        ) from error


def _machines(config: Config) -> int:
    """Return on how many machines `torchrun` has started this run; 1 without it.

    Raises:
        ConfigurationError: If it has started another number of processes on this machine than the run has devices.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    if processes != config.devices:
        raise ConfigurationError(
            f"torchrun has started {processes} processes on this machine for {config.devices} devices; give it "
            f"--nproc-per-node {config.devices}, or the run --devices {processes}"
        )
    return int(os.environ.get("WORLD_SIZE", processes)) // processes


def make_optimizer(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    """Return Adam, AMSGrad or AdamW, whose decay acts on what `config.decay` says."""
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
        optimizer: Whose rate to set.
        steps: Batches in an epoch.
    """
    if config.schedule == "onecycle":
        total = config.epochs * steps
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total + 1, cycle_momentum=False)
    if config.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, 10 * steps, 0.5)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def save(
    out: Path,
    config: Config,
    data: Mixtures,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    precision: Precision,
    state: State,
    counts: bool,
) -> None:
    """Write the history and the checkpoints of a finished epoch: `best.pt` if it counts so far, `last.pt` last."""
    description = {"format": FORMAT, "config": config.to_dict(), "classes": list(data.taxonomy.classes)}
    description["config"]["data"] = experiment.absolute_place(config.data)
    is_array = isinstance(data.sound, np.ndarray)
    description |= {"data": data.fingerprint, "sound": torch.from_numpy(data.sound) if is_array else data.sound}
    progress = {k: v for k, v in vars(state).items() if k != "interrupted"}
    light = {**description, "state": progress, "network": network.state_dict()}
    with write_beside(out / "history.csv") as partial:
        pd.DataFrame(state.history).to_csv(partial, index=False)
    if counts:
        with write_beside(out / "best.pt") as partial:
            torch.save(light, partial)
    whole = {**light, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    whole["precision"] = precision.state_dict()  # the scale of the loss, in float16
    with write_beside(out / "last.pt") as partial:
        torch.save(whole, partial)


def restore(
    out: Path,
    config: Config,
    data: Mixtures,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    precision: Precision,
) -> State:
    """Go back to the last finished epoch of a run.

    Raises:
        ConfigurationError: If the run was of another configuration, which is named, or of other clips.
    """
    checkpoint = load_checkpoint(out / "last.pt")
    if differ := config.differences(checkpoint["config"]):
        raise ConfigurationError(
            f"{out}: holds a run of another configuration ({'; '.join(differ)}); choose another folder, or delete it"
        )
    if difference := other_data(checkpoint, data):
        raise ConfigurationError(
            f"{out}: began with {difference} than {config.data} holds now; choose another folder, or delete it"
        )
    if lacks := [name for name in ("optimizer", "scheduler") if name not in checkpoint]:
        raise ConfigurationError(
            f"{out / 'last.pt'}: no {' and no '.join(lacks)} in it, so that the run cannot go on; train again"
        )
    network.load_state_dict(checkpoint["network"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    precision.load_state_dict(checkpoint.get("precision", {}))
    return State(**checkpoint["state"])


def other_data(checkpoint: Mapping[str, Any], data: Mixtures) -> str:
    """Say in what these data differ from those of a run: "other clips", "other sound" under their names, or nothing."""
    if checkpoint["data"] != data.fingerprint:
        return "other clips"
    return "" if experiment.is_same_sound(checkpoint.get("sound"), data.sound) else "other sound"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing is unpickled.

    Raises:
        ConfigurationError: If the file is missing, damaged, incomplete, or not one that `train` wrote.
        DivergedError: If a weight in it is NaN or infinite.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such checkpoint; `python -m course_utils train` makes one")
    try:
        with warnings.catch_warnings(action="ignore"):  # advice for torch's own users
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigurationError(
            f"{path}: holds Python objects, which could run code of their own, or is damaged, and was not read; a run's "
            "best.pt and last.pt hold none"
        ) from error
    except Exception as error:  # torch raises whatever the reader underneath does
        raise ConfigurationError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}): damaged, or another kind of file"
        ) from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise ConfigurationError(
            f"{path}: not a checkpoint that this version of `python -m course_utils train` wrote; weights of other "
            "projects cannot be loaded here"
        )
    lacks = [name for name, kind in _PARTS.items() if not isinstance(checkpoint.get(name), kind)]
    if lacks or not all(isinstance(value, Tensor) for value in checkpoint["network"].values()):
        lacks = lacks or ["network"]
        raise ConfigurationError(f"{path}: incomplete, for it has no {' and no '.join(lacks)}; train again")
    if unlike := set(checkpoint["state"]) ^ {one.name for one in fields(State) if one.name != "interrupted"}:
        raise ConfigurationError(
            f"{path}: its state does not fit this version ({', '.join(sorted(unlike))}); train again"
        )
    if not _is_finite(checkpoint["network"]):
        raise DivergedError(
            f"{path}: some weights are NaN or infinite, because the training diverged; train again with a smaller "
            "--learning-rate"
        )
    return checkpoint


def scored_epoch(state: State, config: Config) -> int:
    """Return the epoch whose weights count: the last of a whole one-cycle, for which the rate came down, else the best."""
    came_down = config.schedule == "onecycle" and state.epoch == config.epochs
    return state.epoch if came_down else state.best_epoch


def device_of(config: Config) -> torch.device:
    """Return where a run's network is used: the accelerator that it asks for, if this machine has it, else the CPU."""
    if config.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if config.accelerator in ("auto", "mps", "gpu") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision_of(config: Config) -> str:
    """Return the precision of a run: what it asks for, or what suits its device.

    On a GPU of NVIDIA that is `bf16-mixed` where bfloat16 is native (from Ampere on: A100, H100, RTX 30), else
    `16-mixed`, which uses the tensor cores of older ones (T4, V100); elsewhere `32-true`.
    """
    if config.precision != "auto":
        return config.precision
    if device_of(config).type != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def load_network(run: Path | str) -> tuple[nn.Module, Config, Taxonomy, float]:
    """Load a trained network from its run; the checkpoint alone is enough.

    Of a run that went through a whole one-cycle schedule this is the last epoch, for which the rate came down; of any
    other, the epoch with the best validation score.

    Args:
        run: The folder of the run, or a checkpoint file.

    Returns:
        The network in evaluation mode, its configuration, its classes and its threshold.

    Raises:
        ConfigurationError: If there is no checkpoint that can be read.
    """
    path = Path(run)
    checkpoint = load_checkpoint(path if path.is_file() else path / "best.pt")
    config, taxonomy = Config.from_dict(checkpoint["config"]), Taxonomy(tuple(checkpoint["classes"]))
    network = experiment.build_network(config, taxonomy)
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ConfigurationError(
            f"{path}: its weights do not fit the {config.model} of its configuration; train again"
        ) from error
    return network.eval(), config, taxonomy, checkpoint["state"]["threshold"]


def describe(config: Config, data: Mixtures, out: Path) -> str:
    """Say what a run will do and, from three batches on a copy of the network, about how long it will take.

    Args:
        config: The run.
        data: Its data.
        out: Its folder; epochs that are finished there are not counted.

    Returns:
        One line.

    Raises:
        ConfigurationError: If this machine has no such device, or the checkpoint cannot be read.
    """
    done = load_checkpoint(out / "last.pt")["state"]["epoch"] if (out / "last.pt").is_file() else 0
    if done >= config.epochs:
        return f"{out}: all of {config.epochs} epochs are done already"
    network = experiment.build_network(config, data.taxonomy)
    fabric = make_fabric(config, devices=1)
    optimizer = make_optimizer(config, network)
    model, fabric_optimizer = fabric.setup(network, optimizer)
    batches = experiment.loader(config, data.train, data.taxonomy, shuffle_seed=0)
    seconds, started = [], time.perf_counter()
    for batch in itertools.islice(batches, 3):
        training_step(fabric, model, fabric_optimizer, batch, config).item()  # waits for the device
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    total = min(seconds) * len(batches) * (config.epochs - done) / (config.devices * _machines(config))
    size = f"{config.model}, {models.count_parameters(network):,} parameters, head {config.head}"
    return (
        f"{size}: {config.epochs - done} epochs of {len(batches)} batches of {config.batch_size} on {fabric.device.type}, "
        f"{precision_of(config)}, about {_readable(total)}"
    )


def _readable(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _keep_freed_memory() -> None:
    """Let the C library keep the memory of a batch for the next one; on Linux, CPU training gets a fifth faster.

    Otherwise it gives large blocks back after every batch, and the system fills each new one with zeros again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _give_memory_back() -> None:
    """Give freed memory back to the system now and then: batches of many lengths leave gaps, which add up to gigabytes.

    Every 50 batches: a CRNN then stays near 4 GB instead of growing to ten, and is as fast.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # numbers of glibc's malloc.h


class _HalfBehindTheFrontEnd(MixedPrecision):
    """Autocast that leaves the inputs of a network alone: Fabric's own rounds waveforms to 16 bits before any layer.

    The front end computes in float32 (`features.in_float32`), and autocast chooses for each layer behind it.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def _workers(config: Config, fabric: Fabric) -> int:
    if config.workers is not None:
        return config.workers
    return min(8, (os.cpu_count() or 2) - 1) if fabric.device.type == "cuda" else 0


def _open_tensorboard(folder: Path, epoch: int) -> Any:
    """Return what writes the history for TensorBoard, from this epoch on; None where there is no TensorBoard."""
    with contextlib.suppress(ImportError):  # a machine that only trains may lack it; history.csv has the same numbers
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=epoch)
    return None


def _log(board: Any, state: State) -> None:
    if board is not None:
        for name, value in state.history[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, state.epoch)
        board.flush()
