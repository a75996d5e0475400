"""Which clips go to training, validation and test, and the audit that counts what the test shares with the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from course_utils.datasets import parse_name
from course_utils.taxonomy import JOINS

ROLES = ("train", "valid", "test")


class SplitError(ValueError):
    """A split that cannot be made; the message says which fold or share is the reason."""


@dataclass(frozen=True)
class ClipSplit:
    """A split of clips, made before mixing.

    Attributes:
        roles: `train`, `valid`, `test`, or the empty string for clips that are not used; object `[n_clips]`.
        dropped: The rows of the clips that were left out because their recording is also in the test or validation
            part, though their fold says training.
    """

    roles: np.ndarray
    dropped: pd.DataFrame

    def rows(self, role: str) -> np.ndarray:
        """Return the row numbers of the clips of one role, int64."""
        return np.flatnonzero(self.roles == role)

    def __repr__(self) -> str:
        """Return `describe()`: the roles are as many as the clips."""
        return self.describe()

    def describe(self) -> str:
        """Say how many clips each part has, and which recordings were taken off the training side."""
        says = ", ".join(f"{role} {len(self.rows(role)):,}" for role in ROLES)
        if len(self.dropped):
            names = ", ".join(str(i) for i in sorted(self.dropped["fsID"].unique()))
            says += f"; {len(self.dropped)} training-side clips dropped, whose recordings ({names}) are on both sides"
        return f"clips: {says}"


@dataclass(frozen=True)
class Audit:
    """What the test part shares with another part; every number counts test items.

    Attributes:
        items: Test items: clips, or mixtures of several clips.
        clip: Items with at least one clip that the other part also uses.
        all_clips: Items all of whose clips the other part also uses.
        recording: Items with at least one clip whose recording the other part also uses; None if recordings are not known.
        samples: Items with at least one clip that shares raw samples with a clip of the other part: the same recording,
            and the time spans from `start` to `end` overlap. Clips of unknown times share samples only with
            themselves. (UrbanSound8K's table puts neighbouring slices 0.5 s apart that are 2 s apart in the sound, so
            that this count is too high there: see lesson 04_urbansound8k.)
        recordings: The recordings on both sides.
    """

    items: int
    clip: int
    all_clips: int
    recording: int | None
    samples: int
    recordings: tuple

    @property
    def is_clean(self) -> bool:
        """True if no recording is on both sides; False also if recordings are not known."""
        return self.recording == 0

    def describe(self) -> str:
        """State the counts, with percentages."""
        if not self.items:
            return "audit: no test items"
        if self.is_clean:
            return f"audit: none of {self.items:,} test items shares a recording with training"
        parts = [("a clip", self.clip), ("all clips", self.all_clips), ("samples", self.samples)]
        if self.recording is None:
            parts = parts[:2]
        else:
            parts.append(("a recording", self.recording))
        shares = ", ".join(f"{name} {count:,} ({count / self.items:.1%})" for name, count in parts)
        unknown = "; how many share a recording is not known" if self.recording is None else ""
        return f"audit: of {self.items:,} test items, those sharing with training:\n  {shares}{unknown}"


def official(
    clips: pd.DataFrame,
    test_folds: Sequence[int],
    *,
    valid_folds: Sequence[int] = (),
    train_folds: Sequence[int] | None = None,
    valid_fraction: float = 0.1,
    seed: int = 0,
) -> ClipSplit:
    """Split clips by the folds of the data set; no recording ends up on both sides.

    UrbanSound8K's folds keep recordings together except for five (fsID 77751, 106905, 132016, 176638, 180937), which
    are in two folds. Their clips on the training side are dropped when the other fold is tested.

    Args:
        clips: The table of clips, with the columns `fold`, `fsID`, and `classID` or `labels`.
        test_folds: Folds to test on.
        valid_folds: Folds to validate on; if none, a share of the training recordings validates.
        train_folds: Folds to train on; None means all that are not named.
        valid_fraction: The share of the training recordings of each class that validates, at least one of a class
            that has two or more, unless the share is 0. With label sets, a class may go without, if another class
            would otherwise lose its last training recording.
        seed: Which recordings validate.

    Returns:
        The split.

    Raises:
        SplitError: If a fold is not there or named twice, or a part would be empty.

    Example:
        >>> clips = pd.DataFrame({"fold": [1, 1, 2, 3], "fsID": [10, 11, 10, 12], "classID": [3, 3, 3, 3]})
        >>> official(clips, test_folds=[2], valid_folds=[3]).roles  # recording 10 is in the test, so the first clip goes
        array(['', 'train', 'test', 'valid'], dtype=object)
    """
    _check_shares({"valid_fraction": valid_fraction}, seed)
    present = folds_of(clips)
    named = list(test_folds) + list(valid_folds) + list(train_folds or ())
    absent = sorted(set(named) - set(present))
    if absent:
        raise SplitError(f"no clips in fold {_join(absent)}; there are clips in fold {_join(present)}")
    doubled = sorted({fold for fold in named if named.count(fold) > 1})
    if doubled:
        raise SplitError(f"fold {_join(doubled)} is named twice: a fold trains, validates or tests")
    if not test_folds:
        raise SplitError(f"no test fold named; there are clips in fold {_join(present)}")
    if train_folds is None:
        train_folds = [fold for fold in present if fold not in named]
    if not train_folds:
        raise SplitError(
            f"no fold is left to train on: test {_join(test_folds)}, validation {_join(valid_folds) or 'none'}"
        )

    fold, recording = clips["fold"].to_numpy(), recordings_of(clips)
    roles = np.full(len(clips), "", dtype=object)
    for role, folds in zip(ROLES, (train_folds, valid_folds, test_folds), strict=True):
        roles[np.isin(fold, folds)] = role
    in_test = np.isin(recording, recording[roles == "test"])
    in_valid = np.isin(recording, recording[roles == "valid"])
    drop = (in_test & np.isin(roles, ("train", "valid"))) | (in_valid & (roles == "train"))
    roles[drop] = ""
    if not valid_folds and valid_fraction > 0:
        chosen = _validation_recordings(clips[roles == "train"], valid_fraction, seed)
        roles[(roles == "train") & np.isin(recording, chosen)] = "valid"
    for role in ("train", "test"):
        if not (roles == role).any():
            taken = ", and after validation took its share" if (roles == "valid").any() and not valid_folds else ""
            raise SplitError(f"no clip is left for {role}, after dropping recordings that are on both sides{taken}")
    return ClipSplit(roles, clips[drop])


def by_clips(
    clips: pd.DataFrame,
    folds: Sequence[int] | None,
    seed: int,
    *,
    test_fraction: float = 0.2,
    valid_fraction: float = 0.1,
) -> ClipSplit:
    """Split clips at random, before mixing: no clip is on two sides, but recordings are.

    Args:
        clips: The table of clips, with the column `fold`.
        folds: Folds whose clips are split; None means all clips, even those without a fold. Other clips are not used.
        seed: Which clips go where.
        test_fraction: Share of the clips that tests.
        valid_fraction: Share of the others that validates.

    Returns:
        The split.

    Raises:
        SplitError: If a fold is not there, or a part would be empty.

    Example:
        >>> by_clips(pd.DataFrame({"fold": [1] * 10}), None, seed=0).describe()
        'clips: train 7, valid 1, test 2'

    Lesson: 11_cnn_versus_crnn
    """
    rows = rows_in(clips, folds)
    roles = np.full(len(clips), "", dtype=object)
    roles[rows] = random(len(rows), seed, test_fraction, valid_fraction)
    return ClipSplit(roles, clips.iloc[:0])


def stratified(clips: pd.DataFrame, seed: int, *, test_fraction: float = 0.2, valid_fraction: float = 0.1) -> ClipSplit:
    """Split clips so that every class has its share of each part, before mixing; no recording is on two sides.

    Iterative stratification: of the classes that still have clips to place, the one with the fewest is taken, and its
    recordings go, one after the other, to the part that lacks the most clips of that class. Where recordings are not
    known, every clip counts as a recording of its own.

    Source: K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.

    Args:
        clips: The table of clips, with the columns `fsID` and `classID`, or `labels`.
        seed: Which recordings go where.
        test_fraction: Share of the clips that tests.
        valid_fraction: Share of the others that validates.

    Returns:
        The split.

    Raises:
        SplitError: If training or test would be empty.

    Example:
        >>> clips = pd.DataFrame({"fsID": range(100), "labels": ["dog", "dog + siren", "siren", "", "rain"] * 20})
        >>> split = stratified(clips, seed=0)
        >>> split
        clips: train 72, valid 8, test 20
        >>> clips["labels"][split.rows("test")].str.contains("dog").sum()  # a fifth of 40
        np.int64(8)
    """
    _check_shares({"test_fraction": test_fraction, "valid_fraction": valid_fraction}, seed)
    shares = np.array([(1 - test_fraction) * (1 - valid_fraction), (1 - test_fraction) * valid_fraction, test_fraction])
    roles = np.array(ROLES, dtype=object)[_stratify(clips, shares, np.random.default_rng([seed, 6]))]
    for role in ("train", "test"):
        if not (roles == role).any():
            raise SplitError(
                f"{len(clips)} clips of {len(set(recordings_of(clips)))} recordings cannot be split into "
                f"{test_fraction:.0%} test and the rest: nothing is left for {role}"
            )
    return ClipSplit(roles, clips.iloc[:0])


def _stratify(clips: pd.DataFrame, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of every clip, 0 … len(shares) − 1, so that each part has about its share of every class.

    If another part lacks a class, the first part, which trains, gives it one recording of that class, unless that is the
    last recording of some class there.
    """
    _, recording = np.unique(recordings_of(clips), return_inverse=True)
    per_clip = np.column_stack([np.ones(len(clips), np.int64), *(rows for _, rows in _rows_of_classes(clips))])
    counts = np.zeros((recording.max() + 1, per_clip.shape[1]), np.int64)  # of clips, and of clips with each class
    np.add.at(counts, recording, per_clip)
    lacking = shares[:, None] * counts.sum(axis=0)  # clips that each part still lacks: in all, and of each class
    part = np.full(len(counts), -1)
    while (is_left := part < 0).any():
        rest = counts[is_left, 1:].sum(axis=0)
        if rest.any():
            column = 1 + int(np.where(rest > 0, rest, rest.max() + 1).argmin())
            group = np.flatnonzero(is_left & (counts[:, column] > 0))
        else:
            column, group = 0, np.flatnonzero(is_left)  # clips without a label
        group = rng.permutation(group)
        # The largest recordings first: the small ones then even out what these left uneven.
        for one in group[np.argsort(-counts[group, column], kind="stable")]:
            wanted = np.flatnonzero(lacking[:, column] >= lacking[:, column].max() - 1e-9)
            wanted = wanted[lacking[wanted, 0] >= lacking[wanted, 0].max() - 1e-9]
            part[one] = rng.choice(wanted)
            lacking[part[one]] -= counts[one]
    for other in range(1, len(shares)):
        if shares[other] > 0:
            _give_every_class(part, counts, other)
    return part[recording]


