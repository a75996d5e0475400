"""The set-up: one list of dependencies, light imports, modules that import only modules below them, Colab left as it is."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import REAL

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# From below to the top: a module imports only modules before it. What only the lessons need comes last.
MODULES = (
    *("files", "progress", "environment", "taxonomy", "configuration", "containers", "audio", "features", "datasets"),
    *("splits", "mixing", "storage", "evaluation", "models", "data", "training", "inference", "sweep", "plots", "page"),
    *("cli", "lessons", "__main__"),
)
HEAVY = ("torch", "librosa", "matplotlib", "sklearn")


def imports_of(path: Path, top_level_only: bool) -> set[str]:
    """The modules that a file imports, as dotted names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(module: str) -> list[Path]:
    folder = ROOT / "course_utils" / module
    return sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def test_every_file_is_in_a_module_that_is_known():
    found = {path.stem if path.is_file() else path.name for path in (ROOT / "course_utils").iterdir()}
    assert found - {"__init__", "__pycache__"} == set(MODULES)


def test_all_of_the_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "course_utils").rglob("__init__.py")}
    assert set(settings["packages"]) == found | {"course_utils.results"}
    place = settings["package-dir"]["course_utils.results"]
    for pattern in settings["package-data"]["course_utils.results"]:
        assert list((ROOT / place).glob(pattern))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_below_it(module):
    below = set(MODULES[: MODULES.index(module) + 1])
    for path in files_of(module):
        for name in imports_of(path, top_level_only=False):
            parts = name.split(".")
            if parts[0] == "course_utils" and len(parts) > 1 and parts[1] in MODULES:
                assert parts[1] in below, f"{path.name} imports {name}"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, course_utils; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not set(loaded) & set(HEAVY)


def test_training_needs_no_plotting_or_reference_library():
    """A machine that has torch, numpy, pandas, soundfile, soxr, tqdm and Fabric can train."""
    code = """
import sys
optional = ("librosa", "matplotlib", "sklearn", "seaborn", "IPython", "scipy", "tensorboard", "typer", "optuna", "torchaudio")
for name in optional:
    sys.modules[name] = None
import course_utils.training, course_utils.inference
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_who_evaluates_or_predicts_does_not_wait_for_what_trains():
    code = "import sys; from course_utils import inference; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "torch" in loaded and "lightning_fabric" not in loaded


@pytest.mark.parametrize("module", [r for r in MODULES if r != "__main__"])
def test_librosa_matplotlib_and_sklearn_are_imported_where_they_are_used(module):
    for path in files_of(module):
        roots = {name.split(".")[0] for name in imports_of(path, top_level_only=True)}
        assert not roots & {"librosa", "matplotlib", "sklearn", "seaborn"}, path


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[ ;]", requirement)[0].lower().replace("_", "-")


def test_only_the_extra_for_the_lab_has_upper_bounds_and_torchaudio():
    bounds = {name_of(r): r.removeprefix(name_of(r)) for r in PROJECT["dependencies"]}
    assert "torchaudio" not in bounds and all("<" not in bound and "==" not in bound for bound in bounds.values())
    lab = {name_of(r): r.removeprefix(name_of(r)) for r in PROJECT["optional-dependencies"]["lab"]}
    assert (lab["torch"], lab["torchaudio"]) == ("<2.12", ">=2.8,<2.12")


def test_the_library_does_without_the_lessons():
    code = """
import importlib, pathlib, pkgutil, sys
sys.modules["course_utils.lessons"] = None
import course_utils
for module in pkgutil.walk_packages(course_utils.__path__, "course_utils."):
    if not module.name.startswith(("course_utils.lessons", "course_utils.__main__")):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_jupyterlab_and_nbval_are_extras():
    assert not {"jupyterlab", "nbval"} & {name_of(r) for r in PROJECT["dependencies"]}
    extras = PROJECT["optional-dependencies"]
    assert "jupyterlab" in map(name_of, extras["lab"]) and {"nbval", "uv"} <= set(map(name_of, extras["test"]))


def test_constraints_cover_every_dependency_and_name_no_address():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[\w.\-]+==[\w.+!\-]+( ; .+)?", line) for line in lines if line), "name==version ; marker"
    pinned = {name_of(line) for line in lines}
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert {name_of(r) for r in wanted} <= pinned


def test_environment_yml_installs_what_pyproject_names():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()]
    low = PROJECT["requires-python"].removeprefix(">=")
    assert f"- python>={low},<3.14" in lines
    assert lines[lines.index("- pip:") + 1 :] == ["- -c constraints.txt", "- -e .[lab,test]"]
    assert set(lines[lines.index("dependencies:") + 1 : lines.index("- pip:")]) == {f"- python>={low},<3.14", "- pip"}


def test_nothing_that_colab_brings_would_change(tmp_path):
    """Resolve for Python 3.13 with Colab's packages as they are; every version it has must be the one chosen."""
    freeze = REAL / "colab-freeze.txt"
    if not freeze.is_file():
        pytest.skip(f"no {freeze}; set COURSE_REAL_DATA to the folder that holds colab-freeze.txt")
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        pytest.skip("uv is not installed")
    colab = dict(
        line.split("==") for line in freeze.read_text(encoding="utf-8").splitlines() if "==" in line and line[0] != "#"
    )
    colab = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in colab.items()}
    preferred = tmp_path / "colab.txt"
    preferred.write_text("\n".join(f"{name}=={version}" for name, version in colab.items()))
    command = [uv, "pip", "compile", "-q", ROOT / "pyproject.toml", "--python-version", "3.13"]
    command += ["--python-platform", "x86_64-manylinux_2_28", "--no-header", "--no-annotate", "-c", preferred]
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=tmp_path)
    if "error sending request" in result.stderr or "dns error" in result.stderr:
        pytest.skip("no network")
    assert result.returncode == 0, result.stderr
    chosen = dict(line.split("==") for line in result.stdout.split() if "==" in line)
    changed = {n: (colab[n], v) for n, v in chosen.items() if n in colab and colab[n] != v}
    assert not changed
    assert {"torch", "librosa", "ipywidgets"} <= set(chosen) and "jupyterlab" not in chosen and "nbval" not in chosen


def test_no_file_is_too_large_and_no_path_of_a_machine_is_written_down():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if name and path.is_file():
            assert path.stat().st_size < 2_000_000, name
            if path.suffix in (".py", ".md", ".toml", ".ipynb", ".yml", ".txt"):
                assert not re.search(r"/(?:root|home)/\w+", path.read_text(encoding="utf-8")), name
