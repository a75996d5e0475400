"""Tables of clips: what they list, whatever they call it, in one form.

A clip is a row with the columns of `COLUMNS`; what is not known is NaN. Where a clip may have any number of labels, there
is one more column: `labels` holds the name of the clip's label set (`dog + siren`, nothing for a clip without a label),
`class` repeats it, and `classID` is NaN unless the set is of one class.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from course_utils import containers
from course_utils.taxonomy import JOINS, URBANSOUND8K_CLASSES, Taxonomy, whole

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
NAME_COLUMN = "slice_file_name"
TABLE, FOLDER = "TABLE", "FOLDER"  # the name of the table's file without its ending, and of the folder that it lies in
_NUMBERS = ("start", "end", "salience", "fold", "classID")
_OPTIONAL = ("start", "end", "salience")
_OTHER_NAMES = {NAME_COLUMN: "file", "fsID": "recording", "class": "class_name"}
_KNOWN = ("file", "recording", "fold", "class", "classID", "labels", "start", "end", "salience")
_SEPARATORS = (JOINS, "|", ";", ",")  # of labels in a cell
_NOTHING = ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "null", "NULL", "None")  # except as a label
_LARGEST = 1e9  # of a fold or class ID
_EXACT = 2**53  # up to here, different whole numbers are different floats
_NAME = re.compile(r"(?P<fsID>\d+)-(?P<classID>\d+)-(?P<occurrence>\d+)-(?P<slice>\d+)")


class DatasetError(ValueError):
    """A data set that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Listing:
    """What one or several tables list.

    Attributes:
        clips: One row per clip, index 0 … n−1: the columns of `COLUMNS`, and `labels` where clips have label sets.
        places: The table and the line in which each clip is listed first.
        fold_names: Fold → the word that the tables have for it; empty where they have numbers, or no folds.
    """

    clips: pd.DataFrame
    places: list[tuple[Path, int]]
    fold_names: dict[int, str]

    def place(self, row: int) -> str:
        """Return the table and the line in which one clip is listed first, for messages."""
        path, line = self.places[row]
        return f"{containers.shown(path)}: line {line}"


def read_metadata(path: Path | str, columns: Mapping[str, str | int] | None = None) -> pd.DataFrame:
    """Read a table of clips and bring its columns into one form.

    Args:
        path: The table, separated by commas, semicolons or tabs. It needs a column with the name of the file and one with
            its class or its labels; recording, fold, `start`, `end` and `salience` may be left out.
        columns: What the table calls the columns of the course: `file`, `recording`, `fold`, `class`, `classID`, `labels`,
            `start`, `end`, `salience` → the name of a column; its position, counted from 0, if the table has no header; or
            `TABLE` or `FOLDER`, if the name of the table or of its folder is the value. Columns that already have the
            course's names, or those of `COLUMNS`, need not be given.

    Returns:
        One row per clip with the columns of `COLUMNS`, and `labels` if some clip does not have exactly one label. Labels in
        one cell are separated by ` + `, bars, semicolons or commas; labels that contain such a mark are written as a list
        of quoted names. If the table has labels, several rows of one file are one clip, and each row holds one label.

    Raises:
        DatasetError: If the file is not a table, a column is missing, or a value is missing or impossible.

    Example:
        >>> import tempfile
        >>> table = pd.DataFrame({"sound": ["a.wav", "b.wav"], "heard": ["dog, siren", ""]})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     table.to_csv(f"{root}/clips.csv", index=False)
        ...     clips = read_metadata(f"{root}/clips.csv", {"file": "sound", "labels": "heard"})
        ...
        >>> clips["labels"].tolist()
        ['dog + siren', '']
    """
    return read_listing([path], columns).clips


