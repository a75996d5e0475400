"""Small copies of public data sets, in the layouts that they are released in, for `open_folder` with `table` and `columns`.

Each function writes the sounds (half a second each, a tone per class, in noise) and the tables, and returns the table and
the columns to open them with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from course_utils import audio
from course_utils.taxonomy import URBANSOUND8K_CLASSES

RATE = 22_050
Columns = dict[str, str | int]


def labels_of(number: int, classes: Sequence[str]) -> list[str]:
    """Choose one to three labels: clips 0 … n−1 cover all n classes, each first once."""
    return [classes[(number + k * (k + 1) // 2) % len(classes)] for k in range(1 + number % min(3, len(classes) - 1))]


def write_sound(path: Path, labels: Iterable[str], classes: Sequence[str], seed: int) -> None:
    """Write half a second of noise with a tone for each label."""
    rng, time = np.random.default_rng(seed), np.arange(RATE // 2) / RATE
    sound = 0.02 * rng.standard_normal(len(time))
    for label in labels:
        sound += 0.2 * np.sin(2 * np.pi * 300 * (classes.index(label) + 1) * time + rng.uniform(0, 2 * np.pi))
    audio.write(path, sound, RATE)


def esc50(root: Path, classes: Sequence[str] = ("dog", "rain", "siren", "wind")) -> tuple[str, Columns]:
    """Write 40 clips as ESC-50 has them: one class each, five folds, two clips per recording."""
    rows = []
    for number in range(10 * len(classes)):
        fold, target, take = number % 5 + 1, number // 10, "AB"[number // 5 % 2]
        recording = 1000 + 5 * target + fold
        name = f"{fold}-{recording}-{take}-{target}.wav"
        write_sound(root / "audio" / name, [classes[target]], classes, number)
        rows.append((name, fold, target, classes[target], False, recording, take))
    names = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    (root / "meta").mkdir()
    pd.DataFrame(rows, columns=names).to_csv(root / "meta" / "esc50.csv", index=False)
    return "meta/esc50.csv", {"file": "filename", "recording": "src_file", "class": "category", "classID": "target"}


def fsdkaggle2019(root: Path) -> tuple[str, Columns]:
    """Write 24 clips as the curated part of FSDKaggle2019 has them: labels, and neither folds nor recordings."""
    classes, rows = ("Bark", "Raindrop", "Male_speech_and_man_speaking", "Whispering"), []
    for number in range(24):
        name, labels = f"{number:08x}.wav", labels_of(number, classes)
        write_sound(root / "train_curated" / name, labels, classes, number)
        rows.append((name, ",".join(labels)))
    pd.DataFrame(rows, columns=["fname", "labels"]).to_csv(root / "train_curated.csv", index=False)
    return "train_curated.csv", {"file": "fname"}


def fsd50k(root: Path) -> tuple[str, Columns]:
    """Write 36 clips as FSD50K has them: numbers for names, and a table and a folder each for dev and eval."""
    classes, tables = ("Bark", "Rain", "Siren", "Speech"), root / "FSD50K.ground_truth"
    tables.mkdir(parents=True)
    for part, numbers in (("dev", range(24)), ("eval", range(24, 36))):
        rows = []
        for number in numbers:
            labels = labels_of(number, classes)
            write_sound(root / f"FSD50K.{part}_audio" / f"{64_760 + number}.wav", labels, classes, number)
            mids = ",".join(f"/m/0{classes.index(label)}" for label in labels)
            rows.append((64_760 + number, ",".join(labels), mids, "val" if number % 4 == 3 else "train"))
        table = pd.DataFrame(rows, columns=["fname", "labels", "mids", "split"])
        table[table.columns[: 4 if part == "dev" else 3]].to_csv(tables / f"{part}.csv", index=False)
    vocabulary = [f"{i},{name},/m/0{i}" for i, name in enumerate(classes)]
    (tables / "vocabulary.csv").write_text("\n".join(vocabulary), encoding="utf-8")
    return "FSD50K.ground_truth/[de]*.csv", {"file": "fname", "fold": "TABLE"}


def urban_sed(root: Path) -> tuple[str, Columns]:
    """Write 32 clips as URBAN-SED has them: a table without a header for each, with the times of its sounds."""
    number = 0
    for part, clips in (("train", 12), ("validate", 10), ("test", 10)):
        (root / "annotations" / part).mkdir(parents=True)
        for i in range(clips):
            name, labels = f"soundscape_{part}_bimodal{i}", labels_of(i, URBANSOUND8K_CLASSES)
            write_sound(root / "audio" / part / f"{name}.wav", labels, URBANSOUND8K_CLASSES, number)
            rows = [f"{0.1 * k:.3f}\t{0.1 * k + 0.2:.3f}\t{label}\n" for k, label in enumerate(labels)]
            (root / "annotations" / part / f"{name}.txt").write_text("".join(rows), encoding="utf-8")
            number += 1
    return "annotations/**/*.txt", {"file": "TABLE", "fold": "FOLDER", "labels": 2}


def row_per_label(root: Path) -> tuple[str, Columns]:
    """Write 30 clips of one's own: a row per label, folds, and two clips per recording."""
    classes, rows = ("buzz", "click", "hiss", "whistle"), []
    for number in range(30):
        fold, labels = number // 2 % 3 + 1, labels_of(number // 2 // 3 + number % 2, classes)
        name = f"session {number // 2:02}-{number % 2}.wav"
        write_sound(root / "sounds" / name, labels, classes, number)
        rows += [(name, f"session {number // 2:02}", fold, label) for label in labels]
    pd.DataFrame(rows, columns=["sound", "session", "part", "heard"]).to_csv(root / "heard.tsv", sep="\t", index=False)
    return "heard.tsv", {"file": "sound", "recording": "session", "fold": "part", "labels": "heard"}
