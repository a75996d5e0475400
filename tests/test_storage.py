import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import make_dataset
from course_utils import audio, features, files, mixing, storage
from course_utils import data as run_data
from course_utils.configuration import Config, Recipe
from course_utils.datasets import ClipCache, DatasetError, open_folder
from course_utils.files import NoRoomError
from course_utils.mixing import LazyMixtures, pair, render
from course_utils.storage import StoredMixtures, write_set
from course_utils.taxonomy import Taxonomy

TEN = Taxonomy()


def plan_of(cache, recipe=None, rows=None):
    rows = np.arange(len(cache)) if rows is None else rows
    return pair(cache.clips, rows, TEN, recipe or Recipe(), rng=np.random.default_rng(0), split="train")


MEL = {"n_fft": 1024, "hop_length": 512, "n_mels": 64}


def store(out, form, cache, **changes):
    arguments = {"recipe": Recipe(), "mel": MEL, "noise_snr": None, "seed": 0, "overwrite": False} | changes
    plan = plan_of(cache, arguments["recipe"])
    plan.loc[plan.index[-40:], "split"] = "test"
    return plan, write_set(out, form, cache, plan, taxonomy=TEN, progress=False, **arguments)


def test_the_mel_form_gives_back_what_the_lazy_form_computes(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(storage, "SHARD", 50)
    plan, out = store(tmp_path / "set", "mel", cache)
    assert len(list((out / "shards").iterdir())) == 4
    stored, log_mel = StoredMixtures(out), features.LogMel(**MEL)
    assert len(stored) == len(plan) == 180
    for row in (0, 49, 50, 179):
        mel, multi_hot = stored[row]
        first, second = plan[["first", "second"]].iloc[row]
        expected = log_mel(torch.from_numpy(render(cache, first, second, Recipe())))
        assert (mel - expected).abs().max() <= 0.00501 and TEN.from_multi_hot(multi_hot) == plan["combination"].iloc[
            row
        ]
    test = StoredMixtures(out).part("test")
    assert len(test) == 40 and torch.equal(test[0][0], stored[140][0]) and len(StoredMixtures(out).part("train")) == 140


def test_noise_on_the_stored_mel_is_at_its_ratio_and_repeatable(tmp_path, cache):
    clean = StoredMixtures(store(tmp_path / "clean", "mel", cache)[1])
    noisy = StoredMixtures(store(tmp_path / "noisy", "mel", cache, noise_snr=10.0)[1])
    again = StoredMixtures(store(tmp_path / "again", "mel", cache, noise_snr=10.0)[1])
    power, with_noise = (10 ** (stored[7][0].double() / 10) for stored in (clean, noisy))
    assert 10 * torch.log10(power.sum() / (with_noise - power).sum()) == pytest.approx(10.0, abs=0.1)
    assert torch.equal(noisy[7][0], again[7][0]) and not torch.equal(noisy[7][0], noisy[8][0])


def test_noise_differs_between_mixtures_of_the_same_sound_and_between_seeds(tmp_path, cache):
    plan = mixing.plan_of(np.array([[3, 50], [3, 50], [3, 50]]), cache.clips, TEN, "train")
    first, second, third = (
        torch.stack([mel for mel, _ in (StoredMixtures(folder)[row] for row in range(3))])
        for folder in (
            write_set(
                tmp_path / str(i),
                "mel",
                cache,
                plan,
                taxonomy=TEN,
                recipe=Recipe(),
                mel=MEL,
                noise_snr=10.0,
                seed=seed,
                progress=False,
            )
            for i, seed in enumerate((0, 0, 1))
        )
    )
    assert torch.equal(first, second)
    sounds = [*first, *third]
    assert not any(torch.equal(one, other) for i, one in enumerate(sounds) for other in sounds[:i])


def test_the_wav_form_has_files_and_a_table_with_both_clips(tmp_path, cache):
    plan, out = store(tmp_path / "set", "wav", cache)
    table = pd.read_csv(out / "plan.csv")
    assert len(table) == 180 and table["combination"].tolist() == plan["combination"].tolist()
    row, clip = table.iloc[11], cache.clips.iloc[plan["second"].iloc[11]]
    assert row["second_slice_file_name"] == clip["slice_file_name"] and row["second_fsID"] == clip["fsID"]
    assert row["second_class"] == clip["class"] and row["first_fold"] in (1, 2, 3)
    sound, multi_hot = StoredMixtures(out)[11]
    expected = render(cache, *plan[["first", "second"]].iloc[11], Recipe())
    assert (
        np.abs(sound.numpy() - expected).max() < 1e-4 and TEN.from_multi_hot(multi_hot) == plan["combination"].iloc[11]
    )


def test_a_loud_mixture_is_scaled_and_not_clipped(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(storage, "join", lambda *_, **__: np.array([0.5, -2.0, 1.0], np.float32))
    _, out = store(tmp_path / "set", "wav", cache)
    assert StoredMixtures(out)[0][0].tolist() == pytest.approx([0.25, -1.0, 0.5], abs=1e-3)


def test_a_finished_set_is_kept_and_another_is_refused(tmp_path, cache, monkeypatch):
    _, out = store(tmp_path / "set", "mel", cache)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "join", lambda *_, **__: pytest.fail("rendered again"))
        store(out, "mel", cache)
    with pytest.raises(DatasetError, match=r"noise_snr: None there, 20\.0 wanted"):
        store(out, "mel", cache, noise_snr=20.0)
    assert len(StoredMixtures(out)) == 180
    store(out, "wav", cache, overwrite=True)
    assert StoredMixtures(out).configuration["form"] == "wav" and not (out / "shards").exists()


def test_other_files_beside_a_set_are_not_lost(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache)
    (out / "thesis.txt").write_text("ten years of work")
    (out / ".my.partners.txt").write_text("and their names")
    for keywords in ({}, {"overwrite": True}, {"overwrite": True, "noise_snr": 5.0}):
        with pytest.raises(DatasetError, match="other files"):
            store(out, "mel", cache, **keywords)
    assert (out / "thesis.txt").exists() and (out / ".my.partners.txt").exists() and len(StoredMixtures(out)) == 180
    (tmp_path / "colours").mkdir()
    (tmp_path / "colours" / "set.json").write_text('{"colour": "red"}')
    with pytest.raises(DatasetError, match="of something else"):
        store(tmp_path / "colours", "mel", cache, overwrite=True)
    assert "red" in (tmp_path / "colours" / "set.json").read_text(encoding="utf-8")
    with pytest.raises(DatasetError, match="a file; choose a folder"):
        store(out / "thesis.txt", "mel", cache)


def test_a_set_is_made_where_one_stands(tmp_path, cache, monkeypatch):
    _, out = store(tmp_path / "set", "mel", cache)
    monkeypatch.chdir(out)
    store(Path("."), "wav", cache, overwrite=True)
    assert StoredMixtures(out).configuration["form"] == "wav" and not (out / "shards").exists()


@pytest.mark.parametrize("form", ["wav", "mel"])
def test_a_set_of_an_earlier_version_is_read_and_not_made_again(tmp_path, cache, form):
    _, out = store(tmp_path / "set", form, cache)
    description = json.loads((out / "set.json").read_text())
    assert description["recipe"]["joint"] == "concatenate"
    description["recipe"]["joint"] = "butt"
    description["mel"] = {name: description["mel"][name] for name in MEL if description["mel"]}
    (out / "set.json").write_text(json.dumps(description))
    before = (out / "set.json").stat().st_mtime_ns
    assert storage.read_configuration(out)["recipe"]["joint"] == "concatenate" and len(StoredMixtures(out)) == 180
    store(tmp_path / "set", form, cache)
    assert (out / "set.json").stat().st_mtime_ns == before


def test_a_damaged_set_is_made_again_when_told(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache)
    right = StoredMixtures(out)[3][0]
    flip_a_bit(out / "shards" / "00000.npz")
    with pytest.raises(DatasetError, match="make the set again, with --overwrite"):
        StoredMixtures(out)
    store(out, "mel", cache, overwrite=True)
    assert torch.equal(StoredMixtures(out)[3][0], right)


@pytest.mark.parametrize("form", ["mel", "wav"])
@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_file_that_a_power_cut_has_emptied_is_written_again(tmp_path, cache, form, content):
    _, out = store(tmp_path / "set", form, cache)
    right = StoredMixtures(out)[0][0]
    (out / "set.json").rename(out / "unfinished.json")
    (out / ("shards/00000.npz" if form == "mel" else "wav/00/000000.wav")).write_bytes(content)
    store(out, form, cache)
    assert torch.equal(StoredMixtures(out)[0][0], right)


def test_other_sound_of_the_same_names_is_another_set(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache)
    with pytest.raises(DatasetError, match="sound: "):
        store(out, "mel", replace(cache, digest="other"))


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(joint="slots", slot_seconds=0.7), Recipe(joint="overlay")])
@pytest.mark.parametrize("form", ["mel", "wav"])
def test_a_set_takes_no_more_room_than_was_asked_for(tmp_path, cache, recipe, form, monkeypatch):
    asked = []
    monkeypatch.setattr(storage, "need_room", lambda folder, needed, there: asked.append(needed))
    _, out = store(tmp_path / "set", form, cache, recipe=recipe)
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert 0.3 < written / asked[0] <= 1