def read_tables(paths: Iterable[Path | str], columns: Mapping[str, str | int] | None = None) -> pd.DataFrame:
    """Read several tables with the same columns as one.

    Args:
        paths: The tables, as `read_metadata` reads them.
        columns: What the tables call the columns of the course; as for `read_metadata`.

    Returns:
        The clips of all tables, as `read_metadata` returns them.

    Raises:
        DatasetError: If one of the tables cannot be read, or they contradict each other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("test", "train"):
        ...         pd.DataFrame({"file": [f"{name}.wav"], "class": ["dog"]}).to_csv(f"{root}/{name}.csv", index=False)
        ...     clips = read_tables([f"{root}/test.csv", f"{root}/train.csv"], {"fold": TABLE})
        ...
        >>> clips[["slice_file_name", "fold", "class"]]
          slice_file_name  fold class
        0        test.wav     1   dog
        1       train.wav     2   dog
    """
    return read_listing(paths, columns).clips


def read_listing(paths: Iterable[Path | str], columns: Mapping[str, str | int] | None = None) -> Listing:
    """Read tables as `read_tables` does, and keep where each clip is listed and what its fold is called.

    Args:
        paths: The tables.
        columns: What the tables call the columns of the course; as for `read_metadata`.

    Returns:
        What they list.

    Raises:
        DatasetError: If one of the tables cannot be read, or they contradict each other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     clips = pd.DataFrame({"file": ["a.wav", "b.wav"], "fold": ["train", "test"], "class": ["dog", "dog"]})
        ...     clips.to_csv(f"{root}/clips.csv", index=False)
        ...     listing = read_listing([f"{root}/clips.csv"])
        ...
        >>> listing.fold_names, [line for _, line in listing.places]
        ({1: 'test', 2: 'train'}, [2, 3])
    """
    mapping, files = _mapping(columns or {}), [Path(path) for path in paths]
    if not files:
        raise DatasetError("no table to read; name at least one")
    tables = [_cells(path, mapping) for path in files]
    _need_the_same_columns(files, tables)
    top = 1 if _is_numbered(mapping) else 2
    places = [(path, top + row) for path, cells in zip(files, tables, strict=True) for row in range(len(cells))]
    table = pd.concat(tables, ignore_index=True).fillna("")
    where = Listing(table, places, {}).place

    def refuse(bad: pd.Series, says: Callable[..., str]) -> None:
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise DatasetError(f"{where(row)}: {says(row)}")

    for column in (NAME_COLUMN, "fsID", "fold", "classID", "class"):
        if column in table:
            called = mapping.get(column, column)
            empty = table[column].isin(("",) if column in (NAME_COLUMN, "class") else _NOTHING)
            refuse(empty, lambda row, called=called: f"nothing in column {called}")
    _convert_seconds(table, refuse)
    fold_names = _convert_folds(table, refuse)
    _convert_recordings(table)
    refuse(
        table[NAME_COLUMN].map(_leaves_its_folder).astype(bool),
        lambda row: f"{table[NAME_COLUMN][row]} is not in the folder of the data set; name files below it",
    )
    key = [NAME_COLUMN, "fold"]  # of a clip
    once = ~table.duplicated(key)
    if "labels" in table:
        table = _unite(table, key, where, refuse)
        places = [place for place, is_first in zip(places, once, strict=True) if is_first]
        extra = ["labels"] if "labels" in table else []
    else:
        extra = []
        says = "is listed twice" + (" in one fold" if table["fold"].notna().all() else "")
        refuse(~once, lambda row: f"{table[NAME_COLUMN][row]} {says}")
        if "class" not in mapping:  # named as the class, it is one, whatever it looks like
            _refuse_combined(table["class"], set(table["class"]), refuse)
        if "classID" in table:
            table["classID"] = _whole_numbers(table, "classID", refuse)
        else:
            taxonomy = _taxonomy(table["class"], containers.shown(files[0]))
            table["classID"] = table["class"].map({name: i for i, name in enumerate(taxonomy.classes)}).astype(np.int64)
    return Listing(table[[*COLUMNS, *extra]], places, fold_names)


