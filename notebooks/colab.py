"""Write the course's address on the web into the Colab line and the set-up cell of every notebook.

    make colab REPO=owner/name REF=tag    or    python notebooks/colab.py --repo owner/name --ref tag

An empty address takes it out again. Not a byte of a notebook changes besides.
"""

import argparse
import json
import re
from pathlib import Path

from course_utils.files import write_beside

FOLDER = Path(__file__).resolve().parent
LINE = "**Open in Colab:** "
UPLOAD = (
    "upload this notebook to [Colab](https://colab.research.google.com) and run its first cell. "
    "It installs the course, or says what to do."
)
OWNER = " (For the course's owner: `make colab REPO=owner/name REF=tag` puts a badge here.)"
BADGE = "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
LINK = "https://colab.research.google.com/github/{place}/blob/{ref}/notebooks/{name}"
HOW_TO_WRITE_IT = (
    "write REPO=owner/name for a repository on GitHub, or its whole address, such as "
    "REPO=https://gitlab.com/owner/name; REPO= with nothing behind it takes the address out of the notebooks"
)
SETUP = """#@title Set-up: installs the course on Colab, and does nothing elsewhere
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


def notebooks() -> list[Path]:
    """Return the notebooks that carry the address: the lessons, and the sources of the assignments."""
    return sorted([*FOLDER.glob("*.ipynb"), *FOLDER.glob("assignments/source/*/*.ipynb")])


def address(repo: str, ref: str = "main") -> str:
    """Return what the set-up cell installs from: the repository's address, `@`, and the branch or tag.

    Args:
        repo: `owner/name` on GitHub, the https address of a repository anywhere, or nothing.
        ref: The branch or tag.

    Returns:
        The address; empty if `repo` is.

    Raises:
        ValueError: If one of the two is not written so; the message says how.
    """
    if not repo:
        return ""
    found = repo.removesuffix("/").removesuffix(".git")
    if re.fullmatch(r"[\w\-]+/[\w.\-]+", found, re.ASCII):
        found = f"https://github.com/{found}"
    found = re.sub(r"^https://(www\.)?github\.com(?=/)", "https://github.com", found, flags=re.IGNORECASE)
    parts = r"[\w.\-]+(:\d+)?(/[\w.\-]+){2,}"
    is_repository = re.fullmatch(rf"https://{parts}", found, re.ASCII) and not re.search(r"/\.+(/|$)", found)
    if not is_repository or (found.startswith("https://github.com/") and found.count("/") != 4):
        raise ValueError(f"REPO={repo!r} is no repository: {HOW_TO_WRITE_IT}")
    if not re.fullmatch(r"\w[\w.\-]*", ref, re.ASCII):
        raise ValueError(
            f"REF={ref!r} is no branch or tag: write its name, without a slash, such as REF=main or REF=v1.0"
        )
    return f"{found}@{ref}"


def line(project: str, path: Path) -> str:
    """Return the Colab line of a notebook: a badge where Colab can open it, else a sentence.

    Colab opens what is on GitHub. Anything else has to be uploaded, and so does an assignment: students get it by
    other ways.

    Args:
        project: What `address` returns.
        path: The notebook.
    """
    if path.parent != FOLDER:
        return LINE + UPLOAD
    place = re.fullmatch(r"https://github\.com/([^@]+)@(.+)", project)
    if place:
        return LINE + BADGE.format(link=LINK.format(place=place[1], ref=place[2], name=path.name))
    return LINE + UPLOAD + ("" if project else OWNER)


def stamped(text: str, path: Path, project: str) -> str:
    """Put the address into the text of a notebook: into the line of its first cell, and into its first code cell.

    Args:
        text: What stands in the file.
        path: The notebook, for its name and its folder.
        project: What `address` returns.

    Returns:
        The new text; what is outside the two is as it was.

    Raises:
        ValueError: If the notebook has no such line or no such cell.
    """
    try:
        cells = json.loads(text)["cells"]
        first = cells[0]["source"]
        setup = next(cell for cell in cells if cell["cell_type"] == "code")["source"]
    except (ValueError, LookupError, StopIteration):
        first, setup = [], []
    head = [part for part in first if part.startswith(LINE)]
    if len(head) != 1 or not setup or setup[0].rstrip("\n") != SETUP.splitlines()[0]:
        raise ValueError(
            f"{path.name}: needs one line '{LINE}…' in its first cell, and the set-up cell as its first code cell"
        )
    end = "\n" if head[0].endswith("\n") else ""
    text = _swap(text, path, head, [line(project, path) + end])
    return _swap(text, path, setup, SETUP.format(address=project).splitlines(keepends=True))


def _swap(text: str, path: Path, old: list[str], new: list[str]) -> str:
    """Replace lines of a cell as they are written in the file: each in quotes, with a comma and a line break between."""
    found = re.findall(r",\s*".join(re.escape(json.dumps(part, ensure_ascii=False)) for part in old), text)
    if len(found) != 1:
        raise ValueError(f"{path.name}: is not written as Jupyter writes notebooks; open it in JupyterLab and save it")
    between = re.search(r'",(\s*)"', found[0])
    written = (json.dumps(part, ensure_ascii=False) for part in new)
    return text.replace(found[0], f",{between[1] if between else ' '}".join(written))


def main(arguments: list[str] | None = None) -> None:
    """Stamp every notebook, or none if anything is wrong.

    Args:
        arguments: Of the command line; None means those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="make colab", description=__doc__.splitlines()[0], usage="make colab REPO=owner/name REF=tag"
    )
    parser.add_argument("--repo", help="owner/name on GitHub, or the address of a repository; empty: no address")
    parser.add_argument("--ref", default="main", help="the branch or tag that is installed (main)")
    given = parser.parse_args(arguments)
    if given.repo is None:
        parser.error(HOW_TO_WRITE_IT)
    try:
        project = address(given.repo, given.ref)
        texts = {path: path.read_bytes().decode("utf-8") for path in notebooks()}
        new = {path: stamped(text, path, project) for path, text in texts.items()}
    except ValueError as error:
        parser.error(str(error))
    changed = [path for path in new if new[path] != texts[path]]
    for path in changed:
        with write_beside(path) as partial:
            partial.write_bytes(new[path].encode("utf-8"))
    print(f"{project or 'no address'}: {len(changed)} of {len(new)} notebooks changed")
    if project and changed:
        ref = project.rpartition("@")[2]
        print(f"next: commit them, then push {ref}; if it is a tag, make it after the commit, so that it holds them")


if __name__ == "__main__":
    main()
