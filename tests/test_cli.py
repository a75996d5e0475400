import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

from conftest import make_dataset
from course_utils import audio, datasets, storage, training
from course_utils.__main__ import app
from course_utils.cli import machine, options
from course_utils.configuration import Config, Recipe
from course_utils.datasets import mini, urbansound8k

TINY = [
    "--width",
    "2",
    "--n-mels",
    "16",
    "--hop-length",
    "1024",
    "--slot-seconds",
    "0.5",
    "--batch-size",
    "16",
    "--learning-rate",
    "0.01",
    "--accelerator",
    "cpu",
]


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs") / "run"
        result = call("train", "--data", tones, "--out", folder, *TINY, "--test-folds", "3", "--epochs", "4")
    assert "cnn10" in result.output and "4 epochs of" in result.output and "about" in result.output
    assert f"checkpoints and history.csv in {folder}" in result.output
    return folder


def test_every_command_has_help():
    for name in [
        "check",
        "clean",
        "data",
        "mix",
        "train",
        "evaluate",
        "predict",
        "crossval",
        "grid",
        "sweep",
        "results",
    ]:
        assert "Usage" in call(name, "--help").output


@dataclasses.dataclass(kw_only=True)
class Everything(
    options.LogMelOptions,
    options.MixingOptions,
    options.SplitOptions,
    options.TrainingOptions,
    options.DevicesOption,
    options.Places,
):
    """A command with all options, which does nothing."""


def test_options_are_those_of_the_configuration():
    """Every field of a configuration can be set, and its default is what is set when it is not."""
    nothing_given = SimpleNamespace(get_parameter_source=lambda name: None)
    command = Everything(context=nothing_given, data="x", out=Path("y"))
    fields = {field.name for kind in (Config, Recipe) for field in dataclasses.fields(kind)}
    assert set(options.options_of(command)) == fields - {"data", "recipe"}
    assert options.configure(command) == Config(data="x")


def test_check_names_what_it_looked_at():
    result = CliRunner().invoke(app, ["check", "--json"])
    found = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert {"Python", "torch", "torchaudio", "ipywidgets", "GPU", "disk", "data, mini"} <= set(found)
    assert found["data, mini"]["remedy"] == "made at first use"
    assert (result.exit_code == 1) == any(f["state"] == "fault" for f in found.values())


def test_check_takes_an_unfinished_download_for_a_note():
    place = datasets.default_root("urbansound8k")
    place.mkdir(parents=True)
    (place / "UrbanSound8K.tar.gz.part").write_bytes(b"half")
    found = {f["name"]: f for f in json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)}
    assert found["data, urbansound8k"]["state"] == "note" and found["data, mini"]["state"] == "note"


def test_check_counts_the_data_it_finds(tones):
    shutil.copytree(tones, datasets.default_root("urbansound8k"))
    assert "120 clips" in CliRunner().invoke(app, ["check"]).output


def test_check_names_the_cache_folder_and_its_size(own_cache, cache):
    def found() -> dict:
        result = CliRunner().invoke(app, ["check", "--json"])
        return {f["name"]: f for f in json.loads(result.stdout)}["cache folder"]

    size = sum(file.stat().st_size for file in own_cache.rglob("*") if file.is_file())
    assert size > 1e6 and f"{own_cache}; " in found()["says"]
    assert f"{size / 1e6:.0f} MB (" in found()["says"] and "decoded clips" in found()["says"]
    assert "python -m course_utils clean" in found()["remedy"]
    call("clean", "--yes")
    assert found() == {
        "name": "cache folder",
        "state": "ok",
        "says": f"{own_cache}; what the lessons write is below it: nothing yet",
        "remedy": "",
    }


def test_check_names_a_cache_folder_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    result = CliRunner().invoke(app, ["check", "--json"])
    found = {f["name"]: f for f in json.loads(result.stdout)}["cache folder"]
    assert found["state"] == "fault" and str(tmp_path / "file") in found["says"] and "COURSE_CACHE" in found["remedy"]


