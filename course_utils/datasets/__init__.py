"""Data sets: one table of clips whatever the source, and their decoded copy.

`load("mini")` generates its clips at first use, `load("urbansound8k")` opens what `python -m course_utils data
urbansound8k` has downloaded, `load("measured")` those of its clips that the course's results were measured on, and
`load(folder)` opens a folder in the official layout or in your own, with any number of labels per clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from course_utils.datasets.cache import ClipCache
from course_utils.datasets.metadata import (
    COLUMNS,
    FOLDER,
    TABLE,
    DatasetError,
    label_sets,
    parse_name,
    read_metadata,
    read_tables,
)
from course_utils.datasets.table import ClipDataset, open_folder
from course_utils.files import Kind, cache_folder

__all__ = [
    "COLUMNS",
    "FOLDER",
    "TABLE",
    "ClipCache",
    "ClipDataset",
    "DatasetError",
    "default_root",
    "kinds",
    "label_sets",
    "load",
    "measured_clips",
    "open_folder",
    "parse_name",
    "read_metadata",
    "read_tables",
    "select_measured",
]

NAMES = ("mini", "urbansound8k", "measured")


def default_root(name: str) -> Path:
    """Return the folder in which a data set of `NAMES` is kept unless another is given.

    Example:
        >>> default_root("mini").name
        'mini-v1'
    """
    from course_utils.datasets import mini  # needs scipy, which a machine that only trains may lack

    return cache_folder() / (f"mini-v{mini.VERSION}" if name == "mini" else "urbansound8k")


def kinds() -> list[Kind]:
    """Return what data sets keep in the cache folder, for `files.cached`.

    Example:
        >>> [kind.shelf for kind in kinds()]
        ['', 'decoded', 'urbansound8k']
    """
    from course_utils.datasets import cache, mini, urbansound8k

    return [mini.KIND, cache.KIND, urbansound8k.KIND]


def measured_clips() -> list[str]:
    """Return the file names of the 2,148 clips of UrbanSound8K that the course's results were measured on.

    Example:
        >>> len(measured_clips()), measured_clips()[0]
        (2148, '100652-3-0-0.wav')
    """
    return Path(__file__).with_name("measured.txt").read_text(encoding="utf-8").split()


def select_measured(release: ClipDataset) -> ClipDataset:
    """Return those clips of the official release that the course's results were measured on.

    Args:
        release: The official release, whole or partial.

    Returns:
        The data set of those that are there; the others of the 2,148 are in its `missing`.

    Raises:
        DatasetError: If none of them is there.

    Example:
        >>> select_measured(load("urbansound8k"))  # doctest: +SKIP
    """
    names = measured_clips()
    clips, missing = (table[table["slice_file_name"].isin(names)] for table in (release.clips, release.missing))
    if clips.empty:
        raise DatasetError(
            f"{release.root}: none of the {len(names):,} clips that the results were measured on is there"
        )
    parts = {"clips": clips.reset_index(drop=True), "missing": missing.reset_index(drop=True)}
    return dataclasses.replace(release, name="measured", **parts)


def load(
    where: str | Path = "mini",
    progress: bool | None = None,
    *,
    table: str | None = None,
    columns: Mapping[str, str | int] | None = None,
) -> ClipDataset:
    """Open a data set.

    Args:
        where: `mini` (generated if it is not there yet), `urbansound8k` or `measured` (as downloaded before), or a folder.
        progress: Show a progress bar while `mini` is generated; None: only in a terminal.
        table: The table of a folder, or a pattern of several, as for `open_folder`.
        columns: What the tables of a folder call the columns of the course, as for `read_metadata`.

    Returns:
        The data set, whole or partial.

    Raises:
        DatasetError: If it is not there or cannot be used; the message says what to do.

    Example:
        >>> import tempfile
        >>> from course_utils import audio
        >>> with tempfile.TemporaryDirectory() as root:
        ...     audio.write(f"{root}/audio/fold1/1-3-0-0.wav", [0.0] * 22_050)
        ...     data = load(root)
        ...
        >>> data.clips["class"].tolist()
        ['dog_bark']
    """
    if where in NAMES and (table is not None or columns):
        raise DatasetError(
            f"{where}: this data set has its own table; give a table or columns only with a folder of your own"
        )
    if where == "mini":
        from course_utils.datasets import mini

        return open_folder(mini.build(default_root("mini"), progress=progress), "mini")
    if where in ("urbansound8k", "measured"):
        from course_utils.datasets import urbansound8k

        root = default_root("urbansound8k")
        if not root.is_dir():
            raise DatasetError(f"{root}: UrbanSound8K is not there; {urbansound8k.HOW_TO_GET_IT}")
        release = open_folder(root, "urbansound8k")
        return select_measured(release) if where == "measured" else release
    return open_folder(where, table=table, columns=columns)