def _give_every_class(part: np.ndarray, counts: np.ndarray, other: int) -> None:
    """Move recordings from part 0 to another part until that part has every class it can have, and at least one clip."""
    for column in [*np.argsort(counts[:, 1:].sum(axis=0), kind="stable") + 1, 0]:  # rare classes first; then any clip
        if counts[part == other, column].any():
            continue
        recordings_left = (counts[part == 0] > 0).sum(axis=0)
        takes_the_last = ((counts > 0) & (recordings_left < 2)).any(axis=1)
        can_go = np.flatnonzero((part == 0) & (counts[:, column] > 0) & ~takes_the_last)
        if len(can_go):
            part[can_go[counts[can_go, 0].argmin()]] = other


def recordings_of(clips: pd.DataFrame) -> np.ndarray:
    """Return the recording of every clip, `[n]`; its own row number where recordings are not known.

    Example:
        >>> recordings_of(pd.DataFrame({"fsID": [7, 7, 9]})), recordings_of(pd.DataFrame({"fsID": [np.nan, np.nan]}))
        (array([7, 7, 9]), array([0, 1]))
    """
    return clips["fsID"].to_numpy() if recordings_are_known(clips) else np.arange(len(clips))


def recordings_are_known(clips: pd.DataFrame) -> bool:
    """Say whether the table says which recording each clip is from.

    Example:
        >>> recordings_are_known(pd.DataFrame({"fsID": [np.nan, np.nan]}))
        False
    """
    return bool(clips["fsID"].notna().all())


