"""Tricks on the grader: none gains a point, reads or changes what is not its own, or leaves anything live on a page."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import sys
from pathlib import Path

import nbformat
import pytest
import samples
import tricks

SECONDS = 15  # what a cell may take
# Several tricks in one submission: on the tests, on the page, and on the machine.
TOGETHER = (
    "20_runs_other_code+04_drops_assertions+18_is_equal_to_everything",
    "06_collects_tests+21_shows_live_html",
    "07_reads+08_disarms_the_guard+09_starts_a_child+10_uses_the_network+11_harms",
)


class Graded:
    """What came out when submissions with tricks were graded."""

    def __init__(self, folder: Path, wanted: tuple[str, ...], grade, released: Path) -> None:
        self.folder, self.wanted = folder, wanted
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket(socket.AF_UNIX) as local:
            datagrams.bind(("127.0.0.1", 0))
            tricks.write_tricks(folder, released, wanted, port=datagrams.getsockname()[1])
            local.bind(str(folder / "socket"))
            local.listen()
            result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS)
            assert result.returncode == 0, result.stderr
            datagrams.settimeout(0)
            with pytest.raises(BlockingIOError):
                datagrams.recv(10)
        self.rows = samples.by_student(folder / "out", tricks.NAME)

    def page(self, student: str) -> str:
        return (self.folder / "out" / "feedback" / student / f"{tricks.NAME}.html").read_text(encoding="utf-8")

    def said(self, student: str) -> str:
        """All that the cells of a submission have put out."""
        path = self.folder / "out" / "nbgrader" / "autograded" / student / tricks.NAME / f"{tricks.NAME}.ipynb"
        cells = nbformat.read(path, as_version=4).cells
        return json.dumps([cell.get("outputs", []) for cell in cells])


def check(graded: Graded, student: str) -> None:
    """Make sure that a submission has got nothing."""
    row = graded.rows[student]
    assert (float(row["points"]), float(row["out_of"])) == (0, 12), row["message"]
    assert "GOT" not in graded.said(student), re.findall(r"GOT.{80}", graded.said(student))
    assert_is_dead(graded.page(student))
    hidden = hidden_lines()
    assert not [line for line in hidden if line in re.sub(r"\W|&\w+;", "", re.sub("<[^>]+>", "", graded.page(student)))]


def assert_is_dead(page: str) -> None:
    """Make sure that a page holds no scripts but its own."""
    head, _, body = page.partition("</head>")
    assert "script-src 'nonce-" in head or "<script" not in page
    for live in ("<script", "<iframe", "<svg", "<object", "<embed", "<form", "<style", "<link", "<meta", "<base"):
        assert live not in body.lower(), live
    for tag in re.findall("<[a-zA-Z][^>]*>", body):
        assert not re.search(r"\bon\w+\s*=|javascript:|url\(", tag, flags=re.IGNORECASE), tag


def hidden_lines() -> set[str]:
    """Long lines of hidden tests, without signs and spaces; but not their messages, which are there to be read."""
    cells = [cell.source for cell in samples.source(tricks.NAME).cells]
    inside = [part for cell in cells for part in re.findall("BEGIN HIDDEN TESTS(.*?)### END", cell, flags=re.DOTALL)]
    code = [line for part in inside for line in part.splitlines() if not line.lstrip().startswith('"')]
    lines = {re.sub(r"\W", "", line) for line in code}
    return {line for line in lines if len(line) > 25}


def check_that_nothing_is_harmed(graded: Graded) -> None:
    """Make sure that the others are graded, and that their files are as they were."""
    assert float(graded.rows["01_right"]["points"]) == 12 and graded.rows["01_right"]["message"] == ""
    kept = graded.folder / "victim" / "kept.txt"
    assert [path.name for path in kept.parent.iterdir()] == ["kept.txt"] and kept.read_text() == "kept\n"
    status = kept.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode) & 0o111) == (os.getuid(), 0)
    assert not hasattr(os, "listxattr") or os.listxattr(kept) == []


# --- One of each kind ------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.slow
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere only Python refuses")


@pytest.fixture(scope="module")
def together(grade, released, tmp_path_factory) -> Graded:
    return Graded(tmp_path_factory.mktemp("together"), TOGETHER, grade, released)


@linux
@pytest.mark.parametrize("student", TOGETHER)
def test_tricks_of_one_kind_gain_nothing(together, student):
    check(together, student)


@linux
def test_nothing_is_harmed_by_tricks(together):
    check_that_nothing_is_harmed(together)


def test_the_page_of_honest_work_keeps_plots_and_players(together):
    page = together.page("01_right")
    assert page.count("data:image/png;base64,") == 2 and page.count("<audio controls") == 6
    assert "was left out" not in page and "<h2" in page and "<script nonce=" in page


# --- All, each alone -----------------------------------------------------------------------------------------------

ALONE = tuple(student for student in tricks.TRICKS if student != "01_right")


@pytest.fixture(scope="module")
def alone(grade, released, tmp_path_factory) -> Graded:
    return Graded(tmp_path_factory.mktemp("alone"), ALONE, grade, released)


@linux
@pytest.mark.parametrize("student", ALONE)
def test_a_trick_gains_nothing(alone, student):
    check(alone, student)


@linux
def test_nothing_is_harmed_by_any_trick(alone):
    check_that_nothing_is_harmed(alone)
