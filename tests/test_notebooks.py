"""The form of every notebook: executed, in order, small, with exercises that come in threes.

Each rule is a function that takes a notebook and fails on a bad one. At the end every rule is shown a notebook that
breaks it.
"""

import base64
import copy
import json
import re
import statistics
from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
APPENDICES = sorted((ROOT / "notebooks").glob("[A-Z]*.ipynb"))


PLACES = r"/(?:root|home|tmp|Users|var)/\w+|[A-Z]:\\+\w+"  # folders of somebody's machine


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def text_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "markdown"]


def tags(cell):
    return cell.metadata.get("tags", [])


def data(cell, kind):
    """What a cell has put out in one format, each as text."""
    return ["".join(o.data[kind]) for o in cell.outputs if kind in o.get("data", {})]


def printed(cell):
    return "".join("".join(o.text) for o in cell.outputs if o.output_type == "stream")


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def is_ignored(cell):
    return "nbval-ignore-output" in tags(cell)


def was_executed_in_order_without_an_error(book):
    nbformat.validate(book)
    assert [cell.execution_count for cell in code_cells(book)] == list(range(1, len(code_cells(book)) + 1))
    for cell in code_cells(book):
        assert not [o for o in cell.outputs if o.output_type == "error"], cell.source
        assert is_ignored(cell) or not [o for o in cell.outputs if o.get("name") == "stderr"], cell.source


def is_small(book):
    lengths = [len(lines(cell)) for cell in code_cells(book)]
    assert len(nbformat.writes(book).encode()) < 2_000_000
    assert len(lengths) <= 25 and max(lengths) <= 25 and statistics.median(lengths) <= 5


def ends_no_line_with_a_semicolon(book):
    """In a notebook it hides the value of a line, but nbval sees the value."""
    for cell in code_cells(book):
        assert not re.search(r";\s*$", cell.source, flags=re.M), cell.source


def lines_fit_the_page(book):
    for cell in code_cells(book):
        assert max(map(len, cell.source.splitlines())) <= 100, cell.source


def is_compared_in_at_least_three_quarters(book):
    assert not [cell for cell in code_cells(book) if "nbval-skip" in tags(cell)]
    assert sum(map(is_ignored, code_cells(book))) <= len(code_cells(book)) / 4


def compares_nothing_that_varies(book):
    for cell in code_cells(book):
        if not is_ignored(cell):
            text = "\n".join([printed(cell), *data(cell, "text/plain")])
            assert not re.search(rf"0x[0-9a-f]{{6,}}|[Ww]arning|{PLACES}", text), text
            assert not data(cell, "image/svg+xml")


def has_small_players(book):
    for cell in code_cells(book):
        assert all(len(page) < 90_000 for page in data(cell, "text/html"))


def has_exercises_as_blank_check_and_solution(book):
    found = []
    for i, cell in enumerate(book.cells):
        check = re.search(r"exercises\.(check_(\d\d)_(\d))\(", cell.source) if cell.cell_type == "code" else None
        if not check or "solution" in tags(cell):
            continue
        found.append((int(check[2]), int(check[3])))
        task, solution = book.cells[i - 1], book.cells[i + 1]
        before = " ".join(c.source for c in book.cells[max(i - 3, 0) : i] if c.cell_type == "markdown")
        assert f"### Exercise {int(check[2])}.{check[3]}" in before and task.cell_type == "markdown"
        assert "answer = ..." in cell.source and printed(cell).startswith("Not attempted yet"), cell.source
        assert "solution" in tags(solution) and check[1] in solution.source and "Right: " in printed(solution)
        folded = {"source_hidden": True, "outputs_hidden": True}  # what it prints would give the answer away
        assert solution.metadata["jupyter"] == folded and solution.metadata["collapsed"]
        assert solution.metadata["cellView"] == "form" and solution.source.startswith("#@title Solution")
    number = int(re.match(r"# (\d+)\. ", book.cells[0].source)[1])
    assert found == [(number, i + 1) for i in range(len(found))] and len(found) >= 2


