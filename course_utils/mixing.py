"""From clips to mixtures: replicate, shuffle and pair them into a plan, and render the plan as sound.

A *plan* is a table, one row a mixture: `first` and `second` (rows of the clip table), `first_class`, `second_class`,
`combination`, and `split`. It holds no sound; the lazy form renders a row when a batch asks for it, and the two stored
forms, log-mel shards and WAV files, render all rows once.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from course_utils import audio
from course_utils.audio import SAMPLE_RATE
from course_utils.configuration import Recipe
from course_utils.datasets import ClipCache, DatasetError
from course_utils.environment import need_torch
from course_utils.features import MelSpectrogram, add_noise, power_to_db
from course_utils.files import write_beside, write_json
from course_utils.splits import ClipSplit
from course_utils.taxonomy import Taxonomy

need_torch()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

_SIDES = ("first", "second")
FORMAT = 1  # of a stored set; a set of another format is refused
SHARD = 256  # mixtures in one file of the mel form
_CENTIBEL = 100  # stored log-mels are int16 in hundredths of a decibel


def pair(
    clips: pd.DataFrame, rows: np.ndarray, taxonomy: Taxonomy, recipe: Recipe, rng: np.random.Generator, split: str = ""
) -> pd.DataFrame:
    """Replicate clips, shuffle them, and pair neighbours.

    Args:
        clips: The table of clips.
        rows: Which of its rows take part.
        taxonomy: The classes.
        recipe: How often each clip occurs, and whether to shuffle.
        rng: Where the order comes from.
        split: What to write into the column `split`.

    Returns:
        A plan of `len(rows) * replicas // 2` mixtures. Of an odd number the last clip is left over.

    Lesson: 05_dataset_mixing
    """
    order = np.tile(np.asarray(rows, np.int64), recipe.replicas)
    if recipe.shuffle:
        order = rng.permutation(order)
    first, second = order[: len(order) // 2 * 2].reshape(-1, 2).T
    labels = clips["classID"].to_numpy()
    plan = pd.DataFrame(
        {"first": first, "second": second, "first_class": labels[first], "second_class": labels[second]}
    )
    plan["combination"] = taxonomy.combination_id(plan["first_class"], plan["second_class"])
    plan["split"] = split
    return plan


def plan_by_clips(clips: pd.DataFrame, split: ClipSplit, taxonomy: Taxonomy, recipe: Recipe, seed: int) -> pd.DataFrame:
    """Split first, then mix: pairs are drawn within each part of a split of the clips.

    Returns:
        A plan, with its part in the column `split`.
    """
    parts = [
        pair(clips, split.rows(role), taxonomy, recipe, np.random.default_rng([seed, number]), role)
        for number, role in enumerate(("train", "valid", "test"))
    ]
    return pd.concat(parts, ignore_index=True)


class Batch(NamedTuple):
    """What a network is trained on.

    Attributes:
        audio: Waveforms, float32 `[B, T]`, or log-mels in dB, float32 `[B, n_mels, frames]`; the shorter ones are
            filled up at the end, with zeros or with −100 dB.
        lengths: Samples or frames of each, int64 `[B]`.
        multi_hot: The classes, float32 `[B, n_classes]`.
        combination: The combination ID, int64 `[B]`.
    """

    audio: Tensor
    lengths: Tensor
    multi_hot: Tensor
    combination: Tensor


def collate(items: Sequence[tuple[Tensor, int]], taxonomy: Taxonomy, at_least: int = 0) -> Batch:
    """Put items of (sound, combination ID) together, filling up the shorter ones.

    Args:
        items: Waveforms `[T]` or log-mels `[n_mels, frames]`, each with its combination ID.
        taxonomy: The classes.
        at_least: The length to fill up to, in samples or frames, so that what a network hears of one mixture does not
            depend on the others in its batch; a longer one lengthens its batch.
    """
    sounds, combinations = zip(*items, strict=True)
    lengths = torch.tensor([sound.shape[-1] for sound in sounds])
    silence = 0.0 if sounds[0].dim() == 1 else -100.0
    longest = max(int(lengths.max()), at_least)
    padded = torch.stack([functional.pad(sound, (0, longest - sound.shape[-1]), value=silence) for sound in sounds])
    multi_hot = torch.from_numpy(taxonomy.multi_hot(combinations))
    return Batch(padded, lengths, multi_hot, torch.tensor(combinations))


def render(cache: ClipCache, first: int, second: int, recipe: Recipe) -> np.ndarray:
    """Render one mixture.

    Args:
        cache: The decoded clips.
        first: Row of the clip that comes first.
        second: Row of the other.
        recipe: How to join them.

    Returns:
        Waveform, float32 `[T]`: the sum of both lengths for `butt`, two slots for `slots`.

    Lesson: 05_dataset_mixing
    """
    clips = [cache[first], cache[second]]
    if recipe.equalize_energy:
        clips = equalize_energy(*clips)
    if recipe.joint == "slots":
        slot = round(recipe.slot_seconds * SAMPLE_RATE)
        clips = [audio.fit_length(clip, slot) for clip in clips]
    return np.concatenate(clips)


def equalize_energy(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Scale two waveforms to one energy (sum of squares), their mean before; silence stays as it is."""
    energies = [float(np.sum(clip.astype(np.float64) ** 2)) for clip in (first, second)]
    if min(energies) == 0:
        return [first, second]
    goal = sum(energies) / 2
    return [clip * np.float32(np.sqrt(goal / e)) for clip, e in zip((first, second), energies, strict=True)]


