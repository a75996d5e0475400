"""Watch every comparison and every rounded number of the lessons and tests, so that machines can be set side by side.

Cells and test modules are changed as they are compiled: `a < b` becomes a call that notes `a` and `b` and gives the same
answer; the numbers in f-strings and in `.round(n)` are noted with all their digits. Notes go to the file that the
environment variable COURSE_MARGINS names, a JSON object each line; nothing that is printed changes.

In a notebook's kernel `watch_notebook()` is called by IPython's startup; in pytest this is a plugin: `-p margins`, with
`--assert=plain`, for both would rewrite the same modules.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import json
import numbers
import operator
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
_OPERATORS = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
}
_BY_SIGN = dict(_OPERATORS.values())
_SMALL = 0.011  # what is below a bound of this size, or of `1e-5 * peak`, is an error below its tolerance
_MOST_VALUES = 300  # of one rounded table that are noted


class Watch(ast.NodeTransformer):
    """Put calls of `note_…` around what is watched.

    Args:
        place: Where the code is, for the notes: a file; in a notebook a function that gives the cell.
    """

    def __init__(self, place: Any) -> None:
        self.place = place

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        if any(type(op) not in _OPERATORS for op in node.ops):
            return node
        signs = [_OPERATORS[type(op)][0] for op in node.ops]
        return self._call("note_comparison", node, text, [_constant(signs), _list([node.left, *node.comparators])])

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                text, spec = ast.unparse(value), value.format_spec
                value.value = self.visit(value.value)
                if isinstance(spec, ast.JoinedStr) and all(isinstance(part, ast.Constant) for part in spec.values):
                    digits = re.search(r"\.(\d+)([f%])$", "".join(part.value for part in spec.values))
                    if digits:
                        places = int(digits[1]) + (2 if digits[2] == "%" else 0)
                        value.value = self._call("note_rounded", value, text, [_constant(places), value.value])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        is_round = isinstance(node.func, ast.Attribute) and node.func.attr == "round"
        places = node.args[0] if len(node.args) == 1 else None
        if is_round and isinstance(places, ast.Constant) and isinstance(places.value, int):
            node.func.value = self._call("note_rounded", node, text, [_constant(places.value), node.func.value])
        return node

    def _call(self, name: str, node: ast.AST, text: str, arguments: list[ast.expr]) -> ast.Call:
        place = self.place() if callable(self.place) else self.place
        where = [_constant(place), _constant(node.lineno), _constant(text[:160])]
        function = ast.Attribute(
            ast.Call(ast.Name("__import__", ast.Load()), [_constant("margins")], []), name, ast.Load()
        )
        return ast.copy_location(ast.Call(function, where + arguments, []), node)


def _constant(value: Any) -> ast.expr:
    return _list([_constant(item) for item in value]) if isinstance(value, list) else ast.Constant(value)


def _list(items: list[ast.expr]) -> ast.expr:
    return ast.List(items, ast.Load())


def note_comparison(place: str, line: int, text: str, signs: Sequence[str], values: Sequence[Any]) -> Any:
    """Compare as Python would, and note both sides of each comparison of two numbers of which one is no integer."""
    answer: Any = True
    for sign, left, right in zip(signs, values, values[1:], strict=False):
        _note_pair(place, line, text, sign, left, right)
        answer = _BY_SIGN[sign](left, right)
        if len(signs) > 1 and not answer:
            break
    return answer


def note_rounded(place: str, line: int, text: str, places: int, value: Any) -> Any:
    """Note the numbers of a value that is about to be rounded to so many places, and give it back."""
    numbers_in_it = _numbers(value)
    if numbers_in_it:
        _write({"place": place, "line": line, "text": text, "places": places, "values": numbers_in_it[:_MOST_VALUES]})
    return value


def watch_notebook() -> None:
    """Watch the cells of the notebook whose kernel this is."""
    from IPython import get_ipython

    shell, count = get_ipython(), [0]
    shell.events.register("pre_run_cell", lambda info: count.__setitem__(0, count[0] + 1))
    book = os.environ.get("COURSE_NOTEBOOK", "")
    shell.ast_transformers.append(Watch(lambda: f"{book}cell {count[0]}"))
    _watch_allclose(lambda: f"{book}cell {count[0]}")


def pytest_configure() -> None:
    """Watch the test modules, and what they call to compare arrays."""
    sys.meta_path.insert(0, _TestModules())
    _watch_allclose(lambda: os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0])


class _TestModules(importlib.abc.MetaPathFinder):
    """Load the modules in the folder of tests with everything watched."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        file = TESTS / f"{name}.py"
        if "." in name or not name.startswith("test_") or not file.is_file():
            return None
        return importlib.util.spec_from_file_location(name, file, loader=_Watched(name, str(file)))


