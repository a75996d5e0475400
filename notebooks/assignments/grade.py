"""Make the student copies of the assignments, and grade what students hand in.

    python notebooks/assignments/grade.py release               # `make assignments`
    python notebooks/assignments/grade.py grade FOLDER          # `make grade SUBMITTED=FOLDER`

nbgrader (the extra `instructor`) takes solutions and hidden tests out, puts the tests back in, and keeps the points. This
script runs every submission in a process of its own and under limits, so that none can hold up the others, and
writes what an instructor wants to have: one table of points, one of written answers to read, one page for each student.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# jsonschema would build a grammar of web addresses when it is imported, for seconds in each process; no notebook needs it.
sys.modules.setdefault("rfc3987_syntax", None)

import nbformat
import psutil
from exchange import MIME
from guard import limit_memory
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    Execute,
    GetGrades,
    LimitOutput,
    SaveAutoGrades,
)
from nbgrader.utils import is_grade
from page import CleanOutputs, CutHiddenTests, locked, markdown
from tester import Stopped, Tests
from traitlets import Unicode
from traitlets.config import Config

from course_utils import datasets
from course_utils.files import build_beside, cache_folder, write_beside

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "source"
WRITTEN = ("student", "assignment", "question", "answer", "out_of", "points", "comment")
GRADES = ("student", "assignment", "points", "out_of", "written_points", "written_out_of", "message")
OUTPUT_LIMIT = 1_000_000  # characters that a cell may put out
ANSWER_LIMIT = 200_000_000  # and that its answers to a test may have
MEMORY_LIMIT = 8 * 2**30  # bytes that a kernel may take
STOPPED = ("TookTooLong", "PrintedTooMuch", "KernelEnded")  # what cells end with that break a limit
# What is kept of the environment.
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_", "TZ", "OMP_", "OPENBLAS_", "MKL_", "VIRTUAL_ENV", "SYSTEMROOT")
# Each submission has a process of its own, forked, where that can be done, from one that has imported all this already.
PROCESSES = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
PROCESSES.set_forkserver_preload(["torch", "nbgrader.api", "nbgrader.preprocessors", "course_utils.datasets"])
FORBIDDEN = '*?[]{}/\\:"<>|'  # in the name of a student's folder
LARGEST = 50_000_000  # bytes of a submission


class GradingError(Exception):
    """Something that the instructor has to mend; the message says what."""


@dataclass
class Grade:
    """What one student got for one assignment.

    Attributes:
        points: Of the tests.
        out_of: That many there are.
        written_points: Given by the instructor; None while an answer waits for them.
        written_out_of: That many there are.
        message: What went wrong, in one line; empty if nothing.
    """

    student: str
    assignment: str
    points: float
    out_of: float
    written_points: float | None
    written_out_of: float
    message: str


# --- The run of one submission ---------------------------------------------------------------------------------------


class GuardedKernel(AsyncKernelManager):
    """Starts a kernel by `guard.py`."""

    own = Unicode(help="The folder that it may write to.")
    asked = Unicode(help="The folder with the questions of the tests.")

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command that starts the kernel."""
        return [sys.executable, str(HERE / "guard.py"), self.connection_file, self.own, self.asked, str(MEMORY_LIMIT)]


