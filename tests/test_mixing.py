import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import audio, features, mixing, splits
from course_utils.configuration import Recipe
from course_utils.datasets import ClipCache, DatasetError, open_folder, read_metadata
from course_utils.mixing import LazyMixtures, StoredMixtures, collate, pair, render, write_set
from course_utils.taxonomy import Taxonomy

TEN = Taxonomy()


@pytest.fixture
def cache(tones):
    return ClipCache.open(open_folder(tones), progress=False)


def plan_of(cache, recipe=None, seed=0):
    return pair(cache.clips, np.arange(len(cache)), TEN, recipe or Recipe(), np.random.default_rng(seed), "train")


def test_the_reports_recipe_makes_13098_mixtures_of_55_combinations(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    plan = pair(clips, np.arange(len(clips)), TEN, Recipe(), np.random.default_rng(0))
    assert len(plan) == 13_098 and plan["combination"].nunique() == 55
    uses = Counter(plan["first"]) + Counter(plan["second"])
    assert set(uses.values()) == {3} and len(uses) == 8_732
    assert np.array_equal(TEN.combination_id(plan["first_class"], plan["second_class"]), plan["combination"])
    assert (plan["first_class"] == clips["classID"].to_numpy()[plan["first"]]).all()
    same = (plan["first_class"] == plan["second_class"]).mean()
    assert same == pytest.approx(0.107, abs=0.01)


def test_without_the_shuffle_neighbours_join(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    plan = pair(clips, np.arange(len(clips)), TEN, Recipe(shuffle=False), np.random.default_rng(0))
    assert (plan["second"] - plan["first"] == 1).mean() > 0.99
    recording = clips["fsID"].to_numpy()
    assert (recording[plan["first"]] == recording[plan["second"]]).mean() > 0.5


def test_an_odd_clip_is_left_over(cache):
    plan = pair(cache.clips, np.arange(5), TEN, Recipe(replicas=1), np.random.default_rng(0))
    assert len(plan) == 2


def test_splitting_first_keeps_the_parts_apart(cache):
    split = splits.official(cache.clips, [3])
    plan = mixing.plan_by_clips(cache.clips, split, TEN, Recipe(), 0)
    for role in splits.ROLES:
        part = plan[plan["split"] == role]
        assert set(part["first"]) | set(part["second"]) == set(split.rows(role))


def test_a_butt_joint_is_both_clips(cache):
    mixture = render(cache, 3, 50, Recipe(joint="butt"))
    assert np.array_equal(mixture, np.concatenate([cache[3], cache[50]]))


def test_slots_have_their_length(cache):
    mixture = render(cache, 3, 50, Recipe(joint="slots", slot_seconds=0.75))
    slot = round(0.75 * 22_050)
    assert len(mixture) == 2 * slot
    assert np.array_equal(mixture[: len(cache[3])], cache[3]) and not mixture[len(cache[3]) : slot].any()
    assert np.array_equal(mixture[slot : slot + len(cache[50])], cache[50])
    cut = render(cache, 3, 50, Recipe(joint="slots", slot_seconds=0.1))
    assert np.array_equal(cut[:2205], cache[3][:2205]) and len(cut) == 4410


def test_equal_energies():
    rng = np.random.default_rng(0)
    loud, soft = rng.standard_normal(1000).astype(np.float32), 0.01 * rng.standard_normal(300).astype(np.float32)
    scaled = mixing.equalize_energy(loud, soft)
    energies = [float((x.astype(np.float64) ** 2).sum()) for x in scaled]
    assert energies[0] == pytest.approx(energies[1], rel=1e-5)
    assert sum(energies) == pytest.approx(float((loud**2).sum() + (soft**2).sum()), rel=1e-4)
    silent = np.zeros(10, np.float32)
    assert mixing.equalize_energy(loud, silent)[0] is loud


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"joint": "glue"}, {"slot_seconds": 0.0}])
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_batches_are_filled_up_and_carry_lengths_and_labels():
    items = [(torch.ones(5), 0), (torch.ones(3), 1), (torch.ones(4), 54)]
    batch = collate(items, TEN)
    assert batch.audio.shape == (3, 5) and batch.lengths.tolist() == [5, 3, 4]
    assert batch.audio.sum(dim=1).tolist() == [5, 3, 4]
    assert batch.multi_hot.sum(dim=1).tolist() == [1, 2, 1] and batch.combination.tolist() == [0, 1, 54]
    assert collate(items, TEN, at_least=9).audio.shape == (3, 9)
    mels = collate([(torch.zeros(64, 4), 3), (torch.zeros(64, 2), 3)], TEN)
    assert mels.audio.shape == (2, 64, 4) and (mels.audio[1, :, 2:] == -100).all() and mels.lengths.tolist() == [4, 2]


