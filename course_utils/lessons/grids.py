"""Named grids of experiments: run resumably, with the results in one file that a lesson loads."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import course_utils
from course_utils import data as run_data
from course_utils import inference, models, sweep, training
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.files import rounded, write_json
from course_utils.lessons import known_and_new
from course_utils.storage import is_stored_set

FORMAT = 1  # of a results file
BEFORE_CORRECTION = "intervals: before a correction; a recording that a mixture holds twice counted twice"
_BOOTSTRAP = "once"  # how a recording that a mixture holds twice counts; runs without this field counted it twice


@dataclass(frozen=True)
class Grid:
    """Experiments that belong together.

    Attributes:
        about: One line.
        common: Fields of `Config` that all of them share.
        changes: Name of an experiment → the fields in which it differs.
        epochs: Epochs of the published results, where an experiment has no number of its own.
        train_folds: Training folds of the published results; None means all that are not tested on.
        also_test: Name → how the test clips are mixed for one more report on every network.
    """

    about: str
    common: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    epochs: int
    train_folds: tuple[int, ...] | None = None
    also_test: dict[str, Recipe] = field(default_factory=dict)


# The report's programs decay every parameter, and clip no gradients.
_OLD_WAY = {"decay": "all", "clip_norm": 0.0}
_REPORT = {
    "split": "random",
    "head": "combinations",
    "recipe": Recipe(joint="concatenate"),
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    **_OLD_WAY,
    "schedule": "constant",
    "spec_augment": False,
}
_TRICKS: dict[str, dict[str, Any]] = {
    "fixed pairs": {"fresh_pairs": False},
    "fresh pairs": {},
    "fresh pairs, SpecAugment": {"spec_augment": True},
    "fresh pairs, mixup": {"mixup": True},
}
_CRNN_REPORT = {
    "model": "crnn",
    "norm": "whiten",
    "head": "combinations",
    "recipe": Recipe(joint="concatenate"),
    "fresh_pairs": False,
    "spec_augment": False,
    "optimizer": "amsgrad",
    "learning_rate": 2e-3,
    "beta1": 0.9,
    "weight_decay": 1e-2,
    **_OLD_WAY,
    "schedule": "step",
    "batch_size": 24,
}
# Each step keeps those before it.
_REPAIRS: dict[str, dict[str, Any]] = {
    "as the report": {},
    "trained as CNN10": {
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "schedule": "onecycle",
        "batch_size": 32,
        "fresh_pairs": True,
    },
    "ten labels": {"head": "labels"},
    "logarithm": {"norm": "db"},
    "fine time": {"time_pooling": "fine"},
    "mean": {"readout": "mean"},
    "attention": {"readout": "attention"},
}
_REPAIRED = {name: value for step in _REPAIRS.values() for name, value in step.items()}
_FRESH = {"recipe": Recipe(joint="concatenate"), "spec_augment": False}
_BALANCED: dict[str, dict[str, Any]] = {
    "balanced pairs": {"recipe": Recipe(joint="concatenate", balanced=True)},
    "pos_weight": {"pos_weight": True},
}
_OFFICIAL = {"split": "official", "fresh_pairs": False}
_NO_L2 = _CRNN_REPORT | {"weight_decay": 0.0}
_RIVALS: dict[str, dict[str, Any]] = {
    "CNN10, width 14": {"width": 14},
    "CNN10, width 24": {"width": 24},
    "CRNN": {"model": "crnn", **_REPAIRED},
}


def _in_steps(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Let every experiment keep the changes of those before it."""
    return dict(zip(changes, accumulate(changes.values(), lambda before, step: before | step), strict=True))


