"""What `make colab` writes into the notebooks, and what the set-up cell does in a kernel with and without the course."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
import colab

BOOKS = colab.notebooks()
LESSONS = [path for path in BOOKS if path.parent == colab.FOLDER]
PROJECT = "https://github.com/someone/course@v2"
ELSEWHERE = "https://git.example.org/group/course@v2"


def name_of(path: Path) -> str:
    return path.stem


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


def address_in(path: Path) -> str:
    """The address that a notebook carries."""
    cells = nbformat.read(path, as_version=4).cells
    setup = next(cell for cell in cells if cell.cell_type == "code")
    return re.search(r'^PROJECT = "(.*)"  #@param', setup.source, flags=re.M)[1]


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A copy of two lessons without an address, and an assignment that nbgrader has written to."""
    folder = tmp_path / "notebooks"
    source = folder / "assignments" / "source" / "1_spectrograms" / "spectrograms.ipynb"
    source.parent.mkdir(parents=True)
    for path in LESSONS[:2]:
        (folder / path.name).write_bytes(colab.stamped(read(path), path, "").encode())
    book = nbformat.read(LESSONS[0], as_version=4)
    book.cells = book.cells[:4]
    graded = {"grade": True, "grade_id": "task-1", "points": 2, "schema_version": 3, "solution": True, "locked": False}
    book.cells[3].metadata["nbgrader"] = graded
    text = nbformat.writes(book) + "\n"
    source.write_bytes(colab.stamped(text, source, "").encode())
    monkeypatch.setattr(colab, "FOLDER", folder)
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- The set-up cell ------------------------------------------------------------------------------------------------


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def run_setup(shell: InteractiveShell, project: str, is_there: list[bool], monkeypatch) -> list[str]:
    """Run the set-up cell as a kernel would, where the course is there or not; return the commands that it runs."""
    commands, answers = [], iter(is_there)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found(name) if name != "course_utils" or next(answers) else None
    )
    monkeypatch.setattr(shell, "system", commands.append)
    shell.run_cell(colab.SETUP.format(address=project)).raise_error()
    return commands


@pytest.mark.parametrize("project", ["", PROJECT])
def test_where_the_course_is_installed_the_cell_does_nothing(project, shell, monkeypatch, capsys):
    assert run_setup(shell, project, [True], monkeypatch) == []
    assert capsys.readouterr().out == ""


def test_elsewhere_it_installs_the_course_from_its_address(shell, monkeypatch):
    commands = run_setup(shell, PROJECT, [False, True], monkeypatch)
    assert len(commands) == 1 and commands[0].endswith(f"pip install --quiet git+{PROJECT}")


def test_without_an_address_it_says_what_to_do(shell, monkeypatch):
    with pytest.raises(SystemExit, match=r"make lab.*On Colab: write the address"):
        run_setup(shell, "", [False], monkeypatch)


def test_a_failed_installation_is_said(shell, monkeypatch):
    with pytest.raises(SystemExit, match=r"could not be installed from https://github\.com/someone/course@v2"):
        run_setup(shell, PROJECT, [False, False], monkeypatch)


# --- The notebooks as they are --------------------------------------------------------------------------------------


def test_all_notebooks_carry_one_address_whatever_it_is():
    assert len(LESSONS) >= 13
    assert len({address_in(path) for path in BOOKS}) == 1, "run `make colab REPO=owner/name REF=tag` over all of them"


@pytest.mark.parametrize("path", BOOKS, ids=name_of)
def test_line_and_cell_are_as_stamping_writes_them(path):
    text = read(path)
    assert colab.stamped(text, path, address_in(path)) == text, "make colab"


