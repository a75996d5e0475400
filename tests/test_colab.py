"""What `make colab` writes into the notebooks, and what the set-up cell does in a kernel with and without the course."""

import copy
import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
import colab

BOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
ADDRESS = "https://github.com/someone/course"
PROJECT = f"{ADDRESS}@v2"


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


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_notebooks_carry_the_address_of_pyproject(path):
    book, stamped = (nbformat.read(path, as_version=4) for _ in range(2))
    colab.stamp(stamped, path.name, colab.address())
    assert book == stamped, "make colab"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_stamping_changes_the_line_and_the_cell_and_nothing_else(path):
    plain = nbformat.read(path, as_version=4)
    colab.stamp(plain, path.name, "")
    stamped = copy.deepcopy(plain)
    colab.stamp(stamped, path.name, PROJECT)
    lines = [
        (old, new)
        for a, b in zip(plain.cells, stamped.cells, strict=True)
        for old, new in zip(a.source.splitlines(), b.source.splitlines(), strict=True)
        if old != new
    ]
    assert len(lines) == 2
    assert f"(https://colab.research.google.com/github/someone/course/blob/v2/notebooks/{path.name})" in lines[0][1]
    assert lines[1][1].startswith(f'PROJECT = "{PROJECT}"')
    colab.stamp(stamped, path.name, "")
    assert stamped == plain


def test_what_is_not_on_github_has_to_be_uploaded():
    assert "upload" in colab.line("https://git.example.org/a/b@main", "x.ipynb") and "upload" in colab.line("", "x")
    assert "upload" not in colab.line("https://GitHub.com/a/b@main", "x.ipynb")


def write_project(folder: Path, repository: str, ref: str = "v2") -> None:
    (folder / "pyproject.toml").write_text(f"[tool.course]\nrepository = {repository!r}\nref = {ref!r}\n")


def test_wrong_addresses_and_notebooks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    for wrong in ("github.com/a/b", 'https://x.org/a/b"; import os; "', "https://github.com/a", "https://x.org/a/../b"):
        write_project(tmp_path, wrong)
        with pytest.raises(ValueError, match="write it as"):
            colab.address()
    write_project(tmp_path, ADDRESS, "main; rm")
    with pytest.raises(ValueError, match="branch or tag"):
        colab.address()
    write_project(tmp_path, f"{ADDRESS}.git")
    assert colab.address() == PROJECT
    for cells in (["# 1", "1"], ["# 1"], [f"# 1 {colab.LINE}", "#@title Set-up"]):
        made = [nbformat.v4.new_markdown_cell(cells[0]), *map(nbformat.v4.new_code_cell, cells[1:])]
        with pytest.raises(ValueError, match="set-up cell"):
            colab.stamp(nbformat.v4.new_notebook(cells=made), "x.ipynb", "")


def test_main_stamps_every_notebook(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    write_project(tmp_path, ADDRESS)
    (tmp_path / "notebooks" / "x.ipynb").write_bytes(BOOKS[0].read_bytes())
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    colab.main()
    assert ADDRESS in capsys.readouterr().out
    assert len(re.findall(re.escape("someone/course"), (tmp_path / "notebooks" / "x.ipynb").read_text())) == 2