def folds_of(clips: pd.DataFrame) -> list[int]:
    """Return the folds that clips are in, in order.

    Raises:
        SplitError: If the table has no folds.

    Example:
        >>> folds_of(pd.DataFrame({"fold": [2, 1, 2]}))
        [1, 2]
    """
    if clips["fold"].isna().any():
        raise SplitError(
            "the table has no folds; use --split stratified or --split clips, or name the column that holds the folds"
        )
    return sorted(int(fold) for fold in clips["fold"].unique())


def rows_in(clips: pd.DataFrame, folds: Sequence[int] | None) -> np.ndarray:
    """Return the row numbers of the clips in these folds, int64; of all clips if no folds are named.

    Raises:
        SplitError: If a fold is not there.

    Example:
        >>> rows_in(pd.DataFrame({"fold": [2, 1, 2]}), [2])
        array([0, 2])
    """
    if not folds:
        return np.arange(len(clips))
    present = folds_of(clips)
    absent = sorted(set(folds) - set(present))
    if absent:
        raise SplitError(f"no clips in fold {_join(absent)}; there are clips in fold {_join(present)}")
    return np.flatnonzero(clips["fold"].isin(list(folds)))


def thin(split: ClipSplit, clips: pd.DataFrame, share: float, seed: int) -> ClipSplit:
    """Keep a share of the training recordings of each class, at least one; the rest is not used.

    With the same seed, a smaller share is part of a larger one.

    Args:
        split: The split.
        clips: The table of clips, with the columns `fsID` and `classID`, or `labels`.
        share: The share of the recordings to keep, above 0 and at most 1.
        seed: Which recordings stay.

    Returns:
        A split with fewer training clips; its other parts are the same.

    Raises:
        SplitError: If the share is not above 0 and at most 1.

    Example:
        >>> clips = pd.DataFrame({"fsID": [1, 2, 3, 4], "classID": [3, 3, 3, 3]})
        >>> split = ClipSplit(np.array(["train"] * 4, dtype=object), clips.iloc[:0])
        >>> thin(split, clips, share=0.5, seed=0)
        clips: train 2, valid 0, test 0

    Lesson: 12_going_further
    """
    if not 0 < share <= 1:
        raise SplitError(f"share must be above 0 and at most 1, not {share}")
    rng, roles, recording = np.random.default_rng([seed, 5]), split.roles.copy(), recordings_of(clips)
    is_kept, groups = np.zeros(len(clips), dtype=bool), list(_rows_of_classes(clips, split.rows("train")))
    if (
        "labels" in clips
    ):  # a recording has several classes: the first ones in one order, and the first one of each class
        order = rng.permutation(np.unique(recording[roles == "train"]))
        places = {one: place for place, one in enumerate(order)}
        place = np.array([places.get(one, len(order)) for one in recording])
        is_kept = place < max(round(len(order) * share), 1)
        for _, has_class in groups:
            is_kept |= place == place[has_class].min()
    else:
        for _, has_class in groups:
            recordings = rng.permutation(np.unique(recording[has_class]))
            is_kept |= has_class & np.isin(recording, recordings[: max(round(len(recordings) * share), 1)])
    roles[(roles == "train") & ~is_kept] = ""
    return ClipSplit(roles, split.dropped)


