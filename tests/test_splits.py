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
    assert audit == splits.Audit(items=4, clip=1, all_clips=0, recording=3, samples=2, recordings=(1,))
    assert not audit.is_clean
    assert audit.describe() == (
        "audit: of 4 test items, those sharing with training:\n"
        "  a clip 1 (25.0%), all clips 0 (0.0%), samples 2 (50.0%), a recording 3 (75.0%)"
    )
    audit = splits.audit(clips, np.array([[2, 4], [3, 3]]), np.array([[0, 0], [1, 0], [2, 3]]))
    assert audit == splits.Audit(items=3, clip=1, all_clips=1, recording=3, samples=2, recordings=(1, 2))


def test_clips_that_only_touch_in_time_share_no_samples():
    clips = table((1, 0, 4, 1, 0), (1, 4, 8, 1, 0), (1, 8, 12, 1, 0), (1, 3.9, 4.1, 1, 0), (2, 4, 8, 1, 0))
    for used, shared in ((0, [0, 3]), (1, [1, 3]), (2, [2]), (4, [4])):
        audits = [splits.audit(clips, np.array([used]), np.array([row])) for row in range(5)]
        assert [row for row, audit in enumerate(audits) if audit.samples] == shared


def test_an_audit_says_when_nothing_is_shared_and_when_nothing_is_tested():
    clips = table((1, 0, 4, 1, 0), (2, 0, 4, 1, 0), (3, 0, 4, 1, 0))
    audit = splits.audit(clips, np.array([0]), np.array([1, 2]))
    assert audit == splits.Audit(items=2, clip=0, all_clips=0, recording=0, samples=0, recordings=())
    assert audit.describe() == "audit: none of 2 test items shares a recording with training"
    assert splits.Audit(0, 0, 0, 0, 0, ()).describe() == "audit: no test items"


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


def test_a_recording_in_test_and_validation_stays_in_the_test():
    clips = table((1, 0, 4, 1, 0), (2, 0, 4, 2, 0), (2, 4, 8, 3, 0), (3, 0, 4, 2, 0), (2, 8, 9, 1, 0))
    split = splits.official(clips, [3], valid_folds=[2])
    assert split.roles.tolist() == ["train", "", "test", "valid", ""]
    assert split.dropped.index.tolist() == [1, 4]
    assert split.describe() == (
        "clips: train 1, valid 1, test 1; 2 training-side clips dropped, whose recordings (2) are on both sides"
    )


def test_dropped_recordings_are_named_once_in_order():
    clips = table((9, 0, 4, 1, 0), (8, 0, 4, 1, 0), (8, 4, 8, 1, 0), (7, 0, 4, 1, 0), (8, 0, 4, 2, 0), (9, 0, 4, 2, 0))
    split = splits.official(clips, [2], valid_fraction=0)
    assert split.roles.tolist() == ["", "", "", "train", "test", "test"]
    assert split.describe().endswith("3 training-side clips dropped, whose recordings (8, 9) are on both sides")
    kept = splits.official(clips.iloc[3:5], [2], valid_fraction=0)
    assert kept.describe() == repr(kept) == "clips: train 1, valid 0, test 1"


RECORDINGS = {0: [5], 1: [10, 11], 2: [20, 21, 22], 3: list(range(30, 45))}
OF_FOUR_CLASSES = table(
    *[(i, 0, 4, 1, c) for c, ids in RECORDINGS.items() for i in ids for _ in range(2)], (90, 0, 4, 2, 0)
)


@pytest.mark.parametrize(
    ("seed", "chosen"), [(0, [11, 22, 38, 43]), (1, [11, 20, 35, 39]), (2, [10, 22, 34, 42])], ids=str
)
def test_a_tenth_of_the_recordings_of_each_class_validates_and_at_least_one_of_two(seed, chosen):
    """Of 1, 2, 3 and 15 recordings: none, one, one and two. Which ones is decided by the seed, on every machine."""
    split = splits.official(OF_FOUR_CLASSES, [2], seed=seed)
    valid = OF_FOUR_CLASSES["fsID"][split.rows("valid")]
    assert sorted(valid) == sorted(2 * chosen)  # both clips of each
    assert len(split.rows("train")) == 2 * (21 - 4) and split.rows("test").tolist() == [42]


