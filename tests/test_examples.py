"""The examples in docstrings: every public function of most parts of the package has one, and they run."""

import ast
import doctest
import importlib
from pathlib import Path
from unittest.mock import create_autospec

import pytest

import course_utils
from course_utils import inference, models, training

PACKAGE = Path(__file__).resolve().parents[1] / "course_utils"
FILES = [PACKAGE / f"{name}.py" for name in ("audio", "evaluation", "features", "mixing", "splits", "training/loop")]
FILES += sorted([*PACKAGE.glob("datasets/*.py"), *PACKAGE.glob("models/*.py")])
OTHERS = [PACKAGE / f"training/{name}.py" for name in ("devices", "run")]  # some of their functions have one
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", [*FILES, *OTHERS], ids=module_of)
def test_examples_run(path, monkeypatch):
    monkeypatch.setattr(models, "_builders", dict(models._builders))  # one example registers a network
    module = importlib.import_module(module_of(path))
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert not failed


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_public_function_has_an_example(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert ">>> " in ast.get_docstring(node), node.name


def test_an_example_that_is_wrong_is_found():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(wrong, out=lambda text: None).failed == 1


def test_the_first_example_of_the_reference_calls_what_there_is(monkeypatch, capsys):
    train, evaluate = create_autospec(training.train), create_autospec(inference.evaluate)
    evaluate.return_value.report = {"mAP": 0.5}
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(inference, "evaluate", evaluate)
    exec(course_utils.__doc__.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "0.5\n"
    train.assert_called_once()
