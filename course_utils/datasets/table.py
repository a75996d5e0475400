"""A folder of clips: one table whatever the source, plus where each file is and how long it lasts."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from course_utils import audio, containers
from course_utils.datasets.metadata import (
    AUDIO_ENDINGS,
    COLUMNS,
    NAME_COLUMN,
    DatasetError,
    Listing,
    label_sets,
    metadata_from_names,
    read_listing,
    taxonomy_of,
)
from course_utils.taxonomy import Taxonomy

_TABLE_ENDINGS = (".csv", ".tsv", ".txt")
_SHOWN = 5  # tables named in a message


@dataclass(frozen=True)
class ClipDataset:
    """A folder of clips, whole or partial.

    Attributes:
        name: What to call it in messages.
        root: The folder.
        clips: One row per clip whose file is there, index 0 … n−1: the columns of `COLUMNS`, then `labels` where a clip
            may have any number of labels, `path` (below `root`, as `audio/fold1/a.wav`) and `duration` (seconds). What is
            not known is NaN.
        taxonomy: Its classes.
        missing: Rows of the metadata whose file is not there, with the same columns but the last two.
        fold_names: Fold → what the metadata calls it; empty where its folds are numbers, or not known.
    """

    name: str
    root: Path
    clips: pd.DataFrame
    taxonomy: Taxonomy
    missing: pd.DataFrame
    fold_names: dict[int, str] = field(default_factory=dict)

    @property
    def label_sets(self) -> np.ndarray:
        """Label sets of the clips as multi-hot vectors, float32 `[n, n_classes]`."""
        return label_sets(self.clips, self.taxonomy)

    def path(self, row: int) -> Path:
        """Return where the file of one clip is."""
        return self.root / self.clips["path"][row]

    def __repr__(self) -> str:
        """Return `describe()`, so that a notebook that shows a data set names no folder of its machine."""
        return self.describe()

    def describe(self) -> str:
        """Say in a few lines what is there and what is not."""
        n, hours = len(self.clips), self.clips["duration"].sum() / 3600
        recordings, folds = (self.clips[column].notna().all() for column in ("fsID", "fold"))
        known = f"{self.clips['fsID'].nunique():,} recordings" if recordings else "recordings not known"
        lines = [f"{self.name}: {n:,} clips, {hours:.2f} h, {known}, {self.taxonomy.n_classes} classes"]
        if "labels" in self.clips:
            sizes = self.label_sets.sum(axis=1)
            lines.append(f"  {sizes.mean():.1f} labels per clip, from {sizes.min():.0f} to {sizes.max():.0f}")
        if self.fold_names:
            lines.append(f"  folds: {', '.join(f'{fold} is {word}' for fold, word in self.fold_names.items())}")
        if not recordings:
            lines.append(
                "  recordings not known: no audit can tell what the test shares with training, and intervals are over clips"
            )
        if not folds:
            lines.append("  no folds: split the clips with --split stratified, or --split clips")
        if len(self.missing):
            lines.append(
                f"  incomplete: {len(self.missing):,} of {n + len(self.missing):,} clips in the metadata are missing"
            )
        if len(self.missing) and folds:
            here, listed = Counter(self.clips["fold"]), Counter(self.missing["fold"])
            whole = [f for f in sorted(here) if not listed[f]]
            part = [f"{f} ({here[f]} of {here[f] + listed[f]})" for f in sorted(here) if listed[f]]
            none = [f for f in sorted(listed) if not here[f]]
            for label, some in (("whole", whole), ("partly there", part), ("not there", none)):
                if some:
                    lines.append(f"  folds {label}: {', '.join(map(str, some))}")
        return "\n".join(lines)


def open_folder(
    root: Path | str,
    name: str | None = None,
    *,
    table: str | None = None,
    columns: Mapping[str, str | int] | None = None,
) -> ClipDataset:
    """Open a folder of clips: in the official layout, complete or partial, or in your own.

    The metadata is `metadata/*.csv` or a CSV in the folder itself, or the tables that you name. A clip is looked for as
    `audio/foldN/NAME`, `foldN/NAME`, `audio/NAME` and `NAME`; where the ending differs (`.flac` or `.ogg` instead of
    `.wav`), the file of the same name with another ending is taken. Where there are no folders `foldN`, a clip
    that is still missing is looked for in all folders below. If several files there have its name, the one is taken whose
    folder has the name of the clip's fold, of its table, or of the folder of its table.

    Args:
        root: The folder.
        name: What to call the data set; its folder's name if not given.
        table: The table, or a pattern that several tables with the same columns match, such as `annotations/**/*.txt`;
            below the folder.
        columns: What the tables call the columns of the course, as for `read_metadata`.

    Returns:
        The data set, with the rows whose files are not there set apart in `missing`.

    Raises:
        DatasetError: If there is no such folder, no metadata or no clip, the classes contradict each other, or a clip may
            be one of several files.

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
    tables = _find_metadata(root) if table is None else _matching(root, table)
    if not tables and columns:
        raise DatasetError(
            f"{containers.shown(root)}: no table in metadata/ or here; name it (table=…). {_there(root)}"
        )
    listing = read_listing(tables, columns) if tables else Listing(metadata_from_names(root), [], {})
    listed = listing.clips
    if listed.empty:
        raise DatasetError(
            f"{containers.shown(root)}: no clips here. Expected metadata/*.csv with the columns {', '.join(COLUMNS)} and the "
            "files in audio/fold1, audio/fold2 …, or a table of your own (table=…, --table); "
            f"`python -m course_utils data mini` makes a data set to start with. {_there(root)}"
        )
    metadata = ", ".join(map(containers.shown, tables[:1])) + (f" and {len(tables) - 1:,} more" if tables[1:] else "")
    paths = _find_files(root, listing)
    here = np.array([path is not None for path in paths], dtype=bool)
    if not here.any():
        fold, file = listed["fold"][0], listed[NAME_COLUMN][0]
        first = file if np.isnan(fold) else f"audio/{listing.fold_names.get(fold, f'fold{fold}')}/{file}"
        raise DatasetError(
            f"{containers.shown(root)}: none of the {len(listed):,} files in {metadata} is there, the first being {first}"
        )
    clips = listed[here].reset_index(drop=True)
    clips["path"] = [path.relative_to(root).as_posix() for path in paths if path is not None]
    seconds = (clips["end"] - clips["start"]).to_numpy(np.float64, copy=True)
    for row in np.flatnonzero(np.isnan(seconds)):
        try:
            seconds[row] = audio.duration(root / clips["path"][row])
        except containers.AudioError:
            pass  # it stays NaN here, and is reported with its name when it is decoded
    clips["duration"] = seconds
    missing = listed[~here].reset_index(drop=True)
    return ClipDataset(name or root.name, root, clips, taxonomy_of(listed, metadata), missing, listing.fold_names)


