"""Commands that are killed, and commands that run at the same time in one folder: nothing is lost, mixed or left over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from course_utils import storage, training
from course_utils.files import is_partial

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")

LIGHT = ("--width", "2", "--n-mels", "16", "--hop-length", "1024", "--slot-seconds", "0.5", "--batch-size", "8")
FOLDS = ("--test-folds", "3", "--accelerator", "cpu")


def start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "course_utils", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, *codes: int) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode in (codes or (0,)), out + err
    assert "Traceback" not in err, err
    return out + err


def commands_of(name: str, data: Path, out: Path, run: Path) -> list[object]:
    """A command that writes into `out`, as it is tried here."""
    train = ["--data", data, "--out", out, *LIGHT, *FOLDS, "--epochs", "3"]
    sound = sorted(data.rglob("*.wav"))[:6]
    return {
        "mix": ["mix", "--data", data, "--out", out, "--slot-seconds", "0.5", "--test-folds", "3"],
        "mix wav": ["mix", "--data", data, "--out", out, "--form", "wav", "--test-folds", "3"],
        "train": ["train", *train],
        "evaluate": ["evaluate", "--run", run],
        "predict": ["predict", "--run", run, *sound, "--save", out],
        "crossval": ["crossval", *train[:-6], "--accelerator", "cpu", "--epochs", "1", "--folds", "1,2"],
        "sweep": ["sweep", *train[:-1], "2", "--trials", "3"],
        "grid": [
            *("grid", "known-and-new", "--data", data, "--out", out, "--results", out / "results.json", "--width", "2"),
            *("--epochs", "1", *FOLDS),
        ],
    }[name]


def result_of(name: str, out: Path, run: Path) -> object:
    """What a command has left that must be the same whatever happened before it ended."""
    if name.startswith("mix"):
        stored = storage.StoredMixtures(out)
        return stored.plan.to_csv(), [np.asarray(stored[row][0]).tobytes() for row in range(0, len(stored), 7)]
    if name == "train":
        checkpoint = torch.load(out / "last.pt", weights_only=True)
        return {key: value.numpy().tobytes() for key, value in checkpoint["network"].items()}
    if name == "evaluate":
        return (run / "evaluation.json").read_text()
    if name == "predict":
        whole = sorted(path for path in out.iterdir() if not is_partial(path))
        assert sorted(path.suffix for path in whole) == [*[".csv"] * 6, *[".json"] * 6, *[".png"] * 6]
        return [path.read_text() for path in whole if path.suffix == ".csv"]
    if name == "crossval":
        return json.loads((out / "crossval.json").read_text())
    if name == "sweep":
        return [
            (trial["number"], trial["value"]) for trial in json.loads((out / "sweep.json").read_text())["trials"][:1]
        ]
    runs = json.loads((out / "results.json").read_text())["runs"]
    return {key: [value["report"], value["combinations"]] for key, value in runs.items()}


def left_over(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*.part*")]


@pytest.fixture(scope="module")
def prepared(tones, tmp_path_factory):
    """A cache in which the clips are decoded, a run, and what each command leaves when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        finish(start("train", "--data", tones, "--out", folder / "run", *LIGHT, *FOLDS, "--epochs", "1"))
        yield folder