def label_sets(clips: pd.DataFrame, taxonomy: Taxonomy) -> np.ndarray:
    """Return the label sets of clips as multi-hot vectors.

    Args:
        clips: A table of clips, with the column `labels` or, where each clip has one class, `classID`.
        taxonomy: Its classes.

    Returns:
        float32 `[n, n_classes]`.

    Raises:
        ValueError: If a label or a class ID is none of the taxonomy.

    Example:
        >>> taxonomy = Taxonomy(("dog", "rain", "siren"))
        >>> label_sets(pd.DataFrame({"labels": ["dog + siren", ""]}), taxonomy)
        array([[1., 0., 1.],
               [0., 0., 0.]], dtype=float32)
        >>> label_sets(pd.DataFrame({"classID": [1]}), taxonomy)
        array([[0., 1., 0.]], dtype=float32)
    """
    if "labels" in clips:
        return taxonomy.from_set_names(clips["labels"])
    ids = whole(clips["classID"], "class IDs")
    if np.any(ids < 0) or np.any(ids >= taxonomy.n_classes):
        raise ValueError(f"class IDs go from 0 to {taxonomy.n_classes - 1}; got {ids.min()} … {ids.max()}")
    return np.eye(taxonomy.n_classes, dtype=np.float32)[ids]


def taxonomy_of(clips: pd.DataFrame, place: str) -> Taxonomy:
    """Return the classes of a table of clips: UrbanSound8K's if it has no others.

    Args:
        clips: The table, with the column `labels`, or with `class` and `classID`.
        place: What to name in messages.

    Raises:
        DatasetError: If classes and class IDs contradict each other.

    Example:
        >>> taxonomy_of(pd.DataFrame({"labels": ["dog + siren", "", "rain"]}), "clips.csv").classes
        ('dog', 'rain', 'siren')
    """
    if "labels" in clips:
        return _taxonomy((name for text in clips["labels"].unique() for name in text.split(JOINS) if name), place)
    names = clips.groupby("classID")["class"].unique()
    clash = [f"{i}: {', '.join(map(str, values))}" for i, values in names.items() if len(values) > 1]
    if clash:
        raise DatasetError(f"{place}: one classID with several classes ({'; '.join(clash)})")
    by_id = {int(i): str(values[0]) for i, values in names.items()}
    if all(i < len(URBANSOUND8K_CLASSES) and URBANSOUND8K_CLASSES[i] == label for i, label in by_id.items()):
        return Taxonomy()
    if sorted(by_id) != list(range(len(by_id))):
        raise DatasetError(f"{place}: class IDs must be 0 … {len(by_id) - 1} without gaps, not {sorted(by_id)}")
    if len(set(by_id.values())) < len(by_id):
        raise DatasetError(f"{place}: one class with several class IDs: {by_id}")
    return _checked([by_id[i] for i in range(len(by_id))], place)


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
        >>> from course_utils import audio
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


# --- from a file to text cells ----------------------------------------------------------------------------------------


def _mapping(columns: Mapping[str, str | int]) -> dict[str, str | int]:
    """Return the names or numbers that tables have for the columns of `COLUMNS` and `labels`."""
    official = {short: column for column, short in _OTHER_NAMES.items() if short in _KNOWN}
    mapping: dict[str, str | int] = {}
    for course, name in columns.items():
        column = official.get(course, course)
        if column not in (*COLUMNS, "labels"):
            raise DatasetError(f"no column {course!r} is known; give columns for {', '.join(_KNOWN)}")
        if column in mapping:
            raise DatasetError(f"the column {course!r} is given twice, also as {column!r}; give it once")
        if not isinstance(name, int | str):
            raise DatasetError(f"the column {course!r} is given as {name!r}; give one name, or one number")
        mapping[column] = int(name) if isinstance(name, int) or name.isdecimal() else name
    named = [name for name in mapping.values() if isinstance(name, str) and name not in (TABLE, FOLDER)]
    if _is_numbered(mapping) and named:
        raise DatasetError(
            f"columns are given by number where a table has no header, and otherwise by name; {named[0]!r} is not a number"
        )
    return mapping


def _is_numbered(mapping: Mapping[str, str | int]) -> bool:
    return any(isinstance(name, int) for name in mapping.values())