class GuardedExecute(Execute):
    """Runs a notebook in a kernel behind `guard.py`, with an end to its time and to its output, and its tests apart.

    A cell that runs too long, or puts out too much, is interrupted, and the next one has its turn. When the kernel does
    not heed that, it is ended. When it is gone, the cells that are left are marked as not run.

    Tests run in this process, from the instructor's source, and ask the kernel only for what the student's functions give
    back. So nothing that a submission does to its kernel changes a test.
    """

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Run a notebook in an empty folder, which is gone afterwards."""
        self.seconds = float(os.environ["COURSE_CELL_SECONDS"])
        self.deadline = time.monotonic() + 5 * self.seconds
        self.timeout_func = lambda cell: max(1, round(min(self.until, self.deadline) - time.monotonic()))
        self.error_on_timeout = error("TookTooLong", f"stopped after {self.seconds:.0f} s")
        self.timeout = 10  # for an answer to a question, not for a cell
        self.iopub_timeout, self.raise_on_iopub_timeout = 10, False
        self.skip_cells_with_tag = ""
        self.store_widget_state, self.shutdown_kernel = False, "immediate"
        self.put_out: dict[tuple[int, bool], int] = {}
        self.end = ""
        name = resources["nbgrader"]["assignment"]
        source = nbformat.read(SOURCES / name / f"{name}.ipynb", as_version=4)
        self.tests = Tests(source, self.ask, self.processor_time)
        self.results: dict[int, list[NotebookNode]] = {}
        metadata = copy.deepcopy(nb.metadata)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self.own, self.asked = Path(folder, "own"), Path(folder, "asked")
            (self.own / "notebook").mkdir(parents=True)
            self.asked.mkdir()
            resources["metadata"]["path"] = str(self.own / "notebook")
            nb, resources = super().preprocess(nb, resources)
        for index, outputs in self.results.items():  # now that no message of the kernel can change them any more
            nb.cells[index].outputs = outputs
        nb.metadata = metadata
        return nb, resources

    def create_kernel_manager(self) -> GuardedKernel:
        """Return what starts the kernel."""
        self.km = GuardedKernel(own=str(self.own), asked=str(self.asked), config=self.config)
        return self.km

    def start_new_kernel(self, **kwargs: Any) -> None:
        """Start the kernel with an environment of its own."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        super().start_new_kernel(env=environment(self.own), **silent, **kwargs)

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Run one cell, if there still is a kernel."""
        if cell.cell_type != "code":
            return cell, resources
        self.until = time.monotonic() + self.seconds
        if self.end:
            cell.outputs = [nbformat.v4.new_output("error", **error("NotRun", self.end))]
        elif is_grade(cell):
            self.index, self.said, self.results[index] = index, [], []
            self.results[index] += [*self.tests.run(cell_id(cell)), *self.said]
            self.nb.cells[index] = cell
            self.clear_display_id_mapping(index)
        else:
            self.run_in_kernel(cell, index)
            cell.outputs = settled(cell.outputs)
            cell.execution_count = sum(one.cell_type == "code" for one in self.nb.cells[: index + 1])
        return cell, resources

    def run_in_kernel(self, cell: NotebookNode, index: int) -> None:
        """Run a cell in the kernel, and end a kernel that cannot be interrupted."""
        try:
            self.execute_cell(cell, index)
            was_interrupted = {"TookTooLong", "PrintedTooMuch"} & {o.get("ename") for o in cell.outputs}
            if was_interrupted and self.wait_for_reply(self.kc.kernel_info()) is None:
                self.end = "the kernel could not be interrupted, and was ended"
                run_sync(self.km.shutdown_kernel)(now=True)
        except DeadKernelError:
            self.end = "the kernel had ended in an earlier cell"
            message = "the kernel ended: the cell ended it, or needed more memory than there is"
            cell.outputs.append(nbformat.v4.new_output("error", **error("KernelEnded", message)))

    def ask(self, question: bytes) -> str:
        """Hand a question of a test to the kernel, and return its answer; what it prints meanwhile belongs to the test.

        Raises:
            Stopped: If there is no answer.
        """
        if self.end:
            raise Stopped("NotRun", self.end)
        file = self.asked / "question"
        file.write_bytes(question)
        cell = nbformat.v4.new_code_cell(f"__import__('exchange').answer({str(file)!r})")
        self.run_in_kernel(cell, self.index)
        answers = [output.data[MIME] for output in cell.outputs if MIME in output.get("data", {})]
        self.said += settled([output for output in cell.outputs if output.output_type == "stream"])
        errors = [output for output in cell.outputs if output.output_type == "error"]
        # What this script has put there explains the error that it caused.
        for output in sorted(errors, key=lambda output: output.ename not in STOPPED):
            if output.ename in STOPPED or not answers:
                raise Stopped(output.ename, output.evalue)
        if len(answers) != 1 or not isinstance(answers[0], str):
            raise Stopped(
                "NoAnswer", "the kernel gave no answer to a test; something in the notebook keeps it from that"
            )
        return answers[0]

    def processor_time(self) -> float:
        """Return how long the kernel has computed, in seconds."""
        try:
            return sum(psutil.Process(self.km.provisioner.pid).cpu_times()[:2])
        except psutil.NoSuchProcess:
            raise Stopped("NotRun", "the kernel had ended in an earlier cell") from None

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Take up what the kernel says, until a cell has put out too much."""
        if msg["msg_type"] in ("stream", "display_data", "update_display_data", "execute_result"):
            is_answer = MIME in msg["content"].get("data", {}) and cell_index in self.results
            limit = ANSWER_LIMIT if is_answer else OUTPUT_LIMIT
            before = self.put_out.get((cell_index, is_answer), 0)
            now = self.put_out[cell_index, is_answer] = before + len(json.dumps(msg["content"], default=str))
            if now > limit:
                if before <= limit:
                    message = f"stopped after {limit:,} characters of output"
                    cell.outputs.append(nbformat.v4.new_output("error", **error("PrintedTooMuch", message)))
                    self.interrupt = asyncio.ensure_future(self.km.interrupt_kernel())
                return None
        return super().process_message(msg, cell, cell_index)


