"""Where the course keeps its files, and how it writes them: beside the target, then renamed."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

_locks: list[FileLock] = []  # of the folders of `new_folder`, held until this process ends
_LOCK = ".lock"  # in a folder that a process works in
_PATIENCE = 10.0  # seconds to wait for a folder: children of a killed process may outlive it by some of them
_YOUNG = 600.0  # seconds in which a half-built folder without a lock may belong to a process that is just beginning
_PARTIAL = re.compile(r"\..+-\w{8}\.part(\.\w+)?")  # what `write_beside` writes to


class NoRoomError(ValueError):
    """Too little free disk; the message says where, how much is needed, and what to do."""


class FolderInUseError(ValueError):
    """Another process works in a folder; the message says which, and what to do."""


def cache_folder() -> Path:
    """Return the one folder below which the course writes: data sets, decoded clips, downloads, what lessons write.

    The environment variable `COURSE_CACHE` moves it; without it, the place is the one that the operating system has
    for such files.
    """
    place = os.environ.get("COURSE_CACHE") or platformdirs.user_cache_dir("course-utils", appauthor=False)
    return Path(place).expanduser().absolute()


def new_folder() -> Path:
    """Make an empty folder below the cache folder, for what a lesson writes while it runs.

    It stays until this process, the kernel of the notebook, has ended; the next call, in any notebook, deletes it.

    Returns:
        The folder. If the cache folder cannot be written to, because others share it, it is a temporary folder of the
        operating system.
    """
    place = cache_folder() / SCRATCH.shelf
    folder = place / secrets.token_hex(4)
    lock = FileLock(_lock_of(folder))
    try:
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("[0-9a-f]" * 8):
            with suppress(Timeout, OSError):
                with FileLock(_lock_of(old), timeout=0):  # its process has ended
                    shutil.rmtree(old, ignore_errors=True)
                _lock_of(old).unlink(missing_ok=True)
        lock.acquire(timeout=5)
        folder.mkdir()
    except (OSError, NotImplementedError):  # read-only, or a file system without locks
        return Path(tempfile.mkdtemp())
    _locks.append(lock)
    return folder


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


@dataclass(frozen=True)
class Kind:
    """One kind of thing in the cache folder, declared by the module that puts it there.

    Attributes:
        name: What it is, and how it comes back once it is deleted.
        shelf: The folder below the cache folder that holds it and nothing else; empty if it is beside others.
        targets: A pattern of the names that `write_beside` or `build_beside` get; what these leave half done counts too.
        others: A pattern of further names, such as locks; empty if there are none.
    """

    name: str
    shelf: str
    targets: str
    others: str = ""

    def owns(self, name: str) -> bool:
        """Say whether a path below the cache folder, with slashes, is of this kind."""
        folder, _, last = name.rpartition("/")
        patterns = [self.targets, rf"\.(?:{self.targets})-\w+\.part", *([self.others] if self.others else [])]
        return folder == self.shelf and any(re.fullmatch(pattern, last) for pattern in patterns)


SCRATCH = Kind("what lessons wrote while they ran", "lessons", r"[0-9a-f]{8}", r"[0-9a-f]{8}\.lock")


@dataclass(frozen=True)
class Cached:
    """What is in the cache folder of one kind.

    Attributes:
        name: What it is.
        paths: Its files and folders.
        size: Bytes that they take.
    """

    name: str
    paths: tuple[Path, ...]
    size: int


def cached(kinds: Iterable[Kind]) -> tuple[list[Cached], list[Path]]:
    """Look at what is in the cache folder.

    Args:
        kinds: What may be there: `SCRATCH`, and what other modules declare, such as `datasets.kinds()`.

    Returns:
        What is there of these kinds; and everything else. Links are not followed: they are not the course's.

    Raises:
        OSError: If the folder cannot be read.
    """
    root, kinds = cache_folder(), list(kinds)
    found: dict[str, list[Path]] = {kind.name: [] for kind in kinds}
    others = []
    for path in _entries(root, {kind.shelf for kind in kinds}):
        name = path.relative_to(root).as_posix()
        owner = next((kind.name for kind in kinds if kind.owns(name)), None)
        if owner is None or path.is_symlink():
            others.append(path)
        else:
            found[owner].append(path)
    return [Cached(name, tuple(paths), sum(map(_size, paths))) for name, paths in found.items() if paths], others


def delete_cached(kind: Cached) -> None:
    """Delete what `cached` has found of one kind.

    Args:
        kind: One of the kinds. A folder is renamed before it is emptied, so that an interruption leaves none that looks
            whole.

    Raises:
        OSError: If something cannot be deleted.
    """
    for path in kind.paths:
        if path.is_dir():
            if not path.name.startswith("."):
                path = path.rename(path.with_name(f".{path.name}-{secrets.token_hex(4)}.part"))
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent != cache_folder():
            with suppress(OSError):  # it holds something else
                path.parent.rmdir()


def in_words(size: float) -> str:
    """Return a number of bytes as MB or GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _entries(root: Path, shelves: set[str]) -> list[Path]:
    """Return what is in the cache folder, with the contents of the shelves in place of the shelves."""
    found = []
    for path in sorted(root.iterdir()) if root.exists() else []:
        is_shelf = path.name in shelves and path.is_dir() and not path.is_symlink()
        found += sorted(path.iterdir()) if is_shelf else [path]
    return found


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(Path(entry)) for entry in os.scandir(path))
        return path.lstat().st_size
    except FileNotFoundError:  # deleted just now
        return 0


