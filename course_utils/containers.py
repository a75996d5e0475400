"""Whether a sound file is whole, and what a file holds that is not sound: what libsndfile leaves unsaid."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    import soundfile

_AGAIN = "copy or download it again"
_CONVERT = "save it as WAV, FLAC, Ogg or MP3 first (`ffmpeg -i FILE NEW.wav`)"
_REPAIR = "open it in a sound editor and save it again, or run `ffmpeg -i FILE NEW.wav`"
_INTERRUPTED = f"the recording was interrupted before its header was finished; {_REPAIR}"
_HEAD = 4_096  # bytes that are looked at to tell what a file is
_COUNTED_TOO_MUCH = 64  # bytes; some programs count the header as sound, so that much may be missing
_EMPTY = 2_048  # bytes; a header alone takes less
_FOREIGN = (".m4a", ".aac", ".mp4", ".wma", ".amr", ".3gp", ".webm", ".mkv", ".mka")

# How files begin that libsndfile cannot read as sound: offset, first bytes → what it is, and what to do.
_KINDS = (
    (0, b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` where it comes from"),
    (0, b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (0, b"\x1a\x45\xdf\xa3", f"WebM or Matroska; {_CONVERT}"),
    (0, b"\xff\xf1", f"AAC; {_CONVERT}"),
    (0, b"\xff\xf9", f"AAC; {_CONVERT}"),
    (0, b"ADIF", f"AAC; {_CONVERT}"),
    (4, b"ftyp", f"MPEG-4 (AAC), as phones record it; {_CONVERT}"),
    (0, b"#!AMR", f"AMR, as phones record it; {_CONVERT}"),
    (0, b"\x30\x26\xb2\x75", f"Windows Media; {_CONVERT}"),
    (8, b"AVI ", f"an AVI video; {_CONVERT}"),
    (0, b"\x89PNG", f"a picture; {_AGAIN}"),
    (0, b"\xff\xd8\xff", f"a picture; {_AGAIN}"),
    (0, b"GIF8", f"a picture; {_AGAIN}"),
    (0, b"%PDF", f"a PDF; {_AGAIN}"),
)
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class AudioError(ValueError):
    """A sound, or a sound file, that cannot be used; the message says which, what is wrong and what to do."""


def shown(path: Path | str) -> str:
    """Return a path as printable text: bytes in its name that are not UTF-8 are shown as `\\udcff`."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def opened(path: Path) -> soundfile.SoundFile:
    """Open a sound file, if it is whole.

    Cut-off files are found by their beginning and end: the length in the header against that of the file, the pages of
    Ogg, the last sample of FLAC and MP3.

    Args:
        path: The file, whatever bytes its name is made of.

    Returns:
        The file, at its beginning.

    Raises:
        AudioError: If the file is missing, empty, not a sound file, or cut off.
    """
    status = _status(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            is_wav = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"
            data = _data_chunk(file, status.st_size) if is_wav else None
            is_interrupted = data is not None and data[1] == 0 and _is_sound_behind(file, data[0], status.st_size)
    except OSError as error:
        raise AudioError(f"{shown(path)}: cannot be opened ({error.strerror})") from error
    if head.startswith(b"OggS") and (fault := _fault_of_ogg(path, status.st_size, status.st_mtime_ns)):
        raise AudioError(f"{shown(path)}: {fault}")
    if is_wav and data is None and b"data" in head:
        raise AudioError(
            f"{shown(path)}: a chunk of its header has a wrong length, so that its sound is not found; {_REPAIR}"
        )
    try:
        sound = _opened(path)
    except (RuntimeError, TypeError) as error:
        content = _content(path, head, getattr(error, "error_string", str(error)).rstrip("."))
        raise AudioError(f"{shown(path)}: not a sound file that can be read: {content}") from error
    said, there = (data[1], status.st_size - data[0]) if data else _lengths_in(sound.extra_info)
    fault = None
    if said - there > _COUNTED_TOO_MUCH and not _is_placeholder(said):
        fault = _cut_off(sound, said, there)
    elif sound.frames == 0:
        has_sound = is_interrupted if data else status.st_size > _EMPTY and sound.format != "OGG"
        fault = _INTERRUPTED if has_sound else "0 frames; delete it or download it again"
    elif sound.frames > 1 << 62:
        fault = f"its header does not say how long it is; {_REPAIR}"
    elif sound.format in ("FLAC", "MP3") and not _has_last_frame(path, status.st_size, status.st_mtime_ns):
        fault = f"cut off: its header says {sound.frames / sound.samplerate:.2f} s, its end is missing; {_AGAIN}"
    if fault:
        sound.close()
        raise AudioError(f"{shown(path)}: {fault}")
    return sound


def _status(path: Path) -> os.stat_result:
    """Return size and times of a regular file that is not empty; refuse everything else without opening it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        link = "a link to a file that is not there" if path.is_symlink() else "no such file"
        raise AudioError(f"{shown(path)}: {link}") from None
    except (OSError, ValueError) as error:  # a link to itself, a name that is too long, a folder that may not be read
        is_loop = isinstance(error, OSError) and error.errno == errno.ELOOP
        reason = "a link that leads back to itself" if is_loop else getattr(error, "strerror", None) or error
        raise AudioError(f"{shown(path)}: cannot be opened ({reason})") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{shown(path)}: a folder, not a sound file")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise AudioError(f"{shown(path)}: a pipe or a device, not a sound file; save the sound to a file first")
    if status.st_size == 0:
        raise AudioError(f"{shown(path)}: 0 bytes; delete it or download it again")
    return status


def _opened(path: Path) -> soundfile.SoundFile:
    import soundfile

    return soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))


def _cut_off(sound: soundfile.SoundFile, said: int, there: int) -> str:
    held = sound.frames / sound.samplerate
    if held == 0:
        return f"cut off: it ends before its sound begins; {_AGAIN}"
    return f"cut off: its header says {held * said / there:.2f} s, the file holds {held:.2f} s; {_AGAIN}"


@lru_cache(maxsize=64)  # a long file is opened for every part that is read
def _has_last_frame(path: Path, _size: int, _changed: int) -> bool:
    try:
        with _opened(path) as sound:
            sound.seek(sound.frames - 1)
            return len(sound.read(1)) == 1
    except RuntimeError:
        return False


def _data_chunk(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return where the sound of a WAV file begins, and how many bytes the header says that it has."""
    file.seek(0)
    order: Literal["big", "little"] = "big" if file.read(4) == b"RIFX" else "little"
    place, of_rf64 = 12, None
    while place + 8 <= size:
        file.seek(place)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if name == b"data":
            return place + 8, of_rf64 if of_rf64 is not None and length == 0xFFFFFFFF else length
        if not _is_name(name):
            return None
        if name == b"ds64":  # sizes in 64 bits: of the file, then of the sound
            of_rf64 = int.from_bytes(file.read(16)[8:], order)
        place += 8 + length + length % 2
    return None


def _is_name(name: bytes) -> bool:
    """Say whether four bytes can be the name of a chunk."""
    return all(32 <= byte < 127 for byte in name)


def _is_sound_behind(file: BinaryIO, place: int, size: int) -> bool:
    """Say whether sound follows the header of a data chunk of length 0: something that is not another chunk."""
    file.seek(place)
    name, length = file.read(4), int.from_bytes(file.read(4), "little")
    return place < size and not (_is_name(name) and place + 8 + length <= size)


def _lengths_in(log: str) -> tuple[int, int]:
    """Return how many bytes of sound an AIFF, AU or W64 file should have, and how many it has, if they differ."""
    found = re.search(r"^\s*(?:SSND|BODY|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_placeholder(length: int) -> bool:
    """Say whether a program that could not know the length wrote this one: near 2³¹, near 2³², or beyond all files."""
    return 0x7EFF0000 <= length <= 0x80010000 or 0xFFFF0000 <= length <= 0xFFFFFFFF or length >= 1 << 63


@lru_cache(maxsize=64)  # a long file is opened for every part that is read
def _fault_of_ogg(path: Path, _size: int, _changed: int) -> str | None:
    """Walk the pages of an Ogg file: each has a checksum and a number, and the last one says that it is the last."""
    following: dict[int, int] = {}  # the streams that have begun and not ended → number of the next page
    with path.open("rb") as file:
        while header := file.read(27):
            place = file.tell() - len(header)
            if not header.startswith(b"OggS"):
                if not following:  # tags, for example, after the end
                    return None
                return f"damaged at byte {place:,}; {_AGAIN}"
            segments = file.read(header[26]) if len(header) == 27 else b""
            body = file.read(sum(segments))
            if len(header) < 27 or len(segments) < header[26] or len(body) < sum(segments):
                return f"cut off: its last page is not whole; {_AGAIN}"
            serial, number = struct.unpack("<II", header[14:22])
            begins, ends = header[5] & 2, header[5] & 4
            is_intact = _ogg_checksum(header[:22] + bytes(4) + header[26:] + segments + body) == header[22:26]
            if not is_intact or (not begins and number != following.get(serial)):
                return f"damaged at byte {place:,}; {_AGAIN}"
            following[serial] = (number + 1) % (1 << 32)
            if ends:
                del following[serial]
    return f"cut off: its last page is missing; {_AGAIN}" if following else None


def _ogg_checksum(page: bytes) -> bytes:
    # Ogg's CRC has zlib's polynomial, but goes through the bits of a byte the other way, and neither starts nor ends
    # with an inversion.
    crc = zlib.crc32(page.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_BITS_REVERSED)


def _content(path: Path, head: bytes, error: str) -> str:
    """Say what a file that libsndfile cannot read holds, and what to do."""
    for offset, magic, content in _KINDS:
        if head[offset:].startswith(magic):
            return content
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page was saved in its place; log in there or check the address, then download it again"
    if path.suffix.lower() in _FOREIGN:
        return f"{error}; {_CONVERT}"
    if not head.strip(b"\0"):
        return f"only zeros; {_AGAIN}"
    if _is_text(head):
        return "it holds text; check where it comes from"
    return f"{error}; delete it or download it again"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # a character may be cut in two at the end
    return len(text.encode()) > len(head) - 4 and all(c.isprintable() or c.isspace() for c in text)