# --- clean ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_mini(monkeypatch):
    """Make `mini` quickly: with four of its recordings."""
    plan = mini.plan
    monkeypatch.setattr(mini, "plan", lambda seed: plan(seed)[:4])


@pytest.fixture
def filled(own_cache, small_mini, tones):
    """A cache folder with `mini`, decoded clips, a "downloaded" data set, and a file of somebody's."""
    call("data", "mini")
    datasets.ClipCache.open(datasets.load("mini"), progress=False)
    shutil.copytree(tones, datasets.default_root("urbansound8k") / urbansound8k.FOLDER)
    (own_cache / "thesis.txt").write_text("keep me")
    return own_cache


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_clean_deletes_what_the_course_made_and_nothing_else(filled):
    said = call("clean", "--yes").output
    assert f"in {filled}:" in said and "left alone, because the course did not make it: thesis.txt" in said
    for kind in ("mini", "decoded clips", "UrbanSound8K"):
        assert re.search(rf"^ +\d+ MB  {kind}", said, flags=re.M) and re.search(
            rf"^deleted: \d+ MB {kind}", said, flags=re.M
        )
    assert left(filled) == ["thesis.txt"]
    assert "nothing to delete" in call("clean", "--yes").output
    (filled / "thesis.txt").unlink()
    filled.rmdir()
    assert "nothing to delete" in call("clean").output


def test_mini_is_made_anew_afterwards(filled):
    before = {path.name: path.read_bytes() for path in datasets.default_root("mini").rglob("*.wav")}
    call("clean", "--yes")
    assert "clips" in call("data", "mini").output
    assert {path.name: path.read_bytes() for path in datasets.default_root("mini").rglob("*.wav")} == before
    assert len(datasets.ClipCache.open(datasets.load("mini"), progress=False)) == len(before)


def test_clean_asks_about_each_kind(filled, monkeypatch):
    monkeypatch.setattr(machine, "_is_terminal", lambda: True)
    result = CliRunner().invoke(app, ["clean"], input="y\nn\nn\n")
    assert result.exit_code == 0 and result.output.count("[y/N]") == 3
    assert left(filled) == ["decoded", "thesis.txt", "urbansound8k"]
    assert CliRunner().invoke(app, ["clean"], input="").exit_code == 1  # nobody answers
    assert left(filled) == ["decoded", "thesis.txt", "urbansound8k"]


def test_clean_deletes_nothing_where_nobody_can_be_asked(filled):
    before = left(filled)
    assert "pass --yes" in call("clean", code=2).output and left(filled) == before


def test_clean_says_what_it_could_not_delete(filled, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refused)
    said = call("clean", "--yes", code=2).output
    assert "Permission denied" in said and "close the notebooks that use it" in said


def test_evaluate_prints_one_json_object(run):
    result = call("evaluate", "--run", run, "--json")
    report = json.loads(result.stdout)
    assert report["mixtures"] == 60
    for kind in ("labels", "combinations"):
        for average in ("macro", "micro"):
            assert set(report[kind][average]) == {"precision", "recall", "f1"}
    assert {"exact_match", "mAP", "baselines", "per_class", "intervals"} <= set(report)
    assert json.loads((run / "evaluation.json").read_text(encoding="utf-8")) == report


def test_evaluate_on_other_folds_and_other_data(run, tones, tmp_path):
    text = call("evaluate", "--run", run, "--folds", "1").output
    assert "fold 1" in text and (run / "evaluation-fold1.json").is_file()
    assert "those sharing with training:\n  a clip" in text  # the run was trained on this fold, and it is said
    other = make_dataset(tmp_path / "other", folds=2)
    report = json.loads(call("evaluate", "--run", run, "--data", other, "--json").stdout)
    assert report["mixtures"] == 120 and (run / "evaluation-other.json").is_file()
    assert "no clips in fold 8" in call("evaluate", "--run", run, "--folds", "8", code=2).output