def settled(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return what a code cell has put out as new outputs that hold nothing else, errors first and cut."""
    kept = []
    for output in outputs:
        kind = output.output_type
        if kind == "stream":
            kept.append(nbformat.v4.new_output("stream", text=few_threads(str(output.text))))
        elif kind == "error":
            message = error(str(output.ename), str(output.evalue)[:2000])
            message["traceback"] = [str(line)[:2000] for line in output.traceback[-60:]]
            kept.append(nbformat.v4.new_output("error", **message))
        else:
            kept.append(nbformat.v4.new_output(kind, data=output.data))
    return sorted(kept, key=lambda output: output.output_type != "error")


def few_threads(text: str) -> str:
    """Cut the errors of many threads to the first few."""
    first, *rest = re.split(r"^(?=Exception in thread )", text, flags=re.M)
    more = [f"… and {len(rest) - 3} more threads that ended with an error\n"] if len(rest) > 3 else []
    return "".join([first, *rest[:3], *more])


def error(name: str, message: str) -> dict[str, Any]:
    """Return what a cell puts out when it fails."""
    return {"ename": name, "evalue": message, "traceback": [f"{name}: {message}"]}


def settings(course: Path) -> Config:
    """Return nbgrader's settings for a course in a folder."""
    config = Config()
    config.CourseDirectory.root = str(course)
    config.NbGrader.logfile = ""
    config.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # write your answer here"}
    config.ClearSolutions.text_stub = "*Write your answer here.*"
    config.Autograde.autograde_preprocessors = [
        GuardedExecute,
        LimitOutput,
        SaveAutoGrades,
        CheckCellMetadata,
    ]
    # Feedback shows the visible tests only, so that the hidden ones can be used again.
    config.GenerateFeedback.preprocessors = [
        GetGrades,
        CutHiddenTests,
        ClearHiddenTests,
        CleanOutputs,
        CSSHTMLHeaderPreprocessor,
    ]
    config.HTMLExporter.filters = {"markdown2html": markdown}
    return config


def open_course(course: Path) -> NbGraderAPI:
    """Return nbgrader's functions for a course in a folder."""
    config = settings(course)
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def succeed(result: dict[str, Any], what: str) -> None:
    """Make sure that a step of nbgrader has succeeded.

    Raises:
        GradingError: If not, with the first error that nbgrader names.
    """
    if not result["success"]:
        said = f"{result.get('log')}\n{result.get('error')}"
        named = re.search(r"^\s*([\w.]+(?:Error|Exception)\b.*)$", said, flags=re.M)
        raise GradingError(f"{what}: {named[1] if named else said.strip()[-300:]}")


def run_one(course: Path, student: str, assignment: str, seconds: float, home: Path) -> None:
    """Grade one submission, in this process, which writes below `home`, and may take as much memory as the kernel."""
    os.dup2(os.open(home / "said.txt", os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    own = {**environment(home), "COURSE_CELL_SECONDS": str(seconds), "MPLBACKEND": "agg"}
    os.environ.clear()
    os.environ.update(own)
    tempfile.tempdir = None  # so that it is looked up again
    limit_memory(MEMORY_LIMIT)
    try:
        succeed(open_course(course).autograde(assignment, student), f"{student}, {assignment}")
    except GradingError as problem:
        sys.exit(str(problem))


def run_apart(course: Path, student: str, assignment: str, seconds: float) -> str:
    """Grade one submission in a process of its own, and end it, and all that it has started, when it takes too long.

    Args:
        course: nbgrader's folder.
        student: Whose submission.
        assignment: To what.
        seconds: What a cell may take.

    Returns:
        What went wrong; empty if nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = PROCESSES.Process(target=run_one, args=(course, student, assignment, seconds, Path(home)))
        process.start()
        process.join(7 * seconds + 60)
        if process.is_alive():
            end(process)
            return f"stopped after {7 * seconds + 60:.0f} s in all"
        said = Path(home, "said.txt")
        lines = said.read_text(errors="replace").strip().splitlines() if said.exists() else []
    return "" if process.exitcode == 0 else f"could not be graded: {lines[-1] if lines else 'the process ended'}"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that writes below one folder, and knows nothing else of this machine."""
    return {
        **{name: value for name, value in os.environ.items() if name.startswith(KEPT)},
        **{name: str(home) for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP")},
        **{f"{name}_DIR": str(home) for name in ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "NUMBA_CACHE")},
        **{"IPYTHONDIR": str(home), "MPLCONFIGDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        "COURSE_CACHE": str(cache_folder().resolve()),
    }


def end(process: BaseProcess) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.join()


# --- The folder of submissions ---------------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of the assignments."""
    return sorted(path.stem for path in SOURCES.glob("*/*.ipynb"))


def found(student: Path, assignment: str) -> Path:
    """Return a student's notebook for an assignment, wherever it is in the student's folder.

    Raises:
        GradingError: If there is none, or more than one, or the folder has a name that cannot be used.
    """
    if student.name != student.name.strip() or student.name.startswith("-") or set(student.name) & set(FORBIDDEN):
        raise GradingError(f"rename the folder: its name begins with -, has a space at an end, or one of {FORBIDDEN}")
    named = [path for path in sorted(student.rglob(f"*{assignment}*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    files = [path for path in named if path.name == f"{assignment}.ipynb"]
    if not files:
        there = f"; there is {named[0].name}: rename it to {assignment}.ipynb" if named else ""
        raise GradingError(f"not handed in{there}")
    if any(path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST for path in files):
        raise GradingError(f"{assignment}.ipynb is a link, or larger than {LARGEST / 1e6:.0f} MB: hand the notebook in")
    if len(files) > 1:
        raise GradingError(f"handed in {len(files)} times: {', '.join(str(f.relative_to(student)) for f in files)}")
    return files[0]


def completed(path: Path, release: NotebookNode) -> NotebookNode:
    """Read a submission, and keep of it what its cells say.

    What else is in the file is replaced by what was handed out: which cells are graded, and for how many points. Of
    copies of a cell the last one counts. Where a cell of the assignment was deleted, the empty one comes back.

    Raises:
        GradingError: If it is not a notebook, or none of its cells belongs to the assignment.
    """
    originals = {cell_id(cell): cell for cell in release.cells if cell_id(cell)}
    answers: dict[str, NotebookNode] = {}
    try:
        book = nbformat.read(path, as_version=4)
        book.metadata, book.nbformat_minor = copy.deepcopy(release.metadata), release.nbformat_minor
        for number, cell in enumerate(book.cells):
            mark = cell.metadata.get("nbgrader")
            name = mark.get("grade_id") if isinstance(mark, dict) else None
            cell.metadata, cell.id = NotebookNode(), f"cell-{number}"
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            if isinstance(name, str) and name in originals:
                answers[name] = cell
        for name, cell in answers.items():
            cell.metadata = copy.deepcopy(originals[name].metadata)
        nbformat.validate(book)
        nbformat.writes(book).encode("utf-8")
    except Exception as error:  # whatever a broken file makes nbformat say
        raise GradingError(f"cannot be read as a notebook ({type(error).__name__}): hand it in again") from error
    if not answers:
        raise GradingError("none of its cells is one of the assignment: answer in the file that was handed out")
    known = [cell_id(cell) for cell in book.cells]
    place = 0
    for cell in release.cells:
        if (name := cell_id(cell)) is None:
            continue
        if name in known:
            place = known.index(name) + 1
        else:
            book.cells.insert(place, copy.deepcopy(cell))
            known.insert(place, name)
            place += 1
    return book


def cell_id(cell: NotebookNode) -> str | None:
    """Return the name that nbgrader knows a cell by."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def troubles(path: Path) -> str:
    """Say in one line what is missing in a notebook that was run, and what went wrong but for failed tests."""
    said, missing, number = [], [], 0
    for cell in nbformat.read(path, as_version=4).cells:
        number += cell.cell_type == "code"
        errors = [(o.ename, o.evalue) for o in cell.get("outputs", []) if o.output_type == "error"]
        if not errors:
            continue
        # What this script has put there explains the error that it caused.
        name, value = next((one for one in errors if one[0] in STOPPED), errors[0])
        if name == "NotImplementedError":
            missing += [re.sub(r"_\d+$", "", cell_id(cell).removeprefix("test_"))] if is_grade(cell) else []
        elif name not in ("AssertionError", "NotRun"):
            said.append(f"code cell {number}: {' '.join(f'{name}: {value}'.split())[:200]}")
    if missing:  # and with them the names that other cells look for
        said = [one for one in said if ": NameError: " not in one]
    more = [f"and {len(said) - 3} more"] if len(said) > 3 else []
    message = "; ".join([f"not attempted: {', '.join(dict.fromkeys(missing))}"] * bool(missing) + said[:3] + more)
    return "".join(filter(str.isprintable, message))


# --- A whole course --------------------------------------------------------------------------------------------------


def build_course(course: Path) -> dict[str, NotebookNode]:
    """Set up nbgrader's folder: sources, student copies, and an empty gradebook.

    A folder that was set up from other sources, or by another version of the package, is set up again.

    Returns:
        The student copy of each assignment.

    Raises:
        GradingError: If nbgrader cannot make them.
    """
    digest = hashlib.sha256()
    for path in [*sorted(SOURCES.glob("*/*.ipynb")), *sorted(HERE.glob("*.py")), *sorted(package().rglob("*.py"))]:
        digest.update(path.read_bytes())
    mark = course / "made-of.txt"
    if not mark.is_file() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(course, ignore_errors=True)
        with build_beside(course) as partial:
            shutil.copytree(SOURCES, partial / "source", ignore=shutil.ignore_patterns(".*"))
            for name in names():
                succeed(open_course(partial).generate_assignment(name), f"{name}: the student copy")
            (partial / mark.name).write_text(digest.hexdigest())
    return {name: nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4) for name in names()}


def package() -> Path:
    """Return the folder of `course_utils`."""
    return Path(datasets.__file__).parents[1]


def release(out: Path) -> None:
    """Write the student copies, one notebook each."""
    with tempfile.TemporaryDirectory() as folder:
        for name, book in build_course(Path(folder) / "course").items():
            with write_beside(out / f"{name}.ipynb") as partial:
                nbformat.write(book, partial)
            print(out / f"{name}.ipynb")


def grade(submitted: Path, out: Path, seconds: float) -> list[Grade]:
    """Grade a folder of submissions, one folder a student, and write points, written answers and feedback.

    What was graded before, and has not changed since, is not run again.

    Args:
        submitted: The folder.
        out: Where to write `grades.csv`, `written.csv` and `feedback`.
        seconds: What a cell may take; a notebook may take five times that.

    Returns:
        What was written to `grades.csv`.

    Raises:
        GradingError: If there is nothing to grade, or an assignment cannot be set up.
    """
    submitted, out = submitted.resolve(), out.resolve()
    students = sorted(path for path in submitted.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not students:
        raise GradingError(f"{submitted}: no folder in it; there should be one for each student, with the notebooks")
    given = read_written(out / "written.csv")
    datasets.ClipCache.open(datasets.load("mini"))  # what submissions may read, and not write
    course = out / "nbgrader"
    releases = build_course(course)
    messages = {}
    for student in students:
        for name, blank in releases.items():
            print(f"{student.name}, {name}: ", end="", flush=True)
            message = grade_one(student, name, blank, course, seconds)
            messages[student.name, name] = message
            print(message or "graded", flush=True)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        answers = written_answers(course, messages, gradebook)
        others = give_points(given, answers, gradebook)
        with write_beside(out / "written.csv") as partial:
            write_table(partial, WRITTEN, [row_of(one, gradebook) for one in answers] + others)
        grades = [points_of(gradebook, course, *key, message, releases[key[1]]) for key, message in messages.items()]
    if others:
        print(
            f"{out / 'written.csv'}: {len(others)} answers with points or a comment are in no submission; they are kept"
        )
    for one in grades:
        write_feedback(out / "feedback", course, one)
    with write_beside(out / "grades.csv") as partial:
        write_table(partial, GRADES, [vars(one) for one in grades])
    return grades


def grade_one(student: Path, name: str, blank: NotebookNode, course: Path, seconds: float) -> str:
    """Grade one submission, unless it was graded before as it is.

    What was stopped then is run again if it may take another time now.

    Returns:
        What went wrong; empty if nothing.
    """
    place = course / "submitted" / student.name / name / f"{name}.ipynb"
    graded = autograded(course, student.name, name)
    mark = course / "done" / student.name / f"{name}.txt"  # written last: a run that was cut off has none
    try:
        book = nbformat.writes(completed(found(student, name), blank))
    except GradingError as problem:
        forget(place, graded, mark)
        return str(problem)
    limited = f"{seconds:g} s\n{book}"
    if not mark.is_file() or mark.read_text(encoding="utf-8") not in (book, limited):
        forget(place, graded, mark)
        place.parent.mkdir(parents=True)
        place.write_text(book, encoding="utf-8")
        if problem := run_apart(course, student.name, name, seconds):
            forget(place, graded, mark)
            return problem
        with write_beside(mark) as partial:
            partial.write_text(limited if STOPPED[0] in troubles(graded) else book, encoding="utf-8")
    return troubles(graded)


def forget(place: Path, graded: Path, mark: Path) -> None:
    """Delete what an earlier run of a submission has left."""
    mark.unlink(missing_ok=True)
    for old in (place, graded):
        shutil.rmtree(old.parent, ignore_errors=True)


def autograded(course: Path, student: str, name: str) -> Path:
    """Return where a notebook lies after its run; it is there only if it could be graded."""
    return course / "autograded" / student / name / f"{name}.ipynb"


def points_of(gradebook: Gradebook, course: Path, student: str, name: str, message: str, blank: NotebookNode) -> Grade:
    """Look a student's points up."""
    parts = [cell for cell in blank.cells if is_grade(cell)]
    out_of = sum(cell.metadata.nbgrader.points for cell in parts if cell.cell_type == "code")
    written_out_of = sum(cell.metadata.nbgrader.points for cell in parts if cell.cell_type == "markdown")
    has_run = autograded(course, student, name).is_file()
    grades = gradebook.find_submission_notebook(name, name, student).grades if has_run else []
    points = sum(g.auto_score or 0 for g in grades if not is_written(g))
    scores = [g.manual_score if g.manual_score is not None else g.auto_score for g in grades if is_written(g)]
    written = None if None in scores else sum(scores)
    return Grade(student, name, points, out_of, written, written_out_of, message)


def is_written(grade: Any) -> bool:
    """Say whether a grade of the gradebook is for a written answer."""
    return grade.cell.cell_type == "markdown"


def write_feedback(folder: Path, course: Path, grade: Grade) -> None:
    """Write one student's page: the notebook with points and comments, or, where there is none, the message."""
    page = folder / grade.student / f"{grade.assignment}.html"
    text = (
        f'<!doctype html><meta charset="utf-8"><title>{escape(grade.assignment)}</title>'
        f"<h1>{escape(grade.assignment)}</h1><p>{grade.points:g} of {grade.out_of:g} points: {escape(grade.message)}</p>\n"
    )
    if autograded(course, grade.student, grade.assignment).is_file():
        try:
            succeed(open_course(course).generate_feedback(grade.assignment, grade.student), "no page")
            text = locked(
                (course / "feedback" / grade.student / grade.assignment / page.name).read_text(encoding="utf-8")
            )
        except GradingError as problem:
            grade.message = "; ".join(filter(None, (grade.message, str(problem))))
    with write_beside(page) as partial:
        partial.write_text(text, encoding="utf-8")


# --- Written answers -------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """A written answer that waits for, or has, the points of a person."""

    student: str
    assignment: str
    question: str
    answer: str
    out_of: float

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it this answer: also its words, but for spaces and line ends, which spreadsheets change."""
        return self.student, self.assignment, self.question, " ".join(self.answer.split())


def written_answers(course: Path, keys: Iterable[tuple[str, str]], gradebook: Gradebook) -> list[Answer]:
    """Collect the written answers of all submissions; what was left blank has 0 points already, and keeps no others."""
    found = []
    for student, name in keys:
        path = autograded(course, student, name)
        if not path.is_file():
            continue
        words = {cell_id(cell): cell.source for cell in nbformat.read(path, as_version=4).cells}
        for one in filter(is_written, gradebook.find_submission_notebook(name, name, student).grades):
            if one.auto_score is None:
                found.append(Answer(student, name, one.name, harmless(words[one.name]), one.max_score))
            else:
                one.manual_score = None
    return found


def read_written(table: Path) -> list[dict[str, str]]:
    """Read the table of written answers, if there is one, with the points and comments that a person has put in.

    Returns:
        Its rows; `points` is empty or a number.

    Raises:
        GradingError: If the file cannot be read, a column is missing, or points are no number from 0 to the most.
    """
    if not table.is_file():
        return []
    csv.field_size_limit(LARGEST)
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GradingError(f"{table}: is not in UTF-8; save it as CSV UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","  # where the comma is in decimals
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval=""))
    for number, row in enumerate(rows, start=1):
        if missing := set(WRITTEN) - set(row):
            raise GradingError(f"{table}: no column {', '.join(sorted(missing))}; put it back")
        row["points"] = row["points"].strip().replace(",", ".")
        most = float(row["out_of"].replace(",", "."))
        try:
            fits = not row["points"] or 0 <= float(row["points"]) <= most
        except ValueError:
            fits = False
        if not fits:
            raise GradingError(
                f"{table}, answer {number}: points is {row['points']!r}; write a number from 0 to {most:g}"
            )
    return rows


def give_points(given: list[dict[str, str]], answers: list[Answer], gradebook: Gradebook) -> list[dict[str, str]]:
    """Put points and comments of a person into the gradebook, for answers that are still the same.

    Returns:
        The rows with points or a comment that belong to no answer: of other submissions, or of other words.
    """
    by_key = {Answer(r["student"], r["assignment"], r["question"], r["answer"], 0).key: r for r in given}
    for one in answers:
        row = by_key.pop(one.key, {"points": "", "comment": ""})
        grade, remark = stored(one, gradebook)
        grade.manual_score = float(row["points"]) if row["points"] else None
        grade.needs_manual_grade = not row["points"]
        remark.manual_comment = row["comment"].strip() or None
    gradebook.db.commit()
    return [{name: row[name] for name in WRITTEN} for row in by_key.values() if row["points"] or row["comment"].strip()]


def stored(answer: Answer, gradebook: Gradebook) -> tuple[Any, Any]:
    """Return the grade and the comment that nbgrader's gradebook has of an answer."""
    place = (answer.question, answer.assignment, answer.assignment, answer.student)
    return gradebook.find_grade(*place), gradebook.find_comment(*place)


def row_of(answer: Answer, gradebook: Gradebook) -> dict[str, Any]:
    """Return a row of the table of written answers."""
    grade, comment = stored(answer, gradebook)
    return {**vars(answer), "points": grade.manual_score, "comment": comment.manual_comment}


def harmless(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula."""
    return " " + text if text.startswith(("=", "+", "-", "@")) else text


def write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write a table as CSV that spreadsheets open."""
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("release", help="write the student copies")
    one.add_argument("--out", type=Path, default=HERE / "release")
    one = commands.add_parser("grade", help="grade a folder of submissions, one folder in it a student")
    one.add_argument("submitted", type=Path)
    one.add_argument("--out", type=Path, default=Path("grades"))
    one.add_argument(
        "--seconds", type=float, default=120, help="what a cell may take; a notebook may take five times that"
    )
    given = parser.parse_args()
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))  # for alembic
    try:
        if given.command == "release":
            release(given.out)
        else:
            grade(given.submitted, given.out, given.seconds)
            print(
                f"{given.out / 'grades.csv'}; written answers: {given.out / 'written.csv'}; pages: {given.out / 'feedback'}"
            )
    except GradingError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