@pytest.mark.parametrize("project", [PROJECT, ELSEWHERE])
@pytest.mark.parametrize("path", BOOKS, ids=name_of)
def test_stamping_changes_two_lines_of_the_file_and_not_a_byte_besides(path, project):
    plain = colab.stamped(read(path), path, "")
    stamped = colab.stamped(plain, path, project)
    old, new = plain.splitlines(keepends=True), stamped.splitlines(keepends=True)
    lines = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    has_new_line = path.parent == colab.FOLDER  # an assignment keeps its sentence
    assert len(lines) == 1 + has_new_line
    if has_new_line:
        assert all(json.loads(part.strip().rstrip(",")).startswith(colab.LINE) for part in lines[0])
    assert lines[-1][1] == f'    "PROJECT = \\"{project}\\"  #@param {{type:\\"string\\"}}\\n",\n'
    assert colab.stamped(stamped, path, project) == stamped
    assert colab.stamped(stamped, path, "") == plain


# --- The line -------------------------------------------------------------------------------------------------------


def test_what_is_on_github_gets_a_badge():
    said = colab.line(PROJECT, colab.FOLDER / "01_stft.ipynb")
    picture = "![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)"
    link = "https://colab.research.google.com/github/someone/course/blob/v2/notebooks/01_stft.ipynb"
    assert said == f"**Open in Colab:** [{picture}]({link})"


def test_without_an_address_the_line_tells_the_student_and_the_owner_what_to_do():
    said = colab.line("", colab.FOLDER / "01_stft.ipynb")
    assert "upload this notebook" in said and "make colab REPO=owner/name REF=tag" in said


def test_what_is_elsewhere_is_uploaded_and_so_is_an_assignment():
    assert colab.line(ELSEWHERE, colab.FOLDER / "01_stft.ipynb") == colab.LINE + colab.UPLOAD
    for project in ("", PROJECT, ELSEWHERE):
        assert colab.line(project, colab.FOLDER / "assignments/source/1/x.ipynb") == colab.LINE + colab.UPLOAD


# --- The address ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repo", "found"),
    {
        "someone/course": "https://github.com/someone/course@main",
        "someone/course.git": "https://github.com/someone/course@main",
        "https://GitHub.com/someone/course/": "https://github.com/someone/course@main",
        "https://www.github.com/someone/course": "https://github.com/someone/course@main",
        "https://git.example.org/group/part/course.git": "https://git.example.org/group/part/course@main",
        "": "",
    }.items(),
)
def test_ways_to_write_a_repository(repo, found):
    assert colab.address(repo) == found


@pytest.mark.parametrize(
    ("repo", "ref", "how"),
    [
        ("course", "main", "write REPO=owner/name"),
        ("github.com/a/b", "main", "write REPO=owner/name"),
        ("git@github.com:a/b.git", "main", "write REPO=owner/name"),
        ("http://github.com/a/b", "main", "write REPO=owner/name"),
        ("https://github.com/a", "main", "write REPO=owner/name"),
        ("https://github.com/a/b/tree/main", "main", "write REPO=owner/name"),
        ("https://x.org/a/../b", "main", "write REPO=owner/name"),
        ("a/..", "main", "write REPO=owner/name"),
        ("a/b c", "main", "write REPO=owner/name"),
        ('https://x.org/a/b"; import os; "', "main", "write REPO=owner/name"),
        ("a/b", "", "write its name"),
        ("a/b", "main; rm", "write its name"),
        ("a/b", "feature/x", "without a slash"),
        ("a/b", "-x", "write its name"),
    ],
)
def test_a_wrong_address_is_refused_before_any_file_is_touched(repo, ref, how, course, capsys):
    before = contents(course)
    with pytest.raises(SystemExit) as end:
        colab.main(["--repo", repo, f"--ref={ref}"])
    assert end.value.code == 2 and how in capsys.readouterr().err
    assert contents(course) == before


def test_no_address_at_all_is_refused(course, capsys):
    before = contents(course)
    with pytest.raises(SystemExit):
        colab.main([])
    assert "write REPO=owner/name" in capsys.readouterr().err and contents(course) == before


# --- The command ----------------------------------------------------------------------------------------------------


