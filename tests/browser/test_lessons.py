"""Every lesson in JupyterLab, as a student has it in the browser: it runs, sounds, moves, and fits the screen.

Each check is a function that takes the page of a lesson that has run, and fails on a bad one. At the end a small
notebook is spoiled in one way after the other, and the check that looks for it must find it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from playwright.sync_api import Locator, Page

from conftest import NO_CHROMIUM, NO_PLAYWRIGHT, Lab

HERE = Path(__file__).resolve().parent
LESSONS = sorted((HERE.parents[1] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SIZES = {"desktop": {"width": 1400, "height": 900}, "tablet": {"width": 820, "height": 1180}}
RUN_SECONDS = 600
PATIENCE = 60  # seconds that a page may take to answer, on a machine with other work

NOTEBOOK = "jupyterapp.shell.currentWidget.content.model"
HAS_STARTED = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.context?.sessionContext.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
HAS_ENDED = f"""() => {{
    const cells = {NOTEBOOK}.sharedModel.cells.filter(cell => cell.cell_type === 'code');
    const failed = cells.some(cell => cell.getOutputs().some(output => output.output_type === 'error'));
    const idle = document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]');
    return failed || document.querySelector('.jp-Dialog') || (idle && cells.every(cell => cell.execution_count));
}}"""
PIXELS = """image => {
    if (!image.complete || !image.naturalWidth) return null;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""
MISFITS = """() => {
    const panel = document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer');
    const misfits = [];
    if (panel.scrollWidth > panel.clientWidth)
        misfits.push(`the notebook is ${panel.scrollWidth} px wide, with room for ${panel.clientWidth}`);
    for (const part of panel.querySelectorAll('.jp-MarkdownOutput, .widget-vbox'))
        if (part.scrollWidth > part.clientWidth)
            misfits.push(`${part.scrollWidth} px wide, scrolls in ${part.clientWidth}: ${part.innerText.slice(0, 80)}`);
    for (const picture of panel.querySelectorAll(':is(.jp-MarkdownOutput, .jp-OutputArea) :is(img, svg, audio)')) {
        const [inner, outer] = [picture, picture.closest('.jp-Cell')].map(part => part.getBoundingClientRect());
        if (inner.left < outer.left - 1 || inner.right > outer.right + 1)
            misfits.push(`<${picture.localName}> of ${inner.width} px in a cell of ${outer.width} px`);
        if (picture.localName === 'img' && picture.complete && !picture.naturalWidth)
            misfits.push(`no picture in ${picture.outerHTML.slice(0, 200)}`);
    }
    return misfits;
}"""
SOUNDS = "players => players.map(player => [player.duration, player.error ? player.error.message : ''])"


def indices(book: NotebookNode, wanted: Callable[[NotebookNode], bool]) -> list[int]:
    return [i for i, cell in enumerate(book.cells) if cell.cell_type == "code" and wanted(cell)]


def has_sliders(cell: NotebookNode) -> bool:
    return "plots.explore(" in cell.source


def is_solution(cell: NotebookNode) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def players(book: NotebookNode) -> int:
    """How many players are stored, beside those between sliders, and those of solutions, which may be folded."""
    cells = [book.cells[i] for i in indices(book, lambda cell: not is_solution(cell))]
    return sum(
        output.get("data", {}).get("text/html", "").count("<audio ") for cell in cells for output in cell.outputs
    )


def without_outputs(book: NotebookNode) -> NotebookNode:
    """What is found afterwards was made by this run."""
    bare = nbformat.from_dict(book)
    for i in indices(bare, lambda cell: True):
        bare.cells[i].update(outputs=[], execution_count=None)
    return bare


def becomes_true(page: Page, condition: Callable[[], bool]) -> bool:
    for _ in range(PATIENCE * 5):
        if condition():
            return True
        page.wait_for_timeout(200)
    return False


def cell_at(page: Page, index: int) -> Locator:
    cell = page.locator(".jp-Notebook .jp-Cell").nth(index)
    cell.scroll_into_view_if_needed()
    return cell


# --- What is done with a lesson -------------------------------------------------------------------------------------


def open_copy(page: Page, lab: Lab, book: NotebookNode, name: str) -> None:
    """A workspace of its own keeps away the tabs of the notebook before."""
    nbformat.write(without_outputs(book), lab.root / f"{name}.ipynb")
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{lab.address}/lab/workspaces/{name}/tree/{name}.ipynb?token={lab.token}")
    page.wait_for_function(HAS_STARTED)


def run_all_cells(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells").click()
    with page.expect_response("**/restart?*"):
        page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_function(HAS_ENDED, timeout=RUN_SECONDS * 1000, polling=500)


def resize(page: Page, size: str) -> None:
    """On a tablet one closes the list of files."""
    page.set_viewport_size(SIZES[size])
    files = page.locator("#jp-left-stack")
    if size == "tablet" and files.is_visible():
        page.keyboard.press("Control+b")
        files.wait_for(state="hidden")


def has_run_without_an_error(page: Page) -> None:
    dialogs = page.locator(".jp-Dialog").all_inner_texts()
    assert not dialogs, f"JupyterLab asks: {dialogs}"
    cells = [cell for cell in page.evaluate(f"{NOTEBOOK}.toJSON().cells") if cell["cell_type"] == "code"]
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"error {output['ename']}: {output['evalue']}\n{cell['source']}"
            assert output.get("name") != "stderr", f"on stderr: {output['text']}\n{cell['source']}"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def answers_its_sliders(page: Page, index: int) -> None:
    """Each slider changes the picture, and the sound where there is one."""
    box = cell_at(page, index).locator(".widget-vbox")
    handles = box.locator(".noUi-handle")
    assert becomes_true(page, lambda: handles.count() > 0), f"no sliders in cell {index}"

    def shows_another_than(old: str | None) -> bool:
        return box.locator("img").evaluate(PIXELS) not in (None, old)

    assert becomes_true(page, lambda: shows_another_than(None)), f"no picture below the sliders of cell {index}"
    for handle in handles.all():
        picture, sound = box.locator("img").evaluate(PIXELS), sources(box.locator("audio"))
        is_last = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        handle.press("ArrowLeft" if is_last else "ArrowRight")
        changed = becomes_true(page, lambda old=picture: shows_another_than(old))
        assert changed, f"a slider of cell {index} leaves the picture as it was:\n{box.inner_text()}"
        assert not sound or sources(box.locator("audio")) != sound, f"a slider of cell {index} leaves the sound"


def sources(media: Locator) -> list[str]:
    return media.evaluate_all("found => found.map(one => one.src)")


def opens_a_solution(page: Page, index: int, source: str) -> None:
    cell = cell_at(page, index)
    fold, code = cell.locator(".jp-InputPlaceholder .jp-Placeholder-content"), cell.locator(".cm-content")
    assert fold.is_visible() and not code.is_visible(), f"the solution in cell {index} is not folded"
    fold.click()
    shown = becomes_true(page, lambda: code.is_visible() and code.inner_text().split() == source.split())
    assert shown, f"the solution in cell {index} does not unfold"


def plays_sound(page: Page, at_least: int) -> None:
    found = page.locator(".jp-Notebook .jp-RenderedHTML audio")
    assert found.count() >= at_least, f"{found.count()} players, where {at_least} are stored"

    def are_loaded() -> bool:
        return all(seconds > 0 and not error for seconds, error in found.evaluate_all(SOUNDS))

    assert becomes_true(page, are_loaded), f"players that cannot play: {found.evaluate_all(SOUNDS)}"
    found.first.scroll_into_view_if_needed()
    found.first.click(position={"x": 27, "y": 27})  # the browser's button, which no selector reaches
    assert becomes_true(page, lambda: found.first.evaluate("player => player.currentTime > 0")), "a player stands still"


def fits_the_screen(page: Page) -> None:
    """Nothing but long lines of code, and tables of data, may scroll sideways."""
    misfits = page.evaluate(MISFITS)
    assert not misfits, f"at {page.viewport_size}: {misfits}"


@contextmanager
def screenshots_on_failure(page: Page, folder: Path, name: str) -> Iterator[dict[str, bytes]]:
    """Keep the screen as it was at the failure, and at the end of each size before, which the test puts in."""
    for old in folder.glob(f"{name}-*.png"):
        old.unlink()
    taken: dict[str, bytes] = {}
    try:
        yield taken
    except Exception as error:
        folder.mkdir(exist_ok=True)
        for size, picture in {**taken, "failure": page.screenshot()}.items():
            (folder / f"{name}-{size}.png").write_bytes(picture)
        error.add_note(f"Screenshots: {folder / name}-*.png")
        raise


def study(page: Page, lab: Lab, book: NotebookNode, name: str, screenshots: Path) -> None:
    """Do all that a student does in a lesson; it runs once, and is looked at in both sizes."""
    solutions = indices(book, is_solution)
    with screenshots_on_failure(page, screenshots, name) as taken:
        resize(page, "desktop")
        open_copy(page, lab, book, name)
        run_all_cells(page)
        has_run_without_an_error(page)
        if players(book):
            plays_sound(page, players(book))
        for size, solution in (("desktop", solutions[0]), ("tablet", solutions[-1])):
            resize(page, size)
            for index in indices(book, has_sliders):
                answers_its_sliders(page, index)
            opens_a_solution(page, solution, book.cells[solution].source)
            fits_the_screen(page)
            taken[size] = page.screenshot()


def test_there_are_lessons():
    assert len(LESSONS) >= 13


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson(page, lab, path):
    study(page, lab, nbformat.read(path, as_version=4), path.stem, HERE / "screenshots")


# --- Every check can fail -------------------------------------------------------------------------------------------

DRAWING = """from course_utils import audio, plots

def draw(length=10):
    return plots.waveform([0.5] * length)

plots.explore(draw, lambda length: ([0.5] * 100 * length, ""), length=[10, 20])"""
FOLDED = {"tags": ["solution"], "jupyter": {"source_hidden": True}}


def small_lesson() -> NotebookNode:
    """Sliders with a picture and a sound, a player, and two folded solutions."""
    listen = nbformat.v4.new_code_cell("audio.listen([0.5, -0.5] * 20_000)")
    listen.outputs = [nbformat.v4.new_output("display_data", data={"text/html": "<audio >"})]
    solutions = [nbformat.v4.new_code_cell(f"print({i})", metadata=FOLDED) for i in range(2)]
    cells = [nbformat.v4.new_code_cell(DRAWING), listen, *solutions]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}})