class _Watched(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        tree = ast.fix_missing_locations(Watch(Path(path).name).visit(ast.parse(data)))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)  # never from a cache: what is there is not watched
        return self.source_to_code(self.get_data(path), path)


def _watch_allclose(place: Any) -> None:
    """Note how much of its tolerance each `allclose` of numpy and torch needs."""
    import numpy as np
    import torch

    for module, default in ((np, (1e-5, 1e-8)), (torch, (1e-5, 1e-8))):
        compare = module.allclose

        def watched(a, b, rtol=default[0], atol=default[1], *more, compare=compare, **options):
            first, second = (np.asarray(x.detach().cpu() if hasattr(x, "detach") else x) for x in (a, b))
            if first.dtype.kind in "fc" or second.dtype.kind in "fc":
                allowed = atol + rtol * np.abs(second.astype(np.complex128))
                with np.errstate(all="ignore"):
                    share = np.abs(first.astype(np.complex128) - second) / allowed
                share = share[np.isfinite(share)]
                frame = sys._getframe(1)
                note = {"place": place(), "line": frame.f_lineno, "text": f"allclose, rtol {rtol}, atol {atol}"}
                _write({**note, "sign": "<=", "left": float(share.max(initial=0.0)), "right": 1.0, "tolerance": True})
            return compare(a, b, rtol, atol, *more, **options)

        module.allclose = watched


def _note_pair(place: str, line: int, text: str, sign: str, left: Any, right: Any) -> None:
    note = {"place": place, "line": line, "text": text, "sign": sign}
    if sign == "==":
        if type(right).__name__ != "ApproxScalar":
            return
        left, right, allowed = _number(left), _number(right.expected), _number(right.tolerance)
        if None not in (left, right, allowed) and allowed:
            share = abs(left - right) / allowed
            _write({**note, "sign": "<=", "left": share, "right": 1.0, "tolerance": True})
        return
    left_number, right_number = _number(left), _number(right)
    if left_number is None or right_number is None or (_is_integer(left) and _is_integer(right)):
        return
    small = 0 < right_number <= _SMALL or (right_number and "1e-" in text)
    tolerance = bool(sign in ("<", "<=") and small)
    _write({**note, "left": left_number, "right": right_number, "tolerance": tolerance})


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) or str(getattr(value, "dtype", "")).startswith(
        ("int", "torch.int", "bool")
    )


def _number(value: Any) -> float | None:
    """Return a real number, or an array of one, as a float; None for anything else."""
    if isinstance(value, bool) or (hasattr(value, "size") and not callable(value.size) and value.size != 1):
        return None
    if hasattr(value, "numel") and value.numel() != 1:
        return None
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # torch warns of a gradient that is lost
    except (TypeError, ValueError):
        return None


def _numbers(value: Any) -> list[float]:
    """Return the numbers with a fraction in a number, an array, a tensor, a Series or a table."""
    single = _number(value)
    if single is not None:
        return [] if _is_integer(value) else [single]
    if hasattr(value, "select_dtypes"):
        value = value.select_dtypes("float")
    elif hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        import numpy as np

        array = np.asarray(value)
        return array.ravel().tolist() if array.dtype.kind == "f" else []
    except (TypeError, ValueError):
        return []


def _write(note: dict[str, Any]) -> None:
    path = os.environ.get("COURSE_MARGINS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
