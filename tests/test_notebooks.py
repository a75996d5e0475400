"""The form of every notebook: executed, in order, small, with exercises that come in threes."""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, nbformat.read(request.param, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs(cell):
    """All text that a cell has put out."""
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), *(str(v) for v in output.get("data", {}).values())]
    return "\n".join(parts)


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_every_cell_was_executed_in_order_without_an_error(notebook):
    _, book = notebook
    nbformat.validate(book)
    assert [cell.execution_count for cell in code_cells(book)] == list(range(1, len(code_cells(book)) + 1))
    for cell in code_cells(book):
        assert not [o for o in cell.outputs if o.output_type == "error"], cell.source
        if "nbval-ignore-output" not in tags(cell):
            assert not [o for o in cell.outputs if o.get("name") == "stderr"], cell.source


def test_sizes(notebook):
    path, book = notebook
    cells = code_cells(book)
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in cells]
    assert path.stat().st_size < 2_000_000
    assert len(cells) <= 25 and max(lengths) <= 25 and statistics.median(lengths) <= 5


def test_at_most_a_quarter_of_the_cells_is_not_compared(notebook):
    _, book = notebook
    ignored = [cell for cell in code_cells(book) if {"nbval-ignore-output", "nbval-skip"} & set(tags(cell))]
    assert len(ignored) <= len(code_cells(book)) / 4
    assert not [cell for cell in code_cells(book) if "nbval-skip" in tags(cell)]


def test_compared_outputs_hold_nothing_that_varies(notebook):
    _, book = notebook
    for cell in code_cells(book):
        if "nbval-ignore-output" in tags(cell):
            continue
        for output in cell.outputs:
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            assert not re.search(r"0x[0-9a-f]{6,}|/home/|/root/|/tmp/|[Ww]arning", text), text
            assert "image/svg+xml" not in output.get("data", {})


def test_players_are_small(notebook):
    _, book = notebook
    for cell in code_cells(book):
        for output in cell.outputs:
            text = "".join(output.get("data", {}).get("text/html", ""))
            assert len(text) < 90_000


def test_exercises_come_as_blank_check_and_solution(notebook):
    _, book = notebook
    count = 0
    for i, cell in enumerate(book.cells):
        check = re.search(r"exercises\.(check_\w+)\(", cell.source) if cell.cell_type == "code" else None
        if not check or "solution" in tags(cell):
            continue
        count += 1
        solution = book.cells[i + 1]
        assert "..." in cell.source and outputs(cell).startswith("Not attempted yet"), cell.source
        assert "Exercise" in book.cells[i - 1].source
        assert "solution" in tags(solution) and check[1] in solution.source and "Right: " in outputs(solution)
        assert solution.metadata["jupyter"]["source_hidden"] and solution.metadata["cellView"] == "form"
        assert solution.source.startswith("#@title Solution")
    assert count >= 2


def test_sections_of_a_lesson(notebook):
    _, book = notebook
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    wanted = ["Open in Colab", "After this lesson you can", "Before you start", "Time:", "**Predict.**", "## Quiz"]
    for part in [*wanted, "## What we found", "**Next:**", "## References"]:
        assert part in text, part
    assert text.count("<details>") == text.count("</details>") == 5
    assert text.startswith("# ")


def test_static_pictures_have_alternative_text(notebook):
    _, book = notebook
    for cell in book.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source)
            assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", cell.source))


def test_about_as_much_text_as_code(notebook):
    _, book = notebook
    text = [cell for cell in book.cells if cell.cell_type == "markdown"]
    assert 0.5 <= len(text) / len(code_cells(book)) <= 2
    assert max(len(cell.source.split()) for cell in text[:-1]) < 350


def test_the_kernel_is_python_3_and_nothing_of_a_machine_is_stored(notebook):
    path, book = notebook
    assert book.metadata.kernelspec.name == "python3"
    assert not re.search(r"/(?:root|home|tmp)/\w+", json.dumps(book)), path
