import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import make_dataset
from course_utils import audio, datasets
from course_utils import data as run_data
from course_utils.audio import AudioError
from course_utils.configuration import Config
from course_utils.datasets import ClipCache, DatasetError, open_folder, read_metadata
from course_utils.datasets.metadata import metadata_from_names, parse_name
from course_utils.files import NoRoomError
from course_utils.lessons import grids
from course_utils.taxonomy import Taxonomy

OWN = ("frog", "rain", "wind")


def own_folder(root, ending="flac"):
    """A user's folder: other classes, other names, files beside the table, some columns left out."""
    rows = []
    for i in range(9):
        name, rate = f"recording {i}.{ending}", 16_000
        soundfile.write(root / name, np.random.default_rng(i).uniform(-0.5, 0.5, rate), rate)
        rows.append((name, f"field-{i // 3}", i // 3 + 1, i % 3, OWN[i % 3]))
    pd.DataFrame(rows, columns=["slice_file_name", "fsID", "fold", "classID", "class_name"]).to_csv(root / "my.csv")
    return root


def test_official_layout(tones):
    dataset = open_folder(tones)
    assert list(dataset.clips.columns) == [*datasets.COLUMNS, "path", "duration"]
    assert len(dataset.clips) == 120 and dataset.missing.empty and dataset.taxonomy == Taxonomy()
    assert dataset.clips["duration"].eq(0.5).all()
    assert "incomplete" not in dataset.describe()


def test_partial_download_says_what_is_there(real_root):
    dataset = open_folder(real_root)
    assert len(dataset.clips) == 2_148 and len(dataset.missing) == 8_732 - 2_148
    says = dataset.describe()
    assert "2,148 clips" in says and "6,584 of 8,732" in says
    assert (
        "whole: 1, 2\n" in says and "partly there: 3 (387 of 925)" in says and "not there: 4, 5, 6, 7, 8, 9, 10" in says
    )


def test_one_fold_of_three(tmp_path, tones):
    shutil.copytree(tones, tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "audio" / "fold2")
    next((tmp_path / "d" / "audio" / "fold3").iterdir()).unlink()
    says = open_folder(tmp_path / "d").describe()
    assert "41 of 120" in says and "partly there: 3 (39 of 40)" in says and "not there: 2" in says


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_folder_of_ones_own_with_its_own_classes(tmp_path, ending):
    dataset = open_folder(own_folder(tmp_path, ending))
    assert dataset.taxonomy.classes == OWN and dataset.taxonomy.n_combinations == 6
    assert dataset.clips["duration"].between(0.99, 1.01).all() and dataset.clips["salience"].isna().all()
    assert len(ClipCache.open(dataset, progress=False)[0]) == pytest.approx(22_050, abs=2)


def test_without_a_table_names_and_folders_tell(tmp_path, tones):
    shutil.copytree(tones, tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "metadata")
    (tmp_path / "d" / "audio" / "fold1" / "notes.txt").write_text("not a clip")
    dataset, known = open_folder(tmp_path / "d"), open_folder(tones)
    columns = ["slice_file_name", "fsID", "fold", "classID", "class", "duration"]
    both = [d.clips[columns].sort_values("slice_file_name").reset_index(drop=True) for d in (dataset, known)]
    pd.testing.assert_frame_equal(*both)
    assert dataset.clips[["start", "end", "salience"]].isna().all(axis=None)


def test_names_are_taken_apart():
    assert parse_name("87275-1-2-0.wav") == {"fsID": 87_275, "classID": 1, "occurrence": 2, "slice": 0}
    assert parse_name("holiday.wav") is None
    assert metadata_from_names(open_folder.__globals__["Path"]("/nowhere")).empty


HEADER = "slice_file_name,fsID,fold,classID,class\n"
TIMED = "slice_file_name,fsID,start,end,fold,classID,class\n"
TABLES = {
    "no column": "slice_file_name,fsID,fold\na.wav,1,1\n",
    "no rows below the header": HEADER,
    "line 2: nothing in column class": HEADER + "a.wav,1,1,0,\n",
    "line 3: nothing in column slice_file_name": HEADER + "a.wav,1,1,0,dog\n,1,1,0,dog\n",
    "line 3: fold must be a whole number, not one$": HEADER + "a.wav,1,1,0,dog\nb.wav,1,one,0,dog\n",
    r"line 3: fold must be a whole number, not 1\.5$": HEADER + "a.wav,1,1,0,dog\nb.wav,1,1.5,0,dog\n",
    r"line 2: fold must be a whole number, not 1e\+30$": HEADER + "a.wav,1,1e30,0,dog\n",
    "line 2: fold must be a whole number, not inf$": HEADER + "a.wav,1,inf,0,dog\n",
    "line 3: classID must be a whole number, not -inf$": HEADER + "a.wav,1,1,0,dog\nb.wav,1,1,-inf,dog\n",
    r"line 3: a\.wav is listed twice": HEADER + "a.wav,1,1,0,dog\na.wav,1,1,0,dog\n",
    "line 2: the clip ends at 1 s, before it starts at 4 s": TIMED + "a.wav,1,4,1,1,0,dog\n",
    "line 3: end is in seconds, not inf": TIMED + "a.wav,1,0,4,1,0,dog\nb.wav,1,0,inf,1,0,dog\n",
    "line 2: start is in seconds, not -inf": TIMED + "a.wav,1,-inf,4,1,0,dog\n",
    "line 2: end is in seconds, not late": TIMED + "a.wav,1,0,late,1,0,dog\n",
    r"line 2: \.\./a\.wav is not in the folder of the data set": HEADER + "../a.wav,1,1,0,dog\n",
    r"line 2: x/\.\./\.\./a\.wav is not in": HEADER + "x/../../a.wav,1,1,0,dog\n",
    r"line 2: \.\.\\a\.wav is not in": HEADER + "..\\a.wav,1,1,0,dog\n",
    r"line 2: /tmp/a\.wav is not in": HEADER + "/tmp/a.wav,1,1,0,dog\n",
    r"line 2: C:\\a\.wav is not in": HEADER + "C:\\a.wav,1,1,0,dog\n",
    "a stored set of mixtures, not of clips": "file,checksum,combination,first_slice_file_name,second_slice_file_name\n",
    "several classes": HEADER + "a.wav,1,1,0,dog\nb.wav,1,1,0,cat\n",
    "without gaps": HEADER + "a.wav,1,1,0,dog\nb.wav,1,1,7,cat\n",
    "several class IDs": HEADER + "a.wav,1,1,0,dog\nb.wav,1,1,1,dog\n",
    "none of the 1 files": HEADER + "z.wav,1,1,0,dog\n",
    "not a CSV": "",
}


@pytest.mark.parametrize("message", TABLES)
def test_bad_tables_say_what_is_wrong(tmp_path, message):
    for name in "ab":
        audio.write(tmp_path / f"{name}.wav", np.zeros(100))
    (tmp_path / "t.csv").write_text(TABLES[message])
    with pytest.raises(DatasetError, match=message) as caught:
        open_folder(tmp_path)
    assert "t.csv" in str(caught.value) and "np." not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_tables_with_other_separators_are_read(tmp_path, separator, bom):
    rows = [
        ("slice_file_name", "fsID", "start", "end", "fold", "classID", "class"),
        ("a.wav", 1, 0.5, 4.5, 1, 0, "dog"),
    ]
    text = "\n".join(separator.join(map(str, row)) for row in rows)
    (tmp_path / "t.csv").write_text(bom + (text.replace(".5", ",5") if separator == ";" else text), encoding="utf-8")
    table = read_metadata(tmp_path / "t.csv")
    assert table[["slice_file_name", "start", "end", "fold"]].values.tolist() == [["a.wav", 0.5, 4.5, 1]]


def test_names_are_text_and_found_as_other_systems_write_them(tmp_path):
    decomposed, composed = "u\u0308bung.wav", "\u00fcbung"
    names = {"001": "001.wav", "002": "002", "fold1\\a.wav": "fold1/a.wav", "x/b.wav": "x/b.wav", composed: decomposed}
    for file in names.values():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / file, np.zeros(100), 22_050, format="WAV")
    (tmp_path / "t.csv").write_text(HEADER + "".join(f"{name},1,1,0,dog\n" for name in names), encoding="utf-8")
    dataset = open_folder(tmp_path)
    assert dataset.clips["slice_file_name"].tolist() == list(names) and dataset.missing.empty
    assert dataset.clips["path"].tolist() == list(names.values())


def test_other_wrong_places(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no clips here"):
        open_folder(tmp_path)
    with pytest.raises(DatasetError, match="--clips 1000"):
        datasets.load("urbansound8k")


def test_full_metadata_reads(real_root):
    table = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    assert len(table) == 8_732 and table["fsID"].nunique() == 1_297
    assert table["class"].value_counts()[["siren", "car_horn", "gun_shot"]].tolist() == [929, 429, 374]
    assert table.groupby("fold").size().tolist() == [873, 888, 925, 990, 936, 823, 838, 806, 816, 837]


# --- the decoded copy -------------------------------------------------------------------------------------------------


def test_cache_holds_what_the_reader_reads(tones):
    dataset = open_folder(tones)
    cache = ClipCache.open(dataset, progress=False)
    assert len(cache) == 120
    for row in (0, 57, 119):
        assert np.array_equal(cache[row], audio.read(dataset.path(row)))


def test_a_second_start_decodes_nothing(tones, monkeypatch):
    dataset = open_folder(tones)
    ClipCache.open(dataset, progress=False)
    monkeypatch.setattr(audio, "read", lambda path: pytest.fail("decoded again"))
    assert len(ClipCache.open(dataset, progress=False)) == 120


def test_a_changed_file_makes_a_new_cache(tmp_path, own_cache):
    root = make_dataset(tmp_path / "d", folds=1, recordings=1)
    dataset = open_folder(root)
    before = ClipCache.open(dataset, progress=False)
    audio.write(dataset.path(3), np.full(11_000, 0.25))
    after = ClipCache.open(dataset, progress=False)
    assert after.folder != before.folder and after[3][0] == pytest.approx(0.25, abs=1e-4) and len(after[3]) == 11_000
    assert len(before[3]) == 11_025  # who has opened the old one may go on
    os.utime(before.folder / "index.json", (0, 0))
    audio.write(dataset.path(3), np.full(12_000, 0.25))
    newest = ClipCache.open(dataset, progress=False)
    assert {f.name for f in (own_cache / "decoded").iterdir()} == {after.folder.name, newest.folder.name}
    with pytest.raises(AudioError, match="gone; open the data set again"):
        before[3]
    assert len({before.digest, after.digest, newest.digest}) == 3


def test_a_cut_off_cache_is_named(cache):
    samples = cache.folder / "samples.float32"
    samples.write_bytes(samples.read_bytes()[:1_000])
    with pytest.raises(AudioError, match="cut off; delete"):
        cache[0]


def test_a_file_exported_anew_with_the_same_size_is_decoded_anew(tmp_path):
    root = make_dataset(tmp_path / "d", folds=1, recordings=1)
    dataset = open_folder(root)
    before = ClipCache.open(dataset, progress=False)
    size = dataset.path(3).stat().st_size
    soundfile.write(dataset.path(3), np.full(11_025, 0.25), 22_050)
    os.utime(dataset.path(3), ns=(0, 10**18))
    assert dataset.path(3).stat().st_size == size
    after = ClipCache.open(dataset, progress=False)
    assert after.digest != before.digest and after[3] == pytest.approx(0.25, abs=1e-4)


def test_bad_clips_are_all_named_or_skipped(tmp_path, caplog):
    root = make_dataset(tmp_path / "d", folds=1, recordings=1)
    dataset = open_folder(root)
    paths = dataset.clips["path"]
    dataset.path(2).write_bytes(b"")
    dataset.path(5).write_bytes(b"not sound at all, but long enough to look at")
    nan = np.zeros(1_000, np.float32)
    nan[5] = np.nan
    soundfile.write(dataset.path(7), nan, 22_050, subtype="FLOAT")
    dataset.path(9).write_bytes(dataset.path(9).read_bytes()[:9_000])
    with pytest.raises(AudioError, match="4 of 20 clips cannot be decoded") as caught:
        ClipCache.open(dataset, progress=False)
    assert all(str(dataset.path(i)) in str(caught.value) for i in (2, 5, 7, 9)) and "--skip-bad" in str(caught.value)
    cache = ClipCache.open(dataset, skip_bad=True, progress=False)
    assert len(cache) == len(cache.clips) == len(cache.levels) == 16 and set(cache.bad) == set(paths[[2, 5, 7, 9]])
    assert cache.clips["path"][2] == paths[3] and np.allclose(cache[2], audio.read(dataset.path(3)), atol=1e-4)
    assert paths[5] in caplog.text


def test_a_clip_shorter_than_the_table_says_is_cut_off(tmp_path):
    root = make_dataset(tmp_path / "d", folds=1, recordings=1)
    dataset = open_folder(root)
    audio.write(dataset.path(4), audio.read(dataset.path(4))[:9_000])  # the header agrees with the file
    audio.write(dataset.path(6), audio.read(dataset.path(6))[:10_990])  # 1.6 ms: as in the originals
    message = rf"{dataset.clips['path'][4]}: cut off: the table says 0\.50 s, the file holds 0\.41 s; copy or download"
    with pytest.raises(AudioError, match=message) as caught:
        ClipCache.open(dataset, progress=False)
    assert "1 of 20 clips" in str(caught.value)
    cache = ClipCache.open(dataset, skip_bad=True, progress=False)
    assert list(cache.bad) == [dataset.clips["path"][4]] and len(cache) == 19
    table = root / "metadata" / "UrbanSound8K.csv"
    table.write_text(pd.read_csv(table).assign(start=0, end=0.4).to_csv(index=False))
    assert len(ClipCache.open(open_folder(root), progress=False)) == 20  # the table has changed, the files have not
    table.write_text(pd.read_csv(table).drop(columns=["start", "end"]).to_csv(index=False))
    assert len(ClipCache.open(open_folder(root), progress=False)) == 20  # it does not say how long they are


def test_real_clips_are_as_long_as_the_table_says(real_root):
    clips = open_folder(real_root)
    lacking = [clips.clips["duration"][row] - audio.duration(clips.path(row)) for row in range(0, len(clips.clips), 10)]
    assert np.abs(lacking).max() < 1e-4


def test_levels_tell_other_sound_under_the_same_names(tones, tmp_path):
    cache = ClipCache.open(open_folder(tones), progress=False)
    assert cache.levels.shape == (120, 2) and cache.levels.dtype == np.float32
    for row in (0, 50, 119):
        sound = cache[row].astype(np.float64)
        assert cache.levels[row] == pytest.approx([sound.std(), np.diff(sound).std()], rel=1e-2)
    assert len(np.unique(cache.levels, axis=0)) == 120
    assert np.array_equal(ClipCache.open(open_folder(tones), progress=False).levels, cache.levels)


def test_a_file_that_vanishes_is_named(tmp_path):
    root = make_dataset(tmp_path / "d", folds=1, recordings=1)
    dataset = open_folder(root)
    dataset.path(4).unlink()
    with pytest.raises(AudioError, match=re.escape(str(dataset.path(4)))):
        ClipCache.open(dataset, progress=False)


def test_a_cache_that_others_share_may_be_read_only(tones, monkeypatch):
    before = ClipCache.open(open_folder(tones), progress=False)

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert ClipCache.open(open_folder(tones), progress=False).digest == before.digest


def test_paths_are_those_below_the_folder(tones, tmp_path):
    dataset = open_folder(tones)
    assert dataset.clips["path"].str.fullmatch(r"audio/fold[123]/\d+-\d-0-[01]\.wav").all()
    assert dataset.path(7) == tones / dataset.clips["path"][7] and dataset.path(7).is_file()
    assert str(tones) not in dataset.describe() + dataset.clips.to_string()


def test_another_process_maps_the_same_file(tones):
    import pickle

    cache = ClipCache.open(open_folder(tones), progress=False)
    data = pickle.dumps(cache)
    assert len(data) < 100_000
    assert np.array_equal(pickle.loads(data)[7], cache[7])


BUILD = """
import sys, time
from course_utils import data as run_data
from course_utils import audio, datasets
from course_utils.lessons import grids
from course_utils.datasets import ClipCache
read = audio.read
def slow(path, sample_rate):
    time.sleep(0.02)
    return read(path, sample_rate)
audio.read = slow
print("start", flush=True)
cache = ClipCache.open(datasets.open_folder(sys.argv[1]), progress=False)
print(len(cache), cache.folder, flush=True)
"""


def start_build(root):
    return subprocess.Popen([sys.executable, "-c", BUILD, str(root)], stdout=subprocess.PIPE, text=True, env=os.environ)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_build_leaves_no_half_cache(tones, own_cache):
    process = start_build(tones)
    process.stdout.readline()
    deadline = time.time() + 60
    while not list(own_cache.glob("decoded/.*.part/samples.float32")) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not [f for f in (own_cache / "decoded").iterdir() if not f.name.endswith(".part")]
    cache = ClipCache.open(open_folder(tones), progress=False)
    assert len(cache) == 120 and np.abs(cache[119]).max() > 0.1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_what_a_killed_build_left_goes_at_the_next_start_and_what_lives_stays(tones, own_cache):
    folder = ClipCache.open(open_folder(tones), progress=False).folder
    halves = []
    for _ in range(2):
        (folder / "index.json").rename(own_cache / "index.json")
        process = start_build(tones)
        process.stdout.readline()
        deadline = time.time() + 60
        while len(list(own_cache.glob("decoded/.*.part/samples.float32"))) <= len(halves) and time.time() < deadline:
            time.sleep(0.01)
        (own_cache / "index.json").rename(folder / "index.json")
        halves.append((process, next(h for h in own_cache.glob("decoded/.*.part") if h not in [h for _, h in halves])))
        process.send_signal(signal.SIGSTOP)
    (killed, left), (living, stays) = halves
    killed.kill()
    killed.communicate()
    ClipCache.open(open_folder(tones), progress=False)  # it builds nothing
    assert not left.exists() and stays.exists()
    living.kill()
    living.communicate()


def test_two_builders_end_with_one_good_cache(tones, own_cache):
    both = [start_build(tones) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].split() for process in both]
    assert outputs[0] == outputs[1] and outputs[0][1] == "120"
    assert len(list((own_cache / "decoded").iterdir())) == 1


def test_too_little_room_for_the_decoded_clips_is_said_before(tones, own_cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1_000))
    with pytest.raises(NoRoomError, match="up to 5 MB needed, 0 MB free"):
        ClipCache.open(open_folder(tones), progress=False)
    assert not (own_cache / "decoded").exists()


