"""The generated data set: its layout, its statistics, and that it is the same everywhere."""

import hashlib
import os
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from course_utils.datasets import mini, synthesis
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


# Number in the plan → samples, RMS, RMS of the difference from sample to sample, the samples at 1/4, 1/2 and 3/4, and the
# power from 0, 200, 800 and 3,200 Hz on, as a part of all. One recording of each class, and two more.
GOLDEN = {
    3: [249165, 0.101394, 0.0172961, -1305.0, -1230.0, 858.0, 0.467655, 0.431218, 0.0955922, 0.00553543],
    23: [191394, 0.119192, 0.059809, 2642.0, 5182.0, 2029.0, 0.0493088, 0.113714, 0.791579, 0.045398],
    33: [250929, 0.0464316, 0.01268, -165.0, 488.0, -1281.0, 0.028104, 0.65713, 0.300307, 0.0144591],
    53: [182133, 0.0295692, 0.00730381, -178.0, -238.0, 65.0, 0.00539775, 0.663843, 0.328859, 0.00190045],
    73: [298998, 0.108954, 0.0546784, 626.0, -2358.0, 541.0, 0.0167211, 0.337209, 0.580468, 0.0656023],
    93: [254898, 0.0094517, 0.00377249, -24.0, -639.0, 290.0, 0.391296, 0.333728, 0.221474, 0.0535024],
    113: [143325, 0.0411767, 0.0277564, 10.0, 2133.0, -128.0, 0.0742396, 0.220468, 0.492651, 0.212642],
    123: [206829, 0.0227103, 0.0133482, -458.0, 164.0, -555.0, 0.507027, 0.111091, 0.229517, 0.152365],
    143: [258867, 0.197277, 0.0572612, 5714.0, 7646.0, 11816.0, 0.00560774, 0.321841, 0.667517, 0.00503355],
    163: [251370, 0.0526679, 0.0143216, 495.0, -295.0, 507.0, 0.365558, 0.387966, 0.235959, 0.010517],
    117: [110250, 0.0264654, 0.0124915, 3588.0, -2.0, 24.0, 0.149582, 0.470178, 0.298051, 0.0821889],
    172: [209916, 0.0640042, 0.0134755, -880.0, -3015.0, -1144.0, 0.0218619, 0.896208, 0.0756664, 0.00626334],
}


@pytest.mark.parametrize("number", GOLDEN)
def test_the_sound_is_that_of_this_version(number):
    """If this fails because the synthesis has changed: raise `mini.VERSION`, and write these numbers again."""
    assert mini.VERSION == 1
    samples = mini.synthesise(mini.plan(0)[number]) / 32_768.0
    power = np.abs(np.fft.rfft(samples)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(len(samples), 1 / 22_050), [0, 200, 800, 3_200, 11_026])
    bands = np.add.reduceat(power, edges[:-1]) / power.sum()
    length, rms, difference, *rest = GOLDEN[number]
    assert len(samples) == length
    levels = [np.sqrt(np.mean(samples**2)), np.sqrt(np.mean(np.diff(samples) ** 2))]
    assert levels == pytest.approx([rms, difference], rel=1e-3)
    quarters = [samples[length * k // 4] * 32_768 for k in (1, 2, 3)]
    assert quarters == pytest.approx(rest[:3], rel=1e-3, abs=2)  # processors may round another way
    assert bands == pytest.approx(rest[3:], rel=1e-3)


def test_no_file_holds_the_time_at_which_it_was_made(tmp_path, monkeypatch):
    recordings = [r for r in mini.plan(0) if any(part.subtype == "FLOAT" for part in r.slices)]
    contents = []
    for place in ("first", "second"):
        folder = tmp_path / place
        (folder / "audio" / f"fold{recordings[0].fold}").mkdir(parents=True)
        mini._write(recordings[0], folder)
        contents.append({path.name: path.read_bytes() for path in folder.rglob("*.wav")})
    assert contents[0] == contents[1] and not any(b"PEAK" in content for content in contents[0].values())
    (name,) = [recordings[0].name(part) for part in recordings[0].slices if part.subtype == "FLOAT"]
    info = soundfile.info(next((tmp_path / "first").rglob(name)))
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "FLOAT", 22_050)


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
    with pytest.raises(FileExistsError, match="delete it, or name another folder"):
        mini.build(tmp_path, progress=False, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fails_at_the_third(timbre, rng, seconds):
        calls.append(seconds)
        if len(calls) == 3:
            raise RuntimeError("power cut")
        return rng.standard_normal(round(seconds * 22_050))

    monkeypatch.setattr(synthesis, "SOURCES", (fails_at_the_third, *synthesis.SOURCES[1:]))
    with pytest.raises(RuntimeError, match="power cut"):
        mini.build(tmp_path / "mini", progress=False, workers=1)
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []


MAKE = """
import sys
from pathlib import Path
from course_utils.datasets import mini
recordings = mini.plan(0)
mini.plan = lambda seed: recordings * 20  # as long as it takes
mini.build(Path(sys.argv[1]), progress=False, workers=2)
"""


def children_of(pid):
    """The processes that one has started, as Linux lists them."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs Linux's list of processes"
)
def test_a_killed_build_leaves_no_workers(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", MAKE, tmp_path / "mini"])
    deadline = time.time() + 120
    while len(list(tmp_path.glob(".mini-*.part/audio/*/*.wav"))) < 8 and time.time() < deadline:
        time.sleep(0.1)
    children = children_of(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.time() + 20
    while any(map(is_alive, children)) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, children))
    assert list(tmp_path.glob(".mini-*.part"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch, workers):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        recordings = mini.plan(0)[:12]
        monkeypatch.setattr(mini, "plan", lambda seed: recordings)
        monkeypatch.setattr(mini, "NEEDED_DISK", 1)
        with pytest.raises(OSError, match=r"small: the disk is full; free some space and make `mini` again$"):
            mini.build(small / "mini", progress=False, workers=workers)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_deleted_in_the_meantime_is_said(tmp_path):
    with pytest.raises(OSError, match="gone: deleted while `mini` was made there; make it again"):
        mini._write(mini.plan(0)[5], tmp_path / "gone")


def test_a_write_that_the_system_refuses_is_said_also_out_of_another_process(tmp_path):
    with pytest.raises(OSError, match=r"\.wav: cannot be written; look whether a quota limits your files"):
        mini._write_all(mini.plan(0)[5:9], tmp_path, workers=2, progress=False)  # it has no folders