def add(text: str) -> Callable[[NotebookNode], None]:
    """Add a line of code to the cell with the player."""

    def spoil(book: NotebookNode) -> None:
        book.cells[1].source += "\n" + text

    return spoil


def show(page: str) -> Callable[[NotebookNode], None]:
    return add(f"from IPython.display import HTML, display; display(HTML({page!r}))")


def write(text: str) -> Callable[[NotebookNode], None]:
    return lambda book: book.cells.append(nbformat.v4.new_markdown_cell(text))


def change(old: str, new: str) -> Callable[[NotebookNode], None]:
    """Replace a text in the first two cells."""

    def spoil(book: NotebookNode) -> None:
        for cell in book.cells[:2]:
            cell.source = cell.source.replace(old, new)

    return spoil


WIDE = '<svg style="width: {}px; max-width: none; height: 9px">'
BROKEN = {
    "error": (add("1 / 0"), "error ZeroDivisionError"),
    "stderr": (add("import sys; print('careful', file=sys.stderr)"), "on stderr: careful"),
    "dead kernel": (add("import os; os._exit(1)"), "JupyterLab asks"),
    "another count": (add("get_ipython().execution_count += 1"), r"\[1, 3, 4, 5\]"),
    "no sliders": (change("plots.explore(", "0 and plots.explore("), "no sliders in cell 0"),
    "picture stays": (change("[0.5] * length)", "[0.5])"), "leaves the picture"),
    "sound stays": (change("100 * length", "1000"), "leaves the sound"),
    "no player": (change("audio.listen", "len"), "0 players, where 1 are stored"),
    "no sound": (show('<audio controls src="data:audio/mpeg;base64,AAAA"></audio>'), "players that cannot play"),
    "still player": (
        show("<script>document.addEventListener('play', event => event.target.pause(), true)</script>"),
        "a player stands still",
    ),
    "open solution": (lambda book: book.cells[2].metadata["jupyter"].clear(), "is not folded"),
    "hidden solution": (show("<style>.cm-content { visibility: hidden }</style>"), "does not unfold"),
    "wide notebook": (show("<style>.jp-Notebook .jp-Cell { min-width: 1300px }</style>"), "the notebook is"),
    "wide text": (write("$$" + "1 + " * 200 + "1$$"), "px wide, scrolls in .*: 1"),
    "wide sliders": (show("<style>.widget-label { min-width: 1300px }</style>"), "px wide, scrolls in .*: length"),
    "wide picture": (show(WIDE.format(1300)), "'width': 1400.*<svg> of 1300 px"),
    "wide on a tablet": (show(WIDE.format(900)), "'width': 820.*<svg> of 900 px"),
    "no picture": (show('<img src="data:image/png;base64,AAAA">'), "no picture in <img"),
}