def random(items: int, seed: int, test_fraction: float = 0.2, valid_fraction: float = 0.1) -> np.ndarray:
    """Give roles to items at random, as the student report did with its mixtures. What the test shares: see `audit`.

    Args:
        items: Number of mixtures, or of clips.
        seed: Which items go where.
        test_fraction: Share of all items that tests.
        valid_fraction: Share of the others that validates.

    Returns:
        Roles, object `[items]`.

    Raises:
        SplitError: If a part would be empty.

    Example:
        >>> pd.Series(random(100, seed=0)).value_counts().to_dict()
        {'train': 72, 'test': 20, 'valid': 8}
    """
    _check_shares({"test_fraction": test_fraction, "valid_fraction": valid_fraction}, seed)
    if items < 0:
        raise SplitError(f"items must be 0 or more, not {items}")
    order = np.random.default_rng([seed, 2]).permutation(items)
    n_test = round(items * test_fraction)
    n_valid = round((items - n_test) * valid_fraction)
    if not 0 < n_test < items - n_valid:
        raise SplitError(f"{items} items cannot be split into {test_fraction:.0%} test and the rest")
    roles = np.full(items, "train", dtype=object)
    roles[order[:n_test]] = "test"
    roles[order[n_test : n_test + n_valid]] = "valid"
    return roles