def test_a_folder_with_other_files_is_left_alone(tmp_path, cache):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    for overwrite in (False, True):
        with pytest.raises(DatasetError, match="other files"):
            store(tmp_path, "mel", cache, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "ten years of work"


def test_too_little_room_is_said_before(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("U", (), {"free": 1_000})())
    with pytest.raises(NoRoomError, match="0 MB free"):
        store(tmp_path / "set", "wav", cache)
    assert not (tmp_path / "set").exists()


def test_unknown_times_stay_unknown_in_a_stored_plan(tmp_path, cache):
    cache.clips.loc[:5, ["start", "end"]] = np.nan
    plan = StoredMixtures(store(tmp_path / "set", "mel", cache)[1]).plan
    assert plan["first_start"].dtype == float and plan["first_start"].isna().any() and plan["first_start"].notna().any()


def test_foreign_sets_are_refused(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache)
    configuration = json.loads((out / "set.json").read_text(encoding="utf-8"))
    (out / "set.json").write_text(json.dumps(configuration | {"format": 1}))
    with pytest.raises(DatasetError, match="format 1, this version reads 2"):
        StoredMixtures(out)
    with pytest.raises(DatasetError, match="format: 1 there, 2 wanted"):
        store(out, "mel", cache)
    for wrong in ("{", "[1]", ""):
        (out / "set.json").write_text(wrong)
        with pytest.raises(DatasetError, match=r"set\.json: damaged"):
            store(out, "mel", cache, overwrite=True)
    with pytest.raises(DatasetError, match="no finished set"):
        StoredMixtures(tmp_path)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [flip_a_bit, lambda path: path.write_bytes(path.read_bytes()[:100])])
