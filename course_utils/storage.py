"""The two stored forms of mixtures, as the student report made them: written so that a run may be stopped, checked when read.

A stored set is a folder: `plan.csv`, one row per mixture with the metadata of its clips, its file and that file's
checksum; the files, either shards of log-mels or one WAV file per mixture; and `set.json`, written last, which says what
the set was made with. A folder without `set.json` is an unfinished set; `checksums.txt` lists its finished files.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from course_utils import audio, splits
from course_utils.configuration import Recipe, with_current_names
from course_utils.datasets import COLUMNS, ClipCache, DatasetError
from course_utils.features import MelSpectrogram, add_noise, power_to_db
from course_utils.files import alone_in, is_partial, need_room, write_beside, write_json
from course_utils.mixing import SIDES, join, lengths_of, level_columns, members_of, sets_of, what_to_render
from course_utils.progress import bar
from course_utils.taxonomy import Taxonomy

FORMAT = 2  # of a stored set; a set of another format is refused
SHARD = 256  # mixtures in one file of the mel form
_CENTIBEL = 100  # stored log-mels are int16 in hundredths of a decibel
_OF_UNFINISHED = ("unfinished.json", "checksums.txt", ".lock")
_TABLES = ("set.json", "plan.csv", *_OF_UNFINISHED)  # with these folders, all of a set
_FOLDERS = ("shards", "wav")
_TEXTS = ("slice_file_name", "class", "labels")  # of a clip
_AGAIN = "make the set again, with --overwrite"
_DEFAULT_MEL = {name: value.default for name, value in inspect.signature(MelSpectrogram).parameters.items()}


def write_set(
    out: Path,
    form: Literal["mel", "wav"],
    cache: ClipCache,
    plan: pd.DataFrame,
    *,
    taxonomy: Taxonomy,
    recipe: Recipe,
    mel: Mapping[str, Any] | None = None,
    noise_snr: float | None = None,
    seed: int = 0,
    split: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write the mixtures of a plan to disk, as the student report did.

    `mel` writes log-mels in compressed shards of 256 mixtures (int16, hundredths of a dB); `wav` writes one 16-bit WAV
    file per mixture, scaled down where two loud clips would clip. A run that was interrupted, at any moment, goes on
    when it is called again, and keeps the files that are as they were written.

    Args:
        out: The folder to make.
        form: `mel` or `wav`.
        cache: The decoded clips.
        plan: The mixtures.
        taxonomy: The classes.
        recipe: How to join clips.
        mel: Arguments of `features.MelSpectrogram`, for the mel form.
        noise_snr: Noise on the mel power at this signal-to-noise ratio in dB; None adds none.
        seed: The seed of the noise.
        split: How the plan was split, for the record.
        overwrite: Make the set again, and replace whatever set is there.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        The folder.

    Raises:
        DatasetError: If the folder holds another set, or other files.
        FolderInUseError: If another process writes a set there.
        NoRoomError: If the disk has too little room.
        ValueError: If `noise_snr` or a value of `mel` is impossible.

    Lesson: 05_dataset_mixing
    """
    if form not in ("mel", "wav"):
        raise DatasetError(f"the stored form must be 'mel' or 'wav', not {form!r}")
    out, mel = Path(out), dict(mel or {})
    frames = MelSpectrogram(
        **({"sample_rate": cache.sample_rate} | mel)
    )  # it refuses impossible values, before anything is deleted
    if noise_snr is not None:
        add_noise(torch.ones(1, 1), noise_snr)
    configuration = {
        "format": FORMAT,
        "form": form,
        "sample_rate": cache.sample_rate,
        "recipe": asdict(recipe),
        "mel": _DEFAULT_MEL | {"sample_rate": cache.sample_rate} | mel if form == "mel" else {},
        "noise_snr": noise_snr if form == "mel" else None,
        "seed": seed,
        "split": dict(split or {}),
        "classes": list(taxonomy.classes),
        "mixtures": len(plan),
        "plan_hash": _hash_plan(plan, cache),
        "sound": cache.digest,
    }
    configuration = json.loads(json.dumps(configuration))  # as it will be read back
    if _is_finished(out, configuration, overwrite):
        if any((out / name).exists() for name in _OF_UNFINISHED):  # of a run that was killed in its last moment
            with alone_in(out, "writes a set of mixtures"):
                _tidy(out)
        return out
    there = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    need_room(out, _size(form, lengths_of(cache, plan, recipe), frames), there)
    with alone_in(out, "writes a set of mixtures"):
        if not _is_finished(out, configuration, overwrite):  # by another process, just now
            known = _begin(out, configuration)
            checksums = _write_files(
                out,
                form,
                cache,
                plan,
                recipe=recipe,
                frames=frames,
                noise_snr=noise_snr,
                seed=seed,
                known=known,
                progress=progress,
            )
            _finish(out, configuration, cache, plan, checksums=checksums)
    return out


