import numpy as np
import pandas as pd
import pytest

from course_utils import splits
from course_utils.datasets import read_metadata
from course_utils.splits import SplitError

IN_TWO_FOLDS = (77_751, 106_905, 132_016, 176_638, 180_937)


@pytest.fixture(scope="module")
def full(real_root):
    return read_metadata(real_root / "metadata" / "UrbanSound8K.csv")


def table(*rows):
    return pd.DataFrame(rows, columns=["fsID", "start", "end", "fold", "classID"])


@pytest.mark.parametrize("fold", range(1, 11))
def test_official_is_clean_on_the_whole_metadata(full, fold):
    split = splits.official(full, [fold])
    assert (split.roles == "test").sum() == (full["fold"] == fold).sum()
    for side in ("train", "valid"):
        assert splits.audit(full, split.rows(side), split.rows("test")).is_clean
    assert splits.audit(full, split.rows("train"), split.rows("valid")).is_clean
    assert set(split.dropped["fsID"]) <= set(IN_TWO_FOLDS)
    both = full[full["fsID"].isin(IN_TWO_FOLDS)]
    here = set(both["fsID"][both["fold"] == fold])
    assert set(split.dropped["fsID"]) == here
    assert len(split.dropped) == (both["fsID"].isin(here) & (both["fold"] != fold)).sum()
    assert all(str(i) in split.describe() for i in here)
    assert set(full["classID"][split.rows("valid")]) == set(range(10))


def test_the_five_recordings_of_two_folds_are_152_clips(full):
    folds = full.groupby("fsID")["fold"].nunique()
    assert tuple(sorted(folds.index[folds > 1])) == IN_TWO_FOLDS
    assert full["fsID"].isin(IN_TWO_FOLDS).sum() == 152


def test_the_folds_alone_are_not_clean(full):
    dirty = [
        splits.audit(full, np.flatnonzero(full["fold"] != fold), np.flatnonzero(full["fold"] == fold))
        for fold in range(1, 11)
    ]
    assert {i for audit in dirty for i in audit.recordings} == set(IN_TWO_FOLDS)
    assert sum(audit.clip for audit in dirty) == 0
    assert sum(audit.samples for audit in dirty) == 66


def test_a_random_split_of_clips_shares_samples(full):
    """73 % of the test clips share raw samples with training under a random 80/20 split."""
    order = np.random.default_rng(0).permutation(len(full))
    audit = splits.audit(full, order[1_746:], order[:1_746])
    assert audit.clip == 0
    assert audit.samples / audit.items == pytest.approx(0.73, abs=0.03)


