"""The graded assignments: what students get, and what the grader makes of right, blank, half and harmful work."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import samples
import test_notebooks as form

ROOT = Path(__file__).resolve().parents[1]
GRADE = samples.ASSIGNMENTS / "grade.py"
APART = ROOT / ".venv-instructor" / ("Scripts" if os.name == "nt" else "bin") / "python"
SECONDS = {"honest": 400, "mischief": 25}  # what a cell may take; the machine is busy while tests run


@pytest.fixture(scope="session")
def grade():
    """Run `grade.py`, with the Python that has nbgrader, and with the user's cache: `mini` is made once."""
    environment = dict(os.environ)
    python = Path(sys.executable) if importlib.util.find_spec("nbgrader") else APART
    if not python.exists():
        pytest.skip("nbgrader is not installed: `make install-instructor`, or the extra `instructor`")

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [python, GRADE, *arguments]
        return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def released(grade, tmp_path_factory) -> Path:
    """The student copies."""
    folder = tmp_path_factory.mktemp("release")
    result = grade("release", "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def by_student(out: Path, name: str) -> dict[str, dict[str, str]]:
    return {row["student"]: row for row in table(out / "grades.csv") if row["assignment"] == name}


@pytest.fixture(scope="session")
def honest(grade, released, tmp_path_factory) -> Path:
    """Where a whole solution, a blank copy and half an answer to all three assignments were graded."""
    folder = tmp_path_factory.mktemp("honest")
    samples.write_honest(folder / "submitted", released)
    result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS["honest"])
    assert result.returncode == 0, result.stderr
    return folder


# --- The source ------------------------------------------------------------------------------------------------------

