"""The data of a run: a configuration → its three parts, and their batches."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from course_utils import datasets, splits, storage
from course_utils.configuration import Config, ConfigurationError, names_of_columns
from course_utils.datasets import ClipCache, ClipDataset, DatasetError
from course_utils.files import write_beside
from course_utils.mixing import LazyMixtures, collate, members_of, pair, plan_by_clips, sets_of
from course_utils.splits import ClipSplit, SplitError
from course_utils.storage import StoredMixtures, is_stored_set, read_configuration
from course_utils.taxonomy import Taxonomy

_DECIDE_MIXTURES = {
    *("split", "train_folds", "valid_folds", "test_folds", "valid_fraction", "train_share", "seed"),
    *("recipe", "fresh_pairs", "sample_rate"),
}


class Part(Protocol):
    """One part of a run's data: mixtures, each a waveform `[T]`, or a log-mel `[n_mels, frames]`, and its label set.

    `len(part)` is the number of mixtures, and `part[row]` one of them: a tensor, and the label set as a multi-hot vector
    `[n_classes]` or, of one or two classes, as a combination ID. A class of your own with these two and a `plan` can take the
    place of a part: `dataclasses.replace(mixtures, test=mine)`.

    Attributes:
        plan: One row per mixture, see `mixing.pair`.
    """

    plan: pd.DataFrame

    def __len__(self) -> int:
        """Return the number of mixtures."""

    def __getitem__(self, row: int, /) -> tuple[torch.Tensor, Any]:
        """Return a mixture and its label set."""


@dataclass(frozen=True)
class Mixtures:
    """The three parts of a run's data.

    Attributes:
        taxonomy: The classes.
        train: What to train on; its `set_epoch`, if it has one, draws the pairs of an epoch.
        valid: Mixtures by which the epoch and the threshold are chosen; may be empty.
        test: What the scores are reported on.
        test_recordings: The recordings of the clips of every test mixture, `[N, k]`; where recordings are not known, what
            identifies the clips: row numbers or, of a stored set, names.
        fingerprint: A hash of the clips that were split, or of the stored plan: other data has a different one.
        notes: Remarks about the data, one line each.
        root: Where the clips, or the stored set, are.
        sound: What tells other sound under the same names: the levels of all clips, as `ClipCache.levels`, or the checksum
            of a stored set's clips; None if nothing is known.
        made_by: The values of the configuration that decided split and mixtures; None for parts put together by hand. The
            data serve every configuration that has the same ones.
        are_coded: Whether every label set that can occur is a combination, with one or two classes.
        are_pairs: Whether every mixture is of two clips, each with one class.
        recordings_are_known: Whether the table says which recording each clip is from.
    """

    taxonomy: Taxonomy
    train: Part
    valid: Part
    test: Part
    test_recordings: np.ndarray
    fingerprint: str
    notes: list[str]
    root: Path
    sound: np.ndarray | str | None = None
    made_by: dict[str, Any] | None = None
    are_coded: bool = True
    are_pairs: bool = True
    recordings_are_known: bool = True

    def __repr__(self) -> str:
        """Return the notes."""
        return "\n".join(self.notes)

    def have_combinations(self, head: str) -> bool:
        """Say whether a network with this head is also scored on combinations: if it outputs each, or all are pairs."""
        return head == "combinations" or self.are_pairs


def prepare(config: Config, progress: bool | None = None) -> Mixtures:
    """Open the data of a run and split it.

    Args:
        config: The run.
        progress: Show a progress bar while clips are generated or decoded; None: only in a terminal.

    Returns:
        The three parts.

    Raises:
        DatasetError: If the data is not there or does not fit the configuration.
        AudioError: If clips cannot be decoded and are not to be skipped.
        SplitError: If the folds cannot be split as asked.
        ConfigurationError: If the head is for combinations, and some label sets are not combinations.

    Example:
        >>> mixtures = prepare(Config("mini"))  # doctest: +SKIP
        >>> sound, multi_hot = mixtures.train[0]  # doctest: +SKIP
    """
    if is_stored_set(config.data):
        return _prepare_stored(config)
    dataset, cache = open_clips(config, progress)
    clips, taxonomy = cache.clips, dataset.taxonomy
    if config.split != "random":
        split = clip_split(config, clips)
        plan = plan_by_clips(clips, split, taxonomy, config.recipe, seed=config.seed)
        notes = [dataset.describe(), split.describe()]
    else:
        plan = pair(clips, np.arange(len(clips)), taxonomy, config.recipe, rng=np.random.default_rng([config.seed, 0]))
        plan["split"] = splits.random(len(plan), config.seed, valid_fraction=config.valid_fraction)
        notes = [dataset.describe()]
    parts = {role: plan[plan["split"] == role].reset_index(drop=True) for role in splits.ROLES}
    _check_parts(config, parts, taxonomy)
    fresh_rows = split.rows("train") if config.draws_fresh_pairs else None  # never after a random split
    members = {role: members_of(part) for role, part in parts.items()}
    counts = ", ".join(f"{role} {len(part):,}" for role, part in parts.items())
    notes.append(
        f"{_in_words(config.recipe.n_clips)}: {counts}"
        + ("; new training pairs are drawn every epoch" if config.draws_fresh_pairs else "")
    )
    notes += [*_cut_clips(config, clips), *_absent_classes(config, parts, taxonomy)]
    training_side = np.concatenate([members["train"], members["valid"]])
    notes.append(splits.audit(clips, training_side, members["test"]).describe())
    mixtures = Mixtures(
        taxonomy,
        LazyMixtures(cache, parts["train"], taxonomy, config.recipe, fresh_rows=fresh_rows, seed=config.seed),
        LazyMixtures(cache, parts["valid"], taxonomy, config.recipe),
        LazyMixtures(cache, parts["test"], taxonomy, config.recipe),
        splits.recordings_of(clips)[members["test"]],
        _fingerprint(clips),
        notes,
        dataset.root,
        cache.levels,
        _deciding(config),
        *_codes(clips, taxonomy, config.recipe.n_clips),
        splits.recordings_are_known(clips),
    )
    check_fits(config, mixtures)
    return mixtures


def _codes(clips: pd.DataFrame, taxonomy: Taxonomy, n_clips: int) -> tuple[bool, bool]:
    """Say whether all label sets of mixtures are combinations, and whether all mixtures are pairs of classes."""
    if "labels" not in clips:
        return n_clips <= 2, n_clips == 2
    sizes = datasets.label_sets(clips, taxonomy).sum(axis=1)
    return bool(sizes.min() >= 1 and n_clips * sizes.max() <= 2), False


def _check_parts(config: Config, parts: Mapping[str, pd.DataFrame], taxonomy: Taxonomy) -> None:
    """Refuse an empty part for training or test, and any part in which no clip has a label."""
    for role, plan in parts.items():
        if plan.empty and role != "valid":
            raise DatasetError(
                f"{config.data}: too few clips for {role}: a mixture takes {config.recipe.n_clips}; mix fewer clips "
                "(n_clips), or choose another split"
            )
        if not plan.empty and not sets_of(plan, taxonomy).any():
            raise DatasetError(f"{config.data}: no clip for {role} has a label; choose other folds, or another split")


def _in_words(n_clips: int) -> str:
    return "clips, not mixed" if n_clips == 1 else "mixtures"


def _cut_clips(config: Config, clips: pd.DataFrame) -> list[str]:
    """Return a note if clips are cut: their labels may belong to what is cut off."""
    slot = config.recipe.slot_seconds
    cut = int((clips["duration"] > slot + 0.05).sum()) if config.recipe.joint == "slots" else 0
    if not cut:
        return []
    whole = "choose joint concatenate, or " if config.recipe.n_clips == 1 else ""
    return [
        f"{cut:,} of {len(clips):,} clips are longer than a slot of {slot:g} s and are cut; to keep them whole, {whole}"
        "make the slots longer (slot_seconds)"
    ]


def _absent_classes(config: Config, parts: Mapping[str, pd.DataFrame], taxonomy: Taxonomy) -> list[str]:
    """Return notes on what validation, training and test lack."""
    notes = []
    if parts["valid"].empty and (config.valid_folds or config.valid_fraction > 0):
        notes.append(
            "nothing validates: no epoch is chosen, and the threshold stays 0.5; ask for a larger share (valid_fraction)"
        )
    for role in ("train", "test"):
        absent = np.flatnonzero(~sets_of(parts[role], taxonomy).any(axis=0))
        if len(absent) and "labels" in parts[role]:
            notes.append(
                f"none of the {config.recipe.noun} for {role} has {_some([taxonomy.classes[i] for i in absent])}"
            )
    return notes


def _deciding(config: Config) -> dict[str, Any]:
    """Return the values of a configuration that decide which mixtures there are."""
    return {name: value for name, value in config.to_dict().items() if name in _DECIDE_MIXTURES}


def check_fits(config: Config, data: Mixtures) -> None:
    """Make sure that data were prepared by a configuration with the same split and mixtures, and that they suit the head.

    Raises:
        ConfigurationError: If not: a run could then be tested on what it was trained on; or if the head has an output for
            each combination, and some label sets can have no class, or more than two.
    """
    if config.head == "combinations" and not data.are_coded:
        raise ConfigurationError(
            "the head `combinations` is for label sets of one or two classes, but these "
            f"{config.recipe.noun} can have none, or more than two; use the head `labels`, or mix fewer clips (n_clips)"
        )
    made_by, wanted = data.made_by, _deciding(config)
    if made_by is not None and made_by != wanted:
        other = ", ".join(name for name, value in wanted.items() if made_by.get(name) != value)
        raise ConfigurationError(
            f"the data were prepared by a configuration with another {other}; prepare them by this one (data.prepare)"
        )


def clip_split(config: Config, clips: pd.DataFrame) -> ClipSplit:
    """Split the clips of a run that splits before it mixes.

    Args:
        config: The run.
        clips: The table of clips.

    Returns:
        The split.

    Raises:
        SplitError: If the folds cannot be split as asked.
    """
    if config.split == "stratified":
        return splits.stratified(clips, config.seed, valid_fraction=config.valid_fraction)
    if config.split == "clips":
        return splits.by_clips(clips, config.train_folds, config.seed, valid_fraction=config.valid_fraction)
    split = splits.official(
        clips,
        config.test_folds,
        valid_folds=config.valid_folds,
        train_folds=config.train_folds,
        valid_fraction=config.valid_fraction,
        seed=config.seed,
    )
    return splits.thin(split, clips, config.train_share, config.seed) if config.train_share < 1 else split


def open_clips(config: Config, progress: bool | None = None) -> tuple[ClipDataset, ClipCache]:
    """Open the folder of clips of a run, and its decoded copy."""
    columns = names_of_columns(config.columns) or None
    dataset = datasets.load(config.data, progress, table=config.table or None, columns=columns)
    return dataset, ClipCache.open(dataset, config.skip_bad, progress, config.sample_rate)


def other_test(
    config: Config,
    data: str | None,
    folds: tuple[int, ...] | None,
    classes: tuple[str, ...],
    *,
    own: str | None = None,
    progress: bool | None = None,
) -> Mixtures:
    """Make test mixtures from clips other than those that the run set apart.

    Args:
        config: The run.
        data: Another folder of clips; None means the run's.
        folds: Which folds to test on; None means all of them.
        classes: The classes that the network knows.
        own: The fingerprint of the clips that the run was split from, if known: other clips cannot be audited.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        Mixtures of which only `test` is filled.

    Raises:
        DatasetError: If the clips are of other classes, or the data is a stored set.
        SplitError: If a fold is not there.
    """
    where = data or config.data
    if is_stored_set(where):
        raise DatasetError(
            f"{where}: a stored set has its own test part; give a folder of clips to test on other folds"
        )
    dataset, cache = open_clips(dataclasses.replace(config, data=where), progress)
    fingerprint = _fingerprint(cache.clips)
    dataset, cache = _in_classes(dataset, cache, classes)
    try:
        rows = splits.rows_in(cache.clips, folds)
    except SplitError as error:
        raise SplitError(f"{where}: {error}") from None
    recipe = dataclasses.replace(config.recipe, balanced=False)
    plan = pair(cache.clips, rows, dataset.taxonomy, recipe, rng=np.random.default_rng([config.seed, 2]), split="test")
    if plan.empty:
        raise DatasetError(f"{where}: {len(rows)} clips to test on, and a mixture takes {recipe.n_clips}")
    test, members = LazyMixtures(cache, plan, dataset.taxonomy, recipe), members_of(plan)
    recordings = splits.recordings_of(cache.clips)[members]
    known = cache.clips["fold"].notna().all()
    of_folds = f" of fold {', '.join(map(str, folds or splits.folds_of(cache.clips)))}" if known else ""
    notes = [dataset.describe(), f"{_in_words(recipe.n_clips)}: test {len(plan):,}{of_folds}"]
    notes += _cut_clips(config, cache.clips)
    if data is None and config.split != "random" and own in (None, fingerprint):
        roles = clip_split(config, cache.clips).roles
        trained_on = np.flatnonzero(np.isin(roles, ("train", "valid")))
        notes.append(splits.audit(cache.clips, trained_on, members).describe())
    else:
        notes.append("audit: what these clips share with the training of this run is not known")
    empty = LazyMixtures(cache, plan.iloc[:0], dataset.taxonomy, config.recipe)
    return Mixtures(
        dataset.taxonomy,
        empty,
        empty,
        test,
        recordings,
        fingerprint,
        notes,
        dataset.root,
        cache.levels,
        None,
        *_codes(cache.clips, dataset.taxonomy, recipe.n_clips),
        splits.recordings_are_known(cache.clips),
    )


def _in_classes(dataset: ClipDataset, cache: ClipCache, classes: tuple[str, ...]) -> tuple[ClipDataset, ClipCache]:
    """Return the clips with their classes numbered as the network numbers them; it may know more classes than they have."""
    known, taxonomy = dataset.taxonomy.classes, Taxonomy(tuple(classes))
    if known == taxonomy.classes:
        return dataset, cache
    unknown = [name for name in known if name not in classes]
    if unknown:
        raise DatasetError(
            f"{dataset.root}: has classes that the network does not know ({_some(unknown)}); it knows {_some(classes)}"
        )
    clips = cache.clips.copy()
    ids = {name: taxonomy.class_id(name) for name in known}
    clips["classID"] = clips["class"].map(ids) if "labels" not in clips else np.nan
    return dataclasses.replace(dataset, taxonomy=taxonomy), dataclasses.replace(cache, clips=clips)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def absolute_place(data: str) -> str:
    """Return where the data of a run is, seen from any folder: the name of a data set, or an absolute path."""
    return data if data in datasets.NAMES else str(Path(data).expanduser().absolute())


def is_same_sound(stored: np.ndarray | torch.Tensor | str | None, now: np.ndarray | str | None) -> bool:
    """Say whether data sound as they did: levels within a thousandth, since decoders differ a little between machines.

    Args:
        stored: `Mixtures.sound` as stored; None, from runs before it was stored, matches everything.
        now: The present `Mixtures.sound`.
    """
    if stored is None or now is None:
        return True
    if isinstance(stored, str) or isinstance(now, str):
        return isinstance(stored, str) and isinstance(now, str) and stored == now
    then = np.asarray(stored)
    return then.shape == now.shape and bool(np.allclose(then, now, rtol=1e-3, atol=1e-6))


def sounds_as_before(path: Path, data: Mixtures) -> bool:
    """Say whether clips sound as they did at the first call, which writes their levels down.

    Args:
        path: Where the levels are kept, a file with the ending `.npy`.
        data: The present data, from a folder of clips.
    """
    if path.is_file():
        return is_same_sound(np.load(path), data.sound)
    assert data.sound is not None
    with write_beside(path) as partial:
        np.save(partial, data.sound)
    return True


def loader(
    config: Config,
    part: Part,
    taxonomy: Taxonomy,
    shuffle_seed: int | None = None,
    *,
    workers: int = 0,
    processes: int = 1,
) -> DataLoader:
    """Return batches of a part: in order, or shuffled by a seed and without an incomplete last batch.

    The order is fixed before the loader sees it, so that several processes can share one epoch out among them. Mixtures
    are padded to the length of full slots, or of a full overlay (in samples, or in frames of a stored log-mel), the
    longer of what the run is trained on and what the part holds.

    Args:
        config: The run.
        part: The mixtures.
        taxonomy: The classes.
        shuffle_seed: Of the order; None keeps the order, and the incomplete last batch.
        workers: Processes that load; 0 loads in this one.
        processes: How many processes the batches will be shared out among.

    Returns:
        Batches of `config.batch_size` mixtures, as `mixing.Batch`.

    Example:
        >>> mixtures = prepare(Config("mini"))  # doctest: +SKIP
        >>> batch = next(iter(loader(Config("mini"), mixtures.train, mixtures.taxonomy)))  # doctest: +SKIP
    """
    recipes = {config.recipe, part.recipe} if isinstance(part, LazyMixtures) else {config.recipe}
    at_least = round(max(recipe.seconds for recipe in recipes) * config.sample_rate)
    if isinstance(part, StoredMixtures) and part.configuration["form"] == "mel":
        at_least = at_least // config.hop_length + 1
    examples = cast(Dataset, part)
    if shuffle_seed is not None:
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(shuffle_seed))
        examples = Subset(examples, order.tolist())
    return DataLoader(
        examples,
        config.batch_size,
        # An incomplete batch of one would stop batch norm; a share smaller than one batch is kept.
        drop_last=shuffle_seed is not None and -(-len(part) // processes) >= config.batch_size,
        collate_fn=partial(collate, taxonomy=taxonomy, at_least=at_least),
        num_workers=workers,
    )


def fingerprint(config: Config, progress: bool | None = None) -> str:
    """Return the fingerprint of the data of a run, see `Mixtures`, without splitting it."""
    if is_stored_set(config.data):
        return read_configuration(config.data)["plan_hash"]
    return _fingerprint(open_clips(config, progress)[1].clips)


def _fingerprint(clips: pd.DataFrame) -> str:
    labels = "labels" if "labels" in clips else "classID"
    text = clips[["slice_file_name", "fsID", "fold", labels]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prepare_stored(config: Config) -> Mixtures:
    if config.fresh_pairs or config.train_share < 1:
        raise ConfigurationError(
            f"{config.data}: a stored set has fixed pairs and parts; give a folder of clips for fresh pairs, or a share"
        )
    if config.table or config.columns:
        raise ConfigurationError(f"{config.data}: a stored set has its own table; leave table and columns out")
    whole = StoredMixtures(config.data)
    form = whole.configuration["form"]
    if config.model == "crnn" and form == "mel":
        raise DatasetError(f"{config.data}: log-mels; the CRNN listens to waveforms: `mix --form wav` makes them")
    if (rate := whole.configuration["sample_rate"]) != config.sample_rate:
        raise DatasetError(
            f"{config.data}: sounds at {rate:,} Hz, {config.sample_rate:,} asked for; make the set again, or ask for what is "
            "stored"
        )
    if (n_clips := whole.configuration["recipe"]["n_clips"]) != config.recipe.n_clips:
        raise DatasetError(
            f"{config.data}: mixtures of {n_clips} clips, {config.recipe.n_clips} asked for (n_clips); make the set again, or "
            "ask for what is stored"
        )
    if config.front_end == "pcen" and form == "mel":
        raise DatasetError(f"{config.data}: log-mels; PCEN takes waveforms: `mix --form wav` makes them")
    stored = whole.configuration["mel"]
    differ = [f"{k} {stored[k]} stored, {v} asked for" for k, v in config.mel.items() if stored and stored[k] != v]
    if differ:
        raise DatasetError(f"{config.data}: {'; '.join(differ)}; make the set again, or ask for what is stored")
    plan, parts = whole.plan, {role: whole.part(role) for role in splits.ROLES}
    for role in ("train", "test"):
        if not len(parts[role]):
            raise DatasetError(f"{config.data}: no mixtures for {role}")
    plans = {role: part.plan for role, part in parts.items()}
    _check_parts(config, plans, whole.taxonomy)
    counts = ", ".join(f"{role} {len(part):,}" for role, part in parts.items())
    test = plan[plan["split"] == "test"]
    notes = [
        f"{Path(config.data).name}: stored {form} form, made by {whole.configuration['recipe']}",
        f"{_in_words(config.recipe.n_clips)}: {counts}",
        *_absent_classes(config, plans, whole.taxonomy),
    ]
    notes.append(storage.audit(plan).describe())
    recordings, are_known = storage.recordings_of(test)
    fingerprint, sound = whole.configuration["plan_hash"], whole.configuration["sound"]
    mixtures = Mixtures(
        whole.taxonomy,
        parts["train"],
        parts["valid"],
        parts["test"],
        recordings,
        fingerprint,
        notes,
        Path(config.data),
        sound,
        None,
        bool(whole.taxonomy.has_combination(sets_of(plan, whole.taxonomy)).all()),
        "labels" not in plan,
        are_known,
    )
    check_fits(config, mixtures)
    return mixtures
