"""The instructor's page names sections, cells and commands: they must be there."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PARTS = {int(part[:2]): part.partition("\n## ")[0] for part in re.split(r"^### (?=\d\d · )", PAGE, flags=re.M)[1:]}


def lesson(number: int) -> tuple[list[str], str]:
    """Return the headings of a lesson, and all its code."""
    cells = nbformat.read(LESSONS[number], as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"^## (\d+\. .+)$", text, flags=re.M), "\n".join(
        cell.source for cell in cells if cell.cell_type == "code"
    )


@pytest.mark.parametrize("number", range(len(LESSONS)))
def test_every_lesson_has_its_part(number):
    part = PARTS[number]
    for name in ("Aims", "Before", "Time", "Exercises", "Misconceptions"):
        assert f"- **{name}**:" in part, name
    assert part.count("\n| ") >= 3, "a head and two rows"


@pytest.mark.parametrize("number", range(len(LESSONS)))
def test_the_cells_that_cure_are_there(number):
    headings, code = lesson(number)
    rows = re.findall(r"^\| .+ \| (.+) \|$", PARTS[number].partition("**Misconceptions**")[2], flags=re.M)[1:]
    assert rows
    for row in rows:
        for place, title in re.findall(r"section (\d+), \*([^*]+)\*", row):
            assert f"{place}. {title}" in headings, row
        for piece in re.findall(r"`([^`]+)…`", row):
            assert piece in code, row


def test_every_exercise_is_named():
    for path in LESSONS:
        number, code = int(path.name[:2]), lesson(int(path.name[:2]))[1]
        for exercise in set(re.findall(r"exercises\.check_\d\d_(\d)\(", code)):
            assert re.search(rf"^  - {number}\.{exercise}, ", PARTS[number], flags=re.M), f"{number}.{exercise}"


def test_links_and_commands_are_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE):
        assert (ROOT / "notebooks" / target).exists(), target
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.+)$", PAGE, flags=re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)|`make ([\w-]+)", PAGE, flags=re.M):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.M), target


def test_the_minutes_of_the_paths_add_up():
    paths = PAGE.partition("## Three paths")[2].partition("\n## ")[0]
    hours, day, weeks = re.split(r"^### ", paths, flags=re.M)[1:]
    assert sum(int(n) for n in re.findall(r"^\| \d:\d\d \| (\d+) \|", hours, flags=re.M)) == 120
    assert sum(int(n) for n in re.findall(r"^\| [^|]*\| \d+: [^|]+\| (\d+) \|$", day, flags=re.M)) == 360
    sessions = re.findall(r"^\| \d\.\d \| ([^|]+) \|", weeks, flags=re.M)
    assert len(sessions) == 12
    for session in sessions:
        assert sum(int(part.split()[-1]) for part in session.split(" · ")) == 90, session
