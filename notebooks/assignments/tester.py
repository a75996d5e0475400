"""Run the tests of an assignment in a process that no student's code gets into.

Here, the cells that the notebook brings itself are run from the instructor's source, and the functions that a student was
to write are those of the student's kernel, behind a `Remote`: nothing that happens in that kernel changes a test.
"""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Callable
from typing import Any

import exchange
import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode


class Stopped(Exception):
    """The student's kernel gave no answer; `name` says why, in one word."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Tests:
    """The tests of one submission.

    Args:
        source: The instructor's notebook.
        ask: Hands a question to the student's kernel, and returns its answer.
        processor_time: Says how long the student's kernel has computed; tests see it as a function of that name.
    """

    def __init__(self, source: NotebookNode, ask: Callable[[bytes], str], processor_time: Callable[[], float]) -> None:
        self.ask = ask
        self.names: dict[str, Any] = {"__name__": exchange.GIVEN, "processor_time": processor_time}
        self.cells = [cell for cell in source.cells if cell.cell_type == "code"]
        self.trees = [ast.parse(TransformerManager().transform_cell(cell.source)) for cell in self.cells]
        self.waiting = needed(self.cells, self.trees)

    def run(self, name: str) -> list[NotebookNode]:
        """Run a test, and the cells before it that it needs.

        Returns:
            What it puts out: an error if it has failed; else what it says, and the value of its last line.
        """
        place = next(i for i, cell in enumerate(self.cells) if mark(cell, "grade_id") == name)
        for number in [number for number in self.waiting if number < place]:
            self.waiting.remove(number)
            if mark(self.cells[number], "solution"):
                names = [node.name for node in self.trees[number].body if isinstance(node, ast.FunctionDef)]
                self.names |= {name: exchange.Remote(name, self.ask) for name in names}
            else:
                self.execute(self.trees[number])
        return self.execute(self.trees[place])

    def execute(self, tree: ast.Module) -> list[NotebookNode]:
        """Run a cell as Jupyter does."""
        lines, said, value = list(tree.body), io.StringIO(), None
        last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
        outputs = []
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(ast.Module(lines, []), "test", "exec"), self.names)
                if last:
                    value = eval(compile(ast.Expression(last.value), "test", "eval"), self.names)
        except Exception as error:
            name = error.name if isinstance(error, Stopped) else type(error).__name__
            outputs.append(failure(name, str(error)))
        else:
            if value is not None:
                outputs.append(nbformat.v4.new_output("execute_result", {"text/plain": repr(value)}))
        if said.getvalue():
            outputs.append(nbformat.v4.new_output("stream", text=said.getvalue()))
        return outputs


def failure(name: str, message: str) -> NotebookNode:
    """Return what a cell puts out when it fails: of a test only the message, as the lines around it are hidden tests."""
    message = message[:2000]
    return nbformat.v4.new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])


def mark(cell: NotebookNode, name: str) -> Any:
    """Return what nbgrader has noted about a cell."""
    return cell.metadata.get("nbgrader", {}).get(name)


def needed(cells: list[NotebookNode], trees: list[ast.Module]) -> list[int]:
    """Return which cells have to be run for the tests: those of the answers, and those that bind a name that is used later."""
    found, wanted = [], set()
    for number in reversed(range(len(cells))):
        nodes = list(ast.walk(trees[number]))
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        if mark(cells[number], "grade"):
            wanted |= used
        elif mark(cells[number], "solution"):
            found.append(number)
        elif bound(nodes) & wanted:
            found.append(number)
            wanted |= used
    return found[::-1]


def bound(nodes: list[ast.AST]) -> set[str]:
    """Return the names that a cell binds."""
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    aliases = [alias for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names]
    return names | {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
