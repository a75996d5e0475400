"""How far apart neighbouring slices of UrbanSound8K are: by its table, and by their sound.

    python benchmarks/slice_times.py --data FOLDER

FOLDER holds clips of UrbanSound8K, whole or in part. Two slices of one occurrence with neighbouring numbers are slid over
each other, and the shift at which they are most alike is compared with the difference of their `start`. From the shift
follows how many clips really share samples with another, and how many of a random test with training.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.signal import correlate
from tqdm.auto import tqdm

from course_utils import datasets, splits
from course_utils.audio import SAMPLE_RATE
from course_utils.datasets import ClipCache

LEAST = 0.5  # s that two slices must have in common: shorter pieces are alike by chance


def neighbours(clips: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the rows of slices of one occurrence with neighbouring numbers, where both last at least 2.5 s."""
    long = clips[clips["duration"] > 2.5].sort_values(["fsID", "classID", "occurrence", "slice"])
    following = long.shift(-1)
    keys = ["fsID", "classID", "occurrence"]
    is_pair = (long[keys] == following[keys]).all(axis=1) & (following["slice"] - long["slice"] == 1)
    rows = long.index.to_numpy()
    return [(int(rows[i]), int(rows[i + 1])) for i in np.flatnonzero(is_pair)]


def shift(first: np.ndarray, second: np.ndarray) -> float:
    """Return the shift in seconds at which the end of `first` and the beginning of `second` are most alike.

    Alike is the sum of products over the root of both energies, for every shift that leaves `LEAST` seconds in common.
    """
    shifts = np.arange(1, len(first) - round(LEAST * SAMPLE_RATE))
    products = correlate(first, second, method="fft")[len(second) - 1 + shifts]
    before = [np.concatenate([[0], np.cumsum(clip.astype(np.float64) ** 2)]) for clip in (first, second)]
    ends = np.minimum(len(first), shifts + len(second))
    energies = (before[0][ends] - before[0][shifts]) * before[1][ends - shifts]
    return float(shifts[(products / np.sqrt(energies + 1e-12)).argmax()] / SAMPLE_RATE)


def sharing(table: pd.DataFrame, tests: int = 20) -> tuple[float, float]:
    """Return the share of clips that overlap another, and that of a random fifth that overlap the other clips."""
    everything = np.arange(len(table))
    with_another = np.zeros(len(table), dtype=bool)
    for rows in table.groupby("fsID").indices.values():
        start, end = table["start"].to_numpy()[rows], table["end"].to_numpy()[rows] - 1e-6  # touching is not sharing
        with_another[rows] = ((start[:, None] < end) & (end[:, None] > start)).sum(axis=1) > 1
    leaks = []
    for seed in range(tests):
        is_test = np.random.default_rng(seed).random(len(table)) < 0.2
        audit = splits.audit(table, everything[~is_test], everything[is_test])
        leaks.append(audit.samples / audit.items)
    return float(with_another.mean()), float(np.mean(leaks))


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="clips of UrbanSound8K, whole or in part")
    dataset = datasets.load(parser.parse_args().data)
    cache = ClipCache.open(dataset)
    table = pd.concat([cache.clips, dataset.missing], ignore_index=True)
    names = table["slice_file_name"].str.extract(r"\d+-\d+-(\d+)-(\d+)").astype(int)
    table["occurrence"], table["slice"] = names[0], names[1]
    pairs = neighbours(table.iloc[: len(cache)])
    rows = [(table["start"][b] - table["start"][a], shift(cache[a], cache[b])) for a, b in tqdm(pairs, leave=False)]
    found = pd.DataFrame(rows, columns=["by the table", "by the sound"]).round(2)
    print(f"{len(found)} pairs of neighbouring slices. Most frequent shifts, in s:")
    print(found.groupby(["by the table", "by the sound"]).size().nlargest(4).to_string())
    hop = found["by the sound"].mode()[0] - found["by the table"].mode()[0]
    moved = hop * table["slice"]
    by_sound = table.assign(start=table["start"] + moved, end=table["end"] + moved - 1e-6)
    for says, times in (("by the table", table), ("by the sound", by_sound)):
        with_another, leak = sharing(times)
        print(f"{says}: {with_another:.1%} of the clips share samples with another; a random fifth as test,")
        print(f"  {leak:.1%} of it with the other clips (mean of 20 draws)")


if __name__ == "__main__":
    main()