def _cells(path: Path, mapping: Mapping[str, str | int]) -> pd.DataFrame:
    """Return those cells of a table that are of use, as text, under the names of `COLUMNS` and `labels`."""
    place, numbered = containers.shown(path), _is_numbered(mapping)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if numbered and not text.strip() and mapping.get(NAME_COLUMN) == TABLE:  # a clip in which nothing is heard
            text = "," * max(name for name in mapping.values() if isinstance(name, int)) + '""'
        separator = _separator(text) if numbered else max(",;\t", key=text.partition("\n")[0].count)
        table = _without_header(text, separator) if numbered else _with_header(text, separator)
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DatasetError(f"{place}: not a CSV table that can be read ({error})") from error
    if f"first_{NAME_COLUMN}" in table:
        raise DatasetError(
            f"{place}: the table of a stored set of mixtures, not of clips; train on it or evaluate it as it is (--data "
            "FOLDER), or open the folder of the clips"
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for names of the rows
        raise DatasetError(f"{place}: line 2 has more cells than the header; put a cell with {separator!r} in quotes")
    there = ", ".join(map(str, table.columns))
    constants = {TABLE: path.stem, FOLDER: path.absolute().parent.name}
    found: dict[str, pd.Series | str] = {}
    for column, name in mapping.items():
        if name not in constants and name not in table:
            short = _OTHER_NAMES.get(column, column) if column != "class" else column
            raise DatasetError(f"{place}: no column {name}, which is given for {short}; the columns are {there}")
        found[column] = constants[str(name)] if name in constants else table[name]
    for column in () if numbered else (*COLUMNS, "labels"):
        for name in (column, _OTHER_NAMES.get(column, column)):
            if column not in found and name in table and name not in mapping.values():
                found[column] = table[name]
    if "class" in mapping and "labels" not in mapping:
        found.pop("labels", None)
    absent = [] if NAME_COLUMN in found else [f"{NAME_COLUMN} or file"]
    absent += [] if "class" in found or "labels" in found else ["class or labels"]
    if absent:
        raise DatasetError(
            f"{place}: no column {', and no column '.join(absent)}; the columns are {there}. Say which of them it is (columns="
            f"{{{', '.join(f'{name.split()[-1]!r}: …' for name in absent)}}}, or --columns "
            f"{','.join(f'{name.split()[-1]}=…' for name in absent)})"
        )
    if table.empty:
        raise DatasetError(f"{place}: no rows below the header; a clip is a row")
    if "labels" in found:
        found.pop("class", None)
        found.pop("classID", None)
    cells = pd.DataFrame(found, index=table.index, dtype=str)
    for column in cells.columns.drop(NAME_COLUMN):  # names of files stay as they are written
        cells[column] = cells[column].str.strip()
        if column in _NUMBERS and separator == ";":  # a comma between the digits of numbers goes with semicolons
            cells[column] = cells[column].str.replace(",", ".", regex=False)
    return cells


def _with_header(text: str, separator: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), sep=separator, skipinitialspace=True, dtype=str, na_filter=False)


def _without_header(text: str, separator: str) -> pd.DataFrame:
    """Read a table without a header, by far faster than pandas where there are thousands of small ones."""
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True) if row]
    if not rows:
        raise csv.Error("no rows")
    unlike = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if unlike is not None:
        raise csv.Error(f"row {unlike + 1} has {len(rows[unlike])} cells, but the first row has {len(rows[0])}")
    return pd.DataFrame(rows, dtype=str)


def _separator(text: str) -> str:
    """Return the separator of a table without a header: the mark that occurs equally often in every line."""
    lines = [re.sub('"[^"]*"', "", line) for line in text.splitlines() if line.strip()]
    as_many = [mark for mark in "\t;," if len({line.count(mark) for line in lines}) == 1 and mark in lines[0]]
    return as_many[0] if as_many else ","