def has_the_sections_of_a_lesson(book):
    text = "\n".join(cell.source for cell in text_cells(book))
    assert text.startswith("# ")
    wanted = ["Open in Colab", "T4 GPU", "After this lesson you can", "Before you start", "Time:", "**Predict.**"]
    for part in [*wanted, "## Quiz", "## What we found", "**Next:**", "## References"]:
        assert part in text, part
    aims = re.search(r"After this lesson you can\n\n((?:- .*\n)*)", text)
    assert aims and 3 <= aims[1].count("\n") <= 5
    assert text.count("<details>") == text.count("</details>") == 5
    numbers = [int(n) for n in re.findall(r"^## (\d+)\. ", text, flags=re.M)]
    assert numbers == list(range(1, len(numbers) + 1)) and numbers


def begins_with_the_setup(book):
    """What stands in it is the matter of `test_colab`."""
    setup = code_cells(book)[0]
    assert setup.source.startswith("#@title Set-up") and setup.outputs == []
    assert setup.metadata["jupyter"]["source_hidden"] and setup.metadata["cellView"] == "form"


def says_what_to_see_in_every_picture(book):
    for cell, following in zip_longest(book.cells, book.cells[1:]):
        if cell.cell_type == "code" and "solution" not in tags(cell):
            has_picture = data(cell, "image/png") or any("<img " in page for page in data(cell, "text/html"))
            assert not has_picture or (following and "What to see:" in following.source), cell.source


def shows_the_diagrams_as_they_are_in_figures(book):
    for cell in code_cells(book):
        for name in re.findall(r'diagrams\.show\("(\w+)"\)', cell.source):
            stored = base64.b64encode((ROOT / "figures" / f"{name}.png").read_bytes()).decode()
            assert any(stored in page for page in data(cell, "text/html")), f"make notebooks: {name} is another"


def shows_a_picture_beside_every_slider(book):
    """The cell before it, or one just above, draws the same with fixed values."""
    for i, cell in enumerate(book.cells):
        assert cell.cell_type == "markdown" or "ipywidgets" not in cell.source, "use plots.explore"
        if cell.cell_type == "code" and "plots.explore(" in cell.source:
            drawn = re.search(r"plots\.explore\((\w+)", cell.source)[1]
            above = [c for c in book.cells[max(i - 5, 0) : i] if c.cell_type == "code"]
            assert any(f"def {drawn}(" in c.source and data(c, "image/png") for c in above), cell.source


def gives_pictures_alternative_text(book):
    for cell in text_cells(book):
        assert not re.search(r"!\[\s*\]\(", cell.source)
        assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", cell.source))
    for cell in code_cells(book):
        for page in data(cell, "text/html"):
            assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", page))


def has_about_as_much_text_as_code(book):
    assert 0.5 <= len(text_cells(book)) / len(code_cells(book)) <= 2
    assert max(len(cell.source.split()) for cell in text_cells(book)[:-1]) < 350


def stores_nothing_of_a_machine(book):
    """Nor of one run of it: times, and sliders as they stood, which no reader sees."""
    assert book.metadata.kernelspec.name == "python3" and "widgets" not in book.metadata
    assert not [cell for cell in code_cells(book) if "execution" in cell.metadata]
    for cell in book.cells:
        assert not re.search(PLACES, cell.source + printed(cell) if "outputs" in cell else cell.source)
    assert not re.search(r"/(?:root|home|tmp)/\w+", json.dumps(book))


RULES = (
    was_executed_in_order_without_an_error,
    is_small,
    lines_fit_the_page,
    ends_no_line_with_a_semicolon,
    is_compared_in_at_least_three_quarters,
    compares_nothing_that_varies,
    has_small_players,
    has_exercises_as_blank_check_and_solution,
    has_the_sections_of_a_lesson,
    begins_with_the_setup,
    says_what_to_see_in_every_picture,
    shows_the_diagrams_as_they_are_in_figures,
    shows_a_picture_beside_every_slider,
    gives_pictures_alternative_text,
    has_about_as_much_text_as_code,
    stores_nothing_of_a_machine,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path, rule):
    rule(nbformat.read(path, as_version=4))


