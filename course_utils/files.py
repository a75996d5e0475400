"""Where the course keeps its files, and how it writes them: beside the target, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs


class NoRoomError(ValueError):
    """Too little free disk; the message says where, how much is needed, and what to do."""


def cache_folder() -> Path:
    """Return the one folder below which the course writes: data sets, decoded clips, downloads.

    The environment variable `COURSE_CACHE` moves it; without it, the place is the one that the operating system has
    for such files.
    """
    return Path(os.environ.get("COURSE_CACHE") or platformdirs.user_cache_dir("course-utils", appauthor=False))


def need_room(folder: Path, needed: float, to_be_replaced: float = 0) -> None:
    """Make sure, before anything is written, that a folder has room.

    Args:
        folder: Where will be written; it may not be there yet.
        needed: Bytes that will be written.
        to_be_replaced: Bytes of what will be deleted first, or is there already.

    Raises:
        NoRoomError: If the disk has too little.
    """
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free + to_be_replaced
    if free < needed:
        says = f"up to {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free"
        raise NoRoomError(f"{folder}: {says}; free some disk, or choose another folder")


@contextmanager
def write_beside(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write a file to, and rename it to `target` at the end.

    Args:
        target: The file to make or to replace. Its folder is made if it is not there.

    Yields:
        The path to write to. After an error it is deleted, and `target` is as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=f".part{target.suffix}", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def build_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill, and rename it to `target` at the end.

    When another process has made `target` in the meantime, its folder is kept and ours is dropped.

    Args:
        target: The folder to make. It must not hold anything yet.

    Yields:
        The folder to fill. After an error it is deleted.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    try:
        yield partial
        os.chmod(partial, 0o755)
        try:
            os.rename(partial, target)
        except OSError:
            if not target.is_dir() or not any(target.iterdir()):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, beside the target first."""
    with write_beside(target) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")


def rounded(value: Any) -> Any:
    """Keep five significant digits of every number in plain values: more than anybody reads, in a small file."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def published_file(file: str) -> Path:
    """Return where a file of `figures/results` lies, if it is there: in the installed package, or in a checkout."""
    package = Path(__file__).parent
    installed = package / "results" / file
    return installed if installed.is_file() else package.parent / "figures" / "results" / file