def test_data_that_moved_is_tested_on_the_same_part(tones, tmp_path, monkeypatch):
    shutil.copytree(tones, tmp_path / "here" / "own")
    monkeypatch.chdir(tmp_path / "here")
    call("train", "--data", "own", "--out", "run", *TINY, "--test-folds", "3", "--epochs", "1")
    right = json.loads(call("evaluate", "--run", "run", "--json").stdout)
    monkeypatch.chdir(tmp_path)
    assert json.loads(call("evaluate", "--run", "here/run", "--json").stdout) == right
    (tmp_path / "here" / "own").rename(tmp_path / "moved")
    says = call("evaluate", "--run", "here/run", code=2).output
    assert "is no longer there; if it has moved, say where (--data)" in says
    result = call("evaluate", "--run", "here/run", "--data", "moved", "--json")
    assert json.loads(result.stdout) == right and right["mixtures"] == 60
    assert "none of 60 test items shares a recording with training" in result.stderr
    result = call("evaluate", "--run", "here/run", "--data", "moved", "--folds", "1", "--json")
    assert "those sharing with training" in result.stderr  # known, for it is the run's own data


def test_other_sound_under_the_same_names_is_other_data(tones, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(tones, root)
    command = ["train", "--data", root, "--out", tmp_path / "run", *TINY, "--test-folds", "3"]
    call(*command, "--epochs", "1")
    sweep = ["sweep", "--data", root, "--out", tmp_path / "sweep", *TINY, "--test-folds", "3", "--epochs", "1"]
    call(*sweep, "--trials", "1")
    path = sorted(root.rglob("*.wav"))[7]
    audio.write(path, 0.5 * audio.read(path))
    os.utime(path, ns=(1, 1))
    assert "began with other sound than" in call(*command, "--epochs", "1", code=2).output
    assert "holds other sound than" in call("evaluate", "--run", tmp_path / "run", code=2).output
    assert "began with other sound than" in call(*sweep, "--trials", "2", code=2).output


def test_evaluate_prints_a_table(run):
    text = call("evaluate", "--run", run).output
    assert "exact match" in text and "labels, macro" in text and "dog_bark" in text and "results: " in text


def test_evaluate_writes_a_page(run, tmp_path):
    page = tmp_path / "pages" / "report.html"
    result = call("evaluate", "--run", run, "--report", page, "--json")
    found = json.loads(result.stdout)
    assert f"report: {page}" in result.stderr and f"results: {run / 'evaluation.json'}" in result.stderr
    text = page.read_text(encoding="utf-8")
    assert f"<h1>Evaluation of {run.name}</h1>" in text and f"<td>{found['mAP']:.3f}</td>" in text
    refused = call("evaluate", "--run", run, "--report", tmp_path, code=2).output
    assert "is a directory" in re.sub(r"[\s│]+", " ", refused)  # in a box, broken wherever the path is long


def test_predict_prints_labels_and_a_timeline(run, tones, tmp_path):
    path = datasets.open_folder(tones).path(0)
    text = call("predict", "--run", run, path).stdout
    assert f"{path}, 0.5 s: " in text and "0.0–0.5 s" in text and len(text.splitlines()) == 7
    (found,) = json.loads(call("predict", "--run", run, path, "--json").stdout)
    assert found["seconds"] == 0.5 and found["timeline"][0]["start"] == 0
    (tmp_path / "bad.wav").write_text("no sound")
    result = call("predict", "--run", run, tmp_path / "bad.wav", path, code=2)
    assert "bad.wav" in result.output and f"{path}, 0.5 s: " in result.output


def test_predict_saves_a_table_a_picture_and_json(run, tones, tmp_path):
    path = datasets.open_folder(tones).path(0)
    call("predict", "--run", run, path, "--save", tmp_path / "found", "--window", 0.25, "--hop", 0.125)
    table = pd.read_csv(tmp_path / "found" / f"{path.name}.csv")
    stored = json.loads((tmp_path / "found" / f"{path.name}.json").read_text())
    assert table["start"].tolist() == [0, 0.125, 0.25] == [row["start"] for row in stored["timeline"]]
    assert (tmp_path / "found" / f"{path.name}.png").read_bytes().startswith(b"\x89PNG")
    assert "two files are called" in call("predict", "--run", run, path, path, "--save", tmp_path, code=2).output


def test_train_goes_on_and_refuses_another_configuration(run, tones):
    same = ["train", "--data", tones, "--out", run, *TINY, "--test-folds", "3"]
    assert "epochs done: 4" in call(*same, "--epochs", "4").output
    assert "epochs: 4 there, 9 now" in call(*same, "--epochs", "9", code=2).output


def test_crossval_goes_through_folds_and_goes_on(tones, tmp_path):
    command = ["crossval", "--data", tones, "--out", tmp_path, *TINY, "--epochs", "1"]
    text = call(*command, "--folds", "1,2").output
    assert "fold 1: mAP" in text and "fold 2: mAP" in text and "mean of 2 folds" in text
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("fold*/last.pt")}
    summary = json.loads(call(*command, "--json").stdout)
    assert summary["folds"] == [1, 2, 3] and all(p.stat().st_mtime_ns == t for p, t in times.items())
    single = [
        json.loads((tmp_path / f"fold{f}" / "evaluation.json").read_text(encoding="utf-8"))["mAP"] for f in (1, 2, 3)
    ]
    assert summary["mean"]["mAP"] == pytest.approx(sum(single) / 3)
    squares = sum((value - sum(single) / 3) ** 2 for value in single)
    assert summary["stdev"]["mAP"] == pytest.approx((squares / 2) ** 0.5)  # of a sample: n − 1


