"""The graded assignments: their source, what students get, and what right, blank and half work earns."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
import statistics
from pathlib import Path

import nbformat
import pytest
import samples
import test_notebooks as form

ROOT = Path(__file__).resolve().parents[1]
SLOW = (("weak_network", "blank"), ("weak_network", "half"))  # it trains also where nothing was answered
SECONDS = 400  # what a cell may take; the machine is busy while tests run


@pytest.fixture(scope="session")
def honest(grade, released, tmp_path_factory) -> Path:
    """Where a whole solution, a blank copy and half an answer to the assignments were graded."""
    folder = tmp_path_factory.mktemp("honest")
    wanted = [pair for pair in samples.HONEST if pair not in SLOW or os.environ.get("COURSE_SLOW")]
    samples.write_honest(folder / "submitted", released, wanted)
    result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS)
    assert result.returncode == 0, result.stderr
    return folder


# --- The source ------------------------------------------------------------------------------------------------------

SOURCES = {name: samples.source(name) for name in samples.NAMES}


def has_short_cells(book):
    lengths = [len(form.lines(cell)) for cell in form.code_cells(book)]
    assert max(lengths) <= 25 and statistics.median(lengths) <= 5


RULES = (
    has_short_cells,
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


HALF_TASKS = {"octave_bands": 2, "three_sounds": 3, "weak_network": 3}


def is_graded(cell) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def task_of(cell) -> str:
    """The name of a graded cell, less the number of those that have several cells."""
    return re.sub(r"_\d+$", "", samples.cell_id(cell).removeprefix("test_"))


@pytest.mark.parametrize("name", samples.NAMES)
def test_the_points_are_those_that_the_first_cell_names(name):
    book = SOURCES[name]
    promised = [int(n) for n in re.findall(r"^\| \d \|.*\| (\d+) \|$", book.cells[0].source, flags=re.M)]
    tasks: dict[str, int] = {}
    for cell in filter(is_graded, book.cells):
        tasks[task_of(cell)] = tasks.get(task_of(cell), 0) + cell.metadata.nbgrader["points"]
    assert promised == list(tasks.values())
    assert 2 * sum(promised[: HALF_TASKS[name]]) == sum(promised[:-1])


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
            assert len(cell.source.splitlines()) < len(whole.source.splitlines()) - 2
        else:
            assert cell.source == whole.source


# --- Honest work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "student"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (pair in SLOW)) for pair in samples.HONEST],
)
def test_a_solution_has_all_points_a_blank_none_and_half_an_answer_half(honest, released, name, student):
    row = samples.by_student(honest / "out", name)[student]
    page = (honest / "out" / "feedback" / student / f"{name}.html").read_text()
    assert float(row["points"]) == {"solution": 12, "half": 6, "blank": 0}[student] and float(row["out_of"]) == 12
    tasks = list(dict.fromkeys(map(task_of, filter(is_graded, SOURCES[name].cells))))[:-1]
    if student == "solution":
        assert row["message"] == "" and row["written_points"] == "" and "NotImplementedError" not in page
    elif student == "half":
        assert row["message"] == f"not attempted: {', '.join(tasks[HALF_TASKS[name] :])}"
    else:
        assert row["message"].startswith(f"not attempted: {', '.join(tasks)}")
        assert float(row["written_points"]) == 0 and "NotImplementedError" in page
    assert_shows_no_hidden_test(page, name, released)


def assert_shows_no_hidden_test(page: str, name: str, released: Path) -> None:
    """Make sure that every line of a hidden test that a page shows is also in the student copy."""
    visible, shown = (released / f"{name}.ipynb").read_text(encoding="utf-8"), text_of(page)
    for cell in SOURCES[name].cells:
        hidden = cell.source.partition("### BEGIN HIDDEN TESTS")[2].partition("### END")[0]
        for line in filter(lambda line: len(line) > 20, map(str.strip, hidden.splitlines())):
            assert line not in shown or json.dumps(line)[1:-1] in visible, line


def test_written_answers_wait_for_a_person(honest):
    waiting = {(row["student"], row["assignment"]) for row in samples.table(honest / "out" / "written.csv")}
    assert waiting == {("solution", name) for name in samples.NAMES}


def text_of(page: str) -> str:
    """What a page shows."""
    return html.unescape(re.sub("<[^>]+>", "", page))


def test_points_and_comments_of_a_person_go_into_table_and_feedback_and_nothing_is_run_again(honest, grade):
    out = honest / "out"
    kept = {path: path.stat().st_mtime_ns for path in (out / "nbgrader" / "autograded").rglob("*.ipynb")}
    rows = samples.table(out / "written.csv")
    for row, points in zip(rows, ("5", "3,5", ""), strict=True):
        row["points"], row["comment"] = points, "clear & short"
        row["answer"] = row["answer"].replace("\n", "\r\n")  # as spreadsheets do
    write_rows(out / "written.csv", rows)
    result = grade("grade", honest / "submitted", "--out", out)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    written = [samples.by_student(out, row["assignment"])["solution"]["written_points"] for row in rows]
    assert written == ["5.0", "3.5", ""]
    page = (out / "feedback" / "solution" / f"{rows[0]['assignment']}.html").read_text()
    assert "clear &amp; short" in page
    assert [row["comment"] for row in samples.table(out / "written.csv")] == ["clear & short"] * 3

    # Another folder into the same place: what a person has written stays.
    shutil.copytree(honest / "submitted" / "blank", honest / "others" / "blank")
    result = grade("grade", honest / "others", "--out", out)
    assert result.returncode == 0 and "3 answers with points or a comment are in no submission" in result.stdout
    assert [row["points"] for row in samples.table(out / "written.csv")] == ["5.0", "3.5", ""]

    before = (out / "grades.csv").read_bytes()
    for points, said in (("6", "write a number from 0 to 5"), ("many", "write a number from 0 to 5")):
        rows[0]["points"] = points
        write_rows(out / "written.csv", rows, delimiter=";")  # as spreadsheets do where the comma is in decimals
        result = grade("grade", honest / "submitted", "--out", out)
        assert result.returncode == 1 and said in result.stderr
    assert (out / "grades.csv").read_bytes() == before


def write_rows(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
