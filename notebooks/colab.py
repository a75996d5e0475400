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
UPLOAD = (
    "upload this notebook to [Colab](https://colab.research.google.com), and run its first cell: it says what to do."
)
SETUP = """#@title Set-up: installs the course on Colab; where it is installed, does nothing
PROJECT = "{address}"  #@param {{type:"string"}}
import importlib.util

if importlib.util.find_spec("course_utils") is None:
    if not PROJECT:
        raise SystemExit(
            "course_utils is not installed here. On your own computer: choose the kernel of "
            "the course, or start it with `make lab`. On Colab: write the address of the course, "
            "such as https://github.com/NAME/COURSE, into the field PROJECT of this cell, "
            "and run it again."
        )
    %pip install --quiet git+{{PROJECT}}
    importlib.invalidate_caches()
    if importlib.util.find_spec("course_utils") is None:
        raise SystemExit(f"The course could not be installed from {{PROJECT}}: see above.")"""


def address() -> str:
    """Return the project's address as `pyproject.toml` has it, with `@` and the branch or tag; empty if nobody has set it.

    Raises:
        ValueError: If it is not the web address of a repository.
    """
    course = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["course"]
    repository, ref = course["repository"].removesuffix("/").removesuffix(".git"), course["ref"]
    if not repository:
        return ""
    if not re.fullmatch(r"https://[\w.\-]+(/[\w.\-]+){2,}", repository) or ".." in repository:
        raise ValueError(f"pyproject.toml: repository is {repository!r}; write it as https://github.com/NAME/COURSE")
    if not re.fullmatch(r"[\w.\-]+", ref):
        raise ValueError(f"pyproject.toml: ref is {ref!r}; write the name of a branch or tag, such as main")
    return f"{repository}@{ref}"


def line(project: str, name: str) -> str:
    """Return the Colab line of the notebook `name`. Colab opens only what is on GitHub; anything else is uploaded."""
    place = re.fullmatch(r"https://github\.com/([\w.\-]+/[\w.\-]+)@([\w.\-]+)", project, flags=re.I)
    if not place:
        return LINE + UPLOAD
    link = f"https://colab.research.google.com/github/{place[1]}/blob/{place[2]}/notebooks/{name}"
    return f"{LINE}[run this notebook there]({link})."


def stamp(book: NotebookNode, name: str, project: str) -> None:
    """Put the address into one notebook, in place: into the line of its first cell, and into its first code cell.

    Args:
        book: The notebook.
        name: Its file name, for the link.
        project: What `address` returns.

    Raises:
        ValueError: If the notebook has no such line or no such cell.
    """
    first, setup = book.cells[0], next((cell for cell in book.cells if cell.cell_type == "code"), None)
    source, count = re.subn(rf"^{re.escape(LINE)}.*$", lambda _: line(project, name), first.source, flags=re.M)
    if count != 1 or setup is None or not setup.source.startswith(SETUP.splitlines()[0]):
        raise ValueError(
            f"{name}: needs one line '{LINE}…' in its first cell, and the set-up cell as its first code cell"
        )
    first.source, setup.source = source, SETUP.format(address=project)


def main() -> None:
    """Stamp every lesson."""
    project = address()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        stamp(book, path.name, project)
        with write_beside(path) as partial:
            nbformat.write(book, partial)
    print(f"notebooks/*.ipynb: {project or 'no address (repository in pyproject.toml is empty)'}")


if __name__ == "__main__":
    main()
