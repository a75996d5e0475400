"""The results of the course in one table: both networks, both protocols, each score with its interval.

The numbers come from the files that `grids.run_grid` writes; `run_all` makes those that are not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from course_utils.configuration import Config, ConfigurationError
from course_utils.files import write_beside, write_json
from course_utils.lessons import grids

FORMAT = 1  # of the table's file
COMMAND = "make results DATA=FOLDER"
MARKS = ("<!-- results -->\n", "<!-- end of results -->\n")  # in the README, around the table
SIZES = {"width 16": "figures/results", "width 64": "figures/results/full"}
WIDTHS = {"width 16": 16, "width 64": 64}
TEST_FOLDS = (3,)
_NO_L2 = "CRNN, the report's recipe without its L2 penalty"
# Network and recipe, protocol, grid, experiment, what the report has there.
_ROWS = (
    ("CNN10, the report's recipe", "report", "as-reported", "CNN10, random", "accuracy 63 %"),
    ("CNN10, the report's recipe", "official", "as-reported", "CNN10, official", ""),
    (
        "CRNN, the report's recipe",
        "report",
        "crnn-splits",
        "as the report, random",
        "macro precision 16 %, recall 15 %",
    ),
    ("CRNN, the report's recipe", "official", "crnn-repair", "as the report", ""),
    (_NO_L2, "report", "as-reported", "CRNN without L2, random", ""),
    (_NO_L2, "official", "as-reported", "CRNN without L2, official", ""),
    ("CNN10, the course's recipe", "report", "cnn10-splits", "random", ""),
    ("CNN10, the course's recipe without SpecAugment", "report", "cnn10-splits", "random, no SpecAugment", ""),
    ("CNN10, the course's recipe", "official", "cnn10-splits", "official", ""),
    ("CRNN, repaired", "report", "crnn-splits", "repaired, random", ""),
    ("CRNN, repaired", "official", "crnn-splits", "repaired, official", ""),
)
_SCORES = {"named exactly": "exact_match", "mAP": "mAP", "macro F1": "labels.macro.f1"}
NOTES = (
    "*Report*: mixtures are joined first and split at random after, so that nearly all test clips are known from training. "
    "*Official*: folds 1 and 2 train, fold 3 tests; no recording is on both sides. Rows of one protocol can be compared with "
    "each other, rows of different protocols cannot.",
    "*The report's figures* are from its 8,732 clips, other mixtures, and up to 1,000 epochs; ours are from 2,148 clips. Its "
    "63 % is a share of mixtures named exactly. How its 16 % was averaged is not known: if batch by batch, with absent "
    "combinations as 0, it is on another scale than any column here (lesson 11).",
    "*Named exactly* is of 55 combinations, *mAP* and *macro F1* of ten labels; of a network with 55 outputs the labels are "
    "sums over combinations. *Macro P, R* are precision and recall of the combinations that are in the test. In brackets: "
    "95 % intervals over recordings, one run each.",
    "CNN10 has width 16, a quarter of the paper's; the CRNN has its full size.",
    "The clips are copies that went through Vorbis at 22,050 Hz. `python -m course_utils data measured` selects the same 2,148 "
    "from the official release; on those the figures will differ a little.",
)
_BEFORE_CORRECTION = "The intervals are from before a correction: in these, a recording that both clips of a mixture come from counted twice."


def run_all(
    base: Config,
    out: Path | str,
    results: Path | str,
    *,
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Run every experiment of every grid that is not in its results file yet.

    Args:
        base: Data, width and machine; a grid decides the rest.
        out: A folder for the runs.
        results: The folder of the results files.
        progress: Show progress bars; None: only in a terminal.
        say: What to call with a line about each experiment.

    Returns:
        False if Ctrl-C ended a training; the same call goes on.

    Raises:
        ConfigurationError, DatasetError, AudioError, SplitError: As `grids.run_grid`.
    """
    for name, grid in grids.GRIDS.items():
        config = grids.published_base(name, base, TEST_FOLDS)
        command = (
            f"python -m course_utils grid {name} --data FOLDER --out runs/{name} --results figures/results/{name}.json "
            f"--width {base.width} --epochs {grid.epochs} --precision {base.precision} "
            + (f"--train-folds {','.join(map(str, grid.train_folds))} " if grid.train_folds else "")
            + f"--test-folds {','.join(map(str, TEST_FOLDS))}"
        )
        say(f"{name}: {grid.about}")
        if (
            grids.run_grid(
                name,
                config,
                Path(out) / name,
                Path(results) / f"{name}.json",
                command=command,
                progress=progress,
                say=say,
            )
            is None
        ):
            return False
    return True