def test_the_seed_of_a_split_is_0_by_default():
    assert (splits.official(OF_FOUR_CLASSES, [2]).roles == splits.official(OF_FOUR_CLASSES, [2], seed=0).roles).all()


def test_no_training_recording_left_is_said():
    clips = table((1, 0, 4, 1, 0), (2, 0, 4, 1, 0), (3, 0, 4, 2, 0))
    with pytest.raises(
        SplitError, match=r"^no clip is left for train, after dropping recordings that are on both sides"
    ):
        splits.official(clips, [2], valid_fraction=0.9)  # 1.8 of two recordings validate


def test_the_same_seed_gives_the_same_split(full):
    roles = [splits.official(full, [1], seed=seed).roles for seed in (0, 0, 1)]
    assert (roles[0] == roles[1]).all() and (roles[0] != roles[2]).any()


def test_no_validation_on_request(full):
    assert len(splits.official(full, [1], valid_fraction=0.0).rows("valid")) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_folds": [9, 7]}, "no clips in fold 7, 9; there are clips in fold 1, 2, 3"),
        ({"test_folds": [1], "valid_folds": [0]}, "no clips in fold 0; there are clips in fold 1, 2, 3"),
        ({"test_folds": [1], "train_folds": [4]}, "no clips in fold 4; there are clips in fold 1, 2, 3"),
        ({"test_folds": [1], "valid_folds": [1]}, "fold 1 is named twice: a fold trains, validates or tests"),
        ({"test_folds": [2, 1], "train_folds": [1, 2]}, "fold 1, 2 is named twice"),
        ({"test_folds": []}, "no test fold named; there are clips in fold 1, 2, 3"),
        ({"test_folds": [1, 2, 3]}, "no fold is left to train on: test 1, 2, 3, validation none"),
        ({"test_folds": [1, 2], "valid_folds": [3]}, "no fold is left to train on: test 1, 2, validation 3"),
    ],
    ids=str,
)
def test_impossible_splits_say_why(arguments, message):
    clips = table(*[(fold, 0, 4, fold, 0) for fold in (3, 1, 2)])
    with pytest.raises(SplitError, match=f"^{message}"):
        splits.official(clips, **arguments)


def test_random_roles_have_their_shares():
    roles = splits.random(1_000, seed=0)
    assert [(roles == role).sum() for role in splits.ROLES] == [720, 80, 200]
    assert roles.dtype == object
    t, v, e = splits.ROLES
    assert splits.random(10, 0, 0.3, 0.3).tolist() == [v, e, e, t, t, v, t, t, e, t]
    assert splits.random(10, 1, 0.3, 0.3).tolist() == [v, t, t, t, t, e, e, t, e, v]


def test_the_smallest_random_split_tests_one_item_and_trains_on_one():
    assert sorted(splits.random(2, 0, 0.5, 0.0)) == ["test", "train"]
    assert sorted(splits.random(3, 0, 0.4, 0.5)) == ["test", "train", "valid"]  # one of two validates
    for impossible in ((2, 0), (2, 0, 1.0), (2, 0, 0.5, 1.0), (0, 0)):
        with pytest.raises(SplitError, match=f"^{impossible[0]} items cannot be split into"):
            splits.random(*impossible)
    with pytest.raises(SplitError, match=r"^2 items cannot be split into 20% test and the rest$"):
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


