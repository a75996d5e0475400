"""Data sets: one table of clips whatever the source, and their decoded copy.

`load("mini")` generates its clips at first use, `load("urbansound8k")` opens what `python -m course_utils data
urbansound8k` has downloaded, and `load(folder)` opens a folder in the official layout or one's own.
"""

from __future__ import annotations

from pathlib import Path

from course_utils.datasets.cache import ClipCache
from course_utils.datasets.table import COLUMNS, ClipDataset, DatasetError, open_folder, read_metadata
from course_utils.files import cache_folder

__all__ = [
    "COLUMNS",
    "ClipCache",
    "ClipDataset",
    "DatasetError",
    "default_root",
    "load",
    "open_folder",
    "read_metadata",
]

NAMES = ("mini", "urbansound8k")


def default_root(name: str) -> Path:
    """Return the folder in which the data set `mini` or `urbansound8k` is kept unless another is given."""
    from course_utils.datasets import mini  # needs scipy, which a machine that only trains may lack

    return cache_folder() / (f"mini-v{mini.VERSION}" if name == "mini" else name)


def load(where: str | Path = "mini", progress: bool = True) -> ClipDataset:
    """Open a data set.

    Args:
        where: `mini` (generated if it is not there yet), `urbansound8k` (as downloaded before), or a folder.
        progress: Show a progress bar while `mini` is generated.

    Returns:
        The data set, whole or partial.

    Raises:
        DatasetError: If it is not there or cannot be used; the message says what to do.
    """
    if where == "mini":
        from course_utils.datasets import mini

        return open_folder(mini.build(default_root("mini"), progress=progress), "mini")
    if where == "urbansound8k":
        from course_utils.datasets import urbansound8k

        root = default_root("urbansound8k")
        if not root.is_dir():
            raise DatasetError(f"{root}: UrbanSound8K is not there; {urbansound8k.HOW_TO_GET_IT}")
        return open_folder(root, "urbansound8k")
    return open_folder(where)