def test_memory_does_not_grow_with_the_data(tones):
    """All memory of the process, files mapped into it included, while it goes through 2,000 times 4 s."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("no /proc on this system")
    code = """
import sys, numpy as np
from pathlib import Path
from course_utils.datasets import cache as c
folder = Path(sys.argv[1]); n, t = 2000, 88200
with open(folder / "samples.float32", "wb") as file:
    file.truncate(4 * n * t)
import pandas as pd
cache = c.ClipCache(pd.DataFrame(), folder, np.arange(n) * t, np.full(n, t), {}, "", np.zeros((n, 2)))
def resident():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024
before = resident()
for row in range(n):
    cache[row].sum()
print(resident() - before)
"""
    folder = open_folder(tones).root
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        grown = float(subprocess.check_output([sys.executable, "-c", code, place], text=True))
    assert grown < 50, f"{grown:.0f} MB more for {folder}"


def test_examples_are_the_most_salient_and_longest_clips_of_the_last_fold_that_has_the_class(tones):
    cache = ClipCache.open(open_folder(tones), progress=False)
    cache.clips.loc[cache.clips["class"].eq("siren") & cache.clips["fold"].eq(3), "class"] = "dog_bark"
    barks = cache.clips.index[cache.clips["class"].eq("dog_bark") & cache.clips["fold"].eq(3)]
    cache.clips.loc[barks, "salience"] = 2
    cache.clips.loc[barks[1:4], "salience"] = 1
    cache.clips.loc[barks[2], "duration"] = 9.0
    examples = cache.examples()
    assert list(examples) == list(Taxonomy().classes)
    assert examples["dog_bark"] == barks[2]
    assert cache.clips.loc[list(examples.values()), "fold"].tolist() == [2 if n == "siren" else 3 for n in examples]
    assert cache.clips.loc[list(cache.examples(fold=1).values()), "fold"].eq(1).all()


def test_the_measured_clips_are_selected_from_the_release(real_root, own_cache):
    names = datasets.measured_clips()
    assert len(names) == len(set(names)) == 2148
    folder = own_cache / "urbansound8k"
    folder.mkdir()
    (folder / "metadata").symlink_to(real_root / "metadata")
    for fold in ("fold1", "fold3"):
        (folder / "audio").mkdir(exist_ok=True)
        (folder / "audio" / fold).symlink_to(real_root / "audio" / fold)
    release, measured = datasets.load("urbansound8k"), datasets.load("measured")
    assert len(release.clips) == len(measured.clips) == 873 + 387
    assert len(release.missing) == 8732 - 1260 and len(measured.missing) == 888
    assert set(measured.clips["slice_file_name"]) | set(measured.missing["slice_file_name"]) == set(names)
    assert measured.clips.index.tolist() == list(range(1260)) and "measured: 1,260 clips" in measured.describe()


def test_measured_clips_leave_the_others_out(tones, monkeypatch):
    release = datasets.open_folder(tones)
    wanted = release.clips["slice_file_name"].tolist()[5:9]
    monkeypatch.setattr(datasets, "measured_clips", lambda: wanted)
    assert datasets.select_measured(release).clips["slice_file_name"].tolist() == wanted
    monkeypatch.setattr(datasets, "measured_clips", lambda: ["1-1-1-1.wav"])
    with pytest.raises(datasets.DatasetError, match="none of the 1 clips"):
        datasets.select_measured(release)


def test_the_published_results_are_of_the_measured_clips(real_root, own_cache):
    (own_cache / "urbansound8k").symlink_to(real_root)
    config = Config(data="measured", test_folds=(3,))
    fingerprint = run_data.prepare(config, progress=False).fingerprint
    assert fingerprint == grids.published("cnn10-splits")["runs"]["official"]["clips"]
