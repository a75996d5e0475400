"""How long every lesson takes to run: a table, with its words and exercises beside.

    python benchmarks/lessons.py [NOTEBOOK…]

Each notebook runs alone, in an empty folder, at lesson size on `mini`, which is made beforehand. The seconds include the
start of the kernel, some 3 s of imports. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from course_utils import datasets
from course_utils.environment import need_torch

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def seconds(path: Path) -> float:
    """Run a notebook in an empty folder, and return how long that took."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        NotebookClient(book, timeout=900, resources={"metadata": {"path": folder}}).execute()
        return time.perf_counter() - begun


def main() -> None:
    """Run the notebooks that are named, or all, and print the table."""
    os.environ |= {"COURSE_DATA": "mini", "COURSE_SIZE": "lesson"}
    paths = [Path(name) for name in sys.argv[1:]] or [
        *sorted(NOTEBOOKS.glob("*.ipynb")),
        *sorted(NOTEBOOKS.glob("assignments/source/*/*.ipynb")),
    ]
    datasets.ClipCache.open(datasets.load("mini"))
    torch = need_torch()
    has_gpu = torch.cuda.is_available()
    print(f"{torch.cuda.get_device_name(0) if has_gpu else 'no GPU'}, {os.cpu_count()} CPU cores\n")
    print("| notebook | words | code cells | exercises | seconds |\n|---|---|---|---|---|")
    for path in tqdm(paths, unit="notebook"):
        book = nbformat.read(path, as_version=4)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        words = sum(len(cell.source.split()) for cell in book.cells if cell.cell_type == "markdown")
        exercises = sum("answer = ..." in cell.source for cell in code)
        tqdm.write(f"| {path.stem} | {words:,} | {len(code)} | {exercises} | {seconds(path):.0f} |")


if __name__ == "__main__":
    main()