def test_fresh_pairs_differ_by_epoch_and_are_the_same_for_the_same_epoch(cache):
    mixtures = LazyMixtures(cache, plan_of(cache), TEN, Recipe(), fresh_seed=5)
    plans = []
    for epoch in (0, 1, 0):
        mixtures.set_epoch(epoch)
        plans.append(mixtures.plan[["first", "second"]].to_numpy())
    assert np.array_equal(plans[0], plans[2]) and not np.array_equal(plans[0], plans[1])
    assert sorted(plans[0].ravel()) == sorted(plans[1].ravel())
    sound, combination = mixtures[3]
    assert combination == mixtures.plan["combination"][3]
    assert np.array_equal(sound.numpy(), render(cache, *plans[2][3], Recipe()))


def test_fixed_pairs_stay(cache):
    mixtures = LazyMixtures(cache, plan_of(cache), TEN, Recipe())
    before = mixtures.plan
    mixtures.set_epoch(7)
    assert mixtures.plan is before


# --- stored forms -----------------------------------------------------------------------------------------------------

MEL = {"n_fft": 1024, "hop_length": 512, "n_mels": 64}


def store(out, form, cache, **changes):
    arguments = {"recipe": Recipe(), "mel": MEL, "noise_snr": None, "seed": 0, "overwrite": False} | changes
    plan = plan_of(cache)
    plan.loc[plan.index[-40:], "split"] = "test"
    return plan, write_set(out, form, cache, plan, TEN, progress=False, **arguments)


