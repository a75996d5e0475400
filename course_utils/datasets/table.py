"""One table of clips for every source: UrbanSound8K's eight columns, plus where the file is and how long it lasts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from course_utils import audio
from course_utils.taxonomy import URBANSOUND8K_CLASSES, Taxonomy

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
_NEEDED = ("slice_file_name", "fsID", "fold", "classID", "class")
_NAME = re.compile(r"(?P<fsID>\d+)-(?P<classID>\d+)-(?P<occurrence>\d+)-(?P<slice>\d+)")


class DatasetError(ValueError):
    """A data set that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class ClipDataset:
    """A folder of clips, whole or partial.

    Attributes:
        name: What to call it in messages.
        root: The folder.
        clips: One row a clip whose file is there, index 0 … n−1: the columns of `COLUMNS`, then `path` (str) and
            `duration` (seconds). What is not known is NaN.
        taxonomy: Its classes.
        missing: Rows of the metadata whose file is not there, with the columns of `COLUMNS`.
    """

    name: str
    root: Path
    clips: pd.DataFrame
    taxonomy: Taxonomy
    missing: pd.DataFrame

    def describe(self) -> str:
        """Say in a few lines what is there and what is not."""
        n, hours = len(self.clips), self.clips["duration"].sum() / 3600
        lines = [
            f"{self.name}: {n:,} clips, {hours:.2f} h, {self.clips['fsID'].nunique():,} recordings, "
            f"{self.taxonomy.n_classes} classes, in {self.root}"
        ]
        if len(self.missing):
            here, listed = Counter(self.clips["fold"]), Counter(self.missing["fold"])
            whole = [f for f in sorted(here) if not listed[f]]
            part = [f"{f} ({here[f]} of {here[f] + listed[f]})" for f in sorted(here) if listed[f]]
            none = [f for f in sorted(listed) if not here[f]]
            lines.append(
                f"  incomplete: {len(self.missing):,} of {n + len(self.missing):,} clips in the metadata are missing"
            )
            for label, folds in (("whole", whole), ("partly there", part), ("not there", none)):
                if folds:
                    lines.append(f"  folds {label}: {', '.join(map(str, folds))}")
        return "\n".join(lines)


def read_metadata(path: Path | str) -> pd.DataFrame:
    """Read a metadata table and bring its columns into one form.

    Args:
        path: A CSV with the columns of `COLUMNS`; `class_name` is accepted for `class`, and `start`, `end` and
            `salience` may be left out.

    Returns:
        One row a clip with the columns of `COLUMNS`.

    Raises:
        DatasetError: If the file is no table, a column is missing, or a value is missing or of the wrong kind.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DatasetError(f"{path}: not a CSV table that can be read ({error})") from error
    if "class" not in table and "class_name" in table:
        table = table.rename(columns={"class_name": "class"})
    absent = [column for column in _NEEDED if column not in table]
    if absent:
        raise DatasetError(f"{path}: no column {', '.join(absent)}; the table needs {', '.join(_NEEDED)}")
    for column in ("start", "end", "salience"):
        table[column] = pd.to_numeric(table[column], errors="coerce") if column in table else np.nan
    for column in _NEEDED:
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax())
            raise DatasetError(f"{path}: nothing in column {column}, line {row + 2}")
    for column in ("fold", "classID"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any() or (numbers % 1 != 0).any():
            bad = table[column][numbers.isna() | (numbers % 1 != 0)].iloc[0]
            raise DatasetError(f"{path}: {column} must be a whole number, not {bad!r}")
        table[column] = numbers.astype(np.int64)
    doubled = table["slice_file_name"][table.duplicated(["slice_file_name", "fold"])]
    if len(doubled):
        raise DatasetError(f"{path}: {doubled.iloc[0]} is listed twice in one fold")
    return table[list(COLUMNS)].reset_index(drop=True)


def parse_name(name: str) -> dict[str, int] | None:
    """Take a file name of UrbanSound8K apart: fsID, classID, occurrence and slice; None if it is not of that form."""
    match = _NAME.fullmatch(Path(name).stem)
    return {key: int(value) for key, value in match.groupdict().items()} if match else None


def metadata_from_names(root: Path) -> pd.DataFrame:
    """Make the table from names and folders, `audio/foldN/fsID-classID-occurrence-slice.wav`, without any CSV.

    Start, end and salience are not in the names and stay NaN. Files with other names are left out.
    """
    rows = []
    for folder in sorted(root.glob("audio/fold*")):
        fold = folder.name.removeprefix("fold")
        for path in sorted(folder.iterdir()) if fold.isdigit() else ():
            parts = parse_name(path.name)
            if parts and path.suffix.lower() in AUDIO_ENDINGS and parts["classID"] < len(URBANSOUND8K_CLASSES):
                class_id = parts["classID"]
                label = URBANSOUND8K_CLASSES[class_id]
                rows.append((path.name, parts["fsID"], np.nan, np.nan, np.nan, int(fold), class_id, label))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def open_folder(root: Path | str, name: str | None = None) -> ClipDataset:
    """Open a folder of clips: the official layout, complete or partial, or one's own.

    The metadata is `metadata/*.csv` or a CSV in the folder itself. A clip is looked for as `audio/foldN/NAME`,
    `foldN/NAME`, `audio/NAME` and `NAME`; where the ending differs (`.flac` or `.ogg` instead of `.wav`), the file of
    the same name with another ending is taken.

    Args:
        root: The folder.
        name: What to call the data set; its folder's name if not given.

    Returns:
        The data set, with the rows whose files are not there set apart in `missing`.

    Raises:
        DatasetError: If there is no such folder, no metadata or no clip, or the classes contradict each other.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder, and none of the names mini, urbansound8k, measured")
    if not (root / "audio").is_dir() and (root / "UrbanSound8K" / "audio").is_dir():
        root = root / "UrbanSound8K"
    metadata = _find_metadata(root)
    table = metadata_from_names(root) if metadata is None else read_metadata(metadata)
    if metadata is None and table.empty:
        raise DatasetError(
            f"{root}: no clips here. Expected metadata/*.csv with the columns {', '.join(COLUMNS)} and the files in "
            "audio/fold1, audio/fold2 …; `python -m course_utils data mini` makes a data set to start with"
        )
    paths = _find_files(root, table)
    here = np.array([path is not None for path in paths], dtype=bool)
    if not here.any():
        raise DatasetError(
            f"{root}: none of the {len(table):,} files in {metadata} is there, the first being "
            f"audio/fold{table['fold'][0]}/{table['slice_file_name'][0]}"
        )
    clips = table[here].reset_index(drop=True)
    clips["path"] = [str(path) for path in paths if path is not None]
    clips["duration"] = clips["end"] - clips["start"]
    for row in np.flatnonzero(clips["duration"].isna()):
        try:
            clips.loc[row, "duration"] = audio.duration(clips["path"][row])
        except audio.AudioError:
            pass  # it stays NaN here, and is reported with its name when it is decoded
    taxonomy = _taxonomy(table, metadata)
    return ClipDataset(name or root.name, root, clips, taxonomy, table[~here].reset_index(drop=True))