def _need_the_same_columns(paths: Sequence[Path], tables: Sequence[pd.DataFrame]) -> None:
    for path, table in zip(paths[1:], tables[1:], strict=True):
        for one, other, here, there in ((tables[0], table, path, paths[0]), (table, tables[0], paths[0], path)):
            lacking = [column for column in one if column not in (*_OPTIONAL, *other)]
            if lacking:
                raise DatasetError(
                    f"{containers.shown(here)}: no column {', '.join(lacking)}, which {there.name} has; tables that are read "
                    "together have the same columns"
                )


# --- from text cells to values ----------------------------------------------------------------------------------------

_Refuse = Callable[[pd.Series, Callable[..., str]], None]


def _convert_seconds(table: pd.DataFrame, refuse: _Refuse) -> None:
    for column in _OPTIONAL:
        if column not in table:
            table[column] = np.nan
            continue
        written, numbers = table[column], pd.to_numeric(table[column], errors="coerce")
        unclear = np.isinf(numbers) | (numbers.isna() & ~written.isin(_NOTHING) & (column != "salience"))
        refuse(unclear, lambda row, column=column, written=written: f"{column} is in seconds, not {written[row]}")
        table[column] = numbers
    refuse(
        table["end"] < table["start"],
        lambda row: f"the clip ends at {table['end'][row]:g} s, before it starts at {table['start'][row]:g} s",
    )


def _convert_folds(table: pd.DataFrame, refuse: _Refuse) -> dict[int, str]:
    """Turn folds into numbers; where all are words, number them alphabetically, and return number → word."""
    if "fold" not in table:
        table["fold"] = np.nan
        return {}
    words = table["fold"].str.replace(r"^fold[ _-]?(?=\d+$)", "", case=False, regex=True)
    if pd.to_numeric(words, errors="coerce").notna().any():
        table["fold"] = words
        table["fold"] = _whole_numbers(table, "fold", refuse)
        return {}
    names = dict(enumerate(sorted(words.unique()), start=1))
    table["fold"] = words.map({word: fold for fold, word in names.items()}).astype(np.int64)
    return names


def _whole_numbers(table: pd.DataFrame, column: str, refuse: _Refuse) -> pd.Series:
    written, numbers = table[column], pd.to_numeric(table[column], errors="coerce")

    def says(row: int) -> str:
        return f"{column} must be a whole number, not {written[row] if np.isnan(numbers[row]) else numbers[row]}"

    refuse(~(numbers.abs() < _LARGEST) | (numbers % 1 != 0), says)
    return numbers.astype(np.int64)


def _convert_recordings(table: pd.DataFrame) -> None:
    if "fsID" not in table:
        table["fsID"] = np.nan
        return
    numbers = pd.to_numeric(table["fsID"], errors="coerce")
    if (numbers.abs() < _EXACT).all():
        table["fsID"] = numbers


def _leaves_its_folder(name: str) -> bool:
    path = PureWindowsPath(name)  # it takes both kinds of slashes
    return bool(path.anchor) or ".." in path.parts


# --- label sets -------------------------------------------------------------------------------------------------------


def _unite(table: pd.DataFrame, key: list[str], where: Callable[[int], str], refuse: _Refuse) -> pd.DataFrame:
    """Unite all rows of one file and fold into one clip with all their labels; clips keep the order of their first rows."""
    first = np.flatnonzero(~table.duplicated(key))
    clip = table.groupby(key, sort=False, dropna=False).ngroup().to_numpy()

    def differs(column: str) -> pd.Series:
        values, before = table[column], table[column].iloc[first[clip]].reset_index(drop=True)
        return values.ne(before) & ~(values.isna() & before.isna())

    refuse(
        differs("fsID"),
        lambda row: (
            f"{table[NAME_COLUMN][row]} is from recording {table['fsID'][row]} here, and from "
            f"{table['fsID'][first[clip[row]]]} in {where(int(first[clip[row]]))}; a clip has one recording"
        ),
    )
    clips = table.iloc[first].reset_index(drop=True)
    for columns in (["start", "end"], ["salience"]):
        if any(differs(column).any() for column in columns):  # they are those of single sounds, and not of clips
            clips[columns] = np.nan
    sets: list[set[str]] = [set() for _ in first]
    cells, are_whole = table["labels"], len(first) < len(table)
    for number, labels in zip(clip, _split(cells, refuse, are_whole=are_whole), strict=True):
        sets[number].update(labels)
    place = where(0).rpartition(":")[0]
    names = set().union(*sets)
    if not names:
        raise DatasetError(f"{place}: no clip has a label; name the column that holds them (columns={{'labels': …}})")
    taxonomy = _taxonomy(names, place)
    ids = {name: i for i, name in enumerate(taxonomy.classes)}
    clips["labels"] = [JOINS.join(sorted(labels, key=ids.__getitem__)) for labels in sets]
    clips["class"], clips["classID"] = clips["labels"], clips["labels"].map(ids)
    if any(len(labels) != 1 for labels in sets):
        return clips.astype({"classID": np.float64})
    return clips.drop(columns="labels").astype({"classID": np.int64})


