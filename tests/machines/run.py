"""Run the lessons and the numerical tests as other machines would, and say what differs, and how close each comparison is.

    python tests/machines/run.py        four machines, every setting at least once: make test-machines

A machine here is a set of environment variables: which instructions PyTorch, oneDNN, MKL, numpy and OpenBLAS may use, how
many threads, which language, time zone and screen. A notebook that fails is repeated with one setting at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
NUMERICAL = ("features", "models", "precision", "evaluation", "labels", "training", "inference")
SPARE = 10  # so many times closer to its limit, and a comparison would still come out as it does
NO_ANSWER = "Kernel died before replying to kernel_info"  # what nbval says of every cell then
_STEADY = 0.01  # errors that differ by less than this share of themselves are no rounding
_ROUNDING = 0.01  # what differs by more than this share of itself does not by rounding, but was learned in another way
_SLOWEST_FIRST = ("09", "12", "10", "07", "00", "11", "06")

OLD_ATEN, OLD_ONEDNN = {"ATEN_CPU_CAPABILITY": "default"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}
AVX2_ATEN, AVX2_ONEDNN = {"ATEN_CPU_CAPABILITY": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}
COMPATIBLE = {"MKL_CBWR": "COMPATIBLE"}
HIGH_RESOLUTION = "200 dots per inch"  # becomes a matplotlibrc


def numpy_features() -> str:
    """Return the instruction sets that numpy would choose here, and can be told to leave alone."""
    from numpy._core import _multiarray_umath as found

    return " ".join(name for name in found.__cpu_dispatch__ if found.__cpu_features__[name])


def machines() -> dict[str, dict[str, str]]:
    """Return the settings of each machine; one thread means two notebooks at a time."""
    return {
        "this one, as it is": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        "no vector instructions in PyTorch and numpy": {
            **OLD_ATEN,
            "NPY_DISABLE_CPU_FEATURES": numpy_features(),
            "OPENBLAS_CORETYPE": "Nehalem",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "random",
            "LANG": "C",
            "LC_ALL": "C",
            "TZ": "Pacific/Kiritimati",
            HIGH_RESOLUTION: "yes",
        },
        "SSE4.1 in oneDNN, the common subset in MKL": {
            **AVX2_ATEN,
            **OLD_ONEDNN,
            **COMPATIBLE,
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "random",
            "TZ": "Pacific/Pago_Pago",
        },
        "AVX2, two threads": {
            **AVX2_ATEN,
            **AVX2_ONEDNN,
            "OPENBLAS_CORETYPE": "Haswell",
            "OMP_NUM_THREADS": "2",
            "PYTHONHASHSEED": "0",
        },
    }


def another_instruction_set() -> dict[str, str]:
    """Return settings that this processor does not choose by itself: AVX2 where it has AVX-512, else SSE4.1."""
    import torch

    has_more = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return {**(AVX2_ATEN | AVX2_ONEDNN if has_more else OLD_ONEDNN), "OMP_NUM_THREADS": "1"}


@dataclass
class Outcome:
    """What came of one notebook, or of the tests, on one machine.

    Attributes:
        passed: Cells or tests.
        failed: Name of a cell or test → the first line that says why.
        seconds: How long it took.
        notes: What `margins` has noted.
    """

    passed: int
    failed: dict[str, str]
    seconds: float
    notes: list[dict[str, Any]] = field(default_factory=list)


def run(what: str, settings: dict[str, str], folder: Path, watch: bool = True) -> Outcome:
    """Run one notebook, or the numerical tests, with these settings.

    A kernel chooses its ports before it opens them, and another one may be quicker. So if it never answered, and no cell was
    run, the notebook begins once more.

    Args:
        what: A notebook below the project's folder, or `tests`.
        settings: As `machines` gives them.
        folder: An empty folder for what is noted.
        watch: Whether to note comparisons.
    """
    outcome = _run_once(what, settings, folder, watch)
    if not outcome.passed and all(NO_ANSWER in why for why in outcome.failed.values()):
        outcome = _run_once(what, settings, folder / "again", watch)
    return outcome


def _run_once(what: str, settings: dict[str, str], folder: Path, watch: bool) -> Outcome:
    folder.mkdir(parents=True)
    environment = _environment(settings, folder, watch, Path(what).name)
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={folder / 'junit.xml'}", "-p", "no:cacheprovider"]
    if what == "tests":
        command += ["--assert=plain", "-p", "margins"] if watch else []
        command += ["--hypothesis-seed=0"]  # the same examples on every machine
        command += [str(ROOT / "tests" / f"test_{name}.py") for name in NUMERICAL]
    else:
        command += ["--nbval", str(ROOT / what)]
    begun = time.monotonic()
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - begun
    if not (folder / "junit.xml").is_file():
        return Outcome(0, {what: (ended.stdout + ended.stderr).strip()[-2000:]}, seconds)
    return Outcome(*_counted(folder / "junit.xml"), seconds, _noted(folder))


def _environment(settings: dict[str, str], folder: Path, watch: bool, book: str) -> dict[str, str]:
    settings = dict(settings)
    environment = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "PYTHONPATH")}
    environment |= {"COURSE_SIZE": "lesson", "COURSE_DATA": "mini"}
    if settings.pop(HIGH_RESOLUTION, None):
        (folder / "matplotlibrc").write_text("figure.dpi: 200\nsavefig.dpi: 200\n")
        environment["MATPLOTLIBRC"] = str(folder / "matplotlibrc")
    if watch:
        startup = folder / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "watch.py").write_text("import margins\nmargins.watch_notebook()\ndel margins\n")
        environment |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": str(HERE)}
        environment |= {"COURSE_MARGINS": str(folder / "notes.jsonl"), "COURSE_NOTEBOOK": f"{book} "}
    return environment | settings


def _counted(junit: Path) -> tuple[int, dict[str, str]]:
    passed, failed = 0, {}
    for case in ElementTree.parse(junit).iter("testcase"):
        bad = [part for part in case if part.tag in ("failure", "error")]
        if bad:
            failed[f"{case.get('classname')}::{case.get('name')}"] = _reason(bad[0].text or bad[0].get("message") or "")
        elif not any(part.tag == "skipped" for part in case):
            passed += 1
    return passed, failed


def _reason(text: str) -> str:
    """Return what pytest's lines with E say, or nbval behind the cell's own lines."""
    plain = re.sub(r"(#x1B|\x1b)\[\d+m", "", text)  # without colours
    lines = [line.strip() for line in (plain.partition("Traceback:")[2] or plain).splitlines() if line.strip()]
    return "  ".join([line for line in lines if line.startswith("E ")][:4] or lines[:8])[:300]


def _noted(folder: Path) -> list[dict[str, Any]]:
    path = folder / "notes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def compared_text(book: Path) -> dict[str, str]:
    """Return what nbval compares of each code cell's stored text; cells have the names that `margins` gives them."""
    text = {}
    cells = [c for c in json.loads(book.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        is_compared = "nbval-ignore-output" not in cell["metadata"].get("tags", [])
        parts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell["outputs"] if is_compared]
        text[f"{book.name} cell {number}"] = "\n".join("".join(part) for part in parts)
    return text


def too_close(notes: dict[str, list[dict[str, Any]]], compared: dict[str, str]) -> list[str]:
    """Find what could come out differently on yet another machine.

    A tolerance must be `SPARE` times larger than the error below it, or as many times smaller than what it shuts out, unless
    the error is the same everywhere and so no matter of rounding. A printed number must lie `SPARE` times further from where
    its rounding changes than the machines lie apart; and so must both sides of any other comparison. What networks come to,
    such as a score above another, differs by more than rounding: there both sides must be further from each other than the
    machines lie apart. (Of four draws from a bell curve the range is about twice its width, so this is about three widths.)

    Args:
        notes: Machine → what was noted there, of the same code.
        compared: Cell → its text that is compared. A rounded number of a cell counts only if it stands there, and not, say,
            in the title of a picture.

    Returns:
        A line for each place, with how much of its tolerance is used.
    """
    by_place: dict[tuple, list[list[dict]]] = defaultdict(list)
    for noted in notes.values():
        mine = defaultdict(list)
        for note in noted:
            mine[note["place"], note["line"], note["text"]].append(note)
        for key, group in mine.items():
            by_place[key].append(group)
    worst: dict[tuple, tuple[float, str]] = {}
    for key, groups in by_place.items():
        place = key[0]
        for same in zip(*groups, strict=False):
            is_number = "places" in same[0]
            if is_number and place in compared and not _stands_in(compared[place], same):
                continue
            share, said = _share_of_rounding(same) if is_number else _share_of_tolerance(same)
            if share > 1 / SPARE and share > worst.get(key, (0.0, ""))[0]:
                worst[key] = share, said
    ranked = sorted(worst.items(), key=lambda item: -item[1][0])
    return [f"{share:8.2f}  {place}, line {line}: {text}   ({said})" for (place, line, text), (share, said) in ranked]


def _share_of_tolerance(same: Iterable[dict[str, Any]]) -> tuple[float, str]:
    pairs = [(note["left"], note["right"]) for note in same]
    first = next(iter(same))
    said = "; ".join(f"{left:.4g} {first['sign']} {right:.4g}" for left, right in pairs[:4])
    if first["tolerance"] and all(left >= 0 for left, _ in pairs):
        errors = [left / right for left, right in pairs]
        is_rounding = max(errors) - min(errors) > _STEADY * max(errors)
        return max(min(error, 1 / error) if error else 0.0 for error in errors) * is_rounding, said
    gaps = [left - right for left, right in pairs if math.isfinite(left) and math.isfinite(right)]
    if not gaps or max(gaps) == min(gaps):
        return 0.0, said
    closest, apart = min(map(abs, gaps)), max(gaps) - min(gaps)
    is_learned = apart > _ROUNDING * max(abs(number) for pair in pairs for number in pair)
    share = apart / closest if closest else math.inf
    return (share / SPARE if is_learned else share), said


def _share_of_rounding(same: Iterable[dict[str, Any]]) -> tuple[float, str]:
    same, worst = list(same), (0.0, "")
    scale = 10.0 ** same[0]["places"]
    for values in zip(*(note["values"] for note in same), strict=False):
        spread = max(values) - min(values)
        if not spread > 0:  # equal everywhere, or no number
            continue
        to_edge = min(abs((value * scale) % 1 - 0.5) for value in values) / scale
        share = spread / to_edge if to_edge else math.inf
        if share > worst[0]:
            worst = share, " ".join(f"{value:.8g}" for value in values[:4])
    return worst


def _stands_in(text: str, same: Iterable[dict[str, Any]]) -> bool:
    for note in same:
        for value in note["values"]:
            for number, places in ((value, note["places"]), (100 * value, max(note["places"] - 2, 0))):
                shown = f"{number:,.{places}f}"
                if {shown, shown.replace(",", ""), shown.rstrip("0")} & set(re.findall(r"-?\d[\d,]*\.?\d*", text)):
                    return True
    return False


def main() -> int:
    """Run, and print the tables; return 1 if something failed or is too close."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebooks", default="*", help="only notebooks whose names begin so, as 0[67]*")
    parser.add_argument("--machines", type=int, default=4, help="only so many machines")
    options = parser.parse_args()
    found = dict(list(machines().items())[: options.machines])
    books = sorted((ROOT / "notebooks").glob(f"{options.notebooks}.ipynb"))
    books.sort(key=lambda book: _SLOWEST_FIRST.index(book.name[:2]) if book.name[:2] in _SLOWEST_FIRST else 99)
    work = [str(book.relative_to(ROOT)) for book in books] + ["tests"]
    outcomes: dict[str, dict[str, Outcome]] = {}
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [sys.executable, "-m", "course_utils", "data", "mini"], cwd=ROOT, check=True, capture_output=True
        )
        for number, (name, settings) in enumerate(found.items()):
            begun = time.monotonic()
            at_once = max(1, (os.cpu_count() or 2) // int(settings["OMP_NUM_THREADS"]))
            with ThreadPoolExecutor(at_once) as pool:
                folders = [Path(place, str(number), str(i)) for i in range(len(work))]
                done = list(pool.map(run, work, [settings] * len(work), folders))
            outcomes[name] = dict(zip(work, done, strict=True))
            passed, failed = sum(o.passed for o in done), sum(len(o.failed) for o in done)
            print(f"{name}: {passed} passed, {failed} failed, {time.monotonic() - begun:.0f} s", flush=True)
            for key, value in settings.items():
                print(f"    {key}={value}")
            for what, outcome in outcomes[name].items():
                for where, why in outcome.failed.items():
                    print(f"  FAILED {where}: {why}")
                if outcome.failed and what != "tests":
                    _blame(what, settings, Path(place, f"{number}-{Path(what).stem}"))
    close = _report_margins(work, outcomes)
    return 1 if close or any(o.failed for one in outcomes.values() for o in one.values()) else 0


def _blame(book: str, settings: dict[str, str], folder: Path) -> None:
    """Repeat a notebook with one setting at a time, and say which of them makes it fail."""
    threads = {"OMP_NUM_THREADS": "1"}
    for number, (key, value) in enumerate(settings.items()):
        outcome = run(book, {**threads, key: value}, folder / str(number), watch=False)
        print(f"    {book} with {key}={value} alone: {f'{len(outcome.failed)} failed' if outcome.failed else 'passes'}")


def _report_margins(work: list[str], outcomes: dict[str, dict[str, Outcome]]) -> list[str]:
    lines: list[str] = []
    for what in work:
        compared = {} if what == "tests" else compared_text(ROOT / what)
        lines += too_close({name: one[what].notes for name, one in outcomes.items()}, compared)
    watched = sum(len(o.notes) for one in outcomes.values() for o in one.values())
    print(f"\n{watched:,} comparisons and rounded numbers watched; what has less than a factor of {SPARE} to spare:")
    print("share of its tolerance, place, what, and the values on each machine")
    print("\n".join(lines) or "    nothing")
    return lines


if __name__ == "__main__":
    sys.exit(main())
