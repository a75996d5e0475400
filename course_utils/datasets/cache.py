"""Clips, decoded once into one file: reading a clip costs next to nothing, and no clip stays in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from course_utils import audio, containers
from course_utils.audio import SAMPLE_RATE
from course_utils.containers import AudioError
from course_utils.datasets.table import ClipDataset
from course_utils.files import Kind, build_beside, cache_folder, delete_abandoned, need_room
from course_utils.progress import bar
from course_utils.taxonomy import JOINS

VERSION = 4
KIND = Kind("decoded clips, decoded again when they are needed", "decoded", r"[0-9a-f]{8}-[0-9a-f]{16}")
_CHUNK = 256  # clips decoded before they are written: what bounds the memory of a build
_SAMPLE_BYTES = 4  # float32; rounding to 16 bits changes the log-mels of soft clips
# How much shorter than `end − start` a clip may be: of the 2,158 clips that the course has, none lacks more than 1.6 ms.
_LACKING = 0.05  # seconds
_UNUSED = 24 * 3600  # seconds since it was opened last after which a cache that no longer fits is deleted

log = logging.getLogger(__name__)


@dataclass
class ClipCache:
    """The decoded clips of a data set: `cache[row]` is the samples of a clip, float32 `[T]`, and `len(cache)` their number.

    Attributes:
        clips: The table of the clips that could be decoded, index 0 … n−1, with `duration` as decoded.
        folder: Where the samples are.
        offsets: Where each clip begins among all samples, int64 `[n]`.
        lengths: Samples of each clip, int64 `[n]`.
        bad: What could not be decoded, or is shorter than the table says: path as in `clips` → reason.
        digest: A hash of all samples: other sound has a different one.
        levels: RMS of each clip, and RMS of the differences of its neighbouring samples, float32 `[n, 2]`: other sound has
            different ones; another decoder of the same file gives the same but for rounding. None if never measured.
        sample_rate: Sampling rate of the samples, in Hz.
    """

    clips: pd.DataFrame
    folder: Path
    offsets: np.ndarray
    lengths: np.ndarray
    bad: dict[str, str]
    digest: str
    levels: np.ndarray | None = None
    sample_rate: int = SAMPLE_RATE

    def __repr__(self) -> str:
        """Say how much sound there is, and not where."""
        return f"decoded clips: {len(self):,}, {self.lengths.sum() / self.sample_rate / 3600:.2f} h"

    @classmethod
    def open(
        cls,
        dataset: ClipDataset,
        skip_bad: bool = False,
        progress: bool | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> ClipCache:
        """Open the decoded copy of a data set; make it first if there is none, or if a file has changed.

        Args:
            dataset: The clips.
            skip_bad: Leave out clips that cannot be decoded or are cut off, with a warning, instead of raising.
            progress: Show a progress bar while decoding; None: only in a terminal.
            sample_rate: The rate wanted, in Hz; each has a decoded copy of its own.

        Returns:
            The cache; its rows are those of `dataset.clips` less the bad ones.

        Raises:
            AudioError: If clips cannot be decoded, or are shorter than the table says, and `skip_bad` is false; or if
                all are. All bad clips are named.
            NoRoomError: If the disk has too little room for the decoded clips.

        Example:
            >>> import tempfile
            >>> from course_utils.datasets import open_folder
            >>> with tempfile.TemporaryDirectory() as root:
            ...     audio.write(f"{root}/audio/fold1/1-3-0-0.wav", np.full(22_050, 0.1))
            ...     cache = ClipCache.open(open_folder(root), progress=False)
            ...
            >>> len(cache), cache[0].shape, cache.lengths.tolist()
            (1, (22050,), [22050])
        """
        place = hashlib.sha256(os.fsencode(dataset.root.resolve())).hexdigest()[:8]
        folder = cache_folder() / KIND.shelf / f"{place}-{_fingerprint(dataset, sample_rate)}"
        delete_abandoned(folder.parent)
        if not (folder / "index.json").is_file():
            need_room(folder.parent, dataset.clips["duration"].sum() * sample_rate * _SAMPLE_BYTES)
            _build(folder, dataset, sample_rate, progress)
            _delete_others(folder, place)
        with contextlib.suppress(OSError):  # a cache that others share may be read-only
            os.utime(folder / "index.json")  # opened now
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        lengths = np.array(index["lengths"], np.int64)
        bad = index["bad"] | _cut_off(dataset, lengths / sample_rate, index["bad"])
        if bad:
            shown = [f"  {reason}" for reason in list(bad.values())[:10]]
            shown += [f"  … and {len(bad) - 10} more"] if len(bad) > 10 else []
            message = f"{len(bad)} of {len(lengths)} clips cannot be decoded:\n" + "\n".join(shown)
            if not skip_bad or len(bad) == len(lengths):
                raise AudioError(f"{message}\nRepair or delete them, or skip them (--skip-bad, skip_bad=True)")
            log.warning("%s\nThey are left out.", message)
        good = ~dataset.clips["path"].isin(list(bad)).to_numpy()
        clips = dataset.clips[good].reset_index(drop=True)
        clips["duration"] = lengths[good] / sample_rate
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        levels = np.array(index["levels"], np.float32).reshape(-1, 2)
        return cls(clips, folder, offsets[good], lengths[good], bad, index["digest"], levels[good], sample_rate)

    def examples(self, fold: int | None = None) -> dict[str, int]:
        """Choose one clip of each class to show: the most salient of a fold, and of these the longest.

        Where clips have label sets, a clip with no other class comes first, even one of another fold. A class that no clip
        has is left out.

        Args:
            fold: Where to choose; None means the last. A class that this fold lacks comes from the last that has it.

        Returns:
            Class name → row, in the order of the class IDs.
        """
        clips, by = self.clips, "classID"
        if "labels" in clips:
            clips = clips.assign(**{"class": clips["labels"].str.split(JOINS, regex=False)}).explode("class")
            clips, by = clips[clips["class"] != ""], "class"  # these classes are in alphabetical order
        order = clips.assign(alone=clips["classID"].notna(), here=clips["fold"].eq(fold)).sort_values(
            [by, "alone", "here", "fold", "salience", "duration"], ascending=[True, False, False, False, True, False]
        )
        first = order.drop_duplicates("class")
        return dict(zip(first["class"], first.index.tolist(), strict=True))

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the waveform of one clip, float32 `[T]`, at `sample_rate`.

        Raises:
            AudioError: If the decoded copy is gone or cut off.
        """
        # Read, not mapped: the pages of a mapped file count as memory of the process.
        first = int(self.offsets[row]) * _SAMPLE_BYTES
        file, length = self.folder / "samples.float32", int(self.lengths[row])
        try:
            samples = np.fromfile(file, "<f4", length, offset=first)
        except FileNotFoundError:
            raise AudioError(f"{file}: gone; open the data set again") from None
        if len(samples) < length:
            raise AudioError(f"{file}: cut off; delete {self.folder}, and it is made again")
        return samples