@pytest.mark.parametrize("form", ["mel", "wav"])
def test_mix_then_train_on_the_stored_set(tones, tmp_path, form):
    out = tmp_path / form
    mixing = ["--slot-seconds", "0.5"] + (["--n-mels", "16", "--hop-length", "1024"] if form == "mel" else [])
    text = call("mix", "--data", tones, "--out", out, "--form", form, "--split", "random", *mixing).output
    assert "180 mixtures" in text and len(pd.read_csv(out / "plan.csv")) == 180
    model = ["--model", "crnn", *TINY[6:]] if form == "wav" else TINY
    command = ["train", "--data", out, "--out", tmp_path / "run", *model, "--epochs", "1"]
    assert "stored" in call(*command).output
    assert json.loads(call("evaluate", "--run", tmp_path / "run", "--json").stdout)["mixtures"] == 36
    if form == "mel":
        assert "waveforms" in call(*command[:4], tmp_path / "other", "--model", "crnn", code=2).output
        wrong = call("train", "--data", out, "--out", tmp_path / "other", "--n-mels", "64", code=2).output
        assert "made with n_mels 16, but 64 is asked for; leave --n-mels out" in wrong
        wrong = call(*command[:4], tmp_path / "other", "--split", "official", code=2).output
        assert "made with split random, but official is asked for" in wrong
        checkpoint = training.load_checkpoint(tmp_path / "run" / "last.pt")
        assert checkpoint["config"]["split"] == "random" and checkpoint["config"]["n_mels"] == 16


def test_a_stored_set_has_no_fresh_pairs(tones, tmp_path):
    said = call("mix", "--data", tones, "--out", tmp_path / "set", "--test-folds", "3", "--n-mels", "16").output
    assert "new training pairs" not in said
    command = ["train", "--data", tmp_path / "set", "--out", tmp_path / "run"]
    assert "a stored set has fixed pairs" in call(*command, "--fresh-pairs", code=2).output


def test_an_interrupted_mix_says_that_it_goes_on(tones, tmp_path, monkeypatch):
    def interrupted(*arguments, **levels):
        raise KeyboardInterrupt

    command = ["mix", "--data", tones, "--out", tmp_path / "set", "--split", "random"]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "join", interrupted)
        assert "the same command goes on from there" in call(*command, code=130).output
    unfinished = ["train", "--data", tmp_path / "set", "--out", tmp_path / "run"]
    assert "it was interrupted: run the same `mix` command again" in call(*unfinished, code=2).output
    assert "180 mixtures" in call(*command).output
    refused = " ".join(call(*command, "--joint", "overlay", "--balanced", code=2).output.split())
    assert "recipe.joint: slots there, overlay wanted" in refused
    assert "recipe.balanced: False there, True wanted" in refused