def _write_files(
    out: Path,
    form: str,
    cache: ClipCache,
    plan: pd.DataFrame,
    *,
    recipe: Recipe,
    frames: MelSpectrogram,
    noise_snr: float | None,
    seed: int,
    known: Mapping[str, str],
    progress: bool | None,
) -> dict[int, tuple[str, str]]:
    """Write what is not there yet, as `known` says it was written; return file and checksum of every mixture."""
    files, (members, levels) = _rows_of_files(form, len(plan)), what_to_render(plan)
    one_at_a_time = threading.Lock()

    def write(file: str) -> str:
        path, rows = out / file, files[file]
        if path.is_file() and _checksum(path) == known.get(file):
            return known[file]
        sounds = (
            join([cache[clip] for clip in members[row]], recipe, levels=levels[row], sample_rate=cache.sample_rate)
            for row in rows
        )
        if form == "wav":
            _save_wav(path, next(sounds), cache.sample_rate)
        else:
            _save_shard(path, sounds, frames, noise_snr, seeds=[seed * len(plan) + row for row in rows])
        checksum = _checksum(path)
        with one_at_a_time, (out / "checksums.txt").open("a", encoding="utf-8", newline="\n") as list_of_files:
            list_of_files.write(f"{checksum} {file}\n")
        return checksum

    of_rows: dict[int, tuple[str, str]] = {}
    shown = bar(what="write", total=len(plan), unit="mixture", progress=progress)
    with shown, ThreadPoolExecutor(os.cpu_count()) as pool:
        for (file, rows), checksum in zip(files.items(), pool.map(write, files), strict=True):
            of_rows |= dict.fromkeys(rows, (file, checksum))
            shown.update(len(rows))
    return of_rows


def _finish(
    out: Path,
    configuration: Mapping[str, Any],
    cache: ClipCache,
    plan: pd.DataFrame,
    *,
    checksums: Mapping[int, tuple[str, str]],
) -> None:
    """Write the table, then what the set was made with, which marks it as finished."""
    table = _with_metadata(plan, cache)
    table.insert(0, "file", [checksums[row][0] for row in range(len(plan))])
    table.insert(1, "checksum", [checksums[row][1] for row in range(len(plan))])
    with write_beside(out / "plan.csv") as partial:
        table.to_csv(partial, index=False, na_rep="NaN")
        plan_checksum = _checksum(partial)
    write_json(out / "set.json", {**configuration, "plan_checksum": plan_checksum})
    _tidy(out)


def _tidy(out: Path) -> None:
    """Delete what only an unfinished set needs."""
    for name in ("unfinished.json", "checksums.txt"):
        (out / name).unlink(missing_ok=True)