def _with_three_seeds(ways: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Run every way with the seeds 0, 1 and 2."""
    return {
        f"{name}, seed {seed}": {**changes, "seed": seed} for seed, (name, changes) in product(range(3), ways.items())
    }


GRIDS = {
    "cnn10-report": Grid(
        "CNN10 as in the report: overlap, batch size and momentum, two of each",
        _REPORT,
        {
            f"hop {hop}, beta1 {beta1}, batch {batch}": {"hop_length": hop, "beta1": beta1, "batch_size": batch}
            for hop, beta1, batch in product((256, 512), (0.85, 0.9), (32, 64))
        },
        epochs=20,
    ),
    "cnn10-augmentation": Grid(
        "CNN10 on the official folds: does it help to vary the training data?",
        _FRESH,
        _with_three_seeds(_TRICKS),
        epochs=12,
    ),
    "cnn10-splits": Grid(
        "CNN10 with ten labels: mixtures split at random and kept, as in the report; and clips split by the official "
        "folds, with fresh pairs",
        {"recipe": Recipe(joint="concatenate")},
        {
            "random": {"split": "random"},
            "official": {"split": "official"},
            "random, no SpecAugment": {"split": "random", "spec_augment": False},
        },
        epochs=45,
    ),
    "crnn-repair": Grid(
        "the CRNN on the official folds, from the report's recipe to the repaired one: first another training, then one "
        "change at a time; and, aside, the report's recipe without its L2 penalty",
        _CRNN_REPORT,
        {**_in_steps(_REPAIRS), "as the report, no L2": {"weight_decay": 0.0}},
        epochs=12,
    ),
    "crnn-splits": Grid(
        "the CRNN on mixtures split at random and kept: as the report, and repaired; and repaired on the official folds, "
        "with fresh pairs",
        _CRNN_REPORT,
        {
            "as the report, random": {"split": "random"},
            "repaired, random": {**_REPAIRED, "split": "random", "fresh_pairs": False},
            "repaired, official": _REPAIRED,
        },
        epochs=20,
    ),
    "cnn-against-crnn": Grid(
        "CNN10 and the repaired CRNN on the official folds, trained alike, each with its own spectrogram, and time "
        "stretch for the CRNN: CNN10 with about as many parameters (width 14), and with about as much time a step on a "
        "CPU (width 24)",
        _FRESH,
        _with_three_seeds(_RIVALS),
        epochs=12,
    ),
    "known-and-new": Grid(
        "CNN10 with ten labels and fixed pairs, a fifth of the clips held out before pairing: known and new clips in the "
        "test, and clips of new recordings",
        _FRESH,
        {"clips": {"split": "clips"}},
        epochs=20,
        train_folds=(1, 2),
    ),
    "balance": Grid(
        "CNN10 with ten labels on the official folds, as `fresh pairs` in cnn10-augmentation, against the imbalance: all "
        "combinations drawn equally often, or the loss of what is there weighted",
        _FRESH,
        _with_three_seeds(_BALANCED),
        epochs=12,
    ),
    "more-data": Grid(
        "CNN10 with ten labels and fresh pairs on the official folds, always in about the same number of steps: with a part "
        "of the training recordings; with fixed pairs of many replicas; and trained on overlays",
        _FRESH,
        {
            "a quarter of the recordings": {"train_share": 1 / 4, "epochs": 56},
            "half": {"train_share": 1 / 2, "epochs": 26},
            "all": {},
            "12 replicas, fixed pairs": {
                "recipe": Recipe(joint="concatenate", replicas=12),
                "fresh_pairs": False,
                "epochs": 3,
            },
            "overlays": {"recipe": Recipe(joint="overlay")},
        },
        also_test={"joined": Recipe(joint="concatenate"), "overlays": Recipe(joint="overlay")},
        epochs=12,
    ),
    "as-reported": Grid(
        "the report's two recipes, with 55 outputs and fixed pairs: mixtures split at random, as it did, and clips split "
        "by the official folds; the CRNN without its L2 penalty, and also trained on balanced pairs",
        {},
        {
            "CNN10, random": _REPORT,
            "CNN10, official": _REPORT | _OFFICIAL,
            "CRNN without L2, random": _NO_L2 | {"split": "random"},
            "CRNN without L2, official": _NO_L2 | _OFFICIAL,
            "CRNN without L2, official, balanced": _NO_L2
            | _OFFICIAL
            | {"recipe": Recipe(joint="concatenate", balanced=True)},
        },
        epochs=20,
    ),
}


def run_grid(
    name: str,
    base: Config,
    out: Path | str,
    results: Path | str,
    *,
    command: str = "",
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any] | None:
    """Run the experiments of a grid one after the other, and keep what came of each in one file.

    Experiments that the file holds already are not run again; one that was stopped goes on from its last finished epoch.

    Args:
        name: One of `GRIDS`.
        base: What the grid does not decide: data, width, epochs, folds, machine.
        out: A folder for the runs, one folder each.
        results: The JSON file to write; it is written again after every experiment.
        command: A command that repeats it, for the file.
        progress: Show progress bars; None: only in a terminal.
        say: What to call with a line about each experiment.

    Returns:
        What the file holds; None if Ctrl-C ended a training.

    Raises:
        ConfigurationError: If there is no grid of that name, the data is a stored set, or the file holds another grid,
            or experiments of another configuration or of other clips, or the clips sound different from before.
        DatasetError, AudioError, SplitError: If the data cannot be used.
    """
    if name not in GRIDS:
        raise ConfigurationError(f"no grid {name!r}; there are {', '.join(GRIDS)}")
    if is_stored_set(base.data):
        raise ConfigurationError(
            f"{base.data}: a stored set has its split and its pairs; a grid needs a folder of clips"
        )
    grid, results = GRIDS[name], Path(results)
    found: dict[str, Any] = {"format": FORMAT, "grid": name, "about": grid.about, "command": command, "runs": {}}
    if results.exists():
        found = read_results(results)
    if found["grid"] != name:
        raise ConfigurationError(f"{results}: the file holds the grid {found['grid']}; choose another file for {name}")
    for number, (member, changes) in enumerate(grid.changes.items(), start=1):
        config = dataclasses.replace(base, **{**grid.common, **changes})
        data = run_data.prepare(config, progress)
        if not run_data.sounds_as_before(Path(out) / "sound.npy", data):
            raise ConfigurationError(f"{out}: began with other sound than {base.data} holds now; choose another folder")
        further = known_and_new.parts(config, progress) if config.split == "clips" else {}
        for test, recipe in grid.also_test.items():
            further[test] = run_data.prepare(dataclasses.replace(config, recipe=recipe), progress)
        if member in found["runs"]:
            _refuse_another(found["runs"][member], config, data, f"{results}, {member}")
            if remark := found["runs"][member].get("remark"):
                say(f"{number} of {len(grid.changes)}: {member}; kept, though {remark}")
            continue
        folder = Path(out) / member.replace(", ", "-").replace(" ", "_")
        say(f"{number} of {len(grid.changes)}: {member}; {training.describe(config, data, folder)}")
        state = training.train(config, folder, data, progress)
        if state.interrupted:
            return None
        result = inference.evaluate(folder, progress=progress)
        found["runs"][member] = _outcome(config, data, state, result)
        reports = {test: inference.evaluate_on(folder, mixtures, progress).report for test, mixtures in further.items()}
        found["runs"][member]["further"] = rounded(reports)
        found["runs"] = {key: found["runs"][key] for key in grid.changes if key in found["runs"]}
        write_json(results, found)
    return found


def read_results(path: Path | str) -> dict[str, Any]:
    """Read a results file.

    Args:
        path: What `run_grid` wrote.

    Returns:
        `grid`, `about`, `command`, and `runs`: for every experiment its `config`, `clips` (a fingerprint), `parameters`,
        `device`, `minutes`, `scored_epoch`, `history` (column → a value per epoch), `report` (as `evaluation.report`),
        `combinations` (`true` and `predicted`, one ID per test mixture) and `notes`; and `further`, a report for each other
        test: of a split by clips those of `known_and_new.parts`, and those of `Grid.also_test`. The oldest files
        lack `combinations` and `further`, and `bootstrap`, how the intervals count a recording that is in a mixture twice. A run with a `remark` was made in a way that the course has given up since.

    Raises:
        ConfigurationError: If it is not such a file.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found["format"] == FORMAT and isinstance(found["grid"], str) and isinstance(found["runs"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ConfigurationError(f"{path}: no results that `python -m course_utils grid` wrote; make them again")


def published_base(name: str, base: Config, test_folds: tuple[int, ...]) -> Config:
    """Return what the published results of a grid were run with.

    Args:
        name: Of the grid.
        base: Its data, its width and its machine are taken over.
        test_folds: Folds to test on.
    """
    grid = GRIDS[name]
    return dataclasses.replace(
        base, split="official", epochs=grid.epochs, train_folds=grid.train_folds, test_folds=test_folds
    )


def published(name: str, full: bool = False) -> dict[str, Any]:
    """Read the results that come with the course.

    Args:
        name: Of the grid.
        full: Those of CNN10 at width 64, which may be of a part of the grid.

    Returns:
        As `read_results`.

    Raises:
        ConfigurationError: If there are none of that name.
    """
    return read_results(published_file(f"full/{name}.json" if full else f"{name}.json"))


def published_sweep(name: str) -> dict[str, Any]:
    """Read the results of a sweep that come with the course.

    Args:
        name: Name of the file in `figures/results`, without `.json`.

    Returns:
        As `sweep.read`.

    Raises:
        ConfigurationError: If there are none of that name.
    """
    return sweep.read(published_file(f"{name}.json"))


def published_file(file: str) -> Path:
    """Return where a file of `figures/results` is, if it is there: in the installed package, or in a checkout."""
    package = Path(course_utils.__file__).parent
    installed = package / "results" / file
    return installed if installed.is_file() else package.parent / "figures" / "results" / file


def origin(results: dict[str, Any]) -> str:
    """Say how results were made: the command, and which runs were made in a way that the course has given up since.

    Args:
        results: As `read_results` gives it.

    Returns:
        One line, another if the intervals are from before their correction, and one for each remark.
    """
    remarks: dict[str, list[str]] = {}
    for name, run in results["runs"].items():
        if "remark" in run:
            remarks.setdefault(run["remark"], []).append(name)
    lines = [results["command"]]
    if is_before_correction(results["runs"].values()):
        lines.append(BEFORE_CORRECTION)
    for remark, names in remarks.items():
        which = "all runs" if len(names) == len(results["runs"]) else "; ".join(names)
        lines.append(f"{remark}: {which}")
    return "\n".join(lines)


def is_before_correction(runs: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether the intervals of some runs count a recording twice if a mixture holds it twice."""
    return any(run.get("bootstrap") != _BOOTSTRAP for run in runs)


def trained(name: str) -> Path:
    """Return the checkpoint of a trained network that comes with the course.

    Args:
        name: `crnn` is the repaired CRNN that the grid `crnn-splits` trained on the official folds 1 and 2: `best.pt` of
            that run.

    Returns:
        For `inference.predict`, or `predict --run`.

    Raises:
        ConfigurationError: If there is none of that name.
    """
    path = published_file(f"{name}.pt")
    if not path.is_file():
        raise ConfigurationError(f"no trained network {name!r} comes with the course; `crnn` does")
    return path


def table(results: dict[str, Any], *fields: str) -> pd.DataFrame:
    """Return the headline numbers of every experiment of a results file, one row each.

    Args:
        results: As `read_results` gives it.
        *fields: Fields of `Config` to put first.

    Returns:
        The fields, `parameters`, `epochs`, `scored_epoch`, and of the test part `exact_match`, `mAP`, `macro_f1`.
    """
    rows = {
        name: {
            **{field: run["config"][field] for field in fields},
            "parameters": run["parameters"],
            "epochs": len(run["history"]["epoch"]),
            "scored_epoch": run["scored_epoch"],
            "exact_match": run["report"]["exact_match"],
            "mAP": run["report"]["mAP"],
            "macro_f1": run["report"]["labels"]["macro"]["f1"],
        }
        for name, run in results["runs"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _refuse_another(run: dict[str, Any], config: Config, data: run_data.Mixtures, where: str) -> None:
    differ = [] if "remark" in run else config.differences(run["config"])
    if run["clips"] != data.fingerprint:
        differ.append(f"other clips than {config.data} holds now")
    if differ:
        raise ConfigurationError(f"{where}: of another configuration ({'; '.join(differ)}); choose another file")


def _outcome(
    config: Config, data: run_data.Mixtures, state: training.State, result: inference.Evaluation
) -> dict[str, Any]:
    history, device = pd.DataFrame(state.history), training.device_of(config)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{device.type.upper()}, {os.cpu_count()} cores"
    true, predicted = result.scores.combination, result.scores.predicted_combination
    assert true is not None and predicted is not None  # all grids are of pairs
    return {
        "config": config.decisive(),
        "clips": data.fingerprint,
        "parameters": models.count_parameters(models.build(config, data.taxonomy)),
        "device": name,
        "minutes": round(float(history["seconds"].sum()) / 60, 1),
        "scored_epoch": training.scored_epoch(state, config),
        "history": rounded(history.drop(columns="seconds").to_dict("list")),
        "report": rounded(result.report),
        "bootstrap": _BOOTSTRAP,
        "combinations": {
            "true": true.tolist(),
            "predicted": predicted.tolist(),
        },
        "notes": [line for note in result.notes for line in note.splitlines()],
    }
