"""From clips to mixtures: pair clips into a plan, and render a row of the plan as sound.

A *plan* is a table, one row per mixture: `first` and `second` (rows of the clip table), `first_class`, `second_class`,
`combination`, and `split`; of overlays also `snr` (dB) and `onset` (s). It holds no sound. The lazy form renders a row
when a batch asks for it; `storage` writes all rows to disk.

A mixture is of one to four clips, and a clip may carry any number of labels; the label set of a mixture is the union of
those of its clips. Where it is not two clips with one class each, the plan has the columns `first` … `fourth` as needed,
and `labels`, the name of the label set, instead of classes and combination; of overlays also `third_snr`, `third_onset` and
so on.
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
from course_utils.configuration import ConfigurationError, Recipe
from course_utils.datasets import ClipCache, label_sets
from course_utils.splits import ROLES, ClipSplit
from course_utils.taxonomy import Taxonomy

SIDES = ("first", "second", "third", "fourth")  # the clips of a mixture
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

    A recipe of three or four clips joins as many neighbours, and one of a single clip takes every clip once. If balanced, the
    numbers of any two combinations differ by at most one, and so do those of any two clips of a class.
    Combinations with a class that has no clip are left out. Either way a clip may, rarely, be paired with itself.

    Args:
        clips: The table of clips.
        rows: Which of its rows take part.
        taxonomy: The classes.
        recipe: How often each clip occurs, and how to pair.
        rng: Where the order, and the SNR and onset of overlays, come from.
        split: What to write into the column `split`.

    Returns:
        A plan of `len(rows) * replicas // n_clips` mixtures; clips that are left over are not used.

    Raises:
        ConfigurationError: If pairs should be balanced, and some clips do not have exactly one class.

    Example:
        >>> clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
        >>> plan = pair(clips, np.arange(4), Taxonomy(), Recipe(replicas=1, shuffle=False), rng=np.random.default_rng(0))
        >>> plan[["first", "second", "combination"]]
           first  second  combination
        0      0       1           32
        1      2       3           32

    Lesson: 05_dataset_mixing
    """
    rows, n_clips = np.asarray(rows, np.int64), recipe.n_clips
    count = len(rows) * recipe.replicas // n_clips
    if n_clips == 1:
        members = rows[:, None]
    elif recipe.balanced:
        if "labels" in clips:
            raise ConfigurationError("balanced draws pairs of classes, and some clips carry no label or several")
        members = _draw_balanced(rows, clips["classID"].to_numpy()[rows], count, taxonomy, rng=rng)
    else:
        order = np.tile(rows, recipe.replicas)
        members = (rng.permutation(order) if recipe.shuffle else order)[: n_clips * count].reshape(-1, n_clips)
    plan = plan_of(members, clips, taxonomy, split)
    if recipe.joint == "overlay":
        for side in SIDES[1:n_clips]:
            snr, onset = level_columns(side)
            plan[snr] = rng.uniform(-recipe.snr_range, recipe.snr_range, count).round(2)
            plan[onset] = rng.uniform(0, recipe.max_onset, count).round(3)
    return plan


def plan_of(members: np.ndarray, clips: pd.DataFrame, taxonomy: Taxonomy, split: str = "") -> pd.DataFrame:
    """Write the clips of mixtures down as a plan, for joints that need no SNR and no onset.

    Args:
        members: Rows of the table of clips, `[N, k]`, from one to four per mixture.
        clips: The table of clips.
        taxonomy: The classes.
        split: What to write into the column `split`.

    Returns:
        A plan of N mixtures.

    Raises:
        ValueError: If there are not one to four rows per mixture, or a row is not in the table.

    Example:
        >>> clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
        >>> plan_of(np.array([[0, 1], [2, 0]]), clips, Taxonomy(), "test")
           first  second  first_class  second_class  combination split
        0      0       1            3             8           32  test
        1      2       0            3             3           27  test
        >>> plan_of(np.array([[0, 1, 3]]), clips, Taxonomy(), "test")
           first  second  third            labels split
        0      0       1      3  dog_bark + siren  test
    """
    members = np.asarray(members)
    k = members.shape[1] if members.ndim == 2 else 0
    if not 1 <= k <= len(SIDES) or (members.size and not 0 <= members.min() <= members.max() < len(clips)):
        raise ValueError(
            f"the clips of mixtures are [N, 1] to [N, {len(SIDES)}], rows from 0 to {len(clips) - 1}; got shape "
            f"{list(members.shape)}" + (f", rows {members.min()} to {members.max()}" if members.size else "")
        )
    plan = pd.DataFrame({side: members[:, i] for i, side in enumerate(SIDES[:k])})
    if k == 2 and "labels" not in clips:
        classes = clips["classID"].to_numpy()[members]
        plan["first_class"], plan["second_class"] = classes.T
        plan["combination"] = taxonomy.combination_id(*classes.T)
    else:
        union = label_sets(clips, taxonomy)[members].max(axis=1)
        different, index = np.unique(union, axis=0, return_inverse=True)
        names = np.array([taxonomy.set_name(row) for row in different], dtype=object)
        plan["labels"] = names[index.reshape(-1)]
    plan["split"] = split
    return plan


