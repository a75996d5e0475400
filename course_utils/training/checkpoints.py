"""Checkpoints: the folder of a run on the disk, written beside and renamed, and read without unpickling."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from course_utils import data as run_data
from course_utils import models
from course_utils.configuration import Config, ConfigurationError
from course_utils.data import Mixtures
from course_utils.files import write_beside
from course_utils.taxonomy import Taxonomy
from course_utils.training.history import State
from course_utils.training.loop import DivergedError

if TYPE_CHECKING:
    from lightning_fabric.plugins import Precision

FORMAT = 1  # of a checkpoint
_PARTS = {"config": dict, "classes": list, "data": str, "state": dict, "network": dict}  # with `format`, what all have


def save(
    out: Path,
    config: Config,
    data: Mixtures,
    state: State,
    *,
    counts: bool,
    own: Mapping[str, str],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    precision: Precision,
) -> None:
    """Write the history and the checkpoints of a finished epoch: `best.pt` if it counts so far, `last.pt` last.

    Args:
        out: The folder of the run.
        config: The run.
        data: Its data.
        state: Where the run stands.
        counts: Whether this epoch is the best so far, or the last of a schedule that came down.
        own: Which parts its author brought along: the kind of part → where it is defined.
        network: Its weights are saved.
        optimizer: Its state, likewise.
        scheduler: Its state, likewise.
        precision: The scale of the loss, in float16.
    """
    stored = config.to_dict() | {"data": run_data.absolute_place(config.data)}
    description = {"format": FORMAT, "config": stored, "classes": list(data.taxonomy.classes)}
    description |= {"own": dict(own), "built_by": _builder(config, own)}
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
    *,
    own: Mapping[str, str],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    precision: Precision,
) -> State:
    """Go back to the last finished epoch of a run.

    Returns:
        Where the run stands. The arguments are those of `save`.

    Raises:
        ConfigurationError: If the run was of another configuration, which is named, of other clips, or had other parts of
            its author's.
    """
    checkpoint = load_checkpoint(out / "last.pt")
    if differ := config.differences(checkpoint["config"]):
        raise ConfigurationError(
            f"{out}: the folder holds a run of another configuration ({'; '.join(differ)}); choose another or delete it"
        )
    if difference := other_data(checkpoint, data):
        raise ConfigurationError(
            f"{out}: the run began with {difference} than {config.data} holds now; choose another folder, or delete it"
        )
    if (began := checkpoint.get("own", {})) != own:
        raise ConfigurationError(
            f"{out}: began with {_in_words(began)}, and goes on with {_in_words(own)}; pass the same, or choose another folder"
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
    """Say how these data differ from those of a run: "other clips", "other sound" under their names, or nothing."""
    if checkpoint["data"] != data.fingerprint:
        return "other clips"
    return "" if run_data.is_same_sound(checkpoint.get("sound"), data.sound) else "other sound"


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
    if not is_finite(checkpoint["network"]):
        raise DivergedError(
            f"{path}: some weights are NaN or infinite, because the training diverged; train again with a smaller "
            "--learning-rate"
        )
    return checkpoint


def load_network(run: Path | str, network: nn.Module | None = None) -> tuple[nn.Module, Config, Taxonomy, float]:
    """Load a trained network from its run; the checkpoint alone is enough.

    For a run that completed its one-cycle schedule this is the last epoch, for which the rate came down; for any
    other, the epoch with the best validation score.

    Args:
        run: The folder of the run, or a checkpoint file.
        network: For a run trained with its author's own network: another with the same layers, which gets the weights.

    Returns:
        The network in evaluation mode, its configuration, its classes and its threshold.

    Raises:
        ConfigurationError: If there is no checkpoint that can be read, or its network is not the course's and was not
            passed, or not registered.

    Example:
        >>> network, config, taxonomy, threshold = load_network("runs/first")  # doctest: +SKIP
    """
    path = Path(run)
    checkpoint = load_checkpoint(path if path.is_file() else path / "best.pt")
    config, taxonomy = Config.from_dict(checkpoint["config"]), Taxonomy(tuple(checkpoint["classes"]))
    own = checkpoint.get("own", {}).get("network")
    if own and network is None:
        raise ConfigurationError(
            f"{path}: trained with a network of its author's, {own}, which a checkpoint cannot build; pass one with the same "
            "layers (network=…)"
        )
    if network is None:
        if config.model not in models.names():
            raise ConfigurationError(
                f"{path}: needs the network {config.model!r}, which {checkpoint.get('built_by') or 'another module'} "
                "registers (models.register); import that first"
            )
        network = models.build(config, taxonomy)
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ConfigurationError(
            f"{path}: its weights do not fit {own or 'the ' + config.model + ' of its configuration'}; "
            + ("pass a network with the layers that it was trained with" if own else "train again")
        ) from error
    return network.eval(), config, taxonomy, checkpoint["state"]["threshold"]


def is_finite(weights: Mapping[str, Tensor]) -> bool:
    """Say whether all weights are finite."""
    return all(bool(torch.isfinite(value).all()) for value in weights.values())


def _builder(config: Config, own: Mapping[str, str]) -> str:
    """Return the module that registers the network of a run; none if its author passed the network itself."""
    return "" if "network" in own else models.builder_of(config.model).__module__


def _in_words(own: Mapping[str, str]) -> str:
    return " and ".join(f"the {kind} {name}" for kind, name in own.items()) or "nothing but the course's own parts"