def test_the_mel_form_gives_back_what_the_lazy_form_computes(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(mixing, "SHARD", 50)
    plan, out = store(tmp_path / "set", "mel", cache)
    assert len(list((out / "shards").iterdir())) == 4
    stored, log_mel = StoredMixtures(out), features.LogMel(**MEL)
    assert len(stored) == len(plan) == 180
    for row in (0, 49, 50, 179):
        mel, combination = stored[row]
        first, second = plan[["first", "second"]].iloc[row]
        expected = log_mel(torch.from_numpy(render(cache, first, second, Recipe())))
        assert (mel - expected).abs().max() <= 0.00501 and combination == plan["combination"].iloc[row]
    test = StoredMixtures(out).part("test")
    assert len(test) == 40 and torch.equal(test[0][0], stored[140][0]) and len(StoredMixtures(out).part("train")) == 140


def test_noise_on_the_stored_mel_is_at_its_ratio_and_repeatable(tmp_path, cache):
    clean = StoredMixtures(store(tmp_path / "clean", "mel", cache)[1])
    noisy = StoredMixtures(store(tmp_path / "noisy", "mel", cache, noise_snr=10.0)[1])
    again = StoredMixtures(store(tmp_path / "again", "mel", cache, noise_snr=10.0)[1])
    power, with_noise = (10 ** (stored[7][0].double() / 10) for stored in (clean, noisy))
    assert 10 * torch.log10(power.sum() / (with_noise - power).sum()) == pytest.approx(10.0, abs=0.1)
    assert torch.equal(noisy[7][0], again[7][0]) and not torch.equal(noisy[7][0], noisy[8][0])


def test_the_wav_form_has_files_and_a_table_with_both_clips(tmp_path, cache):
    plan, out = store(tmp_path / "set", "wav", cache)
    table = pd.read_csv(out / "plan.csv")
    assert len(table) == 180 and table["combination"].tolist() == plan["combination"].tolist()
    row, clip = table.iloc[11], cache.clips.iloc[plan["second"].iloc[11]]
    assert row["second_slice_file_name"] == clip["slice_file_name"] and row["second_fsID"] == clip["fsID"]
    assert row["second_class"] == clip["class"] and row["first_fold"] in (1, 2, 3)
    sound, combination = StoredMixtures(out)[11]
    expected = render(cache, *plan[["first", "second"]].iloc[11], Recipe())
    assert np.abs(sound.numpy() - expected).max() < 1e-4 and combination == plan["combination"].iloc[11]


def test_a_loud_mixture_is_scaled_and_not_clipped(tmp_path, tones, monkeypatch):
    cache = ClipCache.open(open_folder(tones), progress=False)
    monkeypatch.setattr(mixing, "render", lambda *_: np.array([0.5, -2.0, 1.0], np.float32))
    _, out = store(tmp_path / "set", "wav", cache)
    assert StoredMixtures(out)[0][0].tolist() == pytest.approx([0.25, -1.0, 0.5], abs=1e-3)


def test_a_finished_set_is_kept_and_another_is_refused(tmp_path, cache, monkeypatch):
    _, out = store(tmp_path / "set", "mel", cache)
    with monkeypatch.context() as patch:
        patch.setattr(mixing, "render", lambda *_: pytest.fail("rendered again"))
        store(out, "mel", cache)
    with pytest.raises(DatasetError, match=r"noise_snr: None there, 20\.0 wanted"):
        store(out, "mel", cache, noise_snr=20.0)
    assert len(StoredMixtures(out)) == 180
    store(out, "wav", cache, overwrite=True)
    assert StoredMixtures(out).config["form"] == "wav" and not (out / "shards").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path, cache):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    for overwrite in (False, True):
        with pytest.raises(DatasetError, match="other files"):
            store(tmp_path, "mel", cache, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "ten years of work"


def test_too_little_room_is_said_before(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(mixing.shutil, "disk_usage", lambda path: type("U", (), {"free": 1_000})())
    with pytest.raises(DatasetError, match="are free"):
        store(tmp_path / "set", "wav", cache)
    assert not (tmp_path / "set").exists()


def test_unknown_times_stay_unknown_in_a_stored_plan(tmp_path, cache):
    cache.clips.loc[:5, ["start", "end"]] = np.nan
    plan = StoredMixtures(store(tmp_path / "set", "mel", cache)[1]).plan
    assert plan["first_start"].dtype == float and plan["first_start"].isna().any() and plan["first_start"].notna().any()


def test_damaged_and_foreign_sets_are_refused(tmp_path, cache):
    _, out = store(tmp_path / "set", "mel", cache)
    shard = out / "shards" / "00000.npz"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DatasetError, match="damaged"):
        StoredMixtures(out)
    config = json.loads((out / "set.json").read_text(encoding="utf-8"))
    (out / "set.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(DatasetError, match="format 99"):
        StoredMixtures(out)
    with pytest.raises(DatasetError, match="no finished set"):
        StoredMixtures(tmp_path)


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from course_utils import mixing
from course_utils.configuration import Recipe
from course_utils.datasets import ClipCache, open_folder
from course_utils.taxonomy import Taxonomy
mixing.SHARD = 20
render = mixing.render
def slow(*arguments):
    time.sleep(0.01)
    return render(*arguments)
mixing.render = slow
cache = ClipCache.open(open_folder(sys.argv[1]), progress=False)
plan = mixing.pair(cache.clips, np.arange(len(cache)), Taxonomy(), Recipe(), np.random.default_rng(0), "train")
mixing.write_set(Path(sys.argv[2]), sys.argv[3], cache, plan, Taxonomy(), Recipe(), {}, progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.parametrize("form", ["mel", "wav"])
def test_a_killed_mix_leaves_no_wrong_file_and_goes_on(tmp_path, tones, cache, form, monkeypatch):
    monkeypatch.setattr(mixing, "SHARD", 20)
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
    kept = {path: path.stat().st_mtime_ns for path in finished()}
    assert 3 <= len(kept) < 180
    plan = plan_of(cache)
    write_set(out, form, cache, plan, TEN, Recipe(), {}, progress=False)
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    assert not list(out.rglob("*.part*"))
    stored = StoredMixtures(out)
    expected = render(cache, *plan[["first", "second"]].iloc[100], Recipe())
    if form == "wav":
        assert np.abs(stored[100][0].numpy() - expected).max() < 1e-4
        assert audio.duration(out / stored.plan["file"][100]) == pytest.approx(1.0)
    else:
        assert (stored[100][0] - features.LogMel()(torch.from_numpy(expected))).abs().max() < 0.006