class StoredMixtures(Dataset):
    """A stored set, read back item by item; files that have changed since are refused.

    Args:
        folder: What `write_set` made.

    Attributes:
        configuration: What the set was made with.
        plan: Its mixtures, with the clips' metadata.
        taxonomy: Its classes.

    Raises:
        DatasetError: If the folder holds no finished set, or one of another format, or files have changed. WAV files
            are checked when they are read.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.configuration = read_configuration(self.folder)
        self.taxonomy = Taxonomy(tuple(self.configuration["classes"]))
        plan = self._checked("plan.csv", self.configuration["plan_checksum"])
        texts = ["split", "checksum", "labels", *(f"{side}_{name}" for side in SIDES for name in _TEXTS)]
        unknown = {f"{side}_{name}": ["NaN"] for side in SIDES for name in COLUMNS if name not in _TEXTS}
        self._hold(pd.read_csv(plan, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=unknown))
        self._mels = self._read_shards() if self.configuration["form"] == "mel" else []

    def __len__(self) -> int:
        """Return the number of mixtures."""
        return len(self.plan)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """Return a log-mel `[n_mels, frames]` or a waveform `[T]`, and its label set, multi-hot `[n_classes]`."""
        if self.configuration["form"] == "wav":
            path = self._checked(self._files[row], self._checksums[row])
            sound = torch.from_numpy(audio.read(path, self.configuration["sample_rate"]))
        else:
            sound = torch.from_numpy(self._mels[self.plan.index[row]].astype(np.float32) / _CENTIBEL)
        return sound, torch.from_numpy(self._sets[row])

    def part(self, split: str) -> StoredMixtures:
        """Return one part, `train`, `valid` or `test`; the log-mels in memory are shared."""
        part = copy.copy(self)
        part._hold(self.plan[self.plan["split"] == split])
        return part

    def _hold(self, plan: pd.DataFrame) -> None:
        """Take these rows as the mixtures; what a row needs is kept as arrays, which are faster than a table."""
        self.plan, self._sets = plan, sets_of(plan, self.taxonomy)
        self._files, self._checksums = plan["file"].to_numpy(), plan["checksum"].to_numpy()

    def _read_shards(self) -> list[np.ndarray]:
        mels: list[np.ndarray] = []
        for name, checksum in self.plan[["file", "checksum"]].drop_duplicates().to_numpy():
            with np.load(self._checked(name, checksum)) as file:
                mels += np.split(file["mel"], np.cumsum(file["frames"])[:-1], axis=1)
        return mels

    def _checked(self, name: str, checksum: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: gone; {_AGAIN}")
        if _checksum(path) != checksum:
            raise DatasetError(f"{path}: not as it was written (its checksum differs); {_AGAIN}")
        return path


def is_stored_set(folder: Path | str) -> bool:
    """Say whether a folder holds a set of mixtures, finished or not."""
    return any((Path(folder) / name).is_file() for name in ("set.json", "unfinished.json"))


def read_configuration(folder: Path | str) -> dict[str, Any]:
    """Return what a stored set was made with.

    Raises:
        DatasetError: If the folder holds no finished set, or one of another format.
    """
    found = _read_json(Path(folder) / "set.json")
    if found is None:
        unfinished = " (it was interrupted: run the same `mix` command again)"
        says = unfinished if (Path(folder) / "unfinished.json").is_file() else ""
        raise DatasetError(f"{folder}: no finished set of mixtures{says}")
    if found["format"] != FORMAT:
        raise DatasetError(f"{folder}: format {found['format']}, this version reads {FORMAT}; {_AGAIN}")
    return found


def audit(plan: pd.DataFrame) -> splits.Audit:
    """Audit the plan of a stored set, whose rows carry the metadata of all their clips.

    Args:
        plan: `StoredMixtures.plan`.

    Returns:
        What the test part shares with the others, see `splits.audit`.
    """
    columns, sides = ["slice_file_name", "fold", "fsID", "start", "end"], _sides_of(plan)
    parts = [plan[[f"{side}_{c}" for c in columns]].set_axis(columns, axis=1) for side in sides]
    listed = pd.concat(parts, ignore_index=True)
    clip_of = listed.groupby(["slice_file_name", "fold"], sort=False, dropna=False).ngroup().to_numpy()
    clips = listed.loc[~listed.duplicated(["slice_file_name", "fold"])].reset_index(
        drop=True
    )  # a name may be in two folds
    members = clip_of.reshape(len(sides), -1).T
    is_test = (plan["split"] == "test").to_numpy()
    return splits.audit(clips, members[~is_test], members[is_test])


def recordings_of(plan: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Return the recordings of the clips of every mixture of a stored set, and whether they are known.

    Args:
        plan: `StoredMixtures.plan`, or some of its rows.

    Returns:
        `[N, k]`, and True; where recordings are not known, what identifies the clips, and False.
    """
    sides = _sides_of(plan)
    recordings = plan[[f"{side}_fsID" for side in sides]]
    if recordings.notna().all(axis=None):
        return recordings.to_numpy(), True
    names = [plan[f"{side}_fold"].astype(str) + "/" + plan[f"{side}_slice_file_name"].astype(str) for side in sides]
    return np.column_stack([name.to_numpy(str) for name in names]), False