def test_train_skips_bad_clips_only_when_told(tones, tmp_path):
    root = tmp_path / "d"
    shutil.copytree(tones, root)
    bad = str(datasets.open_folder(root).path(5))
    open(bad, "wb").close()
    command = ["train", "--data", root, "--out", tmp_path / "run", *TINY, "--test-folds", "3", "--epochs", "1"]
    assert bad in call(*command, code=2).output
    assert "epochs done: 1" in call(*command, "--skip-bad").output
    assert "all epochs are done already (1)" in call(*command, "--skip-bad").output


WRONG = {
    "--data nowhere": "no such folder",
    "--data urbansound8k": "--clips 1000",
    "--data {tones} --test-folds 10": "no clips in fold 10; there are clips in fold 1, 2, 3",
    "--data {tones} --test-folds 1-3": "no fold is left",
    "--data {tones} --test-folds three": "'three' is not a fold",
    "--data {tones} --test-folds 1,,2": "'' is not a fold",
    "--data {tones} --test-folds ,": "'' is not a fold",
    "--data {tones} --train-folds 2-1": "--train-folds: 2-1 is an empty range",
    "--data {tones} --test-folds 0-99999999": "names more than 1,000 folds",
    "--data {tones} --model vgg": "cnn10, crnn",
    "--data {tones} --split random --train-folds 1": "takes no folds",
    "--data {tones} --split random --test-folds 3": "takes no folds",
    "--data {tones} --split clips --test-folds 3": "takes no --valid-folds and no --test-folds",
    "--data {tones} --split clips --valid-folds 3": "takes no --valid-folds",
    "--data {tones} --test-folds 3 --valid-folds 2 --valid-fraction 0.5": "leave one out",
    "--data {tones} --test-folds 3 --patience 1 --valid-fraction 0": "nothing validates",
    "--data {tones} --test-folds 3 --model crnn --noise-snr 5": "--noise-snr is only for --model cnn10; with crnn",
    "--data {tones} --test-folds 3 --model crnn --n-mels 16": "--n-mels is only for --model cnn10",
    "--data {tones} --test-folds 3 --model crnn --width 2": "--width is only for --model cnn10",
    "--data {tones} --test-folds 3 --model crnn --spec-augment": "--spec-augment is only for --model cnn10",
    "--data {tones} --test-folds 3 --readout mean": "--readout is only for --model crnn; with cnn10",
    "--data {tones} --test-folds 3 --max-onset 1": "--max-onset is only for --joint overlay; with slots",
    "--data {tones} --test-folds 3 --no-shuffle --fresh-pairs": "fresh_pairs needs the shuffle",
    "--data {tones} --test-folds 3 --seed -1": "seed must be at least 0",
    "--data {tones} --test-folds 3 --seed 99999999999999999999999": "seed must be",
    "--data {tones} --test-folds 3 --workers -1": "workers must be at least 0",
    "--data {tones} --test-folds 3 --patience -5": "patience must be at least 0",
    "--data {tones} --test-folds 3 --n-fft 1": "frames of 1 samples have only 1 frequencies",
    "--data {tones} --test-folds 3 --learning-rate nan": "learning_rate must be a number, not nan",
    "--data {tones} --test-folds 3 --learning-rate inf": "learning_rate must be a number, not inf",
    "--data {tones} --test-folds 3 --beta1 1": "beta1 must be at least 0 and below 1",
    "--data {tones} --test-folds 3 --weight-decay -1": "weight_decay must be at least 0",
    "--data {tones} --epochs 0": "epochs must be at least 1, not 0",
    "--data {tones} --test-folds 3 --accelerator cuda": "",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_flags_get_a_sentence(wrong, tones, tmp_path):
    import torch

    if "cuda" in wrong and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = call("train", "--out", tmp_path / "run", *wrong.format(tones=tones).split(), code=2)
    assert WRONG[wrong] in result.output and "Traceback" not in result.output and "error: " in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("--precision", "64", ("auto", "32-true", "bf16-mixed", "16-mixed")),
        ("--accelerator", "tpu", ("auto", "cpu", "cuda", "gpu", "mps")),
        ("--joint", "butt", ("concatenate", "slots", "overlay")),
        ("--head", "both", ("labels", "combinations")),
    ],
)
def test_what_is_none_of_the_choices_is_refused_with_the_choices(tones, tmp_path, option, value, choices):
    said = call("train", "--data", tones, "--out", tmp_path / "run", option, value, code=2).output
    assert "Invalid value" in said and option in said and all(choice in said for choice in choices)
    assert not (tmp_path / "run").exists()


