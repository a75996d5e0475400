from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import make_dataset
from course_utils import data as run_data
from course_utils import features, mixing, models, splits
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.datasets import DatasetError
from course_utils.lessons import known_and_new
from course_utils.mixing import LazyMixtures
from course_utils.splits import SplitError
from course_utils.storage import write_set
from course_utils.taxonomy import Taxonomy

SHORT = Recipe(joint="slots", slot_seconds=0.5)


@pytest.fixture
def config(tones):
    """Of the tiny data set: 3 folds of 40 clips, 2 recordings of each of 10 classes in each, 2 clips of each recording."""
    return Config(str(tones), test_folds=(3,), recipe=SHORT)


def sizes(data):
    return [len(part) for part in (data.train, data.valid, data.test)]


# --- what a run is made of --------------------------------------------------------------------------------------------


def test_an_official_split_mixes_within_its_parts(config):
    """Of 4 training recordings of a class one validates: 60, 20 and 40 clips, three times each, by twos."""
    data = run_data.prepare(config, progress=False)
    assert sizes(data) == [90, 30, 60]
    clips = data.train.cache.clips
    split = run_data.clip_split(config, clips)
    assert [len(split.rows(role)) for role in splits.ROLES] == [60, 20, 40]
    expected = mixing.plan_by_clips(clips, split, Taxonomy(), SHORT, seed=0)
    for role, part in zip(splits.ROLES, (data.train, data.valid, data.test), strict=True):
        wanted = expected[expected["split"] == role].reset_index(drop=True)
        assert part.plan.equals(wanted) and part.recipe == SHORT
    pairs = data.test.plan[["first", "second"]].to_numpy()
    assert np.array_equal(data.test_recordings, clips["fsID"].to_numpy()[pairs])
    assert data.taxonomy == Taxonomy() and data.root.samefile(config.data)
    assert data.notes[-1] == "audit: none of 60 test items shares a recording with training"
    assert data.notes[-2] == ("mixtures: train 90, valid 30, test 60; new training pairs are drawn every epoch")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"valid_folds": (2,)}, [60, 60, 60]),
        ({"train_folds": (1,)}, [30, 30, 60]),  # one of two recordings validates
        ({"valid_fraction": 0.0}, [120, 0, 60]),
        ({"valid_fraction": 0.5}, [60, 60, 60]),
        ({"train_share": 0.5}, [60, 30, 60]),  # two of three recordings
        ({"train_share": 0.1}, [30, 30, 60]),  # at least one
        ({"test_folds": (1, 3)}, [30, 30, 120]),
        ({"split": "clips"}, [129, 15, 36]),  # 24 of 120 clips test, 10 of the others validate
        ({"split": "clips", "train_folds": (1, 2)}, [87, 9, 24]),
        ({"split": "clips", "valid_fraction": 0.5}, [72, 72, 36]),
        ({"split": "random"}, [130, 14, 36]),  # of 180 mixtures
        ({"split": "random", "valid_fraction": 0.5}, [72, 72, 36]),
        ({"recipe": replace(SHORT, replicas=1)}, [30, 10, 20]),
    ],
    ids=str,
)
def test_parts_have_the_sizes_asked_for(config, options, expected):
    assert sizes(run_data.prepare(replace(config, **options), progress=False)) == expected


def test_the_seed_of_a_run_decides_its_split_and_its_pairs(config):
    for options in ({}, {"split": "clips"}, {"split": "random"}):
        plans = [
            run_data.prepare(replace(config, seed=seed, **options), progress=False).train.plan for seed in (0, 0, 1)
        ]
        assert plans[0].equals(plans[1]) and not plans[0].equals(plans[2])


