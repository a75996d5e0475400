"""UrbanSound8K: download the official archive, whole and resumable, or stream the first clips of it.

J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM Multimedia 2014,
pp. 1041–1044. The data set may be used for non-commercial purposes, with this citation.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from course_utils.datasets.metadata import DatasetError, parse_name
from course_utils.datasets.table import open_folder
from course_utils.files import Kind, alone_in, build_beside, is_partial, need_room, write_beside
from course_utils.progress import bar

URL = "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz"
MD5 = "9aa69802bbf37fb986f71ec1483a196e"
HOW_TO_GET_IT = (
    "get 1,000 clips (some 700 MB) with `python -m course_utils data urbansound8k --clips 1000`, or all 6 GB with "
    "`python -m course_utils data urbansound8k`"
)
FOLDER = "UrbanSound8K"
KIND = Kind(
    "UrbanSound8K, which has to be downloaded again",
    "urbansound8k",
    FOLDER,
    rf"{FOLDER}-whole|\.{FOLDER}-whole-\w+\.part|{FOLDER}\.tar\.gz(\.part)?|\.lock",
)
_ATTEMPTS = 5  # of a connection that breaks off
_BLOCK = 1 << 20
_DOING = "downloads UrbanSound8K"
_UNPACKED_OVER_PACKED = 1.25  # of the disk space


class DownloadError(DatasetError):
    """A download that did not end well; what has arrived is kept unless the message says otherwise."""


def download(root: Path, url: str = URL, md5: str = MD5, progress: bool | None = None) -> Path:
    """Download and unpack the whole data set, going on where an earlier attempt stopped.

    Args:
        root: The folder to hold it; the clips go to `root/UrbanSound8K/audio`.
        url: The archive's address.
        md5: Its MD5 sum.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        The folder `root/UrbanSound8K`.

    Raises:
        DownloadError: If the connection breaks off repeatedly, the disk fills up, or the archive's MD5 sum is wrong.
        FolderInUseError: If another process downloads into the folder.
        NoRoomError: If the disk has too little room from the beginning.

    Example:
        >>> download(Path("data"))  # doctest: +SKIP
    """
    root = Path(root)
    target = root / FOLDER
    if _is_complete(target):
        return target
    with alone_in(root, _DOING):
        if not _is_complete(target):  # another process may have ended just now
            _download(root, target, url, md5, progress=progress)
    return target


def stream(root: Path, clips: int, url: str = URL, progress: bool | None = None) -> Path:
    """Take the first clips out of the archive while it arrives, and stop the download there.

    Args:
        root: The folder to hold them; the clips go to `root/UrbanSound8K/audio`.
        clips: How many clips to have in the end; those that are there already count.
        url: The archive's address.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        The folder `root/UrbanSound8K`.

    Raises:
        DownloadError: If the connection breaks off before; the clips that are out stay, and count the next time.
        FolderInUseError: If another process downloads into the folder.

    Example:
        >>> stream(Path("data"), clips=1_000)  # doctest: +SKIP
    """
    target = Path(root) / FOLDER
    if len(_clips_in(target)) < clips:
        with alone_in(root, _DOING):
            _stream(target, clips, url, progress)
    return target


def _clips_in(target: Path) -> set[str]:
    """Return the names of the complete clips: half-written ones have other names."""
    return {path.name for path in target.glob("audio/fold*/*.wav") if parse_name(path.name)}


def _download(root: Path, target: Path, url: str, md5: str, *, progress: bool | None) -> None:
    archive = root / "UrbanSound8K.tar.gz"
    for leftover in root.glob(f".{FOLDER}-whole-*.part"):  # of an unpacking that was killed
        shutil.rmtree(leftover)
    if archive.is_file() and (found := _md5(archive)) != md5:
        raise DownloadError(f"{archive}: its MD5 sum is {found}, not {md5}; delete it, or put the right one there")
    if not archive.is_file():
        partial = archive.with_name(archive.name + ".part")
        _fetch(url, partial, progress)
        found = _md5(partial)
        if found != md5:
            partial.unlink()
            raise DownloadError(
                f"{url}: the MD5 sum is {found}, not {md5}; the file was deleted. If your network shows a login page, log "
                "in there first; then download it again"
            )
        partial.rename(archive)
    _unpack(archive, target, progress)
    archive.unlink()


def _stream(target: Path, clips: int, url: str, progress: bool | None) -> None:
    for half in filter(is_partial, target.glob("audio/fold*/.*")):  # of a process that was killed
        half.unlink()
    have = _clips_in(target)
    shown = bar(what="clips", total=clips, initial=len(have), unit="clip", progress=progress, leave=True)
    try:
        with shown, _connect(url) as response, tarfile.open(fileobj=response, mode="r|gz") as archive:
            for member in archive:
                if not _is_wanted(member) or PurePosixPath(member.name).name in have:
                    continue
                place = target.joinpath(*PurePosixPath(member.name).parts[1:])
                source = archive.extractfile(member)
                assert source is not None  # a wanted member is a file
                with write_beside(place) as partial, partial.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if place.suffix == ".wav":
                    have.add(place.name)
                    shown.update()
                if len(have) >= clips:
                    return
    except (OSError, EOFError, zlib.error, tarfile.TarError, http.client.HTTPException) as error:
        kept = f"{len(have)} clips are out and stay; run the same command again for the rest"
        raise DownloadError(f"{url}: {_reason(error)}; {kept}") from error


def _is_complete(target: Path) -> bool:
    if not (target / "metadata" / "UrbanSound8K.csv").is_file():
        return False
    try:
        return open_folder(target).missing.empty
    except DatasetError:  # the table alone, for example
        return False


def _is_wanted(member: tarfile.TarInfo) -> bool:
    parts = PurePosixPath(member.name).parts
    if not member.isfile() or ".." in parts or member.name.startswith("/"):
        return False
    if parts[1:] == ("metadata", "UrbanSound8K.csv"):
        return True
    is_clip = len(parts) == 4 and parts[1] == "audio" and parts[2].startswith("fold") and parts[3].endswith(".wav")
    return is_clip and parse_name(parts[3]) is not None


def _connect(url: str, start: int = 0) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    return urllib.request.urlopen(request, timeout=60)


def _fetch(url: str, partial: Path, progress: bool | None) -> None:
    """Download into `partial`, appending to what is there; try again when the connection breaks off."""
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _fetch_rest(url, partial, progress)
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise DownloadError(f"{partial}: the disk is full; free some space and run it again") from error
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise DownloadError(f"{url}: {_reason(error)}") from error
            arrived = partial.stat().st_size if partial.exists() else 0
            failures = 1 if arrived > before else failures + 1
            if failures >= _ATTEMPTS:
                kept = f"{arrived / 1e6:.0f} MB are kept; run the same command again to go on from there"
                raise DownloadError(f"{url}: {_reason(error)}; {kept}") from error
            time.sleep(0.2 * 2**failures)


def _fetch_rest(url: str, partial: Path, progress: bool | None) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    try:
        response = _connect(url, start)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing after what we have: it is whole, and the sum will tell
            return
        raise
    with response:
        if start and response.status != 206:  # the server sends all of it again
            start = 0
        length = response.headers.get("Content-Length") or "0"
        if not length.isdecimal():
            raise DownloadError(f"{url}: the server gives {length!r} as the length of the file; try again later")
        rest = int(length)
        need_room(partial.parent, rest + (start + rest) * _UNPACKED_OVER_PACKED)
        shown = bar(what="download", total=start + rest, initial=start, unit="B", progress=progress, leave=True)
        with shown, partial.open("ab" if start else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                shown.update(len(block))
    if rest and partial.stat().st_size < start + rest:
        raise ConnectionError(f"the connection broke off after {partial.stat().st_size} of {start + rest} bytes")


def _unpack(archive: Path, target: Path, progress: bool | None) -> None:
    """Unpack beside the target, safely (no member may leave the folder), and rename; streamed clips are replaced."""
    try:
        with build_beside(target.with_name(f"{target.name}-whole")) as partial, tarfile.open(archive) as file:
            for member in bar(file, "unpack", unit="file", progress=progress):
                file.extract(member, partial, filter="data")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(f"{target}: the disk is full; free some space and run it again") from error
        raise
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive}: cannot be unpacked ({error}); delete it and download it again") from error
    whole = target.with_name(f"{target.name}-whole")
    if not (whole / FOLDER / "audio").is_dir():
        shutil.rmtree(whole)
        raise DownloadError(f"{archive}: holds no folder {FOLDER}/audio")
    if target.exists():
        shutil.rmtree(target)
    (whole / FOLDER).rename(target)
    shutil.rmtree(whole)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
