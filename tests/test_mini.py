"""The generated data set: its layout, its statistics, and that it is the same everywhere."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from course_utils.datasets import mini
from course_utils.taxonomy import URBANSOUND8K_CLASSES

COLUMNS = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mini.build(tmp_path_factory.mktemp("data") / "mini", progress=False)


@pytest.fixture(scope="module")
def table(root: Path) -> pd.DataFrame:
    """The metadata with the path, header and peak of each file beside it."""
    rows = pd.read_csv(root / "metadata" / "UrbanSound8K.csv")
    rows["path"] = [root / "audio" / f"fold{r.fold}" / r.slice_file_name for r in rows.itertuples()]
    rows["info"] = [soundfile.info(str(path)) for path in rows["path"]]
    rows["seconds"] = rows["end"] - rows["start"]
    return rows


def _odd(info) -> bool:
    return (info.samplerate, info.channels, info.format, info.subtype) != (22_050, 1, "WAV", "PCM_16")


def test_layout_and_columns(root, table):
    stored = pd.read_csv(root / "metadata" / "UrbanSound8K.csv")
    assert stored.columns.tolist() == COLUMNS
    assert not stored.isna().any().any()
    assert sorted(p.name for p in root.iterdir()) == ["audio", "metadata"]
    assert {p.name for p in (root / "audio").iterdir()} == {f"fold{k}" for k in range(1, 11)}
    on_disk = {p for p in (root / "audio").rglob("*") if p.is_file()}
    assert on_disk == set(table["path"])
    parts = table["slice_file_name"].str.extract(r"^(\d+)-(\d)-(\d+)-(\d+)\.wav$").astype(int)
    assert (parts[0] == table["fsID"]).all() and (parts[1] == table["classID"]).all()
    assert (table["class"] == table["classID"].map(dict(enumerate(URBANSOUND8K_CLASSES)))).all()
    assert table["slice_file_name"].is_unique


def test_size_on_disk(table):
    assert sum(path.stat().st_size for path in table["path"]) < 120e6


def test_class_sizes_follow_the_original(table):
    counts = table["class"].value_counts()
    assert 570 <= len(table) <= 630
    original = {"siren": 929, "car_horn": 429, "gun_shot": 374}
    for name in URBANSOUND8K_CLASSES:
        assert counts[name] == pytest.approx(len(table) * original.get(name, 1000) / 8732, abs=1), name


def test_each_class_is_in_each_fold(table):
    recordings = table.groupby(["class", "fold"])["fsID"].nunique().unstack(fill_value=0)
    assert recordings.shape == (10, 10) and (recordings >= 1).all().all()
    assert recordings.drop(index=["car_horn", "gun_shot"]).to_numpy().mean() == pytest.approx(2, abs=0.3)
    folds = table["fold"].value_counts()
    assert folds.min() >= 45 and folds.max() <= 75


def test_a_recording_has_one_fold_one_class_one_salience(table):
    assert (table.groupby("fsID")[["fold", "classID", "salience"]].nunique() == 1).all().all()
    assert set(table["salience"]) == {1, 2}
    assert 0.55 < (table["salience"] == 1).mean() < 0.75
    assert table.groupby("fsID").size().max() > 3
    ends = table.groupby("fsID")["end"].max()
    assert ends.max() <= 20
    assert all(5 <= recording.seconds <= 20 for recording in mini.plan(0))


def test_durations_follow_the_original(table):
    full = (table["seconds"] - 4.0).abs() < 1e-6
    assert table["seconds"].max() < 4.0001 and table["seconds"].min() > 0.05
    assert 0.80 < full.mean() < 0.88
    assert 0.03 < (table["seconds"] < 1).mean() < 0.08
    assert 1.0 < table.loc[table["class"] == "gun_shot", "seconds"].median() < 2.0
    short = (~full).groupby(table["class"]).mean()
    assert short["car_horn"] > 0.5 and short["dog_bark"] > 0.25
    assert (short[["air_conditioner", "children_playing", "siren", "street_music"]] < 0.05).all()


def test_files_are_as_long_as_the_table_says(table):
    for row in table.itertuples():
        assert row.info.frames == pytest.approx(row.seconds * row.info.samplerate, abs=1), row.slice_file_name


def test_overlapping_slices_share_samples(table):
    pairs = 0
    for _, group in table.groupby("fsID"):
        for a, b in combinations(group.sort_values("start").itertuples(), 2):
            if b.start >= a.end:
                continue
            assert a.info.samplerate == b.info.samplerate == 22_050
            first, last = round((b.start - a.start) * 22_050), round((min(a.end, b.end) - a.start) * 22_050)
            left = soundfile.read(a.path, always_2d=True)[0].mean(axis=1)[first:last]
            right = soundfile.read(b.path, always_2d=True)[0].mean(axis=1)[: last - first]
            assert len(left) == len(right) > 0 and left.std() > 1e-4
            coarse = "PCM_U8" in (a.info.subtype, b.info.subtype)
            plain = not _odd(a.info) and not _odd(b.info)
            assert np.abs(left - right).max() <= (0 if plain else 1 / 127 if coarse else 2**-15), a.slice_file_name
            pairs += 1
    assert pairs > 200


def test_some_files_have_odd_formats(table):
    odd = table[[_odd(info) for info in table["info"]]]
    assert 8 <= len(odd) <= 12 and odd["class"].nunique() >= 8
    assert {11_025, 48_000, 96_000} <= {info.samplerate for info in odd["info"]}
    assert {"PCM_24", "PCM_U8", "FLOAT"} <= {info.subtype for info in odd["info"]}
    assert {1, 2} == {info.channels for info in odd["info"]}
    assert "WAVEX" in {info.format for info in odd["info"]}


def test_samples_are_sound(table):
    peaks, hashes = [], set()
    for row in table.itertuples():
        samples, _ = soundfile.read(row.path, dtype="float32")
        assert np.isfinite(samples).all(), row.slice_file_name
        peaks.append(np.abs(samples).max())
        assert samples.std() > 2e-4, row.slice_file_name
        assert abs(samples.mean()) < 0.2 * samples.std() + 0.005, row.slice_file_name
        hashes.add(hashlib.sha256(samples.tobytes()).hexdigest())
    assert max(peaks) < 0.99  # never clipped
    assert len(hashes) == len(table)  # no two clips are the same
    loudest = pd.Series(peaks).groupby(table["fsID"]).max()
    assert loudest.quantile(0.05) < 0.2 and loudest.quantile(0.95) > 0.7


def test_background_salience_means_less_contrast():
    """The loudest tenth of a recording of barks over its first 0.3 s, in which no dog barks yet."""
    contrast = {1: [], 2: []}
    for recording in mini.plan(0):
        if URBANSOUND8K_CLASSES[recording.class_id] == "dog_bark":
            power = (mini.synthesise(recording) / 32_768.0) ** 2
            loud = np.sort(power)[-len(power) // 10 :].mean()
            contrast[recording.salience].append(10 * np.log10(loud / power[:6615].mean()))
    assert np.median(contrast[1]) > np.median(contrast[2]) + 12  # dB


def test_files_are_what_the_recording_function_makes(table):
    """Built by a pool of processes, and again here: the same bits, so the number of workers does not matter."""
    for recording in mini.plan(0)[5::25]:
        samples = mini.synthesise(recording)
        for part in recording.slices:
            if (part.rate, part.channels, part.container, part.subtype) != (22_050, 1, "WAV", "PCM_16"):
                continue
            path = table.set_index("slice_file_name").loc[recording.name(part), "path"]
            stored, _ = soundfile.read(path, dtype="int16")
            np.testing.assert_array_equal(stored, samples[round(part.start * 22_050) : round(part.end * 22_050)])


def test_same_seed_same_set(table):
    assert mini.plan(0) == mini.plan(0)
    names = {recording.name(part) for recording in mini.plan(0) for part in recording.slices}
    assert names == set(table["slice_file_name"])
    one = mini.plan(0)[40]
    np.testing.assert_array_equal(mini.synthesise(one), mini.synthesise(one))


def test_other_seed_other_set():
    first, second = mini.plan(0), mini.plan(1)
    assert len({r.fs_id for r in first} & {r.fs_id for r in second}) < 20
    a, b = mini.synthesise(first[30]), mini.synthesise(second[30])
    size = min(len(a), len(b))
    assert abs(np.corrcoef(a[:size], b[:size])[0, 1]) < 0.5


@pytest.mark.parametrize("seed", range(1, 6))
def test_any_seed_gives_a_whole_plan(seed):
    recordings = mini.plan(seed)
    assert len({r.fs_id for r in recordings}) == len(recordings)
    assert len({(r.class_id, r.fold) for r in recordings}) == 100
    parts = [(r, part) for r in recordings for part in r.slices]
    assert len({r.name(part) for r, part in parts}) == len(parts) == sum(mini.CLIPS)
    assert all(0 <= part.start < part.end <= r.seconds <= 20 for r, part in parts)


def test_existing_set_is_kept(root, monkeypatch):
    before = (root / "metadata" / "UrbanSound8K.csv").stat().st_mtime_ns
    monkeypatch.setattr(mini, "synthesise", lambda recording: pytest.fail("made again"))
    monkeypatch.setattr(mini, "plan", lambda seed: pytest.fail("planned again"))
    assert mini.build(root, progress=False) == root
    assert (root / "metadata" / "UrbanSound8K.csv").stat().st_mtime_ns == before


def test_other_things_in_the_folder_are_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="delete it or name another"):
        mini.build(tmp_path, progress=False, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fails_at_the_third(timbre, rng, seconds):
        calls.append(seconds)
        if len(calls) == 3:
            raise RuntimeError("power cut")
        return rng.standard_normal(round(seconds * 22_050))

    monkeypatch.setattr(mini, "SOURCES", (fails_at_the_third, *mini.SOURCES[1:]))
    with pytest.raises(RuntimeError, match="power cut"):
        mini.build(tmp_path / "mini", progress=False, workers=1)
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []
