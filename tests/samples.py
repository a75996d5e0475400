"""Sample submissions for the assignments: a whole solution, a blank, a half, and some that misbehave.

    python tests/samples.py FOLDER        then: make grade SUBMITTED=FOLDER

They are made of the student copies (`make assignments`) and the answers in the instructor's source.
"""

from __future__ import annotations

import copy
import csv
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ASSIGNMENTS = Path(__file__).resolve().parents[1] / "notebooks" / "assignments"
NAMES = ("octave_bands", "three_sounds", "weak_network")
HONEST = tuple((name, student) for name in NAMES for student in ("solution", "blank", "half"))
# Answers that earn half of the points of the tests.
HALF = {
    "octave_bands": ("octave_bands", "octave_power"),
    "three_sounds": ("count", "encode", "decode", "multi_hot", "plan_triples"),
    "weak_network": ("score", "chance", "build_network"),
}
# What a submission does that misbehaves: in a cell of its own before the first answer, or, if indented, in the first
# function that the tests call.
MISCHIEF = {
    "loops": "while True:\n    pass",
    "loops_on": "while True:\n    try:\n        while True:\n            pass\n    except:\n        pass",
    "prints": "while True:\n    print('no end')",
    "deletes": "import shutil\nshutil.rmtree({victim!r})",
    "removes": "import pathlib\npathlib.Path({victim!r}, 'kept.txt').unlink()",
    "overwrites": "open({victim!r} + '/kept.txt', 'w').write('lost')",
    "starts": "import subprocess\nsubprocess.run(['rm', '-r', {victim!r}])",
    "shells": "get_ipython().system('rm -r ' + {victim!r})",
    "peeks": "open({source!r}).read()",
    "connects": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')",
    "loops_inside": "    while True:\n        pass",
    "fakes": "    import sys\n    sys.displayhook(2)\n    return -1",
    "raises": "1 / 0",
    "dies": "import os\nos._exit(1)",
    "swells": "hoard = [bytearray(2**30) for _ in range(100)]",
}


def cell_id(cell: NotebookNode) -> str | None:
    """Return the name that nbgrader knows a cell by."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def source(name: str) -> NotebookNode:
    """Read the instructor's source of an assignment."""
    return nbformat.read(ASSIGNMENTS / "source" / name / f"{name}.ipynb", as_version=4)


def answered(blank: NotebookNode, name: str, wanted: Callable[[str], bool] = lambda cell: True) -> NotebookNode:
    """Fill a student copy in with the answers of the source that are wanted."""
    answers = {cell_id(cell): cell.source for cell in source(name).cells if cell_id(cell)}
    book = copy.deepcopy(blank)
    for cell in book.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and wanted(cell_id(cell)):
            lines = answers[cell_id(cell)].splitlines()
            cell.source = "\n".join(line for line in lines if "SOLUTION" not in line)
    return book


def misbehaving(blank: NotebookNode, name: str, code: str) -> NotebookNode:
    """Make a solution that does something else first."""
    book = answered(blank, name)
    place = next(i for i, cell in enumerate(book.cells) if cell_id(cell))
    if code.startswith(" "):
        cell = book.cells[place]
        head, quotes, rest = cell.source.partition('."""\n')
        cell.source = f"{head}{quotes}{code}\n{rest}"
    else:
        book.cells.insert(place, nbformat.v4.new_code_cell(code))
    return book


def write(book: NotebookNode, folder: Path, student: str, name: str) -> None:
    """Write a student's notebook."""
    (folder / student).mkdir(parents=True, exist_ok=True)
    nbformat.write(book, folder / student / f"{name}.ipynb")


def write_honest(folder: Path, released: Path, wanted: Iterable[tuple[str, str]] = HONEST) -> None:
    """Write the solution, the blank copy, and half an answer to all assignments, or those of `HONEST` that are wanted."""
    for name, student in wanted:
        blank = nbformat.read(released / f"{name}.ipynb", as_version=4)
        is_answered = {"solution": lambda cell: True, "blank": lambda cell: False, "half": HALF[name].__contains__}
        write(answered(blank, name, is_answered[student]), folder, student, name)


def write_mischief(folder: Path, released: Path, victim: Path, wanted: Iterable[str] = tuple(MISCHIEF)) -> None:
    """Write submissions to `three_sounds` that misbehave, and three that cannot be graded.

    Args:
        folder: Where to write them.
        released: The student copies.
        victim: A folder with a file `kept.txt`, which they try to harm.
        wanted: Which of `MISCHIEF`.
    """
    name = "three_sounds"
    blank = nbformat.read(released / f"{name}.ipynb", as_version=4)
    places = {"victim": str(victim), "source": str(ASSIGNMENTS / "source" / name / f"{name}.ipynb")}
    for student in wanted:
        code = MISCHIEF[student]
        write(misbehaving(blank, name, code.format(**places) if "{" in code else code), folder, student, name)
    (folder / "cut_off").mkdir()
    (folder / "cut_off" / f"{name}.ipynb").write_text('{"cells": [', encoding="utf-8")
    write(blank, folder, "twice", name)
    write(blank, folder / "twice", "again", name)
    (folder / "nothing").mkdir()


def table(path: Path) -> list[dict[str, str]]:
    """Read a table that the grader wrote."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def by_student(out: Path, name: str) -> dict[str, dict[str, str]]:
    """Read what each student got for an assignment."""
    return {row["student"]: row for row in table(out / "grades.csv") if row["assignment"] == name}


def main() -> None:
    """Write all samples below a folder."""
    folder, victim = Path(sys.argv[1]), Path(sys.argv[1]) / ".victim"
    victim.mkdir(parents=True)
    (victim / "kept.txt").write_text("kept\n")
    write_honest(folder, ASSIGNMENTS / "release")
    write_mischief(folder, ASSIGNMENTS / "release", victim)


if __name__ == "__main__":
    main()