def test_a_small_lesson_passes(page, lab, tmp_path):
    study(page, lab, small_lesson(), "small", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", BROKEN)
def test_every_check_can_fail(page, lab, name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PATIENCE", 6)
    book, (spoil, message) = small_lesson(), BROKEN[name]
    spoil(book)
    (tmp_path / "broken-desktop.png").touch()  # of the run before
    with pytest.raises(AssertionError, match=message) as caught:
        study(page, lab, book, "broken", tmp_path)
    sizes = {"failure", "desktop"} if "tablet" in name else {"failure"}
    assert {path.name for path in tmp_path.iterdir()} == {f"broken-{size}.png" for size in sizes}
    assert str(tmp_path) in caught.value.__notes__[0]


NOWHERE = "no-such-program"
MISSING = [
    ("import sys; sys.modules['playwright'] = None", {}, NO_PLAYWRIGHT),
    ("", {"COURSE_CHROMIUM": NOWHERE}, f"COURSE_CHROMIUM names no program: {NOWHERE}"),
    ("", {"PATH": "", "PLAYWRIGHT_BROWSERS_PATH": NOWHERE, "COURSE_CHROMIUM": ""}, NO_CHROMIUM),
]


@pytest.mark.parametrize(("prepare", "variables", "message"), MISSING, ids=["playwright", "named", "Chromium"])
def test_what_is_missing_is_named(prepare, variables, message):
    command = f"{prepare}\nimport pytest, sys\nsys.exit(pytest.main(['--collect-only', sys.argv[1]]))"
    environment = {**os.environ, **variables}
    result = subprocess.run([sys.executable, "-c", command, HERE], env=environment, capture_output=True, text=True)
    assert result.returncode and message in result.stderr and "Traceback" not in result.stderr