def need_room(folder: Path, needed: float, to_be_replaced: float = 0) -> None:
    """Make sure, before anything is written, that a folder has room.

    Args:
        folder: The folder that will be written to; it may not exist yet.
        needed: Bytes that will be written.
        to_be_replaced: Bytes of what will be deleted first, or is there already.

    Raises:
        NoRoomError: If the disk has too little.
    """
    there = next(place for place in (Path(folder), *Path(folder).absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free + to_be_replaced
    if free < needed:
        says = f"up to {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free"
        raise NoRoomError(
            f"{folder}: {says}; free some disk, or choose another folder (COURSE_CACHE moves the course's)"
        )


@contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes from doing the same in a folder, and delete the half-written files that killed ones have left.

    The operating system releases the lock when this process ends, whatever ends it. On a file system without locks
    nobody is kept out.

    Args:
        folder: The folder; it is made if it is not there, and deleted again if nothing was written to it.
        doing: What this process does there, for the other process's message: "trains a network".

    Raises:
        FolderInUseError: If another process is already doing so, and still is after ten seconds.
        NotADirectoryError: If there is a file of that name.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: a file; choose a folder")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: another process {doing} there; wait until it has ended, or choose another folder"
        ) from None
    except NotImplementedError:
        pass
    try:
        for path in folder.iterdir():
            if is_partial(path) and path.is_file():
                path.unlink(missing_ok=True)
        yield
    finally:
        try:
            with suppress(OSError):  # Windows does not delete an open file
                (folder / _LOCK).unlink(missing_ok=True)
        finally:  # also where an interruption comes just now
            lock.release()
        if is_new:
            with suppress(OSError):  # something was written
                folder.rmdir()


def is_partial(path: Path) -> bool:
    """Say whether a path has the form of those that `write_beside` gives to write to."""
    return _PARTIAL.fullmatch(path.name) is not None


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
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=f".part{target.suffix}", dir=target.parent)
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

    When another process has made `target` in the meantime, its folder is kept and ours is dropped. Half-built folders
    that killed processes have left for the same target are deleted first.

    Args:
        target: The folder to make. It must not hold anything yet.

    Yields:
        The folder to fill, with nothing but a lock in it. After an error it is deleted.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    delete_abandoned(target.parent, target.name)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    lock = FileLock(partial / _LOCK)
    with suppress(OSError, NotImplementedError):  # a file system without locks: then its age counts
        lock.acquire(timeout=0)
    try:
        yield partial
        lock.release()
        (partial / _LOCK).unlink(missing_ok=True)
        os.chmod(partial, 0o755)
        try:
            os.rename(partial, target)
        except OSError:
            if not target.is_dir() or not any(target.iterdir()):
                raise
    finally:
        lock.release()
        shutil.rmtree(partial, ignore_errors=True)


def delete_abandoned(folder: Path, name: str = "*") -> None:
    """Delete what `build_beside` has left half built in a folder, where the process that built it has ended.

    Args:
        folder: The folder of the targets; nothing happens if it is not there, or cannot be written to.
        name: The name of the target, or a pattern of names.
    """
    for half in Path(folder).glob(f".{name}-????????.part"):
        with suppress(OSError, NotImplementedError):  # Timeout, of a lock that is held, is an OSError
            if (half / _LOCK).is_file():
                FileLock(half / _LOCK).acquire(timeout=0).lock.release()
            elif time.time() - half.stat().st_mtime < _YOUNG:
                continue
            shutil.rmtree(half)


def as_json(value: Any) -> str:
    """Return a value as indented JSON.

    Raises:
        ValueError: If a number in it is NaN or infinite, which JSON does not know.
    """
    try:
        return json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"a number is NaN or infinite, and JSON has no such numbers: {error}") from error


def write_json(target: Path, value: Any) -> None:
    """Write a value as indented JSON, beside the target first.

    Raises:
        ValueError: As for `as_json`; then nothing is written.
    """
    text = as_json(value)
    with write_beside(target) as partial:
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")


def rounded(value: Any) -> Any:
    """Keep five significant digits of every number in plain values: more than anybody reads, in a small file."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
