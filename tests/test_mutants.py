"""What `make mutants` prints, tried on one function."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "mutants"
FUNCTION = '''
def grade(points):
    """Return whether somebody passes."""
    return points >= 5


def share(points):
    """Return the share of ten points."""
    return points / 10
'''
TEST = """
from course_utils import small

def test_grade():
    assert small.grade(7) and not small.grade(3)

def test_share():
    assert small.share(5) == 0.5
"""


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("mutants_run", HERE / "run.py")
    module = sys.modules["mutants_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_is_the_same_every_time_and_hardly_changes_with_the_code(run):
    names = [f"course_utils.splits.x_random__mutmut_{i}" for i in range(100)]
    chosen = run.sample(names, 10)
    assert chosen == run.sample(names[::-1], 10) and len(set(chosen)) == 10
    assert len(set(chosen) & set(run.sample([*names, "course_utils.splits.x_new__mutmut_1"], 10))) >= 9


def test_a_line_of_equivalents_is_a_module_its_changed_code_and_a_reason(run, tmp_path):
    (tmp_path / "equivalent.txt").write_text(
        "# a comment\n\nsplits: a = {1: 2}  # see b  # as good\n", encoding="utf-8"
    )
    assert run.equivalents(tmp_path / "equivalent.txt") == {("splits", "a = {1: 2}  # see b")}
    assert {module for module, _ in run.equivalents()} <= set(run.MODULES)


@pytest.mark.slow
def test_mutants_are_killed_survive_or_are_known_to_be_equivalent(run, tmp_path):
    pytest.importorskip("mutmut", reason="mutmut is not installed: `make mutants` installs it")
    if sys.platform == "win32":
        pytest.skip("mutmut forks processes, which Windows cannot")
    root = tmp_path / "root"
    (root / "course_utils").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "course_utils" / "__init__.py").touch()
    (root / "course_utils" / "small.py").write_text(FUNCTION, encoding="utf-8")
    (root / "tests" / "test_small.py").write_text(TEST, encoding="utf-8")
    (root / "pyproject.toml").touch()
    (tmp_path / "copy").mkdir()
    judged = run.judge("small", None, ("small",), {("small", "return points > 5")}, root, tmp_path / "copy")
    assert (judged.total, judged.killed, judged.equivalent) == (4, 2, 1)
    assert list(judged.survivors.values()) == ["-    return points >= 5\n+    return points >= 6"]