SOURCES = {name: samples.source(name) for name in samples.NAMES}
RULES = (
    form.was_executed_in_order_without_an_error,
    form.lines_fit_the_page,
    form.ends_no_line_with_a_semicolon,
    form.is_compared_in_at_least_three_quarters,
    form.compares_nothing_that_varies,
    form.has_small_players,
    form.begins_with_the_setup,
    form.stores_nothing_of_a_machine,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", samples.NAMES)
def test_the_source_has_the_form_of_a_lesson(name, rule):
    rule(SOURCES[name])


@pytest.mark.parametrize("name", samples.NAMES)
def test_the_points_are_those_that_the_first_cell_names(name):
    book = SOURCES[name]
    promised = [int(n) for n in re.findall(r"^\| \d \|.*\| (\d+) \|$", book.cells[0].source, flags=re.M)]
    parts = [cell.metadata.nbgrader for cell in book.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert promised == [part["points"] for part in parts]
    half = sum(promised[: len(samples.HALF[name])])
    assert 2 * half == sum(part["points"] for part in parts if part["locked"])


@pytest.mark.parametrize("name", samples.NAMES)
def test_the_written_part_has_a_rubric_that_adds_up_and_a_model_answer(name):
    book = SOURCES[name]
    place = next(i for i, cell in enumerate(book.cells) if samples.cell_id(cell) == "words")
    rubric = [int(n) for n in re.findall(r"^\|.+\| (\d+) \|$", book.cells[place - 1].source, flags=re.M)]
    assert sum(rubric) == book.cells[place].metadata.nbgrader["points"] and len(rubric) >= 3
    limit = int(re.search(r"at most (\d+) words", book.cells[place - 1].source)[1])
    assert 50 < len(re.sub(r"^\|.*$", "", book.cells[place].source, flags=re.M).split()) <= limit + 20


# --- The student copy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", samples.NAMES)
def test_the_student_copy_holds_visible_tests_and_nothing_of_the_solution(released, name):
    text = (released / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search("BEGIN|END SOLUTION|HIDDEN|A model answer", text)
    source, book = SOURCES[name], nbformat.read(released / f"{name}.ipynb", as_version=4)
    assert [samples.cell_id(cell) for cell in book.cells] == [samples.cell_id(cell) for cell in source.cells]
    for cell, whole in zip(book.cells, source.cells, strict=True):
        assert not cell.get("outputs")
        part = whole.metadata.get("nbgrader", {})
        if part.get("solution"):
            assert "NotImplementedError" in cell.source or "Write your answer" in cell.source
        elif part.get("grade"):
            assert "BEGIN HIDDEN TESTS" in whole.source
            visible = whole.source.partition("### BEGIN HIDDEN TESTS")[0]
            assert "assert" in visible and cell.source.startswith(visible.rstrip())
            assert len(cell.source.splitlines()) < len(whole.source.splitlines()) - 2
        else:
            assert cell.source == whole.source


# --- Honest work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", samples.NAMES)
def test_a_solution_has_all_points_a_blank_none_and_half_an_answer_half(honest, name):
    rows = by_student(honest / "out", name)
    assert float(rows["solution"]["points"]) == float(rows["solution"]["out_of"]) == 12
    assert float(rows["half"]["points"]) == 6
    assert float(rows["blank"]["points"]) == 0
    tests = [samples.cell_id(cell) for cell in SOURCES[name].cells if samples.cell_id(cell)]
    tasks = [test.removeprefix("test_") for test in tests if test.startswith("test_")]
    assert rows["solution"]["message"] == ""
    assert rows["half"]["message"] == f"not attempted: {', '.join(tasks[len(samples.HALF[name]) :])}"
    assert rows["blank"]["message"].startswith(f"not attempted: {', '.join(tasks)}")


def test_written_answers_wait_for_a_person_and_blank_ones_do_not(honest):
    waiting = {(row["student"], row["assignment"]) for row in table(honest / "out" / "written.csv")}
    assert waiting == {("solution", name) for name in samples.NAMES}
    for name in samples.NAMES:
        rows = by_student(honest / "out", name)
        assert rows["solution"]["written_points"] == "" and float(rows["blank"]["written_points"]) == 0


@pytest.mark.parametrize("name", samples.NAMES)
def test_feedback_shows_points_and_messages_and_no_hidden_test(honest, name):
    pages = {s: (honest / "out" / "feedback" / s / f"{name}.html").read_text() for s in ("solution", "half", "blank")}
    assert all("HIDDEN TESTS" not in page for page in pages.values())
    assert "NotImplementedError" in pages["blank"] and "NotImplementedError" not in pages["solution"]


def test_points_and_comments_of_a_person_go_into_table_and_feedback_and_nothing_is_run_again(honest, grade):
    out = honest / "out"
    kept = {path: path.stat().st_mtime_ns for path in (out / "nbgrader" / "autograded").rglob("*.ipynb")}
    rows = table(out / "written.csv")
    for row, points in zip(rows, ("5", "3,5", ""), strict=True):
        row["points"], row["comment"] = points, "clear & short"
        row["answer"] = row["answer"].replace("\n", "\r\n")  # as spreadsheets do
    write_rows(out / "written.csv", rows)
    result = grade("grade", honest / "submitted", "--out", out)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    written = [by_student(out, row["assignment"])["solution"]["written_points"] for row in rows]
    assert written == ["5.0", "3.5", ""]
    page = (out / "feedback" / "solution" / f"{rows[0]['assignment']}.html").read_text()
    assert "clear &amp; short" in page
    assert [row["comment"] for row in table(out / "written.csv")] == ["clear & short"] * 3

    rows[0]["points"] = "6"
    write_rows(out / "written.csv", rows)
    before = (out / "grades.csv").read_bytes()
    result = grade("grade", honest / "submitted", "--out", out)
    assert result.returncode == 1 and "write a number from 0 to 5" in result.stderr
    assert (out / "grades.csv").read_bytes() == before


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# --- Harmful work ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mischief(grade, released, tmp_path_factory) -> Path:
    """Where submissions were graded that loop, print without end, delete, raise, end their kernel, or are no notebooks."""
    folder = tmp_path_factory.mktemp("mischief")
    (folder / "victim").mkdir()
    (folder / "victim" / "kept.txt").write_text("kept")
    wanted = ("loops", "loops_on", "prints", "deletes", "raises", "dies")
    samples.write_mischief(folder / "submitted", released, folder / "victim", wanted)
    result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS["mischief"])
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
    row = by_student(mischief / "out", "three_sounds")[student]
    assert message in row["message"] and float(row["points"]) == points
    page = (mischief / "out" / "feedback" / student / "three_sounds.html").read_text(encoding="utf-8")
    assert message.partition(": ")[2].partition("rmtree")[0] in page


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
    assert float(by_student(tmp_path / "out", "octave_bands")["ada"]["points"]) == 2
    (tmp_path / "in" / "ada" / "octave_bands.ipynb").write_text(json.dumps({"cells": 1}))
    assert grade("grade", tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    row = by_student(tmp_path / "out", "octave_bands")["ada"]
    assert float(row["points"]) == 0 and "cannot be read" in row["message"]