def _find_metadata(root: Path) -> list[Path]:
    found = sorted(root.glob("metadata/*.csv")) or sorted(root.glob("*.csv"))
    official = [path for path in found if path.name == "UrbanSound8K.csv"]
    if len(found) > 1 and not official:
        raise DatasetError(
            f"{containers.shown(root)}: several tables ({', '.join(p.name for p in found)}); leave one in metadata/, or name "
            "those to read (table=…)"
        )
    return (official or found)[:1]


def _matching(root: Path, pattern: str) -> list[Path]:
    """Return the tables that a pattern names, by their names."""
    if (root / pattern).is_file():
        return [root / pattern]
    try:
        found = sorted(path for path in root.glob(pattern) if path.is_file() and not path.name.startswith("."))
    except (ValueError, NotImplementedError) as error:
        raise DatasetError(f"{pattern!r}: not a pattern of files below {containers.shown(root)} ({error})") from error
    if not found:
        raise DatasetError(f"{containers.shown(root)}: no table {pattern}. {_there(root)}")
    return found


def _there(root: Path) -> str:
    """Say which files below a folder may be tables."""
    found = (Path(place, file) for place, files in _walk(root) for file in files)
    names = [path.relative_to(root).as_posix() for path in found if path.suffix.lower() in _TABLE_ENDINGS]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"Tables there: {', '.join(map(containers.shown, names[:_SHOWN])) or 'none'}{more}"


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Go through a folder and all below, once each: the folder and the names of its files."""
    seen = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folder for folder in folders if not folder.startswith("."))
        if real not in seen:
            seen.add(real)
            yield place, sorted(files)


def _find_files(root: Path, listing: Listing) -> list[Path | None]:
    """Return the file of each clip, or None where it is not there."""
    names, folds = listing.clips[NAME_COLUMN], listing.clips["fold"]
    fold_folders = {
        fold: listing.fold_names.get(fold, f"fold{fold}") for fold in ([] if folds.isna().any() else folds.unique())
    }
    listings: dict[Path, dict[str, Path]] = {}

    def listing_of(folder: Path) -> dict[str, Path]:
        """Return the files of a folder by name; sound files also by their name without its ending."""
        if folder not in listings:
            entries = os.scandir(folder) if folder.is_dir() else ()
            files = sorted(Path(entry.path) for entry in entries if not entry.is_dir())
            listings[folder] = {_key(p.stem): p for p in files if p.suffix.lower() in AUDIO_ENDINGS}
            listings[folder] |= {_key(p.name): p for p in files}
        return listings[folder]

    def find(name: str, fold: int) -> Path | None:
        folders = [root / "audio" / fold_folders[fold], root / fold_folders[fold]] if fold in fold_folders else []
        for folder in (*folders, root / "audio", root):
            for spelling in dict.fromkeys((name, name.replace("\\", "/"))):  # as Windows writes it
                path = folder / spelling
                there = listing_of(path.parent)
                file = there.get(_key(path.name)) or there.get(_key(_stem(path.name)))
                if file is not None:
                    return file
        return None

    paths = [find(name, fold) for name, fold in zip(names, folds, strict=True)]
    official = not listing.fold_names and any(
        (root / place / folder).is_dir() for folder in fold_folders.values() for place in ("audio", "")
    )
    if None in paths and not official:
        anywhere = defaultdict(list)
        for place, _ in _walk(root):
            for key, path in listing_of(Path(place)).items():
                anywhere[key].append(path)
        times = Counter(_base(name) for name in names)
        for row in [row for row, path in enumerate(paths) if path is None]:
            base = _base(names[row])
            candidates = anywhere.get(base) or anywhere.get(_stem(base), [])
            paths[row] = _choose(root, listing, row, candidates, is_alone=times[base] == 1)
    _refuse_shared(root, listing, paths)
    return paths


def _choose(root: Path, listing: Listing, row: int, candidates: list[Path], is_alone: bool) -> Path | None:
    """Choose among the files with a clip's name by the folder in the name, then the fold, the table, the table's folder.

    Args:
        root: The folder of the data set.
        listing: The clips.
        row: The clip.
        candidates: The files with its name.
        is_alone: No other clip's file has this name, in whichever folder.
    """
    name = listing.clips[NAME_COLUMN][row]
    parents = [_key(part) for part in PurePosixPath(name.replace("\\", "/")).parts[:-1]]
    folders = {path: [_key(part) for part in path.parent.relative_to(root).parts] for path in candidates}
    if parents:
        below = [path for path, parts in folders.items() if parts[-len(parents) :] == parents]
        candidates = below or (candidates if is_alone else [])
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    table = listing.places[row][0]
    fold = listing.fold_names.get(listing.clips["fold"][row])
    for word in (fold, table.stem, table.absolute().parent.name):
        equal = [path for path in candidates if word in folders[path]]
        alike = [path for path in candidates if any(word in re.split(r"[\W_]+", part) for part in folders[path])]
        for found in (equal, alike):
            if len(found) == 1:
                return found[0]
    first, second = (containers.shown(path.relative_to(root).as_posix()) for path in candidates[:2])
    raise DatasetError(
        f"{listing.place(row)}: {name} may be {first} or {second}; write the name with its folder, as {first}"
    )


def _refuse_shared(root: Path, listing: Listing, paths: list[Path | None]) -> None:
    """Refuse clips that are one file."""
    owner: dict[Path, int] = {}
    for row, path in enumerate(paths):
        if path is not None and owner.setdefault(path, row) != row:
            other, names = owner[path], listing.clips[NAME_COLUMN]
            raise DatasetError(
                f"{listing.place(row)}: {names[row]} is the file {containers.shown(path.relative_to(root).as_posix())}, and so "
                f"is {names[other]} in {listing.place(other)}; list each file once"
            )


def _stem(name: str) -> str:
    """Return a name without its ending; digits after a point are none."""
    path = PurePosixPath(name)
    return path.name if path.suffix[1:].isdecimal() else path.stem


def _base(name: str) -> str:
    """Return the last part of a name, whichever slashes it has."""
    return _key(PurePosixPath(name.replace("\\", "/")).name)


def _key(name: str) -> str:
    """Return a name in one form: `ü` may be written as one character or two."""
    return unicodedata.normalize("NFC", name)