def _split(cells: pd.Series, refuse: _Refuse, *, are_whole: bool) -> list[list[str]]:
    """Split the cells of a column of labels; if they are whole, a cell holds one label, unless it is a list."""
    is_list = cells.str.match(r"^\[.*\]$|^\(.*\)$").astype(bool)
    plain = cells[~is_list]
    outside = plain.str.replace('"[^"]*"', "", regex=True)
    separator = next((mark for mark in _SEPARATORS if outside.str.contains(mark, regex=False).any()), JOINS)
    if are_whole:
        labels = [_literal(cell) if listed else [cell] for cell, listed in zip(cells, is_list, strict=True)]
    else:
        labels = [
            _literal(cell) if listed else _parts(cell, separator) for cell, listed in zip(cells, is_list, strict=True)
        ]
    refuse(
        pd.Series([found is None for found in labels], dtype=bool),
        lambda row: (
            f"{cells[row]} is not a list of labels in quotes; write ['dog', 'siren'], or dog, siren without brackets"
        ),
    )
    names = {label.strip() for found in labels for label in found or ()}
    mixed = [
        next(
            (label for label in found or () if not listed and '"' not in cell and _is_combined(label.strip(), names)),
            "",
        )
        for found, cell, listed in zip(labels, cells, is_list, strict=True)
    ]
    _refuse_combined(pd.Series(mixed, dtype=object), names, refuse)
    return [[label.strip() for label in found or () if label.strip()] for found in labels]


def _parts(cell: str, separator: str) -> list[str]:
    """Split a cell; what is in double quotes is one label, whatever it holds."""
    if '"' not in cell or len(separator) > 1:
        return cell.split(separator)
    return next(csv.reader([cell], delimiter=separator, skipinitialspace=True))


def _is_combined(name: str, names: Collection[str]) -> bool:
    """Say whether a name looks like several names, one of which is there on its own."""
    parts = {part.strip() for mark in _SEPARATORS for part in name.split(mark)} - {name}
    return not parts.isdisjoint(names)


def _refuse_combined(column: pd.Series, names: Collection[str], refuse: _Refuse) -> None:
    refuse(
        column.map(lambda name: _is_combined(name, names)).astype(bool),
        lambda row: (
            f"{column[row]!r} seems to be several labels, because one of them also occurs alone; name the column as one "
            "of labels (columns={'labels': …}, or --columns labels=…), and use one separator in all of it"
        ),
    )


def _literal(cell: str) -> list[str] | None:
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return None
    return list(found) if isinstance(found, list | tuple) and all(isinstance(label, str) for label in found) else None


def _taxonomy(names: Iterable[str], place: str) -> Taxonomy:
    """Return UrbanSound8K's classes if all names are among them, and otherwise the names in alphabetical order."""
    classes = sorted(set(names))
    return Taxonomy() if set(classes) <= set(URBANSOUND8K_CLASSES) else _checked(classes, place)


def _checked(classes: Sequence[str], place: str) -> Taxonomy:
    try:
        return Taxonomy(tuple(classes))
    except ValueError as error:
        raise DatasetError(f"{place}: {error}; a column with several classes per cell is one of labels") from error