def _sides_of(plan: pd.DataFrame) -> list[str]:
    return [side for side in SIDES if f"{side}_slice_file_name" in plan]


def _find_set(folder: Path) -> dict[str, Any] | None:
    """Return what the set in a folder was, or is to be, made with; None if there is nothing at all.

    Raises:
        DatasetError: If there is anything else in the folder: nothing of it may be lost.
    """
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: a file; choose a folder")
    names = {path.name for path in folder.iterdir() if not is_partial(path)} if folder.is_dir() else set()
    others = sorted(names - {*_TABLES, *_FOLDERS})
    if others:
        raise DatasetError(
            f"{folder}: holds other files ({others[0]} …); choose a folder that is empty or not there yet"
        )
    found = _read_json(folder / "set.json") or _read_json(folder / "unfinished.json")
    if names - {".lock"} and found is None:
        raise DatasetError(f"{folder}: holds parts of a set, but not what it was made with; delete it")
    return found


def _is_finished(out: Path, configuration: dict[str, Any], overwrite: bool) -> bool:
    """Say whether there is nothing left to do; refuse another set, unless it should be replaced."""
    found = _find_set(out)
    differ = _differences(found, configuration) if found else ""
    if differ and not overwrite:
        raise DatasetError(f"{out}: holds another set ({differ}); choose another folder, or --overwrite")
    return not overwrite and (out / "set.json").is_file()