def _find_metadata(root: Path) -> Path | None:
    found = sorted(root.glob("metadata/*.csv")) or sorted(root.glob("*.csv"))
    official = [path for path in found if path.name == "UrbanSound8K.csv"]
    if len(found) > 1 and not official:
        raise DatasetError(f"{root}: several tables ({', '.join(p.name for p in found)}); leave one in metadata/")
    return (official or found or [None])[0]


def _find_files(root: Path, table: pd.DataFrame) -> list[Path | None]:
    listings: dict[Path, dict[str, Path]] = {}

    def listing(folder: Path) -> dict[str, Path]:
        if folder not in listings:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            listings[folder] = {p.stem: p for p in files if p.suffix.lower() in AUDIO_ENDINGS}
            listings[folder] |= {p.name: p for p in files}
        return listings[folder]

    def find(name: str, fold: int) -> Path | None:
        for folder in (root / "audio" / f"fold{fold}", root / f"fold{fold}", root / "audio", root):
            path = folder / name
            file = listing(path.parent).get(path.name) or listing(path.parent).get(path.stem)
            if file is not None:
                return file
        return None

    return [find(str(name), fold) for name, fold in zip(table["slice_file_name"], table["fold"], strict=True)]


def _taxonomy(table: pd.DataFrame, metadata: Path | None) -> Taxonomy:
    names = table.groupby("classID")["class"].unique()
    clash = [f"{i}: {', '.join(map(str, values))}" for i, values in names.items() if len(values) > 1]
    if clash:
        raise DatasetError(f"{metadata}: one classID with several classes ({'; '.join(clash)})")
    by_id = {int(i): str(values[0]) for i, values in names.items()}
    if all(i < len(URBANSOUND8K_CLASSES) and URBANSOUND8K_CLASSES[i] == label for i, label in by_id.items()):
        return Taxonomy()
    if sorted(by_id) != list(range(len(by_id))):
        raise DatasetError(f"{metadata}: class IDs must be 0 … {len(by_id) - 1} without gaps, not {sorted(by_id)}")
    if len(set(by_id.values())) < len(by_id):
        raise DatasetError(f"{metadata}: one class with several class IDs: {by_id}")
    return Taxonomy(tuple(by_id[i] for i in range(len(by_id))))