def test_all_notebooks_are_stamped_and_unstamped(course, capsys):
    before = contents(course)
    colab.main(["--repo", "someone/course", "--ref", "v2"])
    said = capsys.readouterr().out
    assert said.startswith(f"{PROJECT}: 3 of 3 notebooks changed\nnext: commit them, then push v2; if it is a tag")
    stamped = contents(course)
    assert {path.name: text.count(b"someone/course") for path, text in stamped.items()} == {
        **{path.name: 2 for path in LESSONS[:2]},
        "spectrograms.ipynb": 1,
    }
    colab.main(["--repo", "someone/course", "--ref", "v2"])
    assert capsys.readouterr().out == f"{PROJECT}: 0 of 3 notebooks changed\n" and contents(course) == stamped
    colab.main(["--repo", "https://git.example.org/group/course"])
    colab.main(["--repo", ""])
    assert capsys.readouterr().out.endswith("no address: 3 of 3 notebooks changed\n") and contents(course) == before


def test_what_nbgrader_wrote_stays(course):
    colab.main(["--repo", "someone/course"])
    (path,) = course.glob("assignments/source/*/*.ipynb")
    assert nbformat.read(path, as_version=4).cells[3].metadata["nbgrader"]["grade_id"] == "task-1"


def test_an_older_setup_cell_is_renewed(course):
    path = course / LESSONS[0].name
    text = read(path)
    path.write_bytes(text.replace("choose the kernel of", "take the kernel of").encode())
    colab.main(["--repo", ""])
    assert read(path) == text


def test_other_ways_to_write_a_file_are_kept(course):
    """Line ends of Windows, other indents, and none at all."""
    path = course / LESSONS[0].name
    book = json.loads(read(path))
    for text in (
        read(path).replace("\n", "\r\n"),
        *(json.dumps(book, indent=i, ensure_ascii=False) for i in (4, None)),
    ):
        stamped = colab.stamped(text, path, PROJECT)
        assert stamped != text and colab.stamped(stamped, path, "") == text
    with pytest.raises(ValueError, match="open it in JupyterLab and save it"):
        colab.stamped(json.dumps({"cells": [*book["cells"], *book["cells"]]}, ensure_ascii=False), path, PROJECT)


def test_one_notebook_without_its_line_or_cell_stops_all(course, capsys):
    for sources in (["# 1", "1"], ["# 1"], [f"# 1 {colab.LINE}", "#@title Set-up"], []):
        cells = [nbformat.v4.new_markdown_cell(text) for text in sources[:1]]
        cells += [nbformat.v4.new_code_cell(text) for text in sources[1:]]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), course / "99_new.ipynb")
        before = contents(course)
        with pytest.raises(SystemExit):
            colab.main(["--repo", "someone/course"])
        assert "99_new.ipynb: needs one line" in capsys.readouterr().err and contents(course) == before
    (course / "99_new.ipynb").write_text("no notebook")
    with pytest.raises(SystemExit):
        colab.main(["--repo", "someone/course"])
    assert "99_new.ipynb: needs" in capsys.readouterr().err


def test_an_interrupted_run_leaves_whole_files_and_the_next_one_ends_it(course, monkeypatch):
    before, count = contents(course), iter(range(9))
    rename = os.replace

    def interrupted(*paths):
        if next(count) == 1:
            raise KeyboardInterrupt
        rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            colab.main(["--repo", "someone/course", "--ref", "v2"])
    after = contents(course)
    assert set(after) == set(before) and sum(after[path] != before[path] for path in before) == 1
    assert all(nbformat.reads(text.decode(), as_version=4) for text in after.values())
    colab.main(["--repo", "someone/course", "--ref", "v2"])
    assert {address_in(path) for path in before} == {PROJECT}


def test_it_runs_as_a_program():
    script = [sys.executable, str(Path(colab.__file__)), "--repo", "nothing"]
    result = subprocess.run(script, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("usage: make colab REPO=owner/name REF=tag")