def test_the_reports_split_shares_nearly_everything(full):
    """92 % of the report's test mixtures have both clips in training, 99.8 % at least one."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(np.tile(np.arange(len(full)), 3)).reshape(-1, 2)
    assert len(pairs) == 13_098
    roles = splits.random(len(pairs), seed=0, valid_fraction=0.0)
    audit = splits.audit(full, pairs[roles == "train"], pairs[roles == "test"])
    assert audit.all_clips / audit.items == pytest.approx(0.92, abs=0.015)
    assert audit.clip / audit.items == pytest.approx(0.998, abs=0.003)


def test_audit_counts_by_hand():
    clips = table((1, 0, 4, 1, 0), (1, 2, 6, 1, 0), (1, 4, 8, 1, 0), (2, 0, 4, 1, 0), (3, 0, 4, 1, 0))
    audit = splits.audit(clips, np.array([0]), np.array([[0, 3], [1, 3], [2, 3], [3, 4]]))
    assert (audit.items, audit.clip, audit.all_clips, audit.samples, audit.recording) == (4, 1, 0, 2, 3)
    assert audit.recordings == (1,) and not audit.is_clean
    assert "a recording 3 (75.0%)" in audit.describe()


def test_unknown_times_share_samples_only_with_themselves():
    clips = table((1, np.nan, np.nan, 1, 0), (1, np.nan, np.nan, 2, 0))
    audit = splits.audit(clips, np.array([0]), np.array([1]))
    assert (audit.samples, audit.recording) == (0, 1)


def test_named_validation_folds():
    clips = table(*[(10 * fold + i, 0, 4, fold, i) for fold in range(1, 6) for i in range(3)])
    split = splits.official(clips, [5], valid_folds=[4])
    assert split.rows("valid").tolist() == [9, 10, 11] and len(split.rows("train")) == 9
    split = splits.official(clips, [5], valid_folds=[4], train_folds=[1])
    assert len(split.rows("train")) == 3 and (split.roles == "").sum() == 6


def test_a_recording_in_validation_and_training_stays_in_validation():
    clips = table((1, 0, 4, 1, 0), (1, 4, 8, 2, 0), (2, 0, 4, 1, 0), (3, 0, 4, 3, 0))
    split = splits.official(clips, [3], valid_folds=[2])
    assert split.roles.tolist() == ["", "valid", "train", "test"]


def test_the_same_seed_gives_the_same_split(full):
    roles = [splits.official(full, [1], seed=seed).roles for seed in (0, 0, 1)]
    assert (roles[0] == roles[1]).all() and (roles[0] != roles[2]).any()


def test_no_validation_on_request(full):
    assert len(splits.official(full, [1], valid_fraction=0.0).rows("valid")) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_folds": [7]}, "no clips in fold 7; there are clips in fold 1, 2, 3"),
        ({"test_folds": [1], "valid_folds": [1]}, "named twice"),
        ({"test_folds": []}, "no test fold"),
        ({"test_folds": [1, 2, 3]}, "no fold is left"),
    ],
)
def test_impossible_splits_say_why(arguments, message):
    clips = table(*[(fold, 0, 4, fold, 0) for fold in (1, 2, 3)])
    with pytest.raises(SplitError, match=message):
        splits.official(clips, **arguments)


def test_random_roles_have_their_shares():
    roles = splits.random(1_000, seed=0)
    assert [(roles == role).sum() for role in splits.ROLES] == [720, 80, 200]
    with pytest.raises(SplitError):
        splits.random(2, seed=0)


def test_clips_at_random_are_on_one_side_and_their_recordings_on_both(full):
    split = splits.by_clips(full, (1, 2), seed=0)
    here = full["fold"].isin((1, 2)).to_numpy()
    assert ((split.roles != "") == here).all()
    sizes = {role: len(split.rows(role)) for role in splits.ROLES}
    assert sizes == {"train": 1268, "valid": 141, "test": 352}
    audit = splits.audit(full, split.rows("train"), split.rows("test"))
    assert audit.clip == 0 and audit.recording > 0.9 * audit.items
    assert (splits.by_clips(full, None, seed=0).roles != "").all()
    with pytest.raises(SplitError, match="no clips in fold 11"):
        splits.by_clips(full, (11,), seed=0)


def test_a_smaller_share_of_recordings_is_part_of_a_larger_one(full):
    split, recordings = splits.official(full, [10]), {}
    for share in (0.01, 0.25, 0.5, 1.0):
        thinned = splits.thin(split, full, share, seed=0)
        kept = full.iloc[thinned.rows("train")]
        recordings[share] = set(zip(kept["classID"], kept["fsID"], strict=True))
        for role in ("valid", "test"):
            assert thinned.rows(role).tolist() == split.rows(role).tolist()
    assert recordings[0.01] < recordings[0.25] < recordings[0.5] < recordings[1.0]
    whole = pd.Series([class_id for class_id, _ in recordings[1.0]]).value_counts()
    half = pd.Series([class_id for class_id, _ in recordings[0.5]]).value_counts()
    assert ((half - whole / 2).abs() <= 0.5).all()
    assert len({class_id for class_id, _ in recordings[0.01]}) == 10
    assert (splits.thin(split, full, 1.0, 0).roles == split.roles).all()


def test_neighbours_are_the_slices_before_and_after(full):
    clips = pd.DataFrame(
        {"slice_file_name": ["1-3-0-0.wav", "1-3-0-1.wav", "1-3-0-3.wav", "1-3-1-2.wav", "2-3-0-2.wav"]}
    )
    assert splits.is_neighbour(clips, np.array([0, 2, 3, 4]), np.array([1])).tolist() == [True, False, False, False]
    clips.loc[4, "slice_file_name"] = "rain.flac"
    assert splits.is_neighbour(clips, np.array([0, 2]), np.array([1])).all()
    split = splits.by_clips(full, (1, 2), seed=0)
    shares = splits.is_neighbour(full, split.rows("test"), split.rows("train")).mean()
    assert 0.4 < shares < 0.65
