"""What `make colab` writes into the notebooks, and what the set-up cell does in a kernel with and without the course."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
import colab

BOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
ADDRESS = "https://github.com/someone/course"


def run_setup(address: str, installed: bool, monkeypatch) -> list[str]:
    """Run the set-up cell as a kernel would; return the magics that it called."""
    called = []
    shell = types.SimpleNamespace(run_line_magic=lambda name, line: called.append(f"{name} {line}"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found(name) if installed else None)
    source = TransformerManager().transform_cell(colab.SETUP.format(address=address))
    exec(source, {"get_ipython": lambda: shell})
    return called


def test_where_the_course_is_installed_the_cell_does_nothing(monkeypatch, capsys):
    assert run_setup("", True, monkeypatch) == run_setup(ADDRESS, True, monkeypatch) == []
    assert capsys.readouterr().out == ""


def test_elsewhere_it_installs_the_course_from_its_address(monkeypatch):
    called = run_setup(ADDRESS, False, monkeypatch)
    assert len(called) == 1 and called[0].startswith("pip install") and "course-utils @ git+{PROJECT}" in called[0]


def test_without_an_address_it_says_what_to_do(monkeypatch):
    with pytest.raises(SystemExit, match=r"Write the address.*between the quotes.*make colab"):
        run_setup("", False, monkeypatch)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_notebooks_carry_the_address_of_pyproject(path):
    book, stamped = (nbformat.read(path, as_version=4) for _ in range(2))
    colab.stamp(stamped, path.name, colab.address())
    assert book == stamped, "make colab"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_stamping_changes_the_line_and_the_cell_and_nothing_else(path):
    book, stamped = (nbformat.read(path, as_version=4) for _ in range(2))
    colab.stamp(stamped, path.name, ADDRESS)
    changed = [(a.source, b.source) for a, b in zip(book.cells, stamped.cells, strict=True) if a != b]
    lines = [
        (old, new) for a, b in changed for old, new in zip(a.splitlines(), b.splitlines(), strict=True) if old != new
    ]
    assert len(lines) == 2
    assert f"(https://colab.research.google.com/github/someone/course/blob/main/notebooks/{path.name})" in lines[0][1]
    assert lines[1][1].startswith(f'PROJECT = "{ADDRESS}"')
    colab.stamp(stamped, path.name, "")
    assert stamped.cells == nbformat.read(path, as_version=4).cells


def test_what_is_not_on_github_has_to_be_uploaded():
    assert "upload" in colab.line("https://git.example.org/a/b", "x.ipynb") and "upload" in colab.line("", "x.ipynb")


def test_wrong_addresses_and_notebooks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    for wrong in ("github.com/a/b", 'https://x.org/a"; import os; "'):
        (tmp_path / "pyproject.toml").write_text(f"[tool.course]\nrepository = {wrong!r}\n")
        with pytest.raises(ValueError, match="write it as"):
            colab.address()
    (tmp_path / "pyproject.toml").write_text('[tool.course]\nrepository = "https://github.com/a/b.git"\n')
    assert colab.address() == "https://github.com/a/b"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1"), nbformat.v4.new_code_cell("1")])
    with pytest.raises(ValueError, match="set-up cell"):
        colab.stamp(book, "x.ipynb", "")


def test_main_stamps_every_notebook(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text(f'[tool.course]\nrepository = "{ADDRESS}"\n')
    (tmp_path / "notebooks" / "x.ipynb").write_bytes(BOOKS[0].read_bytes())
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    colab.main()
    assert ADDRESS in capsys.readouterr().out
    assert len(re.findall(re.escape("someone/course"), (tmp_path / "notebooks" / "x.ipynb").read_text())) == 2