def collect(folders: Mapping[str, Path | str]) -> dict[str, Any]:
    """Put the table together.

    Args:
        folders: Size → the folder of its results files. The first has all of them or none; others may have some.

    Returns:
        `command`, `notes`, and `rows`: each with `network`, `protocol`, `reported`, and for every size either None, where it
        is not measured, or `scores` (name → value, lower and upper bound), `macro_precision`, `macro_recall`, `epochs`,
        `remark` (see `grids.read_results`).

    Raises:
        ConfigurationError: If the first size has some of the files and not all, or a file lacks an experiment.
    """
    needed = sorted({grid for _, _, grid, _, _ in _ROWS})
    measured: dict[str, dict[str, dict]] = {}
    for size, folder in folders.items():
        there = [name for name in needed if (Path(folder) / f"{name}.json").is_file()]
        if there and there != needed and size == next(iter(folders)):
            absent = ", ".join(name for name in needed if name not in there)
            raise ConfigurationError(f"{folder}: no results of {absent}; `{COMMAND}` makes them")
        measured[size] = {name: grids.read_results(Path(folder) / f"{name}.json")["runs"] for name in there}
    rows = []
    for network, protocol, grid, experiment, reported in _ROWS:
        row: dict[str, Any] = {"network": network, "protocol": protocol, "reported": reported}
        for size, files in measured.items():
            run = files.get(grid, {}).get(experiment)
            if run is None and files and size == next(iter(folders)):
                raise ConfigurationError(
                    f"{folders[size]}/{grid}.json: no experiment {experiment!r}; `{COMMAND}` makes it"
                )
            row[size] = _entry(run) if run else None
        rows.append(row)
    runs = [run for files in measured.values() for experiments in files.values() for run in experiments.values()]
    notes = [*NOTES, _BEFORE_CORRECTION] if grids.is_before_correction(runs) else list(NOTES)
    return {"format": FORMAT, "command": COMMAND, "notes": notes, "rows": rows}


def to_markdown(found: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with its notes; and a second one of what was measured at width 64."""
    small, full = SIZES
    marks = _marks(found)
    head = ["network and recipe", "protocol", "epochs", "the report has", *_SCORES, "macro P, R of 55"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        entry = row[small]
        scores = [_with_interval(entry["scores"][name]) if entry else "not measured" for name in _SCORES]
        both = f"{entry['macro_precision']:.2f}, {entry['macro_recall']:.2f}" if entry else "not measured"
        epochs = str(entry["epochs"]) if entry else "–"
        cells = [row["network"] + marks[_remark(entry)], row["protocol"], epochs, row["reported"] or "–", *scores, both]
        lines.append(f"| {' | '.join(cells)} |")
    paragraphs = ["\n".join(lines), *found["notes"]]
    if any(row[full] for row in found["rows"]):
        paragraphs += ["**CNN10 at width 64**, the paper's, beside width 16:", _widths(found, marks)]
    paragraphs += [f"{mark.strip()} {remark[0].upper()}{remark[1:]}." for remark, mark in marks.items() if remark]
    return "\n\n".join(paragraphs) + "\n"


def _remark(entry: Mapping[str, Any] | None) -> str:
    return entry["remark"] if entry else ""


def _marks(found: Mapping[str, Any]) -> dict[str, str]:
    """Give every remark of a run a mark, in the order of the table; an empty remark gets none."""
    remarks = dict.fromkeys(_remark(row[size]) for size in SIZES for row in found["rows"])
    remarks.pop("", None)
    return {"": "", **{remark: f" {mark}" for remark, mark in zip(remarks, "†‡§¶", strict=False)}}


def _widths(found: Mapping[str, Any], marks: Mapping[str, str]) -> str:
    """Return the table of what was measured at both widths."""
    shown = list(_SCORES)[:2]
    head = ["recipe", "protocol", "epochs", *(f"{name}, {size}" for name in shown for size in SIZES)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        small, full = (row[size] for size in SIZES)
        if not full:
            continue
        scores = [
            _with_interval(entry["scores"][name]) + marks[_remark(entry)] if entry else "not measured"
            for name in shown
            for entry in (small, full)
        ]
        lines.append(f"| {' | '.join([row['network'], row['protocol'], str(full['epochs']), *scores])} |")
    return "\n".join(lines)


def write(found: Mapping[str, Any], path: Path | str, readme: Path | str) -> None:
    """Write the table as JSON, and into the README between its two marks.

    Args:
        found: As `collect` gives it.
        path: The JSON file to make or replace.
        readme: The README; what is between its marks is replaced.

    Raises:
        ConfigurationError: If the README has no such marks; nothing is written then.
    """
    text = Path(readme).read_text(encoding="utf-8")
    first, last = map(re.escape, MARKS)
    if len(re.findall(f"{first}.*?{last}", text, flags=re.DOTALL)) != 1:
        raise ConfigurationError(
            f"{readme}: needs the lines {MARKS[0].strip()} and {MARKS[1].strip()}, once each, in this order"
        )
    table = MARKS[0] + to_markdown(found) + MARKS[1]
    text = re.sub(f"{first}.*?{last}", lambda _: table, text, flags=re.DOTALL)
    write_json(Path(path), found)
    with write_beside(Path(readme)) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _entry(run: Mapping[str, Any]) -> dict[str, Any]:
    report = run["report"]
    values = {
        "exact_match": report["exact_match"],
        "mAP": report["mAP"],
        "labels.macro.f1": report["labels"]["macro"]["f1"],
    }
    macro = report["combinations"]["macro"]
    return {
        "scores": {name: [values[key], *report["intervals"][key]] for name, key in _SCORES.items()},
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "epochs": len(run["history"]["epoch"]),
        "remark": run.get("remark", ""),
    }


def _with_interval(score: list[float]) -> str:
    value, low, high = score
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