@pytest.mark.parametrize("name", ["shards/00000.npz", "plan.csv"])
def test_a_changed_file_is_found_by_its_checksum(tmp_path, cache, spoil, name):
    _, out = store(tmp_path / "set", "mel", cache)
    spoil(out / name)
    with pytest.raises(DatasetError, match=f"{name}: not as it was written"):
        StoredMixtures(out)
    (out / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: gone"):
        StoredMixtures(out)


def test_a_changed_wav_is_found_when_it_is_read(tmp_path, cache):
    _, out = store(tmp_path / "set", "wav", cache)
    stored = StoredMixtures(out)
    flip_a_bit(out / stored.plan["file"][3])
    assert len(stored[2][0]) and len(stored[4][0])
    with pytest.raises(DatasetError, match=r"000003\.wav: not as it was written"):
        stored[3]


def test_a_set_of_another_configuration_is_named_value_by_value(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache, split={"split": "random"})
    store(out, "mel", cache, split={"split": "random"})
    changes = {"recipe": Recipe(joint="slots"), "mel": MEL | {"n_mels": 32}, "split": {"split": "official"}, "seed": 1}
    with pytest.raises(DatasetError) as caught:
        store(out, "mel", cache, **changes)
    for says in (
        "recipe.joint: concatenate there, slots wanted",
        "mel.n_mels: 64 there, 32 wanted",
        "split.split: random there, official wanted",
        "seed: 0 there, 1 wanted",
    ):
        assert says in str(caught.value)
    assert "n_fft" not in str(caught.value) and len(StoredMixtures(out)) == 180


def test_impossible_values_do_not_cost_the_old_set(tmp_path, cache, monkeypatch):
    _, out = store(tmp_path / "set", "mel", cache)
    wrongs = [{"mel": MEL | {name: value}} for name, value in (("n_mels", 0), ("n_fft", -1), ("hop_length", 0))]
    for wrong in (*wrongs, {"noise_snr": float("nan")}, {"split": {"split": object()}}):
        with pytest.raises((ValueError, TypeError)):
            store(out, "mel", cache, overwrite=True, **wrong)
        assert len(StoredMixtures(out)) == 180
    with pytest.raises(DatasetError, match="'mp3'"):
        store(out, "mp3", cache, overwrite=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("U", (), {"free": 0})())
    with pytest.raises(NoRoomError, match=r"up to 8 MB needed, \d MB free"):
        store(out, "wav", cache, overwrite=True)
    assert len(StoredMixtures(out)) == 180


def test_the_room_that_the_old_set_leaves_counts(tmp_path, cache, monkeypatch):
    _, out = store(tmp_path / "set", "wav", cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("U", (), {"free": 0})())
    store(out, "mel", cache, overwrite=True)
    assert StoredMixtures(out).configuration["form"] == "mel"


def test_stored_overlays_are_the_lazy_ones(tmp_path, cache):
    recipe = Recipe(joint="overlay", max_onset=0.2)
    plan, out = store(tmp_path / "set", "wav", cache, recipe=recipe)
    stored, lazy = StoredMixtures(out), LazyMixtures(cache, plan, TEN, recipe)
    for row in (0, 50, 179):
        assert np.abs(stored[row][0].numpy() - lazy[row][0].numpy()).max() < 1e-4
    assert np.allclose(stored.plan[["snr", "onset"]], plan[["snr", "onset"]])
    louder = plan.assign(snr=plan["snr"] + 1)
    with pytest.raises(DatasetError, match="plan_hash"):
        write_set(out, "wav", cache, louder, taxonomy=TEN, recipe=recipe, progress=False)


# --- interruptions ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What stands for the end of a process: nothing may catch it and go on."""


CHANGES = ("replace", "rename", "unlink", "rmdir", "mkdir")


def after(moments, monkeypatch):
    """Let so many changes to the disk happen and no more, as when a process is killed."""
    left = [moments]

    def guarded(original):
        def change(*arguments, **keywords):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*arguments, **keywords)

        return change

    for name in CHANGES:
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


