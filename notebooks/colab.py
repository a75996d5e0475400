"""Write the project's address, from `pyproject.toml`, into the Colab line and the set-up cell of every notebook.

Run by `make colab`. Nothing else in a notebook changes.
"""

import re
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.files import write_beside

ROOT = Path(__file__).resolve().parents[1]
LINE = "**Open in Colab:** "
UPLOAD = "upload this notebook to [Colab](https://colab.research.google.com), and run its first cell: it says what to do."
SETUP = '''#@title Set-up: installs the course on Colab; where it is installed, does nothing
PROJECT = "{address}"  # the project's address; `make colab` copies it from pyproject.toml
import importlib.util

if importlib.util.find_spec("course_utils") is None:
    if not PROJECT:
        raise SystemExit(
            "course_utils is not installed, and this notebook does not know where it is. "
            "Write the address of the course, such as https://github.com/NAME/COURSE, between "
            "the quotes in the code of this cell, and run it again. Instructors: set it once, "
            "as `repository` in pyproject.toml, and run `make colab`."
        )
    %pip install --quiet "course-utils @ git+{{PROJECT}}"'''


def address() -> str:
    """Return the project's address as `pyproject.toml` has it; empty if nobody has set it.

    Raises:
        ValueError: If it is not a web address.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = project["tool"]["course"]["repository"].removesuffix("/").removesuffix(".git")
    if found and not re.fullmatch(r"https://[\w.\-]+(/[\w.\-]+)+", found):
        raise ValueError(f"pyproject.toml: repository is {found!r}; write it as https://github.com/NAME/COURSE")
    return found


def line(repository: str, name: str) -> str:
    """Return the Colab line of the notebook `name`. Colab opens only what is on GitHub; anything else is uploaded."""
    place = re.fullmatch(r"https://github\.com/([\w.\-]+/[\w.\-]+)", repository)
    if not place:
        return LINE + UPLOAD
    return f"{LINE}[run this notebook there](https://colab.research.google.com/github/{place[1]}/blob/main/notebooks/{name})."


def stamp(book: NotebookNode, name: str, repository: str) -> None:
    """Put the address into one notebook: into the line of its first cell, and into its first code cell.

    Raises:
        ValueError: If the notebook has no such line or no such cell.
    """
    first, setup = book.cells[0], next(cell for cell in book.cells if cell.cell_type == "code")
    if LINE not in first.source or not setup.source.startswith(SETUP.splitlines()[0]):
        raise ValueError(f"{name}: needs a line '{LINE}…' in its first cell, and the set-up cell as its first code cell")
    first.source = re.sub(rf"^{re.escape(LINE)}.*$", lambda _: line(repository, name), first.source, flags=re.M)
    setup.source = SETUP.format(address=repository)


def main() -> None:
    """Stamp every lesson."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        stamp(book, path.name, address())
        with write_beside(path) as partial:
            nbformat.write(book, partial)
    print(f"notebooks/*.ipynb: {address() or 'no address (repository in pyproject.toml is empty)'}")


if __name__ == "__main__":
    main()