@pytest.mark.parametrize(
    ("options", "is_fresh"),
    [
        ({}, True),
        ({"fresh_pairs": False}, False),
        ({"split": "clips"}, False),
        ({"split": "clips", "fresh_pairs": True}, True),
        ({"split": "random"}, False),
    ],
    ids=str,
)
def test_only_training_pairs_are_fresh_and_only_of_training_clips(config, options, is_fresh):
    data = run_data.prepare(replace(config, seed=4, **options), progress=False)
    before = [part.plan for part in (data.train, data.valid, data.test)]
    members = set(before[0][["first", "second"]].to_numpy().ravel())
    for part in (data.train, data.valid, data.test):
        part.set_epoch(7)
    after = [part.plan for part in (data.train, data.valid, data.test)]
    assert [plan is old for plan, old in zip(after, before, strict=True)] == [not is_fresh, True, True]
    assert not is_fresh or not after[0].equals(before[0])
    assert set(after[0][["first", "second"]].to_numpy().ravel()) == members
    assert any("new training pairs" in note for note in data.notes) == is_fresh
    other = run_data.prepare(replace(config, seed=5, **options), progress=False).train
    other.set_epoch(7)
    assert not other.plan.equals(after[0])


def test_a_random_split_of_mixtures_shares_clips(config):
    data = run_data.prepare(replace(config, split="random"), progress=False)
    trained, tested = (set(part.plan[["first", "second"]].to_numpy().ravel()) for part in (data.train, data.test))
    assert len(trained & tested) > 30 and data.notes[-1].startswith("audit: of 36 test items, those sharing")
    roles = splits.random(180, 0)
    plan = mixing.pair(data.train.cache.clips, np.arange(120), Taxonomy(), SHORT, rng=np.random.default_rng([0, 0]))
    for role, part in zip(splits.ROLES, (data.train, data.valid, data.test), strict=True):
        assert part.plan["first"].tolist() == plan["first"][roles == role].tolist()
        assert part.plan["second"].tolist() == plan["second"][roles == role].tolist()


def test_the_fingerprint_is_of_the_clips(config, tmp_path):
    first, again = (run_data.prepare(config, progress=False).fingerprint for _ in range(2))
    assert first == again
    other = make_dataset(tmp_path / "other", recordings=3)
    assert run_data.prepare(replace(config, data=str(other)), progress=False).fingerprint != first


def test_a_stored_set_keeps_its_parts(config, cache, tmp_path):
    clips = cache.clips
    plan = mixing.plan_by_clips(clips, run_data.clip_split(config, clips), Taxonomy(), SHORT, seed=0)
    folder = write_set(
        tmp_path / "set",
        "mel",
        cache,
        plan,
        taxonomy=Taxonomy(),
        recipe=SHORT,
        mel=config.mel | {"n_mels": 16},
        progress=False,
    )
    stored = replace(config, data=str(folder), n_mels=16)
    data = run_data.prepare(stored, progress=False)
    assert sizes(data) == [90, 30, 60]
    pairs = plan[plan["split"] == "test"][["first", "second"]].to_numpy()
    assert np.array_equal(data.test_recordings, clips["fsID"].to_numpy()[pairs])
    assert data.notes[-1] == "audit: none of 60 test items shares a recording with training"
    assert data.train[0][0].shape == (16, 44)  # a second: 22,050 // 512 + 1 frames
    batch = next(iter(run_data.loader(stored, data.test, data.taxonomy)))
    assert batch.audio.shape == (32, 16, 44)
    with pytest.raises(DatasetError, match="n_mels 16 stored, 64 asked for"):
        run_data.prepare(replace(stored, n_mels=64), progress=False)
    for wrong in ({"fresh_pairs": True}, {"train_share": 0.5}):
        with pytest.raises(ConfigurationError, match="a stored set has fixed pairs"):
            run_data.prepare(replace(stored, **wrong), progress=False)
    with pytest.raises(DatasetError, match="the CRNN listens to waveforms"):
        run_data.prepare(replace(stored, model="crnn"), progress=False)
    with pytest.raises(DatasetError, match="a stored set has its own test part"):
        run_data.other_test(stored, None, (1,), Taxonomy().classes, progress=False)


# --- other tests of the same run --------------------------------------------------------------------------------------