def contents(folder):
    stored = StoredMixtures(folder)
    return [stored[row][0].numpy() for row in range(len(stored))]


@pytest.mark.parametrize("old", [None, "another set", "an unfinished set"])
@pytest.mark.parametrize("form", ["mel", "wav"])
def test_killed_at_any_moment_there_is_no_wrong_file_and_the_same_command_goes_on(
    tmp_path, cache, monkeypatch, form, old
):
    monkeypatch.setattr(storage, "SHARD", 2)
    plan, other = plan_of(cache, rows=np.arange(5)), plan_of(cache, rows=np.arange(20, 25))

    def make(out, which, **keywords):
        return write_set(out, form, cache, which, taxonomy=TEN, recipe=Recipe(), mel=MEL, progress=False, **keywords)

    new, before = contents(make(tmp_path / "new", plan)), contents(make(tmp_path / "old", other))
    for moment in range(200):
        out = tmp_path / f"set {moment}"
        if old:
            make(out, other)
        if old == "an unfinished set":
            (out / "set.json").rename(out / "unfinished.json")
        with monkeypatch.context() as patch:
            after(moment, patch)
            try:
                make(out, plan, overwrite=True)
                finished = True
            except Killed:
                finished = False
        if (out / "set.json").is_file():
            found = contents(out)
            assert any(all(map(np.array_equal, found, right)) for right in ((new,) if finished else (new, before)))
        make(out, plan, overwrite=old is not None)
        assert all(map(np.array_equal, contents(out), new)) and not list(out.rglob("*.part*"))
        assert {path.name for path in out.iterdir()} == {"set.json", "plan.csv", "shards" if form == "mel" else "wav"}
        if finished:
            break
    assert finished and moment > 10