def _fingerprint(dataset: ClipDataset, sample_rate: int) -> str:
    digest = hashlib.sha256(f"{VERSION} {sample_rate}".encode())
    for row, name in enumerate(dataset.clips["path"]):
        digest.update(os.fsencode(name))
        try:
            status = dataset.path(row).stat()
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:  # named when it is decoded, like every other bad file
            digest.update(b"\0gone\n")
    return digest.hexdigest()[:16]


def _cut_off(dataset: ClipDataset, seconds: np.ndarray, bad: dict[str, str]) -> dict[str, str]:
    """Return the clips that were decoded and are shorter than the table says: path → reason."""
    wanted = (dataset.clips["end"] - dataset.clips["start"]).to_numpy(np.float64)
    found = {}
    for row in np.flatnonzero(seconds < wanted - _LACKING):  # none where the table gives no times
        name = dataset.clips["path"][row]
        if name not in bad:
            found[name] = (
                f"{containers.shown(dataset.path(int(row)))}: cut off: the table says {wanted[row]:.2f} s, the file holds "
                f"{seconds[row]:.2f} s; copy or download it again"
            )
    return found


def _build(folder: Path, dataset: ClipDataset, sample_rate: int, progress: bool | None) -> None:
    names = dataset.clips["path"].tolist()
    with build_beside(folder) as partial:
        lengths, levels, bad, digest = [], [], {}, hashlib.sha256()
        with (partial / "samples.float32").open("wb") as file:
            clips = _decoded([dataset.path(row) for row in range(len(names))], sample_rate)
            shown = bar(clips, "decode", total=len(names), unit="clip", progress=progress)
            for name, clip in zip(names, shown, strict=True):
                if isinstance(clip, AudioError):
                    bad[name] = str(clip)
                    clip = np.zeros(0, np.float32)
                samples = clip.astype("<f4").tobytes()
                file.write(samples)
                digest.update(samples)
                lengths.append(len(clip))
                levels.append([_rms(clip), _rms(np.diff(clip))])
        index = {"lengths": lengths, "levels": levels, "bad": bad, "digest": digest.hexdigest()[:16]}
        (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _rms(samples: np.ndarray) -> float:
    """Return the root of the mean square, to 6 digits; 0 for no samples."""
    return float(f"{np.sqrt(np.mean(np.square(samples, dtype=np.float64))):.6g}") if len(samples) else 0.0


def _decoded(paths: list[Path], sample_rate: int) -> Iterator[np.ndarray | AudioError]:
    def decode(path: Path) -> np.ndarray | AudioError:
        try:
            return audio.read(path, sample_rate)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(decode, paths[start : start + _CHUNK])


def _delete_others(folder: Path, place: str) -> None:
    """Delete old caches of the same data set.

    A cache that no longer fits the files may still be read by another process, so it stays for a day.
    """
    for other in folder.parent.glob(f"{place}-*/index.json"):
        with contextlib.suppress(FileNotFoundError):  # another process deletes it just now
            if other.parent != folder and time.time() - other.stat().st_mtime > _UNUSED:
                shutil.rmtree(other.parent, ignore_errors=True)