def members_of(plan: pd.DataFrame) -> np.ndarray:
    """Return the clips of every mixture of a plan: rows of the clip table, int64 `[N, k]`.

    Example:
        >>> members_of(pd.DataFrame({"first": [4], "second": [7], "combination": [32]}))
        array([[4, 7]])
    """
    return plan[[side for side in SIDES if side in plan]].to_numpy(np.int64)


def sets_of(plan: pd.DataFrame, taxonomy: Taxonomy) -> np.ndarray:
    """Return the label set of every mixture of a plan, multi-hot float32 `[N, n_classes]`.

    Example:
        >>> sets_of(pd.DataFrame({"first": [4], "second": [7], "combination": [1]}), Taxonomy(("dog", "siren")))
        array([[1., 1.]], dtype=float32)
    """
    if "labels" in plan:
        return taxonomy.from_set_names(plan["labels"])
    return taxonomy.multi_hot(plan["combination"])


def level_columns(side: str) -> tuple[str, str]:
    """Return the columns of a plan that hold the SNR and the onset of a clip other than the first.

    Example:
        >>> level_columns("second"), level_columns("third")
        (('snr', 'onset'), ('third_snr', 'third_onset'))
    """
    return ("snr", "onset") if side == "second" else (f"{side}_snr", f"{side}_onset")


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
        multi_hot: The label sets, float32 `[B, n_classes]`.

    Example:
        >>> batch = collate([(torch.ones(3), 0)], Taxonomy())
        >>> batch.to(torch.device("cpu")).audio.shape
        torch.Size([1, 3])
    """

    audio: Tensor
    lengths: Tensor
    multi_hot: Tensor

    @property
    def combination(self) -> Tensor:
        """The combination IDs, int64 `[B]`, of sets of one or two classes.

        Raises:
            ValueError: If a label set holds no class, or more than two.
        """
        sizes, n_classes = self.multi_hot.sum(dim=1), self.multi_hot.shape[1]
        if not bool(((sizes >= 1) & (sizes <= 2)).all()):
            raise ValueError("some label sets hold no class, or more than two: they have no combination")
        low = self.multi_hot.argmax(dim=1)
        high = n_classes - 1 - self.multi_hot.flip(1).argmax(dim=1)
        return low * n_classes - low * (low - 1) // 2 + high - low  # as `Taxonomy.combination_id`, on the device

    def to(self, device: torch.device) -> Batch:
        """Move all but the lengths to a device."""
        return Batch(self.audio.to(device), self.lengths, self.multi_hot.to(device))


def collate(items: Sequence[tuple[Tensor, Tensor | int]], taxonomy: Taxonomy, at_least: int = 0) -> Batch:
    """Put items of (sound, label set) together, padding the shorter ones.

    Args:
        items: Waveforms `[T]` or log-mels `[n_mels, frames]`, each with its label set: multi-hot `[n_classes]`, or a
            combination ID.
        taxonomy: The classes.
        at_least: The length to pad to, in samples or frames, so that what a network hears of one mixture does not
            depend on the others in its batch; a longer one lengthens its batch.

    Example:
        >>> items = [(torch.ones(3), 0), (torch.ones(5), 1)]
        >>> batch = collate(items, Taxonomy(("dog", "siren")))
        >>> batch.audio.shape, batch.lengths.tolist(), batch.multi_hot.tolist()
        (torch.Size([2, 5]), [3, 5], [[1.0, 0.0], [1.0, 1.0]])
    """
    sounds, targets = zip(*items, strict=True)
    lengths = torch.tensor([sound.shape[-1] for sound in sounds])
    silence = 0.0 if sounds[0].dim() == 1 else -100.0
    longest = max(int(lengths.max()), at_least)
    padded = torch.full((len(sounds), *sounds[0].shape[:-1], longest), silence)
    for row, sound in zip(padded, sounds, strict=True):
        row[..., : sound.shape[-1]] = sound
    sets = [np.asarray(target) for target in targets]
    multi_hot = np.stack([one if one.ndim else taxonomy.multi_hot(one) for one in sets]).astype(np.float32)
    return Batch(padded, lengths, torch.from_numpy(multi_hot))


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
    return join([cache[first], cache[second]], recipe, levels=[(snr, onset)], sample_rate=sample_rate)


def join(
    clips: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    levels: Sequence[tuple[float, float]] = (),
    sample_rate: int = SAMPLE_RATE,
) -> np.ndarray:
    """Join the sounds of one mixture, as many as there are.

    Args:
        clips: Waveforms, float32 `[T]` each.
        recipe: How to join them.
        levels: SNR and onset of every clip but the first, for an overlay: see `overlay`.
        sample_rate: Sampling rate of the clips, in Hz.

    Returns:
        Waveform, float32 `[T]`, as `render` returns it: with a slot per clip for `slots`.

    Example:
        >>> clips = [np.full(2, 0.5, np.float32), np.full(1, -0.5, np.float32), np.full(2, 0.1, np.float32)]
        >>> join(clips, Recipe(joint="concatenate", n_clips=3))
        array([ 0.5,  0.5, -0.5,  0.1,  0.1], dtype=float32)
    """
    if recipe.joint == "overlay":
        return _overlay(clips, levels, sample_rate)
    if recipe.equalize_energy:
        clips = equalize_energy(*clips)
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
    return _overlay([first, second], [(snr, onset)], sample_rate)


def _overlay(clips: Sequence[np.ndarray], levels: Sequence[tuple[float, float]], sample_rate: int) -> np.ndarray:
    """Add the other clips to the first, each from its onset on; its SNR is how many dB the first clip is louder."""
    powers = [_power(clip) for clip in clips]
    starts = [0]
    for snr, onset in levels:
        if not np.isfinite(snr) or not 0 <= onset < np.inf:
            raise ValueError(f"snr must be a number of dB, and onset 0 or more seconds; got {snr} and {onset}")
        starts.append(round(onset * sample_rate))
    ends = [start + len(clip) for start, clip in zip(starts, clips, strict=True)]
    mixture = audio.fit_length(clips[0], max(ends)).copy()
    for i, (snr, _) in enumerate(levels, 1):
        heard = min(powers[0], powers[i]) >= SILENCE
        gain = np.sqrt(powers[0] / powers[i]) * 10 ** (-snr / 20) if heard else 1.0
        mixture[starts[i] : ends[i]] += clips[i] * np.float32(gain)
    return mixture


def equalize_energy(*clips: np.ndarray) -> list[np.ndarray]:
    """Scale waveforms to the same energy (sum of squares): the mean of their energies before.

    If one is silent, of a mean power below −100 dB, all stay as they are.

    Raises:
        ValueError: If a sample is NaN or infinite.

    Example:
        >>> soft, loud = equalize_energy(np.full(4, 0.1, np.float32), np.full(4, 0.7, np.float32))
        >>> bool(np.allclose((soft**2).sum(), (loud**2).sum()))
        True
    """
    powers = [_power(clip) for clip in clips]
    if min(powers) < SILENCE:
        return list(clips)
    energies = [power * len(clip) for power, clip in zip(powers, clips, strict=True)]
    goal = sum(energies) / len(clips)
    return [clip * np.float32(np.sqrt(goal / e)) for clip, e in zip(clips, energies, strict=True)]


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
        ...     sound, multi_hot = LazyMixtures(cache, plan, data.taxonomy, Recipe())[0]
        ...
        >>> sound.shape, data.taxonomy.set_name(multi_hot)
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
        self.cache, self.taxonomy, self.recipe = cache, taxonomy, recipe
        self.plan = plan
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

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """Return a waveform `[T]` and its label set, multi-hot `[n_classes]`."""
        clips, levels = [self.cache[clip] for clip in self._members[row]], self._levels[row]
        sound = join(clips, self.recipe, levels=levels, sample_rate=self.cache.sample_rate)
        return torch.from_numpy(sound), torch.from_numpy(self._sets[row])

    @property
    def plan(self) -> pd.DataFrame:
        """The mixtures of this epoch."""
        return self._plan

    @plan.setter
    def plan(self, plan: pd.DataFrame) -> None:
        self._plan, self._sets = plan, sets_of(plan, self.taxonomy)
        self._members, self._levels = what_to_render(plan)


def lengths_of(cache: ClipCache, plan: pd.DataFrame, recipe: Recipe) -> np.ndarray:
    """Return how many samples `render` gives for every mixture, int64 `[N]`, without rendering it.

    Example:
        >>> from types import SimpleNamespace
        >>> cache = SimpleNamespace(lengths=np.array([22_050, 44_100]))  # all that is asked of the decoded clips
        >>> lengths_of(cache, pd.DataFrame({"first": [0], "second": [1]}), Recipe(joint="concatenate"))
        array([66150])
    """
    members, levels = what_to_render(plan)
    lengths = cache.lengths[members]
    if recipe.joint == "slots":
        return np.full(len(plan), members.shape[1] * round(recipe.slot_seconds * cache.sample_rate))
    if recipe.joint == "overlay":
        lengths[:, 1:] += np.rint(levels[:, :, 1] * cache.sample_rate).astype(np.int64)
        return lengths.max(axis=1)
    return lengths.sum(axis=1)


def what_to_render(plan: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return what `join` needs of every mixture of a plan.

    Returns:
        Its clips, int64 `[N, k]`, and SNR and onset of each but the first, `[N, k − 1, 2]`; 0 where it is not an overlay.

    Example:
        >>> what_to_render(pd.DataFrame({"first": [0, 2], "second": [1, 1]}))
        (array([[0, 1],
               [2, 1]]), array([[[0., 0.]],
        <BLANKLINE>
               [[0., 0.]]]))
    """
    members = members_of(plan)
    columns = [name for side in SIDES[1 : members.shape[1]] for name in level_columns(side)]
    levels = plan.reindex(columns=columns, fill_value=0.0).to_numpy(np.float64)
    return members, levels.reshape(len(plan), members.shape[1] - 1, 2)
