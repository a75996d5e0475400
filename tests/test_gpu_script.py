"""The script that tests the course on a machine with a GPU, as far as a CPU can: `tests/gpu/run.py`."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parent / "gpu" / "run.py"

RESULTS = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="3.1">
  <testcase classname="tests.gpu.test_gpu" name="test_scores" time="1.0">
    <properties><property name="probabilities differ by" value="1e-4"/></properties></testcase>
  <testcase classname="tests.gpu.test_gpu" name="test_step[crnn]" time="1.0">
    <properties><property name="probabilities differ by" value="1e-4"/><property name="loss" value="0.5"/></properties>
    <failure message="&#10;#x1B[91mAssertionError: too far#x1B[0m&#10;assert 3 &lt; 2">a traceback</failure></testcase>
  <testcase classname="tests.gpu.test_gpu" name="test_waits"><skipped message="only a GPU shows this"/></testcase>
  <testcase classname="tests.gpu.test_gpu" name="test_full"><error message="RuntimeError: no">another</error></testcase>
</testsuite></testsuites>
"""


@pytest.fixture(scope="module")
def run():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("run_on_a_gpu", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def call(*arguments, **environment):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment})


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = call("--notebooks", "")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: there is no GPU") and "--device cpu" in result.stderr


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_wheels_is_refused(run, tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert run.main(["--wheels", str(tmp_path / folder), "--device", "cpu"]) == 1
    assert "no wheels in it" in (said := capsys.readouterr().err) and "run.py wheels FOLDER" in said


def test_no_folder_at_all_is_refused(run, capsys):
    assert run.main(["--wheels"]) == 1
    assert "make test-gpu WHEELS=FOLDER" in capsys.readouterr().err


def test_a_wheel_that_does_not_fit_is_refused(run, tmp_path, capfd):
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no archive")
    assert run.main(["--wheels", str(tmp_path), "--device", "cpu"]) == 1
    assert "its wheels cannot be installed" in capfd.readouterr().err


def test_a_folder_that_holds_wheels_is_not_filled(run, tmp_path, capsys):
    (tmp_path / "other-1.0-py3-none-any.whl").touch()
    assert run.main(["wheels", str(tmp_path)]) == 1
    assert "there are wheels already" in capsys.readouterr().err


def test_what_is_needed_is_what_torch_does_not_bring(run):
    names = set(run.needed())
    assert {"lightning-fabric", "librosa", "numba", "optuna", "nbval", "ipykernel", "pytest-xdist"} <= names
    assert not names & {"torch", "numpy", "pytest", "packaging", "tensorboard", "course-utils"}
    left = set(run.needed(leave_out=["librosa"]))
    assert left < names and not left & {"librosa", "numba", "llvmlite"} and "soxr" in left


def test_a_download_names_the_other_machine(run, tmp_path, monkeypatch):
    commands = []

    def note(command, **_):
        commands.append(command)
        (tmp_path / "some-1.0-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run.subprocess, "run", note)
    platforms = ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"]
    assert run.main(["wheels", str(tmp_path), "--python-version", "3.12", *platforms]) == 0
    said = " ".join(commands[0])
    assert "--no-deps --only-binary=:all: -c " in said and f"-d {tmp_path} --python-version 3.12" in said
    assert " ".join(platforms) in said and " lightning-fabric " in said


def test_results_become_a_table(run, tmp_path):
    (tmp_path / "results.xml").write_text(RESULTS, encoding="utf-8")
    part = run.read_results(tmp_path / "results.xml", "GPU tests")
    part.seconds, part.notes = 3.1, ["01_stft is left out: librosa missing"]
    assert run.table([part]).splitlines() == [
        "part          passed  failed  skipped  seconds",
        "GPU tests          1       2        1        3",
        "GPU tests: 01_stft is left out: librosa missing",
        "FAILED test_gpu::test_step[crnn]: AssertionError: too far",
        "FAILED test_gpu::test_full: RuntimeError: no",
        "probabilities differ by: 1e-4",
        "loss: 0.5",
    ]


def test_a_part_that_takes_too_long_is_stopped_and_keeps_what_it_has(run, tmp_path, request):
    (tmp_path / "test_slow.py").write_text(
        "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_slow.py")]
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # begins in a second, also on a busy machine
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in its background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    part = run.run_pytest("slow", command, bare, 10)
    assert part.passed == 1 and part.failures == [("slow", "stopped after 10 s")] and part.seconds < 30


def test_a_part_that_cannot_begin_is_a_failure(run):
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    part = run.run_pytest("none", [sys.executable, "-m", "pytest", "-q", "nowhere.py"], bare, 60)
    assert part.failures == [("none", "pytest ended with status 4; see above")]


def test_a_lesson_whose_imports_are_missing_is_left_out(run, tmp_path, monkeypatch):
    for name, line in (("01_one", "import json"), ("02_two", "import json\\nimport no_such_package")):
        (tmp_path / f"{name}.ipynb").write_text(
            f'{{"cells": [{{"cell_type": "code", "source": "{line}"}}]}}', encoding="utf-8"
        )
    monkeypatch.setattr(run, "ROOT", tmp_path)
    chosen, notes = run.choose_lessons("*.ipynb", sys.executable, dict(os.environ))
    assert chosen == ["01_one.ipynb"] and notes == ["02_two is left out: no_such_package missing"]
    with pytest.raises(run.RunError, match="no such notebooks"):
        run.choose_lessons("*.nb", sys.executable, dict(os.environ))


@pytest.mark.slow
def test_the_tests_of_the_gpu_run_on_a_cpu():
    result = call("--device", "cpu", "--notebooks", "", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    passed, failed, skipped = next(line.split()[2:5] for line in lines if line.startswith("GPU tests "))
    assert int(passed) > 15 and failed == "0" and skipped == "3"  # waiting, twice, and memory
    assert "precision auto is: 32-true" in lines and "no GPU" in lines
    assert any("differs from the CPU's" in line for line in lines) and "CPU cores" in lines[-1]