@pytest.mark.parametrize(("seed", "test", "train"), [(0, [5, 11], [7, 9]), (1, [9, 11], [5, 7])])
def test_clips_at_random_of_one_fold_by_hand(seed, test, train):
    """Of 6 clips, 0.34 · 6 = 2.04 test, and half of the other four validate."""
    clips = table(*[(i, 0, 4, 1 + i % 2, 0) for i in range(12)])
    split = splits.by_clips(clips, (2,), seed, test_fraction=0.34, valid_fraction=0.5)
    assert split.rows("test").tolist() == test and split.rows("train").tolist() == train
    assert split.rows("valid").tolist() == [1, 3] and (split.roles[::2] == "").all()
    assert split.dropped.empty and split.dropped.columns.tolist() == clips.columns.tolist()
    with pytest.raises(SplitError, match=r"^no clips in fold 3, 4; there are clips in fold 1, 2$"):
        splits.by_clips(clips, (4, 1, 3), seed)


@pytest.mark.parametrize(
    ("share", "seed", "kept"),
    [(0.5, 0, [1, 4, 5, 7, 8]), (0.5, 1, [1, 2, 5, 7, 8]), (0.1, 0, [4, 5, 7]), (0.1, 1, [2, 5, 8])],
    ids=str,
)
def test_a_share_of_the_recordings_of_each_class_by_hand(share, seed, kept):
    """Of 4, 1 and 3 recordings, half are 2, 1 and 2; a tenth is at least one of each."""
    of_class = {0: (1, 2, 3, 4), 1: (5,), 2: (6, 7, 8)}
    clips = table(*[(i, 0, 4, 1, c) for c, ids in of_class.items() for i in ids for _ in range(2)], (9, 0, 4, 2, 0))
    split = splits.official(clips, [2], valid_fraction=0)
    thinned = splits.thin(split, clips, share, seed)
    assert clips["fsID"][thinned.rows("train")].tolist() == sorted(2 * kept)
    assert thinned.rows("test").tolist() == [16] and thinned.dropped is split.dropped
    assert set(thinned.roles) == {"train", "test", ""}
    assert len(split.rows("train")) == 16  # untouched


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
    assert splits.is_neighbour(clips, np.array([1, 2]), np.array([0, 3])).tolist() == [True, False]
    assert splits.is_neighbour(clips, np.array([1, 0]), np.array([1, 2])).tolist() == [False, True]
    clips.loc[4, "slice_file_name"] = "rain.flac"
    unknown = splits.is_neighbour(clips, np.array([0, 2]), np.array([1]))
    assert unknown.dtype == bool and unknown.tolist() == [True, True]
    split = splits.by_clips(full, (1, 2), seed=0)
    shares = splits.is_neighbour(full, split.rows("test"), split.rows("train")).mean()
    assert 0.4 < shares < 0.65


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 2)), np.array([], dtype=int)])
def test_an_audit_of_nothing_says_so(cache, nothing):
    clips = cache.clips
    found = splits.audit(clips, np.array([0]), nothing)
    assert found.items == 0 and found.describe() == "audit: no test items"
    assert splits.audit(clips, nothing, np.array([0, 1])).is_clean


def test_thinning_counts_rows_and_not_labels_of_rows(cache):
    clips = cache.clips
    split = splits.official(clips, (3,))
    other = clips.set_index(np.arange(len(clips))[::-1] + 7)
    expected = splits.thin(split, clips, 0.5, 0).roles
    assert splits.thin(split, other, 0.5, 0).roles.tolist() == expected.tolist()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_are_none_are_refused_with_their_name(share):
    clips = table((1, 0, 1, 1, 0), (2, 0, 1, 1, 0), (3, 0, 1, 2, 0))
    with pytest.raises(SplitError, match="valid_fraction must be between 0 and 1"):
        splits.official(clips, [2], valid_fraction=share)
    with pytest.raises(SplitError, match="test_fraction must be between 0 and 1"):
        splits.random(10, 0, share)
    with pytest.raises(SplitError, match="seed must be 0 or more, not -1"):
        splits.random(10, -1)
    with pytest.raises(SplitError, match="items must be 0 or more"):
        splits.random(-10, 0)
    split = splits.official(clips, [2])
    for wrong in (0, 1.1, -1, float("nan")):
        with pytest.raises(SplitError, match="share must be above 0 and at most 1"):
            splits.thin(split, clips, wrong, 0)
