"""The grader, and work that harms: each submission gets its message, and neither the others nor the machine suffer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import samples

SECONDS = 25  # what a cell may take

# --- Harmful work ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mischief(grade, released, tmp_path_factory) -> Path:
    """Where submissions were graded that loop, print without end, delete, raise, end their kernel, or are no notebooks."""
    folder = tmp_path_factory.mktemp("mischief")
    (folder / "victim").mkdir()
    (folder / "victim" / "kept.txt").write_text("kept")
    wanted = ("loops", "loops_on", "prints", "deletes", "raises", "dies")
    samples.write_mischief(folder / "submitted", released, folder / "victim", wanted)
    result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize(
    ("student", "points", "message"),
    [
        ("loops", 12, "TookTooLong: stopped after 25 s"),
        ("loops_on", 0, "TookTooLong: stopped after 25 s"),
        ("prints", 12, "PrintedTooMuch: stopped after 1,000,000 characters"),
        ("deletes", 12, "PermissionError: not allowed while grading: rmtree"),
        ("raises", 12, "code cell 3: ZeroDivisionError: division by zero"),
        ("dies", 0, "KernelEnded: the kernel ended"),
        ("cut_off", 0, "cannot be read as a notebook"),
        ("twice", 0, "handed in 2 times"),
        ("nothing", 0, "not handed in"),
    ],
)
def test_each_gets_its_message_and_the_others_are_graded(mischief, student, points, message):
    row = samples.by_student(mischief / "out", "three_sounds")[student]
    assert message in row["message"] and float(row["points"]) == points
    page = (mischief / "out" / "feedback" / student / "three_sounds.html").read_text(encoding="utf-8")
    assert message.rpartition(": ")[0].rpartition(" ")[2] in page


def test_nothing_outside_is_harmed_and_the_feedback_stays_small(mischief):
    assert (mischief / "victim" / "kept.txt").read_text() == "kept"
    assert (mischief / "out" / "feedback" / "prints" / "three_sounds.html").stat().st_size < 3_000_000


GUARDED = """
import os, runpy, sys
os.environ |= {"COURSE_OWN": os.getcwd(), "COURSE_SECRET": sys.argv[2], "COURSE_MEMORY": str(2**33)}
runpy.run_path(sys.argv[1])
CODE
"""


def guarded(code: str, folder: Path) -> str:
    """Run Python code behind the guard; return the last line that it says."""
    (folder / "own").mkdir(exist_ok=True)
    command = [sys.executable, "-c", GUARDED.replace("CODE", code), samples.ASSIGNMENTS / "guard.py", folder / "secret"]
    result = subprocess.run(list(map(str, command)), cwd=folder / "own", capture_output=True, text=True)
    return (result.stdout + result.stderr).strip().splitlines()[-1]


@pytest.fixture
def places(tmp_path) -> Path:
    for name in ("victim", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept.txt").write_text("kept")
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        "import shutil; shutil.rmtree('../victim')",
        "os.remove('../victim/kept.txt')",
        "os.rename('../victim/kept.txt', 'mine.txt')",
        "import shutil; shutil.move('../victim', 'mine')",
        "os.replace('x', '../victim/kept.txt')",
        "open('../victim/kept.txt', 'w')",
        "open('../victim/kept.txt', 'r+')",
        "open('../victim/new.txt', 'x')",
        "os.open('../victim/kept.txt', os.O_WRONLY | os.O_TRUNC)",
        "os.truncate('../victim/kept.txt', 0)",
        "os.chmod('../victim', 0)",
        "os.mkdir('../victim/new')",
        "os.symlink('../victim', 'link'); import shutil; shutil.rmtree('link/.')",
        "os.symlink('../victim/kept.txt', 'link'); open('link', 'w')",
        "f = os.open('../victim', os.O_RDONLY); os.remove('kept.txt', dir_fd=f)",
        "import pathlib; pathlib.Path('../victim/kept.txt').unlink()",
        "os.system('rm ../victim/kept.txt')",
        "import subprocess; subprocess.run(['rm', '../victim/kept.txt'])",
        "os.fork()",
        "os.kill(os.getppid(), 9)",
        "open('../secret/kept.txt').read()",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
    ],
)
def test_the_guard_refuses(places, code):
    assert "not allowed while grading" in guarded(code, places)
    assert all((places / name / "kept.txt").read_text() == "kept" for name in ("victim", "secret"))


@pytest.mark.parametrize(
    "code",
    [
        "open('a.txt', 'w').write('x'); os.rename('a.txt', 'b.txt'); os.remove('b.txt')",
        "import tempfile; t = tempfile.TemporaryDirectory(dir='.'); open(t.name + '/a', 'w'); t.cleanup()",
        "os.symlink('../victim', 'link'); os.remove('link')",
        "open('../victim/kept.txt').read()",
        "open(os.devnull, 'w').write('x')",
    ],
)
def test_the_guard_lets_through_what_stays_in_its_folder(places, code):
    assert guarded(f"{code}; print('done')", places) == "done"
    assert (places / "victim" / "kept.txt").read_text() == "kept"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps the limit")
def test_the_guard_limits_memory(places):
    assert guarded("hoard = [bytearray(2**30) for _ in range(12)]", places) == "MemoryError"


# --- What the instructor gets wrong ----------------------------------------------------------------------------------


def test_a_folder_without_submissions_is_named(grade, tmp_path):
    result = grade("grade", tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 1 and "no folder in it" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_submission_earned_is_gone_when_a_broken_one_follows(grade, released, tmp_path):
    blank = nbformat.read(released / "octave_bands.ipynb", as_version=4)
    book = samples.answered(blank, "octave_bands", lambda cell: cell == "octave_bands")
    book.cells = [cell for cell in book.cells if samples.cell_id(cell) != "test_octave_bands"]  # and is put back
    samples.write(book, tmp_path / "in", "ada", "octave_bands")
    assert grade("grade", tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    assert float(samples.by_student(tmp_path / "out", "octave_bands")["ada"]["points"]) == 2
    (tmp_path / "in" / "ada" / "octave_bands.ipynb").write_text(json.dumps({"cells": 1}))
    assert grade("grade", tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    row = samples.by_student(tmp_path / "out", "octave_bands")["ada"]
    assert float(row["points"]) == 0 and "cannot be read" in row["message"]