def audit(clips: pd.DataFrame, train: np.ndarray, test: np.ndarray) -> Audit:
    """Count what test items share with training items.

    Args:
        clips: The table of clips, with the columns `fsID`, `start` and `end`.
        train: Row numbers of the training clips, `[n]`, or of the clips of training mixtures, `[n, k]`.
        test: The same for the test, `[m]` or `[m, k]`.

    Returns:
        The counts.

    Example:
        >>> clips = pd.DataFrame({"fsID": [7, 7, 8], "start": [0.0, 5.0, 0.0], "end": [4.0, 9.0, 4.0]})
        >>> print(audit(clips, train=np.array([0]), test=np.array([1, 2])).describe())
        audit: of 2 test items, those sharing with training:
          a clip 0 (0.0%), all clips 0 (0.0%), samples 0 (0.0%), a recording 1 (50.0%)
    """
    test = np.asarray(test, np.int64)
    test = test[:, None] if test.ndim == 1 else test
    used = np.zeros(len(clips), dtype=bool)
    used[np.unique(np.asarray(train, np.int64))] = True
    recording, are_known = recordings_of(clips), recordings_are_known(clips)
    on_both = np.isin(recording, recording[used])
    shares_samples = _shares_samples(clips, used) if are_known else used
    both = set(recording[np.unique(test)]) & set(recording[used]) if are_known else set()
    return Audit(
        items=len(test),
        clip=int(used[test].any(axis=1).sum()),
        all_clips=int(used[test].all(axis=1).sum()),
        recording=int(on_both[test].any(axis=1).sum()) if are_known else None,
        samples=int(shares_samples[test].any(axis=1).sum()),
        recordings=tuple(sorted(both)),
    )


def is_neighbour(clips: pd.DataFrame, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Say which clips are slices next to other clips, of one occurrence of a sound: those share samples.

    Slices of UrbanSound8K are up to 4 s long and begin 2 s after one another, whatever its table says (see lesson
    04_urbansound8k), so that those next but one share nothing.

    Args:
        clips: The table of clips; its file names must be of the form fsID-classID-occurrence-slice.
        rows: The clips in question, `[n]`.
        others: The others, `[m]`.

    Returns:
        Booleans, `[n]`; all True if a name is of another form, since nothing is known then.

    Example:
        >>> clips = pd.DataFrame({"slice_file_name": ["7-3-0-0.wav", "7-3-0-1.wav", "7-3-0-5.wav"]})
        >>> is_neighbour(clips, np.array([0, 2]), np.array([1]))
        array([ True, False])
    """
    names = [name for name in map(parse_name, clips["slice_file_name"]) if name is not None]
    if len(names) < len(clips):
        return np.ones(len(rows), dtype=bool)
    slices = [(*(name[key] for key in ("fsID", "classID", "occurrence")), name["slice"]) for name in names]
    taken = {slices[row] for row in others}
    return np.array([any((*slices[row][:3], slices[row][3] + step) in taken for step in (-1, 1)) for row in rows])


def _shares_samples(clips: pd.DataFrame, used: np.ndarray) -> np.ndarray:
    """For every clip, whether it is used, or overlaps in time with a used clip of its recording."""
    shares = used.copy()
    start, end = clips["start"].to_numpy(), clips["end"].to_numpy()
    for rows in clips.groupby("fsID").indices.values():
        others = rows[used[rows]]
        overlap = (start[rows, None] < end[others]) & (end[rows, None] > start[others])
        shares[rows] |= overlap.any(axis=1)
    return shares


def _check_shares(shares: dict[str, float], seed: int) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise SplitError(f"{name} must be between 0 and 1, not {share}")
    if seed < 0:
        raise SplitError(f"seed must be 0 or more, not {seed}")


def _rows_of_classes(clips: pd.DataFrame, rows: np.ndarray | None = None) -> Iterator[tuple[int | str, np.ndarray]]:
    """Yield the classes of some clips, or all, each with booleans `[n]`: which clips have it. The empty set is no class."""
    among = np.ones(len(clips), dtype=bool) if rows is None else np.isin(np.arange(len(clips)), rows)
    if "labels" not in clips:
        column = clips["classID"].to_numpy()
        for class_id in np.unique(column[among]):
            yield class_id, among & (column == class_id)
        return
    sets = [set(name.split(JOINS)) - {""} for name in clips["labels"]]
    for label in sorted(set().union(*(sets[row] for row in np.flatnonzero(among)))):
        yield label, among & np.array([label in one for one in sets], dtype=bool)


def _validation_recordings(clips: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    if "labels" in clips:  # one recording may have several classes, and would be drawn for each of them
        part = _stratify(clips, np.array([1 - fraction, fraction]), np.random.default_rng([seed, 1]))
        return np.unique(recordings_of(clips)[part == 1])
    rng = np.random.default_rng([seed, 1])
    chosen: list = []
    for _, has_class in _rows_of_classes(clips):
        recordings = np.unique(recordings_of(clips)[has_class])
        count = max(round(len(recordings) * fraction), 1) if len(recordings) > 1 else 0
        chosen.extend(rng.choice(recordings, count, replace=False))
    return np.array(chosen)


def _join(folds: Iterable[int]) -> str:
    return ", ".join(str(fold) for fold in folds)
