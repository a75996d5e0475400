"""One table of clips for every source: UrbanSound8K's eight columns, plus where the file is and how long it lasts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from course_utils import audio, containers
from course_utils.taxonomy import URBANSOUND8K_CLASSES, Taxonomy

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
_NAME_COLUMN = "slice_file_name"
_NEEDED = (_NAME_COLUMN, "fsID", "fold", "classID", "class")
_LARGEST = 1e9  # of a fold or class ID
_NAME = re.compile(r"(?P<fsID>\d+)-(?P<classID>\d+)-(?P<occurrence>\d+)-(?P<slice>\d+)")


class DatasetError(ValueError):
    """A data set that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class ClipDataset:
    """A folder of clips, whole or partial.

    Attributes:
        name: What to call it in messages.
        root: The folder.
        clips: One row per clip whose file is there, index 0 … n−1: the columns of `COLUMNS`, then `path` (below `root`,
            as `audio/fold1/a.wav`) and `duration` (seconds). What is not known is NaN.
        taxonomy: Its classes.
        missing: Rows of the metadata whose file is not there, with the columns of `COLUMNS`.
    """

    name: str
    root: Path
    clips: pd.DataFrame
    taxonomy: Taxonomy
    missing: pd.DataFrame

    def path(self, row: int) -> Path:
        """Return where the file of one clip is."""
        return self.root / self.clips["path"][row]

    def __repr__(self) -> str:
        """Return `describe()`, so that a notebook that shows a data set names no folder of its machine."""
        return self.describe()

    def describe(self) -> str:
        """Say in a few lines what is there and what is not."""
        n, hours = len(self.clips), self.clips["duration"].sum() / 3600
        lines = [
            f"{self.name}: {n:,} clips, {hours:.2f} h, {self.clips['fsID'].nunique():,} recordings, "
            f"{self.taxonomy.n_classes} classes"
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
        path: A table with the columns of `COLUMNS`, separated by commas, semicolons or tabs; `class_name` is accepted
            for `class`, and `start`, `end` and `salience` may be left out.

    Returns:
        One row per clip with the columns of `COLUMNS`.

    Raises:
        DatasetError: If the file is not a table, a column is missing, or a value is missing or impossible.

    Example:
        >>> import tempfile
        >>> clip = {"slice_file_name": "a.wav", "fsID": 7, "start": 0.5, "end": 2.5, "fold": 1, "classID": 0, "class": "dog"}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     pd.DataFrame([clip]).to_csv(f"{root}/clips.csv", index=False)
        ...     clips = read_metadata(f"{root}/clips.csv")
        ...
        >>> clips[["slice_file_name", "start", "end", "class"]]
          slice_file_name  start  end class
        0           a.wav    0.5  2.5   dog
    """
    path = Path(path)
    place = containers.shown(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        # A comma between the digits of numbers goes with semicolons; names stay as they are written, as `001`.
        table = pd.read_csv(
            path,
            skipinitialspace=True,
            sep=separator,
            decimal="," if separator == ";" else ".",
            dtype={_NAME_COLUMN: str},
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DatasetError(f"{place}: not a CSV table that can be read ({error})") from error
    if "class" not in table and "class_name" in table:
        table = table.rename(columns={"class_name": "class"})
    if f"first_{_NAME_COLUMN}" in table:
        raise DatasetError(
            f"{place}: the table of a stored set of mixtures, not of clips; train on it or evaluate it as it is (--data "
            "FOLDER), or open the folder of the clips"
        )
    absent = [column for column in _NEEDED if column not in table]
    if absent:
        raise DatasetError(f"{place}: no column {', '.join(absent)}; the table needs {', '.join(_NEEDED)}")
    if table.empty:
        raise DatasetError(f"{place}: no rows below the header; a clip is a row")

    def refuse(bad: pd.Series, says: Callable[..., str]) -> None:
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise DatasetError(f"{place}: line {row + 2}: {says(row)}")

    for column in _NEEDED:
        refuse(table[column].isna(), lambda row, column=column: f"nothing in column {column}")
    for column in ("start", "end", "salience"):
        written = table[column] if column in table else pd.Series(np.nan, table.index)
        numbers = pd.to_numeric(written, errors="coerce")
        unclear = np.isinf(numbers) | (numbers.isna() & written.notna() & (column != "salience"))
        refuse(unclear, lambda row, column=column, written=written: f"{column} is in seconds, not {written[row]}")
        table[column] = numbers
    refuse(
        table["end"] < table["start"],
        lambda row: f"the clip ends at {table['end'][row]:g} s, before it starts at {table['start'][row]:g} s",
    )
    for column in ("fold", "classID"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        refuse(
            ~(numbers.abs() < _LARGEST) | (numbers % 1 != 0),
            lambda row, column=column: f"{column} must be a whole number, not {table[column][row]}",
        )
        table[column] = numbers.astype(np.int64)
    refuse(
        table.duplicated([_NAME_COLUMN, "fold"]), lambda row: f"{table[_NAME_COLUMN][row]} is listed twice in one fold"
    )
    refuse(
        table[_NAME_COLUMN].map(_leaves_its_folder),
        lambda row: f"{table[_NAME_COLUMN][row]} is not in the folder of the data set; name files below it",
    )
    return table[list(COLUMNS)].reset_index(drop=True)


def _leaves_its_folder(name: str) -> bool:
    path = PureWindowsPath(name)  # it takes both kinds of slashes
    return bool(path.anchor) or ".." in path.parts


def parse_name(name: str) -> dict[str, int] | None:
    """Take a file name of UrbanSound8K apart: fsID, classID, occurrence and slice; None if it is not of that form.

    Example:
        >>> parse_name("100032-3-0-0.wav")
        {'fsID': 100032, 'classID': 3, 'occurrence': 0, 'slice': 0}
        >>> parse_name("dog.wav")
    """
    match = _NAME.fullmatch(Path(name).stem)
    return {key: int(value) for key, value in match.groupdict().items()} if match else None


def metadata_from_names(root: Path) -> pd.DataFrame:
    """Make the table from names and folders, `audio/foldN/fsID-classID-occurrence-slice.wav`, without any CSV.

    Start, end and salience are not in the names and stay NaN. Files with other names are left out.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("1-3-0-0.wav", "2-8-0-0.wav"):  # recording, class, occurrence, slice
        ...         audio.write(f"{root}/audio/fold1/{name}", np.full(22_050, 0.1))
        ...     table = metadata_from_names(Path(root))
        ...
        >>> table[["slice_file_name", "fsID", "fold", "class"]]
          slice_file_name  fsID  fold     class
        0     1-3-0-0.wav     1     1  dog_bark
        1     2-8-0-0.wav     2     1     siren
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
    """Open a folder of clips: in the official layout, complete or partial, or in your own.

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

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("1-3-0-0.wav", "2-8-0-0.wav"):  # recording, class, occurrence, slice
        ...         audio.write(f"{root}/audio/fold1/{name}", np.full(22_050, 0.1))
        ...     data = open_folder(root, "two clips")
        ...
        >>> data
        two clips: 2 clips, 0.00 h, 2 recordings, 10 classes
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(
            f"{containers.shown(root)}: no such folder, and none of the names mini, urbansound8k, measured"
        )
    if not (root / "audio").is_dir() and (root / "UrbanSound8K" / "audio").is_dir():
        root = root / "UrbanSound8K"
    metadata = _find_metadata(root)
    table = metadata_from_names(root) if metadata is None else read_metadata(metadata)
    if metadata is None and table.empty:
        raise DatasetError(
            f"{containers.shown(root)}: no clips here. Expected metadata/*.csv with the columns {', '.join(COLUMNS)} and the files in "
            "audio/fold1, audio/fold2 …; `python -m course_utils data mini` makes a data set to start with"
        )
    paths = _find_files(root, table)
    here = np.array([path is not None for path in paths], dtype=bool)
    if not here.any():
        raise DatasetError(
            f"{containers.shown(root)}: none of the {len(table):,} files in {metadata} is there, the first being "
            f"audio/fold{table['fold'][0]}/{table[_NAME_COLUMN][0]}"
        )
    clips = table[here].reset_index(drop=True)
    clips["path"] = [path.relative_to(root).as_posix() for path in paths if path is not None]
    clips["duration"] = clips["end"] - clips["start"]
    for row in np.flatnonzero(clips["duration"].isna()):
        try:
            clips.loc[row, "duration"] = audio.duration(root / clips["path"][row])
        except containers.AudioError:
            pass  # it stays NaN here, and is reported with its name when it is decoded
    taxonomy = _taxonomy(table, metadata)
    return ClipDataset(name or root.name, root, clips, taxonomy, table[~here].reset_index(drop=True))


def _find_metadata(root: Path) -> Path | None:
    found = sorted(root.glob("metadata/*.csv")) or sorted(root.glob("*.csv"))
    official = [path for path in found if path.name == "UrbanSound8K.csv"]
    if len(found) > 1 and not official:
        raise DatasetError(
            f"{containers.shown(root)}: several tables ({', '.join(p.name for p in found)}); leave one in metadata/"
        )
    chosen = official or found
    return chosen[0] if chosen else None


def _find_files(root: Path, table: pd.DataFrame) -> list[Path | None]:
    listings: dict[Path, dict[str, Path]] = {}

    def listing(folder: Path) -> dict[str, Path]:
        """Return the files of a folder by name; sound files also by their name without its ending."""
        if folder not in listings:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            listings[folder] = {_key(p.stem): p for p in files if p.suffix.lower() in AUDIO_ENDINGS}
            listings[folder] |= {_key(p.name): p for p in files}
        return listings[folder]

    def find(name: str, fold: int) -> Path | None:
        for folder in (root / "audio" / f"fold{fold}", root / f"fold{fold}", root / "audio", root):
            for path in dict.fromkeys((folder / name, folder / name.replace("\\", "/"))):  # as Windows writes it
                file = listing(path.parent).get(_key(path.name)) or listing(path.parent).get(_key(path.stem))
                if file is not None:
                    return file
        return None

    return [find(name, fold) for name, fold in zip(table[_NAME_COLUMN], table["fold"], strict=True)]


def _key(name: str) -> str:
    """Return a name in one form: `ü` may be written as one character or two."""
    return unicodedata.normalize("NFC", name)


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