FULL = {
    "CUDA out of memory. Tried to allocate 20.00 GiB": "the memory of the GPU is full",
    "MPS backend out of memory": "the memory of the GPU is full",
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes": "of this machine is full",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 40 bytes": "of this machine is full",
}


@pytest.mark.parametrize("says", FULL)
def test_a_full_memory_gets_a_sentence(tones, tmp_path, monkeypatch, says):
    def full(*_):
        raise RuntimeError(says)

    monkeypatch.setattr(training, "train", full)
    command = ["train", "--data", tones, "--out", tmp_path, *TINY, "--test-folds", "3"]
    text = call(*command, code=2).output
    assert FULL[says] in text and "smaller --batch-size" in text


def test_what_no_memory_holds_gets_a_sentence(run, tones, tmp_path):
    command = ["train", "--data", tones, "--out", tmp_path / "run", "--test-folds", "3", "--accelerator", "cpu"]
    for far_too_much in (["--slot-seconds", "1e9"], ["--width", "10000000"]):
        assert "memory of this machine is full" in call(*command, *far_too_much, code=2).output
    path = next(tones.rglob("*.wav"))
    assert "memory of this machine is full" in call("predict", "--run", run, path, "--window", "1e9", code=2).output


def test_other_wrong_flags_get_a_sentence(run, tones, tmp_path):
    assert "is an empty range" in call("evaluate", "--run", run, "--folds", "3-2", code=2).output
    stored = tmp_path / "set"
    call("mix", "--data", tones, "--out", stored, "--test-folds", "3", "--slot-seconds", "0.5")
    assert "a stored set has its split" in call("crossval", "--data", stored, "--out", tmp_path, code=2).output
    wav = ["mix", "--data", tones, "--out", tmp_path / "wav", "--form", "wav", "--test-folds", "3"]
    assert "--n-mels is only for --form mel" in call(*wav, "--n-mels", "16", code=2).output
    a_file = tmp_path / "file"
    a_file.write_text("kept")
    for command in (["train", *TINY], ["mix"]):
        call(*command, "--data", tones, "--test-folds", "3", "--out", a_file, code=2)
    path = next(tones.rglob("*.wav"))
    assert "is a file; name a folder" in call("predict", "--run", run, path, "--save", a_file, code=2).output
    assert a_file.read_text() == "kept"


def test_a_network_that_diverges_ends_in_a_sentence_and_is_never_best(tones, tmp_path):
    train = ["train", "--data", tones, "--out", tmp_path / "run", *TINY, "--test-folds", "3", "--epochs", "3"]
    result = call(*train, "--learning-rate", "1e30", code=2)
    assert "no longer a number; use a smaller --learning-rate than 1e+30" in result.output
    assert "best validation mAP" not in result.output
    sweep = ["sweep", "--data", tones, "--out", tmp_path / "sweep", *TINY, "--test-folds", "3", "--epochs", "3"]
    result = call(*sweep, "--learning-rate", "1e30", "--trials", "1")
    assert "trial 0000 diverged, and is left out" in result.output
    assert not (tmp_path / "sweep" / "sweep.json").exists() or "1e+30" not in result.stdout