class LazyMixtures(Dataset):
    """Mixtures that are rendered when they are asked for; nothing is stored.

    Args:
        cache: The decoded clips.
        plan: The mixtures.
        taxonomy: The classes.
        recipe: How to join clips.
        fresh_seed: If given, `set_epoch` draws new pairs of the clips in `plan` every epoch.

    Lesson: 05_dataset_mixing
    """

    def __init__(
        self, cache: ClipCache, plan: pd.DataFrame, taxonomy: Taxonomy, recipe: Recipe, fresh_seed: int | None = None
    ) -> None:
        self.cache, self.plan, self.taxonomy, self.recipe = cache, plan, taxonomy, recipe
        self._fresh_seed = fresh_seed
        self._rows = np.unique(plan[list(_SIDES)].to_numpy())

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairs of this epoch, if pairs are to be fresh; the same epoch gives the same pairs."""
        if self._fresh_seed is not None:
            rng = np.random.default_rng([self._fresh_seed, epoch, 3])
            split = self.plan["split"].iloc[0]
            self.plan = pair(self.cache.clips, self._rows, self.taxonomy, self.recipe, rng, split)

    def __len__(self) -> int:
        """Return the number of mixtures."""
        return len(self.plan)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return a waveform `[T]` and its combination ID."""
        first, second, combination = self._table[row]
        return torch.from_numpy(render(self.cache, first, second, self.recipe)), int(combination)

    @property
    def plan(self) -> pd.DataFrame:
        """The mixtures of this epoch."""
        return self._plan

    @plan.setter
    def plan(self, plan: pd.DataFrame) -> None:
        self._plan, self._table = plan, plan[[*_SIDES, "combination"]].to_numpy()


# --- stored forms -----------------------------------------------------------------------------------------------------