OF_LESSONS = (has_exercises_as_blank_check_and_solution, has_the_sections_of_a_lesson, is_small)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in OF_LESSONS], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", APPENDICES, ids=lambda path: path.stem)
def test_form_of_an_appendix(path, rule):
    rule(nbformat.read(path, as_version=4))


def test_lessons_are_numbered_without_a_gap_and_listed_in_the_readme():
    assert NOTEBOOKS and [int(path.name[:2]) for path in NOTEBOOKS] == list(range(len(NOTEBOOKS)))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"(notebooks/{path.name})" in readme for path in NOTEBOOKS)


def test_appendices_have_a_letter_and_a_number_and_a_list_of_their_own_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = readme.partition("### Appendices")[2].partition("\n#")[0]
    for path in APPENDICES:
        mark, title = path.name[:2], nbformat.read(path, as_version=4).cells[0].source
        assert (
            re.fullmatch(r"[A-Z]\d", mark) and title.startswith(f"# {mark}. ") and f"(notebooks/{path.name})" in listed
        )
    assert set(path.name for path in (ROOT / "notebooks").glob("*.ipynb")) == {p.name for p in NOTEBOOKS + APPENDICES}


# --- Every rule can fail --------------------------------------------------------------------------------------------


def cell_with(book, part):
    return next(cell for cell in book.cells if part in cell.source)


def drop(book, part):
    """Take a text out of every cell that has it."""
    for cell in book.cells:
        cell.source = cell.source.replace(part, "")


def say(cell, text, name="stdout"):
    cell.outputs.append(nbformat.v4.new_output("stream", name=name, text=text))


def show(cell, kind, value):
    cell.outputs.append(nbformat.v4.new_output("display_data", data={kind: value}))


def compared(book):
    """The first cell whose outputs are compared, after the set-up."""
    return next(cell for cell in code_cells(book)[1:] if not is_ignored(cell))


def blank(book):
    return cell_with(book, "answer = ...")


def solution(book):
    return next(cell for cell in book.cells if "solution" in tags(cell))


def repeat(book, times):
    """Repeat the last code cell, with ever higher counts."""
    last = code_cells(book)[-1]
    for i in range(times):
        other = copy.deepcopy(last)
        other.id, other.execution_count = f"again-{i}", last.execution_count + 1 + i
        book.cells.append(other)