def interrupted(out, form, cache, monkeypatch, finished):
    """Begin to write a set, and stop after so many files."""
    left = [finished]
    save = f"_save_{'wav' if form == 'wav' else 'shard'}"
    original = getattr(storage, save)

    def stops(*arguments, **keywords):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(storage, save, stops)
        patch.setattr(os, "cpu_count", lambda: 1)
        with pytest.raises(KeyboardInterrupt):
            store(out, form, cache)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),  # a power cut may empty blocks and keep the length
        lambda path: path.write_bytes(b""),
        lambda path: audio.write(path.with_suffix(".wav"), np.zeros(11_014)) or path.with_suffix(".wav").replace(path),
        flip_a_bit,
        lambda path: path.unlink(),
    ],
)
@pytest.mark.parametrize("form", ["mel", "wav"])
def test_a_set_that_goes_on_keeps_no_file_that_is_not_as_it_was_written(tmp_path, cache, monkeypatch, form, damage):
    monkeypatch.setattr(storage, "SHARD", 20)
    _, whole = store(tmp_path / "whole", form, cache)
    interrupted(tmp_path / "set", form, cache, monkeypatch, finished=4)
    ending = "*.wav" if form == "wav" else "*.npz"
    written = sorted((tmp_path / "set").rglob(ending))
    assert len(written) == 4 and len((tmp_path / "set" / "checksums.txt").read_text().splitlines()) == 4
    damage(written[1])
    _, out = store(tmp_path / "set", form, cache)
    assert StoredMixtures(out).plan.equals(StoredMixtures(whole).plan)
    assert all(map(np.array_equal, contents(out), contents(whole))) and not (out / "checksums.txt").exists()


def test_a_torn_line_of_the_list_of_files_costs_one_file(tmp_path, cache, monkeypatch):
    _, whole = store(tmp_path / "whole", "wav", cache)
    interrupted(tmp_path / "set", "wav", cache, monkeypatch, finished=4)
    listed = tmp_path / "set" / "checksums.txt"
    listed.write_bytes(listed.read_bytes()[:-9])
    _, out = store(tmp_path / "set", "wav", cache)
    assert StoredMixtures(out).plan.equals(StoredMixtures(whole).plan)