@pytest.fixture(autouse=True)
def one_cache(prepared, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(prepared / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


# --- At the same time ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_two_trainings_in_one_folder_the_second_is_told_so(prepared, tones, tmp_path):
    """Of another configuration: whoever is first, its checkpoints and no others are there."""
    command = ["train", "--data", tones, "--out", tmp_path / "run", *LIGHT, *FOLDS, "--epochs", "3"]
    both = [start(*command), start(*command, "--seed", "7")]
    said = [finish(process, 0, 2) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2]
    loser = said[codes.index(2)]
    assert "another process trains a network there" in loser or "seed: " in loser
    config = training.load_checkpoint(tmp_path / "run" / "last.pt")["config"]
    assert config["seed"] == (0, 7)[codes.index(0)]
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 3 and not left_over(tmp_path)


@pytest.mark.slow
def test_of_two_sets_in_one_folder_one_is_written_and_it_is_whole(prepared, tones, tmp_path):
    command = ["mix", "--data", tones, "--out", tmp_path / "set", "--test-folds", "3", "--overwrite"]
    for _ in range(4):
        both = [start(*command, "--slot-seconds", seconds) for seconds in ("0.5", "0.4")]
        for process in both:
            assert finish(process, 0, 2)
        assert 0 in [process.returncode for process in both]
        stored = storage.StoredMixtures(tmp_path / "set")
        assert all(len(stored[row][0]) for row in range(len(stored))) and not left_over(tmp_path)
        assert not list((tmp_path / "set").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mix", "mix wav", "train", "evaluate", "predict", "crossval", "sweep", "grid"])
def test_the_same_command_twice_at_once_leaves_what_one_leaves(prepared, tones, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(prepared / "run", run)
    finish(start(*commands_of(name, tones, tmp_path / "once", run)))
    expected = result_of(name, tmp_path / "once", run)
    for pause in (0, 1.5):
        out = tmp_path / f"twice {pause}"
        first = start(*commands_of(name, tones, out, run))
        time.sleep(pause)
        second = start(*commands_of(name, tones, out, run))
        for process in (first, second):
            said = finish(process, 0, 2)
            assert process.returncode == 0 or "another process" in said
        assert 0 in (first.returncode, second.returncode)
        assert result_of(name, out, run) == expected and not left_over(out, run)


# --- Killed ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mix", "mix wav", "train", "evaluate", "predict", "crossval", "sweep", "grid"])
def test_killed_at_several_moments_the_same_command_goes_on(prepared, tones, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(prepared / "run", run)
    began = time.time()
    finish(start(*commands_of(name, tones, tmp_path / "once", run)))
    whole, expected = time.time() - began, result_of(name, tmp_path / "once", run)
    out = tmp_path / "killed"
    for share in (0.5, 0.7, 0.85, 0.95):
        process = start(*commands_of(name, tones, out, run))
        time.sleep(share * whole)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=15)
        assert not alive, "workers outlive the command"
    finish(start(*commands_of(name, tones, out, run)))
    assert result_of(name, out, run) == expected
    if name != "predict":  # two may save into one folder at once, so that nothing of the other is deleted there
        assert not left_over(out)


@pytest.mark.slow
def test_workers_that_load_and_processes_that_train_end_with_the_one_that_was_killed(prepared, tones, tmp_path):
    for more in (["--workers", "2"], ["--devices", "2"]):
        out = tmp_path / more[0]
        process = start("train", "--data", tones, "--out", out, *LIGHT, *FOLDS, "--epochs", "200", *more)
        deadline, children = time.time() + 120, []
        while not ((out / "history.csv").is_file() and children) and time.time() < deadline:
            time.sleep(0.05)
            children = psutil.Process(process.pid).children(recursive=True)  # of an epoch: between two there are none
        assert children
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, f"{more}: workers outlive the command"


def test_a_lock_of_a_killed_process_is_open_and_its_half_files_go(prepared, tones, tmp_path):
    """The kill comes while a checkpoint is written: a file that is half is deleted by the next start."""
    code = (
        "import os, signal, sys, torch\n"
        "from course_utils import cli, training\n"
        "save = torch.save\n"
        "def half(value, path):\n"
        "    save(value, path)\n"
        "    if path.name.startswith('.last'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "torch.save = half\n"
        "cli.app(sys.argv[1:])\n"
    )
    command = ["train", "--data", tones, "--out", tmp_path / "run", *LIGHT, *FOLDS, "--epochs", "1"]
    killed = subprocess.run([sys.executable, "-c", code, *map(str, command)], env=os.environ, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and len(left_over(tmp_path)) == 1
    assert "epochs done: 1" in finish(start(*command))
    assert not left_over(tmp_path) and not list((tmp_path / "run").glob(".*"))