BROKEN = [
    (was_executed_in_order_without_an_error, lambda b: compared(b).update(execution_count=None)),
    (was_executed_in_order_without_an_error, lambda b: compared(b).update(execution_count=99)),
    (was_executed_in_order_without_an_error, lambda b: say(compared(b), "careful", "stderr")),
    (
        was_executed_in_order_without_an_error,
        lambda b: compared(b).outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])),
    ),
    (is_small, lambda b: repeat(b, 26)),
    (is_small, lambda b: compared(b).update(source="1\n" * 26)),
    (is_small, lambda b: [cell.update(source="1\n" * 6) for cell in code_cells(b)]),
    (is_small, lambda b: say(compared(b), "x" * 2_000_000)),
    (lines_fit_the_page, lambda b: compared(b).update(source="#" * 101)),
    (ends_no_line_with_a_semicolon, lambda b: compared(b).update(source="plt.plot([1]);")),
    (is_compared_in_at_least_three_quarters, lambda b: compared(b).metadata.update(tags=["nbval-skip"])),
    (
        is_compared_in_at_least_three_quarters,
        lambda b: [c.metadata.update(tags=["nbval-ignore-output"]) for c in code_cells(b)[:8]],
    ),
    (compares_nothing_that_varies, lambda b: say(compared(b), "<object at 0x7f1234567890>")),
    (compares_nothing_that_varies, lambda b: say(compared(b), "UserWarning")),
    (compares_nothing_that_varies, lambda b: show(compared(b), "image/svg+xml", "<svg/>")),
    (has_small_players, lambda b: show(compared(b), "text/html", "x" * 90_000)),
    (has_exercises_as_blank_check_and_solution, lambda b: b.cells.remove(solution(b))),
    (has_exercises_as_blank_check_and_solution, lambda b: solution(b).metadata["jupyter"].update(source_hidden=False)),
    (has_exercises_as_blank_check_and_solution, lambda b: solution(b).metadata.update(collapsed=False)),
    (has_exercises_as_blank_check_and_solution, lambda b: solution(b).update(outputs=[])),
    (has_exercises_as_blank_check_and_solution, lambda b: blank(b).update(source=blank(b).source.replace("...", "1"))),
    (has_exercises_as_blank_check_and_solution, lambda b: drop(b, "### Exercise")),
    (has_exercises_as_blank_check_and_solution, lambda b: drop(b, "_1(")),
    (has_the_sections_of_a_lesson, lambda b: drop(b, "**Predict.**")),
    (has_the_sections_of_a_lesson, lambda b: drop(b, "</details>")),
    (has_the_sections_of_a_lesson, lambda b: drop(b, "## 2. ")),
    (has_the_sections_of_a_lesson, lambda b: drop(b, "\n- ")),
    (has_exercises_as_blank_check_and_solution, lambda b: b.cells[0].update(source="# 7. Another lesson")),
    (begins_with_the_setup, lambda b: b.cells.remove(code_cells(b)[0])),
    (says_what_to_see_in_every_picture, lambda b: drop(b, "What to see:")),
    (says_what_to_see_in_every_picture, lambda b: show(code_cells(b)[0], "image/png", "")),
    (
        shows_a_picture_beside_every_slider,
        lambda b: b.cells.append(nbformat.v4.new_code_cell("plots.explore(nothing)")),
    ),
    (says_what_to_see_in_every_picture, lambda b: show(compared(b), "image/png", "") or b.cells.append(compared(b))),
    (shows_the_diagrams_as_they_are_in_figures, lambda b: compared(b).update(source='diagrams.show("framing")')),
    (shows_a_picture_beside_every_slider, lambda b: compared(b).update(source="ipywidgets.interact(draw)")),
    (gives_pictures_alternative_text, lambda b: b.cells[0].update(source="![](x.png)")),
    (gives_pictures_alternative_text, lambda b: b.cells[0].update(source='<img src="x.png">')),
    (gives_pictures_alternative_text, lambda b: show(compared(b), "text/html", '<img alt="" src="x.png">')),
    (has_about_as_much_text_as_code, lambda b: repeat(b, 60)),
    (has_about_as_much_text_as_code, lambda b: b.cells[0].update(source="word " * 350)),
    (stores_nothing_of_a_machine, lambda b: say(compared(b), "/root/" + "somewhere")),
    (stores_nothing_of_a_machine, lambda b: say(compared(b), "C:\\Users\\somebody")),
    (stores_nothing_of_a_machine, lambda b: compared(b).metadata.update(execution={})),
    (stores_nothing_of_a_machine, lambda b: b.metadata.update(widgets={})),
]


@pytest.mark.parametrize(("rule", "spoil"), BROKEN, ids=[f"{rule.__name__}-{i}" for i, (rule, _) in enumerate(BROKEN)])
def test_every_rule_can_fail(rule, spoil):
    book = nbformat.read(NOTEBOOKS[0], as_version=4)
    rule(book)
    spoil(book)
    with pytest.raises((AssertionError, nbformat.ValidationError)):
        rule(book)


def test_every_rule_is_shown_a_notebook_that_breaks_it():
    assert {rule for rule, _ in BROKEN} == set(RULES)