def test_the_second_of_two_that_write_into_one_folder_is_told_so(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    with files.alone_in(tmp_path / "set", "writes a set of mixtures"):
        (tmp_path / "set" / ".000001-abcdefgh.part.wav").write_bytes(b"of the other, which is at it")
        with pytest.raises(files.FolderInUseError, match="another process writes a set of mixtures there; wait"):
            store(tmp_path / "set", "mel", cache)
        assert (tmp_path / "set" / ".000001-abcdefgh.part.wav").exists()
    _, out = store(tmp_path / "set", "mel", cache)
    assert len(StoredMixtures(out)) == 180 and not list(out.glob(".*"))


def test_a_clip_of_one_name_in_two_folds_is_two_clips(tmp_path):
    dataset = open_folder(make_dataset(tmp_path / "clips", folds=2, recordings=1, slices=1))
    table = pd.read_csv(tmp_path / "clips" / "metadata" / "UrbanSound8K.csv")
    for fold in (1, 2):
        for row in np.flatnonzero(table["fold"] == fold):
            old, new = table["slice_file_name"][row], f"{table['classID'][row]}.wav"
            folder = tmp_path / "clips" / "audio" / f"fold{fold}"
            (folder / old).rename(folder / new)
            table.loc[row, "slice_file_name"] = new
    table.to_csv(tmp_path / "clips" / "metadata" / "UrbanSound8K.csv", index=False)
    cache = ClipCache.open(open_folder(tmp_path / "clips"), progress=False)
    assert dataset.taxonomy == TEN and len(cache) == 20
    plan, _ = store(tmp_path / "set", "mel", cache)
    swapped = plan.assign(first=(plan["first"] + 10) % 20)  # the same names, of the other fold
    assert storage._hash_plan(plan, cache) != storage._hash_plan(swapped, cache)
    config = Config(data=str(tmp_path / "clips"), test_folds=(2,), valid_fraction=0.0, fresh_pairs=False)
    parts = run_data.prepare(config, progress=False)
    plan = pd.concat([parts.train.plan, parts.test.plan], ignore_index=True)
    write_set(tmp_path / "official", "mel", cache, plan, taxonomy=TEN, recipe=config.recipe, mel=MEL, progress=False)
    notes = run_data.prepare(Config(data=str(tmp_path / "official")), progress=False).notes
    assert notes[-1] == parts.notes[-1] == "audit: none of 15 test items shares a recording with training"


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from course_utils import storage
from course_utils.configuration import Recipe
from course_utils.datasets import ClipCache, open_folder
from course_utils.mixing import pair
from course_utils.taxonomy import Taxonomy
storage.SHARD = 20
join = storage.join
def slow(*arguments, **levels):
    time.sleep(0.01)
    return join(*arguments, **levels)
storage.join = slow
cache = ClipCache.open(open_folder(sys.argv[1]), progress=False)
plan = pair(cache.clips, np.arange(len(cache)), Taxonomy(), Recipe(), rng=np.random.default_rng(0), split="train")
made = {"taxonomy": Taxonomy(), "recipe": Recipe(), "mel": {}}
storage.write_set(Path(sys.argv[2]), sys.argv[3], cache, plan, **made, progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.parametrize("form", ["mel", "wav"])
def test_a_killed_mix_leaves_no_wrong_file_and_goes_on(tmp_path, tones, cache, form, monkeypatch):
    monkeypatch.setattr(storage, "SHARD", 20)
    out = tmp_path / "set"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tones), str(out), form], env=os.environ)
    deadline, kind = time.time() + 60, {"mel": "shards/*.npz", "wav": "wav/*/*.wav"}[form]

    def finished():
        return [path for path in out.glob(kind) if not path.name.startswith(".")]

    while len(finished()) < 3 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(DatasetError, match="interrupted"):
        StoredMixtures(out)
    listed = (out / "checksums.txt").read_text(encoding="utf-8").splitlines()  # a file is listed after it is written
    kept = {out / line[17:]: (out / line[17:]).stat().st_mtime_ns for line in listed}
    assert 0 < len(kept) <= len(finished()) < 180
    plan = plan_of(cache)
    write_set(out, form, cache, plan, taxonomy=TEN, recipe=Recipe(), mel={}, progress=False)
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    assert not list(out.rglob("*.part*"))
    stored = StoredMixtures(out)
    expected = render(cache, *plan[["first", "second"]].iloc[100], Recipe())
    if form == "wav":
        assert np.abs(stored[100][0].numpy() - expected).max() < 1e-4
        assert audio.duration(out / stored.plan["file"][100]) == pytest.approx(1.0)
    else:
        assert (stored[100][0] - features.LogMel()(torch.from_numpy(expected))).abs().max() < 0.006
