"""The question of lesson 11: how much of a score is knowing the clips? Tests of clips that a run knows, or does not know."""

from __future__ import annotations

import dataclasses

import numpy as np

from course_utils import splits
from course_utils.configuration import Config, ConfigurationError
from course_utils.data import Mixtures, clip_split, prepare
from course_utils.mixing import LazyMixtures, plan_of
from course_utils.splits import SplitError


def parts(config: Config, progress: bool | None = None) -> dict[str, Mixtures]:
    """Make test mixtures of clips that a run of `split="clips"` knows from training, or does not know.

    Args:
        config: The run.
        progress: Show a progress bar; None: only in a terminal.

    Returns:
        Test parts with about equally many mixtures: of two training clips, in new pairs; of one training clip and one
        that was held out; of two that were held out; of two held-out clips that are not next to training clips, so
        that they share no samples with them (only where file names are UrbanSound8K's); and of the test folds, whose
        recordings are all new.

    Raises:
        ConfigurationError: If the run was split in another way.
        SplitError: If a test fold is not there, or some of its recordings are in the training set.

    Lesson: 11_cnn_versus_crnn
    """
    if config.split != "clips":
        raise ConfigurationError(f"only a split by clips has held-out clips of known recordings, not {config.split!r}")
    if config.draws_fresh_pairs or config.recipe.joint == "overlay":
        raise ConfigurationError("known and new clips are told apart for fixed pairs that are joined, not overlaid")
    whole = prepare(config, progress)
    assert isinstance(whole.test, LazyMixtures)  # a split by clips is not of a stored set
    cache, clips = whole.test.cache, whole.test.cache.clips
    split = clip_split(config, clips)
    known, held_out = split.rows("train"), split.rows("test")
    elsewhere = np.flatnonzero(clips["fold"].isin(config.test_folds))
    shared = set(clips["fsID"].iloc[elsewhere]) & set(clips["fsID"][split.roles != ""])
    elsewhere = elsewhere[~clips["fsID"].iloc[elsewhere].isin(shared)]
    if not len(elsewhere):
        names = ", ".join(map(str, config.test_folds))
        raise SplitError(f"fold {names}: the training knows all its recordings; name other folds to train on")
    count = min(len(held_out), len(elsewhere)) * config.recipe.replicas // 2
    sides = {
        "known + known": (known, known),
        "known + new": (known, held_out),
        "new + new": (held_out, held_out),
        "new recordings": (elsewhere, elsewhere),
    }
    apart = held_out[~splits.is_neighbour(clips, held_out, known)]
    if len(apart):
        sides["new + new, apart"] = (apart, apart)
    trained = set(map(frozenset, whole.train.plan[["first", "second"]].to_numpy().tolist()))
    found = {}
    for number, (name, (one, other)) in enumerate(sides.items()):
        rng = np.random.default_rng([config.seed, number, 6])
        members = np.column_stack([_often(rows, count, rng) for rows in (one, other)])
        plan = plan_of(rng.permuted(members, axis=1), clips, whole.taxonomy, "test")
        seen = [frozenset(pair) in trained for pair in plan[["first", "second"]].to_numpy().tolist()]
        test = LazyMixtures(cache, plan[~np.array(seen)].reset_index(drop=True), whole.taxonomy, config.recipe)
        recordings = clips["fsID"].to_numpy()[test.plan[["first", "second"]].to_numpy()]
        found[name] = dataclasses.replace(whole, test=test, test_recordings=recordings)
    return found


def _often(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` of these rows, each as often as the others or once more, in random order."""
    return rng.permutation(np.resize(rng.permutation(rows), count))
