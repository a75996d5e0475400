"""`mini`: a generated stand-in for UrbanSound8K, with its layout, columns, folds and imbalance.

About 600 clips of synthetic street sound, so that every lesson and every test runs offline. Each recording is one long
signal, made by `synthesis`. Overlapping slices are cut from it as in the original (4 s window, 2 s hop), so that the leaks
of a careless split exist here as well.

The order of this file: what is in the set (the plan) → how it is written → `build`.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.random import Generator

from course_utils.audio import SAMPLE_RATE
from course_utils.datasets.synthesis import Recording, Slice, synthesise
from course_utils.files import Kind, build_beside, need_room
from course_utils.progress import bar
from course_utils.taxonomy import URBANSOUND8K_CLASSES

VERSION = 1  # raise it when the audio or the table changes; callers put it into the folder's name
KIND = Kind("mini, made again at first use", "", r"mini-v\d+")
N_FOLDS = 10
NEEDED_DISK = 110e6  # bytes
WINDOW, HOP = 4.0, 2.0  # s, of the slices
GRID = 0.02  # s; a whole number of samples (441), so that the seconds in the table are exact

# Clips per class, in proportion to the original's 1,000 (siren 929, car_horn 429, gun_shot 374).
CLIPS = (69, 30, 69, 69, 69, 69, 26, 69, 64, 69)
# Of these, clips of single events shorter than the window; their lengths are log-normal.
SHORT_CLIPS = (1, 19, 1, 24, 14, 2, 25, 8, 1, 0)
SHORT_MEDIAN = (2.5, 0.85, 2.5, 1.3, 1.6, 2.5, 1.5, 2.2, 2.5, 2.5)  # s
SHORT_SPREAD = (0.2, 0.6, 0.2, 0.65, 0.6, 0.3, 0.5, 0.35, 0.2, 0.2)  # standard deviation of log length

# One file of each class is stored in another format: (class ID, rate in Hz, channels, container, sample format).
# A changed rate falls on a clip that overlaps no other, because resampled copies cannot share samples.
ODD_FORMATS = (
    (0, 22_050, 1, "WAVEX", "PCM_16"),
    (1, 11_025, 1, "WAV", "PCM_16"),
    (2, 22_050, 1, "WAV", "FLOAT"),
    (3, 48_000, 1, "WAV", "PCM_16"),
    (4, 48_000, 2, "WAVEX", "PCM_24"),
    (5, 22_050, 1, "WAV", "PCM_U8"),
    (6, 96_000, 1, "WAV", "PCM_24"),
    (7, 44_100, 2, "WAV", "PCM_16"),
    (8, 22_050, 2, "WAV", "PCM_16"),
    (9, 22_050, 1, "WAV", "PCM_24"),
)


# --- The plan: which recordings there are, and how they are cut ------------------------------------------------------


def _on_grid(seconds: float) -> float:
    return round(round(seconds / GRID) * GRID, 2)


def _split(rng: Generator, total: int, parts: int, spread: float = 0.15) -> list[int]:
    """Split `total` into `parts` whole numbers that differ a little, each at least 1."""
    weights = rng.uniform(1 - spread, 1 + spread, parts)
    exact = 1 + (total - parts) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact)[: total - counts.sum()]] += 1
    return counts.tolist()


def _cut(rng: Generator, long_clips: int, short: Sequence[float]) -> tuple[list[Slice], float]:
    """Lay the occurrences of a recording out in time: one that fills several windows, and short events."""
    lengths = [*short, WINDOW + HOP * (long_clips - 1)] if long_clips else list(short)
    rng.shuffle(lengths)
    slices, now = [], 0.4
    for occurrence, length in enumerate(lengths):
        now = _on_grid(now + rng.uniform(0.2, 0.8))
        count = 1 if length < WINDOW else long_clips
        for k in range(count):
            start = round(now + k * HOP, 2)
            slices.append(Slice(start, round(start + min(length, WINDOW), 2), occurrence, k))
        now += length
    return slices, _on_grid(max(5.0, now + 0.6))


def plan(seed: int = 0) -> list[Recording]:
    """List the recordings of the set without making any sound.

    Args:
        seed: The seed of the data set.

    Returns:
        The recordings, class by class, fold by fold; each knows its slices.

    Example:
        >>> recordings = plan()
        >>> len(recordings), sum(len(recording.slices) for recording in recordings)
        (180, 603)
    """
    rng = np.random.default_rng([seed, 2**31])
    recordings: list[Recording] = []
    fs_ids = iter(rng.choice(np.arange(10_000, 210_000), 1_000, replace=False).tolist())
    for class_id, total in enumerate(CLIPS):
        short = np.exp(rng.normal(np.log(SHORT_MEDIAN[class_id]), SHORT_SPREAD[class_id], SHORT_CLIPS[class_id]))
        is_short = rng.permutation(total) < len(short)  # which clips of the class are short events
        lengths = np.full(total, WINDOW)
        lengths[is_short] = np.clip(short, 0.16, 3.8)
        clips = iter(lengths.tolist())
        for fold, in_fold in enumerate(rng.permutation(_split(rng, total, N_FOLDS)).tolist(), start=1):
            for count in _split(rng, in_fold, -(-in_fold // 4), 0.4):
                mine = [next(clips) for _ in range(count)]
                events = [_on_grid(c) for c in mine if c < WINDOW]
                slices, seconds = _cut(rng, count - len(events), events)
                salience = 1 + int(rng.random() < 0.35)
                one = Recording(next(fs_ids), class_id, fold, salience, seconds, (seed, len(recordings)), tuple(slices))
                recordings.append(one)
    return _with_odd_formats(rng, recordings)


def _with_odd_formats(rng: Generator, recordings: list[Recording]) -> list[Recording]:
    recordings = list(recordings)
    for class_id, rate, channels, container, subtype in ODD_FORMATS:
        places = []
        for i, recording in enumerate(recordings):
            several = {part.occurrence for part in recording.slices if part.number > 0}
            for k, part in enumerate(recording.slices):
                if recording.class_id == class_id and (rate == SAMPLE_RATE or part.occurrence not in several):
                    places.append((i, k))
        i, k = places[rng.integers(len(places))]
        slices = list(recordings[i].slices)
        slices[k] = replace(slices[k], rate=rate, channels=channels, container=container, subtype=subtype)
        recordings[i] = replace(recordings[i], slices=tuple(slices))
    return recordings


# --- The data set: its files ----------------------------------------------------------------------------------------


def _write(recording: Recording, folder: Path) -> None:
    """Make a recording and write its slices below `folder`.

    Raises:
        OSError: If the disk is full, or the folder is gone.
    """
    import soundfile

    samples = synthesise(recording)
    for part in recording.slices:
        cut = samples[round(part.start * SAMPLE_RATE) : round(part.end * SAMPLE_RATE)] / 32_768.0
        if part.rate != SAMPLE_RATE:
            step = np.gcd(part.rate, SAMPLE_RATE)
            cut = scipy.signal.resample_poly(cut, part.rate // step, SAMPLE_RATE // step)
        if part.channels == 2:  # a source a little to the left; the mean of the channels is the mono signal
            cut = np.stack([1.04 * cut, 0.96 * cut], axis=1)
        path = folder / "audio" / f"fold{recording.fold}" / recording.name(part)
        try:
            if part.subtype == "FLOAT":  # libsndfile would write the time into it
                scipy.io.wavfile.write(path, part.rate, cut.astype(np.float32))
            else:
                soundfile.write(path, cut, part.rate, format=part.container, subtype=part.subtype)
        except (soundfile.LibsndfileError, AssertionError, OSError):  # soundfile asserts that all is written
            if not folder.is_dir():
                raise OSError(f"{folder}: deleted while `mini` was made there; make it again") from None
            if shutil.disk_usage(folder).free < 1 << 20:
                raise OSError(f"{folder.parent}: the disk is full; free some space and make `mini` again") from None
            raise OSError(f"{path}: cannot be written; look whether a quota limits your files") from None


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, whatever ended it."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from running the caller's script again.

    They need nothing from it, and it may be a notebook, standard input, or a script without a guard.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
    main.__spec__ = None
    vars(main).pop("__file__", None)
    try:
        yield
    finally:
        vars(main).update(kept)


def _write_all(recordings: Sequence[Recording], folder: Path, workers: int, progress: bool | None) -> None:
    done = 0
    with bar(what="mini", total=len(recordings), unit="recording", progress=progress, leave=True) as shown:
        if workers > 1:
            try:
                # "spawn" everywhere: a fork of a process with threads (torch, a notebook) may hang.
                spawn = multiprocessing.get_context("spawn")
                with ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent) as pool:
                    with _without_main():
                        results = pool.map(_write, recordings, [folder] * len(recordings), chunksize=4)
                    for _ in results:
                        done += 1
                        shown.update()
            except BrokenProcessPool:  # a machine that allows no more processes: go on in this one
                pass
        for recording in recordings[done:]:
            _write(recording, folder)
            shown.update()


def build(root: Path, seed: int = 0, progress: bool | None = None, workers: int | None = None) -> Path:
    """Generate the data set into folder `root`, or return at once if it is there.

    The folder appears when it is complete: an interruption leaves none.

    Args:
        root: The folder to make: `audio/fold1` … `audio/fold10` and `metadata/UrbanSound8K.csv`.
        seed: The same seed gives the same audio, bit for bit, with any number of workers.
        progress: Show a progress bar; None: only in a terminal.
        workers: Processes to use; None takes the CPU cores of this machine, eight at most.

    Returns:
        `root`.

    Raises:
        FileExistsError: If `root` holds something that is not a finished set.
        NoRoomError: If the disk has too little room.
        OSError: If the disk fills up, or the folder is deleted in the meantime.

    Example:
        >>> build(Path("data/mini"))  # doctest: +SKIP
    """
    import pandas as pd

    root = Path(root)
    if (root / "metadata" / "UrbanSound8K.csv").is_file():
        return root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(
            f"{root}: holds something, but not a finished data set; delete it, or name another folder"
        )
    recordings = plan(seed)
    rows = [
        (r.name(s), r.fs_id, s.start, s.end, r.salience, r.fold, r.class_id, URBANSOUND8K_CLASSES[r.class_id])
        for r in recordings
        for s in r.slices
    ]
    need_room(root.parent, NEEDED_DISK)
    columns = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    table = pd.DataFrame(rows, columns=columns).sort_values("slice_file_name", ignore_index=True)
    with build_beside(root) as folder:
        for fold in range(1, N_FOLDS + 1):
            (folder / "audio" / f"fold{fold}").mkdir(parents=True)
        _write_all(recordings, folder, workers or min(8, os.cpu_count() or 1), progress)
        (folder / "metadata").mkdir()
        table.to_csv(folder / "metadata" / "UrbanSound8K.csv", index=False, lineterminator="\n")
    return root