def write_set(
    out: Path,
    form: Literal["mel", "wav"],
    cache: ClipCache,
    plan: pd.DataFrame,
    taxonomy: Taxonomy,
    recipe: Recipe,
    mel: dict | None = None,
    noise_snr: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the mixtures of a plan to disk, as the report did.

    `mel` writes log-mels in compressed shards of 256 mixtures (int16, hundredths of a dB); `wav` writes one 16-bit WAV
    file a mixture, scaled down where two loud clips would clip. `plan.csv` holds the combination ID and both clips'
    metadata, and `set.json`, written last, what the set was made with. A run that was interrupted goes on.

    Args:
        out: The folder to make.
        form: `mel` or `wav`.
        cache: The decoded clips.
        plan: The mixtures.
        taxonomy: The classes.
        recipe: How to join clips.
        mel: Arguments of `features.MelSpectrogram`, for the mel form.
        noise_snr: Noise on the mel power at this signal-to-noise ratio in dB; None adds none.
        seed: Of the noise.
        overwrite: Replace a set that was made with another configuration.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        DatasetError: If the folder holds another set, or other files, or the disk has too little room.
    """
    if form not in ("mel", "wav"):
        raise DatasetError(f"the stored form is 'mel' or 'wav', not {form!r}")
    out, mel = Path(out), dict(mel or {})
    config = {
        "format": FORMAT,
        "form": form,
        "sample_rate": SAMPLE_RATE,
        "recipe": asdict(recipe),
        "mel": mel if form == "mel" else {},
        "noise_snr": noise_snr if form == "mel" else None,
        "seed": seed,
        "classes": list(taxonomy.classes),
        "mixtures": len(plan),
        "plan_hash": _hash_plan(plan, cache),
    }
    if _is_finished(out, config, overwrite):
        return out
    _check_room(out, form, cache, plan)
    out.mkdir(parents=True, exist_ok=True)
    for half in out.rglob(".*.part*"):  # of a run that was killed
        half.unlink()
    write_json(out / "unfinished.json", config)
    if form == "mel":
        _write_shards(out, cache, plan, recipe, mel, noise_snr, seed, progress)
    else:
        _write_wavs(out, cache, plan, recipe, progress)
    with write_beside(out / "plan.csv") as partial:
        _with_metadata(plan, cache, form).to_csv(partial, index=False, na_rep="NaN")
    write_json(out / "set.json", config)
    (out / "unfinished.json").unlink()
    return out


class StoredMixtures(Dataset):
    """A stored set, read back item by item.

    Args:
        folder: What `write_set` made.

    Attributes:
        config: What the set was made with.
        plan: Its mixtures, with the clips' metadata.
        taxonomy: Its classes.

    Raises:
        DatasetError: If the folder holds no finished set, or one of another format.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not is_stored_set(self.folder):
            half = (
                " (it was interrupted: run the same `mix` command again)"
                if (self.folder / "unfinished.json").exists()
                else ""
            )
            raise DatasetError(f"{self.folder}: no finished set of mixtures{half}")
        self.config = json.loads((self.folder / "set.json").read_text())
        if self.config["format"] != FORMAT:
            raise DatasetError(
                f"{self.folder}: format {self.config['format']}, this version reads {FORMAT}; make it again"
            )
        self.taxonomy = Taxonomy(tuple(self.config["classes"]))
        plan = pd.read_csv(self.folder / "plan.csv", dtype={"split": str}, keep_default_na=False, na_values=["NaN"])
        if len(plan) != self.config["mixtures"]:
            raise DatasetError(
                f"{self.folder}: plan.csv has {len(plan)} rows, not {self.config['mixtures']}; make it again"
            )
        self.plan = plan
        self._combinations = plan["combination"].to_numpy()
        self._mels = self._read_shards() if self.config["form"] == "mel" else []

    def __len__(self) -> int:
        """Return the number of mixtures."""
        return len(self.plan)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return a log-mel `[n_mels, frames]` or a waveform `[T]`, and its combination ID."""
        if self.config["form"] == "wav":
            sound = torch.from_numpy(audio.read(self.folder / self.plan["file"].iloc[row]))
        else:
            sound = torch.from_numpy(self._mels[self.plan.index[row]].astype(np.float32) / _CENTIBEL)
        return sound, int(self._combinations[row])

    def part(self, split: str) -> StoredMixtures:
        """Return one part, `train`, `valid` or `test`; the log-mels in memory are shared."""
        part = copy.copy(self)
        part.plan = self.plan[self.plan["split"] == split]
        part._combinations = part.plan["combination"].to_numpy()
        return part

    def _read_shards(self) -> list[np.ndarray]:
        mels: list[np.ndarray] = []
        for shard in range(-(-self.config["mixtures"] // SHARD)):
            try:
                with np.load(self.folder / _shard_name(shard)) as file:
                    mels += np.split(file["mel"], np.cumsum(file["frames"])[:-1], axis=1)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise DatasetError(
                    f"{self.folder / _shard_name(shard)}: damaged ({error}); make the set again"
                ) from error
        return mels


def is_stored_set(folder: Path) -> bool:
    """Say whether a folder holds a finished set of mixtures."""
    return (Path(folder) / "set.json").is_file()


def _is_finished(out: Path, config: dict, overwrite: bool) -> bool:
    for name in ("set.json", "unfinished.json"):
        if (out / name).is_file():
            found = json.loads((out / name).read_text())
            if found == config:
                return name == "set.json"
            if not overwrite:
                differ = [f"{k}: {found.get(k)} there, {v} wanted" for k, v in config.items() if found.get(k) != v]
                raise DatasetError(
                    f"{out}: holds another set ({'; '.join(differ)}); choose another folder, or --overwrite"
                )
            for leftover in ("set.json", "unfinished.json", "plan.csv"):
                (out / leftover).unlink(missing_ok=True)
            for leftover in ("shards", "wav"):
                shutil.rmtree(out / leftover, ignore_errors=True)
            return False
    if out.is_dir() and any(out.iterdir()):
        raise DatasetError(f"{out}: holds other files; choose a folder that is empty or not there yet")
    return False


def _hash_plan(plan: pd.DataFrame, cache: ClipCache) -> str:
    names = cache.clips["slice_file_name"].to_numpy()
    text = "\n".join(f"{names[a]} {names[b]} {s}" for a, b, s in plan[[*_SIDES, "split"]].to_numpy())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_room(out: Path, form: str, cache: ClipCache, plan: pd.DataFrame) -> None:
    samples = cache.lengths[plan[list(_SIDES)].to_numpy()].sum()
    needed = samples * 2 if form == "wav" else samples * 2 // 8  # a log-mel has an eighth as many numbers
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DatasetError(f"{out}: the set needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")


def _with_metadata(plan: pd.DataFrame, cache: ClipCache, form: str) -> pd.DataFrame:
    columns = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class", "duration"]
    sides = [cache.clips[columns].iloc[plan[side]].reset_index(drop=True).add_prefix(f"{side}_") for side in _SIDES]
    table = plan[["combination", "split"]].reset_index(drop=True)
    if form == "wav":
        table.insert(0, "file", [_wav_name(row) for row in range(len(plan))])
    return pd.concat([table, *sides], axis=1)


def _wav_name(row: int) -> str:
    return f"wav/{row // 1000:03d}/{row:06d}.wav"


def _write_wavs(out: Path, cache: ClipCache, plan: pd.DataFrame, recipe: Recipe, progress: bool) -> None:
    pairs = plan[list(_SIDES)].to_numpy()

    def write(row: int) -> None:
        path = out / _wav_name(row)
        if not path.exists():
            mixture = render(cache, *pairs[row], recipe)
            audio.write(path, mixture / max(1.0, float(np.abs(mixture).max(initial=0.0))))

    _in_parallel(write, len(plan), "write", "mixture", progress)


def _write_shards(
    out: Path, cache: ClipCache, plan: pd.DataFrame, recipe: Recipe, mel: dict, noise_snr: float | None, seed: int,
    progress: bool,
) -> None:  # fmt: skip
    pairs, spectrogram = plan[list(_SIDES)].to_numpy(), MelSpectrogram(**mel)

    def log_mel(row: int) -> np.ndarray:
        power = spectrogram(torch.from_numpy(render(cache, *pairs[row], recipe)))
        if noise_snr is not None:
            power = add_noise(power, noise_snr, torch.Generator().manual_seed(seed * len(pairs) + row))
        return np.rint(power_to_db(power).numpy() * _CENTIBEL).astype(np.int16)

    def write(shard: int) -> None:
        path = out / _shard_name(shard)
        if not path.exists():
            mels = [log_mel(row) for row in range(shard * SHARD, min((shard + 1) * SHARD, len(pairs)))]
            frames = np.array([mel.shape[1] for mel in mels])
            with write_beside(path) as partial:
                np.savez_compressed(partial, mel=np.concatenate(mels, axis=1), frames=frames)

    _in_parallel(write, -(-len(plan) // SHARD), "write", "shard", progress)


def _shard_name(shard: int) -> str:
    return f"shards/{shard:05d}.npz"


def _in_parallel(work: Callable[[int], None], count: int, label: str, unit: str, progress: bool) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(tqdm(pool.map(work, range(count)), label, count, unit=unit, disable=not progress, leave=False))