def test_mixtures_by_acquaintance_are_of_the_clips_that_they_are_named_after(config):
    """Of 80 clips 16 are held out; 16 · 3 // 2 = 24 pairs are drawn for each part, less those that were trained on."""
    known_run = replace(config, split="clips", train_folds=(1, 2))
    parts = known_and_new.parts(known_run, progress=False)
    assert list(parts) == ["known + known", "known + new", "new + new", "new recordings", "new + new, apart"]
    whole = run_data.prepare(known_run, progress=False)
    clips = whole.test.cache.clips
    split = run_data.clip_split(known_run, clips)
    known, held_out = set(split.rows("train")), set(split.rows("test"))
    elsewhere = set(np.flatnonzero(clips["fold"] == 3))
    apart = {row for row in held_out if (row ^ 1) not in known}  # the two clips of a recording are neighbours
    sides = {
        "known + known": (known, known),
        "known + new": (known, held_out),
        "new + new": (held_out, held_out),
        "new recordings": (elsewhere, elsewhere),
        "new + new, apart": (apart, apart),
    }
    trained = {frozenset(pair) for pair in whole.train.plan[["first", "second"]].to_numpy().tolist()}
    for name, (one, other) in sides.items():
        pairs = parts[name].test.plan[["first", "second"]].to_numpy()
        assert all((a in one and b in other) or (a in other and b in one) for a, b in pairs.tolist())
        assert not trained & set(map(frozenset, pairs.tolist()))
        assert np.array_equal(parts[name].test_recordings, clips["fsID"].to_numpy()[pairs])
        assert len(pairs) == 24 or (name == "known + known" and 20 < len(pairs) <= 24)
        assert set(parts[name].test.plan["split"]) == {"test"} and parts[name].test.plan.index[-1] == len(pairs) - 1
    mixed = parts["known + new"].test.plan
    assert 0 < mixed["first"].isin(known).sum() < 24  # in both orders
    uses = np.bincount(mixed[["first", "second"]].to_numpy().ravel(), minlength=120)[sorted(held_out)]
    assert set(uses) == {1, 2} and uses.sum() == 24  # each as often as the others, or once more


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigurationError, "only a split by clips"),
        ({"split": "clips", "fresh_pairs": True}, ConfigurationError, "for fixed pairs"),
        ({"split": "clips", "recipe": replace(SHORT, joint="overlay")}, ConfigurationError, "joined, not overlaid"),
        ({"split": "clips"}, SplitError, "fold 3: the training knows all its recordings"),
    ],
    ids=str,
)
def test_acquaintance_needs_clips_that_are_known_and_clips_that_are_not(config, options, error, message):
    with pytest.raises(error, match=message):
        known_and_new.parts(replace(config, **options), progress=False)


def test_another_test_takes_all_clips_of_its_folds(config):
    config = replace(config, seed=3, recipe=replace(SHORT, balanced=True))
    data = run_data.other_test(config, None, (2,), Taxonomy().classes, progress=False)
    assert sizes(data) == [0, 0, 60]
    clips, plan = data.test.cache.clips, data.test.plan
    rows = np.flatnonzero(clips["fold"] == 2)
    rng = np.random.default_rng([3, 2])  # the seed of the run, and the number of the test part
    assert plan.equals(mixing.pair(clips, rows, Taxonomy(), SHORT, rng=rng, split="test"))  # not balanced
    assert np.array_equal(data.test_recordings, clips["fsID"].to_numpy()[plan[["first", "second"]].to_numpy()])
    assert data.notes[-1].startswith("audit: of 60 test items, those sharing with training:\n  a clip 60 (100.0%)")
    unused = run_data.other_test(config, None, (3,), Taxonomy().classes, progress=False)
    assert unused.notes[-1] == "audit: none of 60 test items shares a recording with training"
    assert sizes(run_data.other_test(config, None, None, Taxonomy().classes, progress=False)) == [0, 0, 180]
    elsewhere = run_data.other_test(config, config.data, (3, 1), Taxonomy().classes, progress=False)
    assert len(elsewhere.test) == 120 and "not known" in elsewhere.notes[-1]