def test_a_name_that_the_terminal_cannot_show_is_predicted_and_saved(run, tones, tmp_path):
    path = tmp_path / "\u00fc.wav"
    shutil.copy(next(tones.rglob("*.wav")), path)
    plain = os.environ | {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "course_utils", "predict", "--run", run, path, "--save", tmp_path / "found"]
    result = subprocess.run(command, env=plain, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert {file.name for file in (tmp_path / "found").iterdir()} == {
        f"\u00fc.wav.{end}" for end in ("csv", "json", "png")
    }


def test_one_bad_name_costs_no_other_file(run, tones, tmp_path):
    path = next(tones.rglob("*.wav"))
    bad, long = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.wav"), tmp_path / ("a" * 244 + ".wav")
    shutil.copy(path, long)
    try:
        shutil.copy(path, bad)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    last = tmp_path / "last.wav"
    shutil.copy(path, last)
    command = [sys.executable, "-m", "course_utils", "predict", "--run", run, path, bad, long, last]
    result = subprocess.run([*command, "--save", tmp_path / "found"], capture_output=True)
    assert b"Traceback" not in result.stderr and result.stdout.count(b"0.5 s: ") == 4
    assert b"bad\\udcff.wav" in result.stdout and (tmp_path / "found" / "last.wav.json").is_file()
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True).stdout)
    assert len(found) == 4


def test_data_makes_downloads_and_says_what_is_there(tmp_path, monkeypatch, tones):
    monkeypatch.setattr(urbansound8k, "download", lambda root: tones)
    assert "120 clips" in call("data", "urbansound8k", "--root", tmp_path).output
    monkeypatch.setattr(urbansound8k, "stream", lambda root, clips: tones)
    assert "120 clips" in call("data", "urbansound8k", "--clips", "5").output
    assert "no data set" in call("data", "esc50", code=2).output
    assert "mini always comes whole" in call("data", "mini", "--clips", "5", code=2).output


def test_it_runs_as_a_module(tones):
    result = subprocess.run(
        [sys.executable, "-m", "course_utils", "train", "--data", "nowhere", "--out", "x"],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and result.stderr.startswith("error: nowhere: no such folder")


def test_a_class_of_ones_own_can_be_trained(tmp_path):
    """A user's folder with three classes: six combinations, everywhere."""
    from conftest import make_dataset

    root = make_dataset(tmp_path / "own", classes=("frog", "rain", "wind"), recordings=4)
    command = ["train", "--data", root, "--out", tmp_path / "run", *TINY, "--test-folds", "3", "--epochs", "2"]
    call(*command, "--head", "combinations")
    report = json.loads(call("evaluate", "--run", tmp_path / "run", "--json").stdout)
    assert set(report["per_class"]) == {"frog", "rain", "wind"}
    assert audio.duration(datasets.open_folder(root).path(0)) == 0.5


def test_grid_writes_results_and_names_its_command(tones, tmp_path, monkeypatch):
    from course_utils.configuration import Recipe
    from course_utils.lessons.grids import GRIDS, Grid

    common = {"n_mels": 16, "hop_length": 1024, "batch_size": 16, "recipe": Recipe(joint="slots", slot_seconds=0.5)}
    monkeypatch.setitem(GRIDS, "small", Grid("small", common, {"one": {}}, 1))
    results = tmp_path / "results.json"
    options = ("--width", 2, "--epochs", 1, "--test-folds", 3, "--accelerator", "cpu")
    said = call("grid", "small", "--data", tones, "--out", tmp_path, "--results", results, *options).output
    assert "1 of 1: one" in said and "exact_match" in said
    command = json.loads(results.read_text())["command"]
    assert command.startswith("python -m course_utils grid small --data FOLDER --out runs/small --results figures/")
    assert all(f"{flag} {value}" in command for flag, value in zip(options[::2], options[1::2], strict=True))
    wrong = call("grid", "big", "--data", tones, "--out", tmp_path, "--results", results, code=2)
    assert "no grid 'big'; there are cnn10-report" in wrong.output


def test_results_need_the_projects_folder_and_write_its_table(tmp_path, monkeypatch):
    from course_utils.lessons.results import MARKS

    monkeypatch.chdir(tmp_path)
    assert "no README.md here" in call("results", code=2).output

    shutil.copytree(Path(__file__).resolve().parents[1] / "figures" / "results", tmp_path / "figures" / "results")
    (tmp_path / "README.md").write_text("".join(MARKS), encoding="utf-8")
    said = call("results").output
    assert "CNN10, the report's recipe" in said and said.strip() in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "figures" / "results.json").read_text())["rows"]) == 11
