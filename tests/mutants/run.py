"""Change the package in one small place at a time, and say which changes no test notices.

    python tests/mutants/run.py                 a sample of every module below: make mutants
    python tests/mutants/run.py splits --all    every change in one module

mutmut makes the changes, called mutants: another operator, a number greater by one, an argument left out. A mutant is killed
when a test fails, or does not end. Of the tests of its module, those run that reach the changed function. mutmut leaves
decorated functions and constants of a module alone.

Some mutants behave as the original does. `equivalent.txt` lists those, a line each: module, changed code, reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
NEEDED = ("course_utils", "tests", "figures", "conftest.py", "pyproject.toml")  # what the tests need of the repository
# Module → how many mutants, and the files of its tests. The slowest tests begin.
MODULES: dict[str, tuple[int, tuple[str, ...]]] = {
    "training.run": (14, ("training", "precision")),
    "training.loop": (10, ("training", "precision")),
    "storage": (30, ("storage",)),
    "evaluation": (80, ("evaluation",)),
    "mixing": (80, ("mixing",)),
    "features": (80, ("features",)),
    "splits": (80, ("splits",)),
}
SEED = 0
ENOUGH = 0.85  # the share of mutants, without the equivalent ones, that must be killed
_SURVIVED = (0, 5, 33)  # exit codes that mutmut notes: all tests passed, or none reaches the function
_SETTINGS = """
[tool.mutmut]
source_paths = ["course_utils"]
only_mutate = ["course_utils/{path}.py"]
also_copy = ["figures", "conftest.py"]
pytest_add_cli_args_test_selection = [{tests}]
# Plugins are imported once. Tests with several processes take long, and say little about a single line.
pytest_add_cli_args = [
    "-p", "no:cacheprovider", "-p", "no:nbval", "-p", "hypothesis", "--hypothesis-seed=0", "-k", "not killed and not two_processes and not two_machines",
]
process_isolation = "forkserver"
use_git_change_detection = false
debug = true
timeout_multiplier = 3.0
timeout_constant = 10.0
"""
_NAMES = """
import json, pathlib, sys
from mutmut.mutation.file_mutation import mutate_file_contents
path = pathlib.Path("course_utils", *sys.argv[1].split(".")).with_suffix(".py")
print(json.dumps(list(mutate_file_contents(str(path), path.read_text(encoding="utf-8")).mutant_names)))
"""


@dataclass(frozen=True)
class Judged:
    """What came of the mutants of one module.

    Attributes:
        module: Its name.
        total: How many mutants it has.
        killed: How many mutants a test noticed.
        survivors: The others: name → the lines that change, as a diff.
        equivalent: How many of the survivors are listed as equivalent; they are not among `survivors`.
    """

    module: str
    total: int
    killed: int
    survivors: dict[str, str]
    equivalent: int


def sample(names: list[str], count: int) -> list[str]:
    """Choose so many names at random; a name that comes or goes elsewhere changes the choice by one at most."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode()).digest())[:count]


def equivalents(path: Path = EQUIVALENT) -> set[tuple[str, str]]:
    """Read which changes make no difference: pairs of a module and the changed code."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    parts = [line.rpartition("  # ")[0].partition(": ") for line in lines]
    return {(module, code) for module, _, code in parts}


def judge(
    module: str, count: int | None, tests: tuple[str, ...], known: set[tuple[str, str]], root: Path, folder: Path
) -> Judged:
    """Run the tests of a module against some of its mutants, in a copy of the repository.

    Args:
        module: The module.
        count: How many mutants; None means all.
        tests: Its test files, without `test_` and `.py`.
        known: What `equivalents` gives.
        root: The repository.
        folder: An empty folder for the copy.

    Raises:
        RuntimeError: If mutmut ended before it had tried them all; the message is what it said.
    """
    for name in NEEDED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).is_file():
            shutil.copy(root / name, folder / name)
    (folder / "mutants").mkdir()  # Python forgets a place on its path that is not there when it starts
    files = ", ".join(f'"tests/test_{name}.py"' for name in tests)
    with open(folder / "pyproject.toml", "a", encoding="utf-8") as settings:
        settings.write(_SETTINGS.format(path=module.replace(".", "/"), tests=files))
    names = [f"course_utils.{module}.{name}" for name in json.loads(_python(folder, "-c", _NAMES, module).stdout)]
    chosen = names if count is None else sample(names, count)
    ended = _python(folder, "-m", "mutmut", "run", "--max-children", "1", *chosen)
    meta = folder / "mutants" / "course_utils" / f"{module.replace('.', '/')}.py.meta"
    codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"] if meta.is_file() else {}
    if any(codes.get(name) is None for name in chosen):
        raise RuntimeError(f"{module}: {(ended.stdout + ended.stderr)[-3000:]}")
    survivors = {}
    for name in chosen:
        if codes[name] in _SURVIVED:
            diff = _python(folder, "-m", "mutmut", "show", name).stdout.splitlines()
            survivors[name] = "\n".join(
                line for line in diff if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")
            )
    missed = {name: diff for name, diff in survivors.items() if (module, changed_code(diff)) not in known}
    return Judged(module, len(names), len(chosen) - len(survivors), missed, len(survivors) - len(missed))


def changed_code(diff: str) -> str:
    """Return the changed code of a diff in one line, as `equivalent.txt` has it."""
    return " ".join(line[1:].strip() for line in diff.splitlines() if line.startswith("+"))


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in the copy, so that processes which tests start import the copy as well."""
    environment = {"COURSE_REAL_DATA": str(ROOT.parent / "shared" / "data")} | os.environ | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "mutants"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def main() -> int:
    """Judge the mutants, and print what survived; return 1 if too many did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"only these of: {', '.join(MODULES)}")
    parser.add_argument("--all", action="store_true", help="all mutants instead of a sample")
    options = parser.parse_args()
    unknown = set(options.modules) - set(MODULES)
    if unknown:
        parser.error(f"no tests are known for {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    wanted = [module for module in MODULES if module in options.modules or not options.modules]
    begun = time.monotonic()

    known = equivalents()

    def judged(module: str) -> Judged:
        count, tests = MODULES[module]
        with tempfile.TemporaryDirectory() as place:
            result = judge(module, None if options.all else count, tests, known, ROOT, Path(place))
        lines = [f"\nSURVIVED {name}\n{diff}" for name, diff in result.survivors.items()]
        lines += [f"\n{module}: {result.killed} killed after {time.monotonic() - begun:.0f} s"]
        print("\n".join(lines), flush=True)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(judged, wanted))
    print("\nmodule       mutants  killed  survived  equivalent")
    for r in results:
        print(f"{r.module:12} {r.total:7} {r.killed:7} {len(r.survivors):9} {r.equivalent:11}")
    killed, survived = sum(r.killed for r in results), sum(len(r.survivors) for r in results)
    print(f"\n{killed} of {killed + survived} killed: {killed / (killed + survived):.1%}, at least {ENOUGH:.0%} wanted")
    return 0 if killed >= ENOUGH * (killed + survived) else 1


if __name__ == "__main__":
    sys.exit(main())