def test_another_test_needs_its_folds_and_the_networks_classes(config):
    with pytest.raises(SplitError, match="no clips in fold 7, 9; there are clips in fold 1, 2, 3"):
        run_data.other_test(config, None, (1, 9, 7), Taxonomy().classes, progress=False)
    with pytest.raises(
        DatasetError, match=r"has classes that the network does not know \(air_conditioner, .*\); it knows a, b"
    ):
        run_data.other_test(config, None, (1,), ("a", "b"), progress=False)


# --- batches and networks ---------------------------------------------------------------------------------------------


def test_batches_are_in_order_and_whole_or_shuffled_and_full(config):
    data = run_data.prepare(config, progress=False)
    batches = list(run_data.loader(config, data.test, data.taxonomy))
    assert [len(batch.audio) for batch in batches] == [32, 28]
    assert torch.cat([b.combination for b in batches]).tolist() == data.test.plan["combination"].tolist()
    batches = list(run_data.loader(config, data.train, data.taxonomy, shuffle_seed=5))
    assert [len(batch.audio) for batch in batches] == [32, 32]  # 90 mixtures
    order = torch.randperm(90, generator=torch.Generator().manual_seed(5))[:64]
    assert (
        torch.cat([b.combination for b in batches]).tolist()
        == data.train.plan["combination"].to_numpy()[order].tolist()
    )


@pytest.mark.parametrize(("mixtures", "expected"), [(31, [31]), (32, [32]), (33, [32]), (0, [])])
def test_a_set_smaller_than_a_batch_is_kept(config, cache, mixtures, expected):
    plan = mixing.plan_of(np.tile([0, 1], (mixtures, 1)), cache.clips, Taxonomy())
    part = LazyMixtures(cache, plan, Taxonomy(), SHORT)
    batches = list(run_data.loader(config, part, Taxonomy(), shuffle_seed=0))
    assert [len(batch.audio) for batch in batches] == expected


@pytest.mark.parametrize(
    ("trained_on", "heard", "samples"),
    [
        (SHORT, SHORT, 22_050),
        (SHORT, replace(SHORT, joint="concatenate"), 22_050),
        (replace(SHORT, slot_seconds=2.0), replace(SHORT, joint="concatenate"), 88_200),
        (SHORT, Recipe(joint="overlay", slot_seconds=0.5, max_onset=1.0), 33_075),
        (
            replace(SHORT, slot_seconds=0.4),
            replace(SHORT, joint="concatenate", slot_seconds=0.1),
            22_050,
        ),  # what is there
    ],
)
def test_batches_are_as_long_as_two_slots_or_an_overlay(config, cache, trained_on, heard, samples):
    plan = mixing.pair(cache.clips, np.arange(4), Taxonomy(), heard, rng=np.random.default_rng(0))
    part = LazyMixtures(cache, plan, Taxonomy(), heard)
    batch = next(iter(run_data.loader(replace(config, recipe=trained_on), part, Taxonomy())))
    assert batch.audio.shape == (6, samples)


def test_a_network_is_built_as_configured(config):
    network = models.build(replace(config, width=2, n_mels=32, hop_length=256, noise_snr=5.0), Taxonomy())
    assert network.network.fc2.out_features == 10 and network.network.fc1.in_features == 16
    assert (network.log_mel.mel.hop_length, len(network.log_mel.mel.filterbank)) == (256, 32)
    assert network.log_mel.noise_snr == 5.0 and isinstance(network.augment, features.SpecAugment)
    plain = models.build(replace(config, width=2, head="combinations", spec_augment=False), Taxonomy())
    assert plain.network.fc2.out_features == 55 and isinstance(plain.augment, nn.Identity)
    few = models.build(replace(config, width=2, head="combinations"), Taxonomy(("a", "b", "c")))
    assert few.network.fc2.out_features == 6
    options = {"model": "crnn", "norm": "whiten", "time_pooling": "fine", "readout": "mean"}
    crnn = models.build(replace(config, **options), Taxonomy())
    assert (crnn.spectrogram.norm, crnn.poolings, crnn.readout) == ("whiten", (1, 2, 2), "mean")