def _begin(out: Path, configuration: dict[str, Any]) -> dict[str, str]:
    """Make the folder ready: delete a finished or another set, and what killed runs have left half written.

    Returns:
        The checksums of the files that an earlier run of the same set has finished.
    """
    for half in (*out.glob("shards/.*"), *out.glob("wav/*/.*")):
        if is_partial(half):
            half.unlink(missing_ok=True)
    found = _find_set(out)
    if found and ((out / "set.json").is_file() or _differences(found, configuration)):
        # Until all of the old set is gone, the folder says that it is neither the old nor the new one.
        write_json(out / "unfinished.json", {"format": FORMAT, "form": "being deleted"})
        for name in ("set.json", "plan.csv", "checksums.txt"):
            (out / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            if (out / name).exists():
                shutil.rmtree(out / name)
    write_json(out / "unfinished.json", configuration)
    finished = out / "checksums.txt"
    lines = finished.read_text(encoding="utf-8", errors="replace").splitlines() if finished.is_file() else []
    return {line[17:]: line[:16] for line in lines}  # a torn last line is the checksum of nothing


def _rows_of_files(form: str, count: int) -> dict[str, range]:
    """Return the files of a set, each with the rows of the plan that it holds."""
    if form == "wav":
        return {f"wav/{row // 1_000:02d}/{row:06d}.wav": range(row, row + 1) for row in range(count)}
    starts = range(0, count, SHARD)
    return {f"shards/{i:05d}.npz": range(start, min(start + SHARD, count)) for i, start in enumerate(starts)}


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return what `set.json` or `unfinished.json` holds; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or "format" not in found:
        raise DatasetError(f"{path}: damaged, or part of something else; if it belongs to a set, delete {path.parent}")
    if "recipe" in found:  # an old set may lack newer fields, and have fields under old names
        found["recipe"] = with_current_names(found["recipe"])
        found["mel"] = found["mel"] and _DEFAULT_MEL | found["mel"]
    return found


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name every value in which two configurations differ, as `recipe.joint: slots there, concatenate wanted`."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            is_group = isinstance(value, dict)
            result |= flat(value, f"{prefix}{key}.") if is_group else {prefix + key: value}
        return result

    there, here = flat({key: value for key, value in found.items() if key != "plan_checksum"}), flat(wanted)
    return "; ".join(
        f"{key}: {there.get(key)} there, {here.get(key)} wanted"
        for key in dict.fromkeys([*here, *there])
        if there.get(key) != here.get(key)
    )


def _hash_plan(plan: pd.DataFrame, cache: ClipCache) -> str:
    levels = [name for side in SIDES[1:] for name in level_columns(side)]
    columns = [name for name in (*SIDES, "split", *levels, "labels") if name in plan]
    table, clips = plan[columns].copy(), cache.clips
    names = clips["slice_file_name"].astype(str)
    if names.duplicated().any():  # in two folds
        names = "fold" + clips["fold"].astype(str) + "/" + names
    for side in SIDES[: members_of(plan).shape[1]]:
        table[side] = names.to_numpy()[plan[side]]
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()[:16]


def _size(form: str, samples: np.ndarray, frames: MelSpectrogram) -> int:
    """Return how many bytes a set takes at most."""
    numbers = samples if form == "wav" else len(frames.filterbank) * (1 + samples // frames.hop_length)
    return 2 * int(numbers.sum()) + 1_000 * len(samples)  # 16 bits each; a row of the table, and what a file adds


def _with_metadata(plan: pd.DataFrame, cache: ClipCache) -> pd.DataFrame:
    columns = [name for name in (*COLUMNS, "labels", "duration") if name in cache.clips]
    sides = [
        cache.clips[columns].iloc[plan[side]].reset_index(drop=True).add_prefix(f"{side}_")
        for side in SIDES[: members_of(plan).shape[1]]
    ]
    levels = [name for side in SIDES[1:] for name in level_columns(side)]
    own = [name for name in ("combination", "labels", "split", *levels) if name in plan]
    return pd.concat([plan[own].reset_index(drop=True), *sides], axis=1)


def _save_wav(path: Path, mixture: np.ndarray, sample_rate: int) -> None:
    audio.write(path, mixture / max(1.0, float(np.abs(mixture).max(initial=0.0))))


def _save_shard(
    path: Path, sounds: Iterable[np.ndarray], frames: MelSpectrogram, noise_snr: float | None, *, seeds: Sequence[int]
) -> None:
    mels = []
    for sound, seed in zip(sounds, seeds, strict=True):
        power = frames(torch.from_numpy(sound))
        if noise_snr is not None:
            power = add_noise(power, noise_snr, torch.Generator().manual_seed(seed))
        mels.append(np.rint(power_to_db(power).numpy() * _CENTIBEL).astype(np.int16))
    lengths = np.array([mel.shape[1] for mel in mels])
    with write_beside(path) as partial:
        # Row after row, as neighbours in time are alike: a quarter smaller than column after column.
        np.savez_compressed(partial, mel=np.ascontiguousarray(np.concatenate(mels, axis=1)), frames=lengths)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
