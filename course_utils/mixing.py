"""From clips to mixtures: pair clips into a plan, and render a row of the plan as sound.

A *plan* is a table, one row per mixture: `first` and `second` (rows of the clip table), `first_class`, `second_class`,
`combination`, and `split`; of overlays also `snr` (dB) and `onset` (s). It holds no sound. The lazy form renders a row
when a batch asks for it; `storage` writes all rows to disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from course_utils import audio
from course_utils.audio import SAMPLE_RATE
from course_utils.configuration import Recipe
from course_utils.datasets import ClipCache
from course_utils.splits import ROLES, ClipSplit
from course_utils.taxonomy import Taxonomy

SILENCE = 1e-10  # mean power, −100 dB; below it there is nothing to scale


def pair(
    clips: pd.DataFrame,
    rows: np.ndarray,
    taxonomy: Taxonomy,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    split: str = "",
) -> pd.DataFrame:
    """Pair clips: replicate them, shuffle, and join neighbours; or draw all combinations equally often.

    If balanced, the numbers of any two combinations differ by at most one, and so do those of any two clips of a class.
    Combinations with a class that has no clip are left out. Either way a clip may, rarely, be paired with itself.

    Args:
        clips: The table of clips.
        rows: Which of its rows take part.
        taxonomy: The classes.
        recipe: How often each clip occurs, and how to pair.
        rng: Where the order, and the SNR and onset of overlays, come from.
        split: What to write into the column `split`.

    Returns:
        A plan of `len(rows) * replicas // 2` mixtures. With an odd number of clips the last one is left over.

    Example:
        >>> clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
        >>> plan = pair(clips, np.arange(4), Taxonomy(), Recipe(replicas=1, shuffle=False), rng=np.random.default_rng(0))
        >>> plan[["first", "second", "combination"]]
           first  second  combination
        0      0       1           32
        1      2       3           32

    Lesson: 05_dataset_mixing
    """
    rows, labels = np.asarray(rows, np.int64), clips["classID"].to_numpy()
    count = len(rows) * recipe.replicas // 2
    if recipe.balanced:
        pairs = _draw_balanced(rows, labels[rows], count, taxonomy, rng=rng)
    else:
        order = np.tile(rows, recipe.replicas)
        pairs = (rng.permutation(order) if recipe.shuffle else order)[: 2 * count].reshape(-1, 2)
    plan = plan_of(pairs, clips, taxonomy, split)
    if recipe.joint == "overlay":
        plan["snr"] = rng.uniform(-recipe.snr_range, recipe.snr_range, count).round(2)
        plan["onset"] = rng.uniform(0, recipe.max_onset, count).round(3)
    return plan


def plan_of(pairs: np.ndarray, clips: pd.DataFrame, taxonomy: Taxonomy, split: str = "") -> pd.DataFrame:
    """Write pairs of clips down as a plan, for joints that need no SNR and no onset.

    Args:
        pairs: Rows of the table of clips, `[N, 2]`.
        clips: The table of clips.
        taxonomy: The classes.
        split: What to write into the column `split`.

    Returns:
        A plan of N mixtures.

    Raises:
        ValueError: If there is not one pair of rows per mixture, or a row is not in the table.

    Example:
        >>> clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
        >>> plan_of(np.array([[0, 1], [2, 0]]), clips, Taxonomy(), "test")
           first  second  first_class  second_class  combination split
        0      0       1            3             8           32  test
        1      2       0            3             3           27  test
    """
    pairs, labels = np.asarray(pairs), clips["classID"].to_numpy()
    if pairs.ndim != 2 or pairs.shape[1] != 2 or (pairs.size and not 0 <= pairs.min() <= pairs.max() < len(clips)):
        raise ValueError(f"pairs are [N, 2], of rows from 0 to {len(clips) - 1}; got {list(pairs.shape)}")
    first, second = pairs.T
    plan = pd.DataFrame(
        {"first": first, "second": second, "first_class": labels[first], "second_class": labels[second]}
    )
    plan["combination"] = taxonomy.combination_id(plan["first_class"], plan["second_class"])
    plan["split"] = split
    return plan


def _draw_balanced(
    rows: np.ndarray, labels: np.ndarray, count: int, taxonomy: Taxonomy, *, rng: np.random.Generator
) -> np.ndarray:
    """Draw `count` pairs of clips `[count, 2]`, given the class of each row."""
    possible = taxonomy.pairs[np.isin(taxonomy.pairs, labels).all(axis=1)]
    if not count:
        return np.zeros((0, 2), np.int64)
    classes = rng.permuted(possible[_in_rounds(len(possible), count, rng)], axis=1)
    pairs = np.empty_like(classes)
    for label in np.unique(classes):
        wanted, clips = classes == label, rows[labels == label]
        pairs[wanted] = clips[_in_rounds(len(clips), int(wanted.sum()), rng)]
    return pairs


def _in_rounds(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` of the numbers 0 … n−1 in rounds, each a new permutation of all of them."""
    return np.concatenate([rng.permutation(n) for _ in range(-(-count // n))])[:count]


def plan_by_clips(
    clips: pd.DataFrame, split: ClipSplit, taxonomy: Taxonomy, recipe: Recipe, *, seed: int
) -> pd.DataFrame:
    """Split first, then mix: pairs are drawn within each part of a split of the clips.

    Only the training part is balanced: validation and test keep the distribution that the clips have.

    Returns:
        A plan, with its part in the column `split`.

    Example:
        >>> clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
        >>> split = ClipSplit(np.array(["train", "train", "test", "test"], dtype=object), clips.iloc[:0])
        >>> plan_by_clips(clips, split, Taxonomy(), Recipe(replicas=2), seed=0)["split"].tolist()
        ['train', 'train', 'test', 'test']

    Lesson: 05_dataset_mixing
    """
    parts = []
    for number, role in enumerate(ROLES):
        how = recipe if role == "train" else dataclasses.replace(recipe, balanced=False)
        parts.append(
            pair(clips, split.rows(role), taxonomy, how, rng=np.random.default_rng([seed, number]), split=role)
        )
    return pd.concat(parts, ignore_index=True)


class Batch(NamedTuple):
    """What a network is trained on.

    Attributes:
        audio: Waveforms, float32 `[B, T]`, or log-mels in dB, float32 `[B, n_mels, frames]`; the shorter ones are
            padded at the end, with zeros or with −100 dB.
        lengths: Samples or frames of each, int64 `[B]`; they stay on the CPU, where they are read.
        multi_hot: The classes, float32 `[B, n_classes]`.
        combination: The combination ID, int64 `[B]`.

    Example:
        >>> batch = collate([(torch.ones(3), 0)], Taxonomy())
        >>> batch.to(torch.device("cpu")).audio.shape
        torch.Size([1, 3])
    """

    audio: Tensor
    lengths: Tensor
    multi_hot: Tensor
    combination: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move all but the lengths to a device."""
        audio, multi_hot, combination = (part.to(device) for part in (self.audio, self.multi_hot, self.combination))
        return Batch(audio, self.lengths, multi_hot, combination)


def collate(items: Sequence[tuple[Tensor, int]], taxonomy: Taxonomy, at_least: int = 0) -> Batch:
    """Put items of (sound, combination ID) together, padding the shorter ones.

    Args:
        items: Waveforms `[T]` or log-mels `[n_mels, frames]`, each with its combination ID.
        taxonomy: The classes.
        at_least: The length to pad to, in samples or frames, so that what a network hears of one mixture does not
            depend on the others in its batch; a longer one lengthens its batch.

    Example:
        >>> items = [(torch.ones(3), 0), (torch.ones(5), 1)]
        >>> batch = collate(items, Taxonomy(("dog", "siren")))
        >>> batch.audio.shape, batch.lengths.tolist(), batch.multi_hot.tolist()
        (torch.Size([2, 5]), [3, 5], [[1.0, 0.0], [1.0, 1.0]])
    """
    sounds, combinations = zip(*items, strict=True)
    lengths = torch.tensor([sound.shape[-1] for sound in sounds])
    silence = 0.0 if sounds[0].dim() == 1 else -100.0
    longest = max(int(lengths.max()), at_least)
    padded = torch.full((len(sounds), *sounds[0].shape[:-1], longest), silence)
    for row, sound in zip(padded, sounds, strict=True):
        row[..., : sound.shape[-1]] = sound
    multi_hot = torch.from_numpy(taxonomy.multi_hot(combinations))
    return Batch(padded, lengths, multi_hot, torch.tensor(combinations))


def render(
    cache: ClipCache,
    first: int,
    second: int,
    recipe: Recipe,
    *,
    snr: float = 0.0,
    onset: float = 0.0,
    sample_rate: int = SAMPLE_RATE,
) -> np.ndarray:
    """Render one mixture.

    Args:
        cache: The decoded clips.
        first: Row of the clip that comes first.
        second: Row of the other.
        recipe: How to join them.
        snr: SNR of an overlay, see `overlay`.
        onset: Onset of an overlay, see `overlay`.
        sample_rate: Sampling rate of the clips, in Hz.

    Returns:
        Waveform, float32 `[T]`: the sum of both lengths for `concatenate`, two slots for `slots`, up to the end of the clip
        that ends last for `overlay`.

    Example:
        >>> clips = [np.full(2, 0.5, np.float32), np.full(3, -0.5, np.float32)]  # anything that gives a waveform for a number
        >>> render(clips, 0, 1, Recipe(joint="concatenate"))
        array([ 0.5,  0.5, -0.5, -0.5, -0.5], dtype=float32)

    Lesson: 05_dataset_mixing
    """
    clips = [cache[first], cache[second]]
    if recipe.joint == "overlay":
        return overlay(clips[0], clips[1], snr, onset, sample_rate)
    if recipe.equalize_energy:
        clips = equalize_energy(clips[0], clips[1])
    if recipe.joint == "slots":
        slot = round(recipe.slot_seconds * sample_rate)
        clips = [audio.fit_length(clip, slot) for clip in clips]
    return np.concatenate(clips)


def overlay(
    first: np.ndarray, second: np.ndarray, snr: float, onset: float, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Add a second waveform to a first, which keeps its level.

    If one is silent, of a mean power below −100 dB, the second keeps its level as well.

    Args:
        first: Samples, float32 `[T1]`, as an array.
        second: Samples, float32 `[T2]`; noise, for a noisy `first`.
        snr: Mean power of the first over mean power of the second, each over its own length, in dB.
        onset: Where the second begins, in seconds.
        sample_rate: Sampling rate of both, in Hz.

    Returns:
        Samples, float32 `[max(T1, onset + T2)]`; they may go beyond −1 … 1.

    Raises:
        ValueError: If a sample, the SNR or the onset is NaN or infinite, or the onset is negative.

    Example:
        >>> first, second = np.ones(22_050, np.float32), np.ones(22_050, np.float32)
        >>> mixture = overlay(first, second, snr=0.0, onset=0.5)
        >>> len(mixture) / 22_050, float(mixture.max())
        (1.5, 2.0)

    Lesson: 05_dataset_mixing
    """
    if not np.isfinite(snr) or not 0 <= onset < np.inf:
        raise ValueError(f"snr must be a number of dB, and onset 0 or more seconds; got {snr} and {onset}")
    powers = [_power(clip) for clip in (first, second)]
    gain = np.sqrt(powers[0] / powers[1]) * 10 ** (-snr / 20) if min(powers) >= SILENCE else 1.0
    start = round(onset * sample_rate)
    mixture = audio.fit_length(first, max(len(first), start + len(second))).copy()
    mixture[start : start + len(second)] += second * np.float32(gain)
    return mixture


def equalize_energy(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Scale two waveforms to the same energy (sum of squares): the mean of their energies before.

    If one is silent, of a mean power below −100 dB, both stay as they are.

    Raises:
        ValueError: If a sample is NaN or infinite.

    Example:
        >>> soft, loud = equalize_energy(np.full(4, 0.1, np.float32), np.full(4, 0.7, np.float32))
        >>> bool(np.allclose((soft**2).sum(), (loud**2).sum()))
        True
    """
    powers = [_power(clip) for clip in (first, second)]
    if min(powers) < SILENCE:
        return [first, second]
    energies = [power * len(clip) for power, clip in zip(powers, (first, second), strict=True)]
    goal = sum(energies) / 2
    return [clip * np.float32(np.sqrt(goal / e)) for clip, e in zip((first, second), energies, strict=True)]


def _power(clip: np.ndarray) -> float:
    """Return the mean power of a waveform; 0 if it is empty."""
    power = float(np.mean(clip.astype(np.float64) ** 2)) if len(clip) else 0.0
    if not np.isfinite(power):
        raise ValueError("a waveform holds samples that are NaN or infinite")
    return power


class LazyMixtures(Dataset):
    """Mixtures that are rendered when they are asked for; nothing is stored.

    Args:
        cache: The decoded clips.
        plan: The mixtures.
        taxonomy: The classes.
        recipe: How to join clips.
        fresh_rows: If given, `set_epoch` draws new pairs of these clips every epoch.
        seed: The seed of the fresh pairs.

    Example:
        >>> import tempfile
        >>> from course_utils import audio
        >>> from course_utils.datasets import open_folder
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("1-3-0-0.wav", "2-8-0-0.wav"):  # recording, class, occurrence, slice: a dog, and a siren
        ...         audio.write(f"{root}/audio/fold1/{name}", np.full(22_050, 0.1))
        ...     data = open_folder(root)
        ...     cache = ClipCache.open(data, progress=False)
        ...     plan = plan_of(np.array([[0, 1]]), data.clips, data.taxonomy)
        ...     sound, combination = LazyMixtures(cache, plan, data.taxonomy, Recipe())[0]
        ...
        >>> sound.shape, data.taxonomy.name(combination)
        (torch.Size([44100]), 'dog_bark + siren')

    Lesson: 05_dataset_mixing
    """

    def __init__(
        self,
        cache: ClipCache,
        plan: pd.DataFrame,
        taxonomy: Taxonomy,
        recipe: Recipe,
        *,
        fresh_rows: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        self.cache, self.plan, self.taxonomy, self.recipe = cache, plan, taxonomy, recipe
        self._fresh_rows, self._seed = fresh_rows, seed

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairs of this epoch, if pairs are to be fresh; the same epoch gives the same pairs."""
        if self._fresh_rows is not None and len(self.plan):
            rng = np.random.default_rng([self._seed, epoch, 3])
            split = self.plan["split"].iloc[0]
            self.plan = pair(self.cache.clips, self._fresh_rows, self.taxonomy, self.recipe, rng=rng, split=split)

    def __len__(self) -> int:
        """Return the number of mixtures."""
        return len(self.plan)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return a waveform `[T]` and its combination ID."""
        (first, second), (snr, onset) = self._pairs[row], self._levels[row]
        sound = render(self.cache, first, second, self.recipe, snr=snr, onset=onset, sample_rate=self.cache.sample_rate)
        return torch.from_numpy(sound), int(self._combinations[row])

    @property
    def plan(self) -> pd.DataFrame:
        """The mixtures of this epoch."""
        return self._plan

    @plan.setter
    def plan(self, plan: pd.DataFrame) -> None:
        self._plan, self._combinations = plan, plan["combination"].to_numpy()
        self._pairs, self._levels = what_to_render(plan)


def lengths_of(cache: ClipCache, plan: pd.DataFrame, recipe: Recipe) -> np.ndarray:
    """Return how many samples `render` gives for every mixture, int64 `[N]`, without rendering it.

    Example:
        >>> from types import SimpleNamespace
        >>> cache = SimpleNamespace(lengths=np.array([22_050, 44_100]))  # all that is asked of the decoded clips
        >>> lengths_of(cache, pd.DataFrame({"first": [0], "second": [1]}), Recipe(joint="concatenate"))
        array([66150])
    """
    first, second = cache.lengths[plan[["first", "second"]].to_numpy()].T
    if recipe.joint == "slots":
        return np.full(len(plan), 2 * round(recipe.slot_seconds * cache.sample_rate))
    if recipe.joint == "overlay":
        onsets = np.rint(plan["onset"].to_numpy() * cache.sample_rate).astype(np.int64)
        return np.maximum(first, onsets + second)
    return first + second


def what_to_render(plan: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips of every mixture, int64 `[N, 2]`, and its SNR and onset, `[N, 2]`; 0 where it is not an overlay.

    Example:
        >>> what_to_render(pd.DataFrame({"first": [0, 2], "second": [1, 1]}))
        (array([[0, 1],
               [2, 1]]), array([[0., 0.],
               [0., 0.]]))
    """
    levels = plan.reindex(columns=["snr", "onset"], fill_value=0.0)
    return plan[["first", "second"]].to_numpy(), levels.to_numpy(np.float64)
