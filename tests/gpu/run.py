"""Test the course on a machine that has an NVIDIA GPU and PyTorch, and perhaps no network.

    python tests/gpu/run.py wheels FOLDER       where there is a network: fill a folder with what that machine lacks
    python tests/gpu/run.py --wheels FOLDER     on that machine: install it for these tests alone, and run them
    python tests/gpu/run.py --device cpu        without a GPU: the same tests, but for those that need one

The tests of the GPU run first, then every lesson against its stored outputs. At the end there is a table of what passed,
and of what was measured. The script needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDE_TORCH = (
    *("torch", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "filelock"),
    *("pytest", "typer"),
)
TEST_TOOLS = ("ipykernel", "nbval", "nbformat", "nbclient", "pytest-xdist")
# Training works without the first; a kernel runs without the second, and Fabric without the third, which is only for
# files on the web.
NOT_NEEDED = ("tensorboard", "debugpy", "aiohttp")
LIMITS = {"GPU tests": 90, "lessons": 240}  # seconds on a GPU
SLOWER = 10  # so many times may a CPU take
ABOUT = """
import importlib.metadata, os, platform, torch
names = ("torchaudio", "lightning-fabric", "numpy", "pandas", "librosa", "numba", "pytest", "nbval")
have = {d.metadata["Name"].lower(): d.version for d in reversed(list(importlib.metadata.distributions()))}
print("Python", platform.python_version() + ", torch", torch.__version__, end="")
print("".join(f", {name} {have.get(name, 'absent')}" for name in names))
if torch.cuda.is_available():
    print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
else:
    print("no GPU")
"""


class RunError(Exception):
    """Why nothing can be run; the message says what to do."""


@dataclass
class Part:
    """What came of one part.

    Attributes:
        name: Of the part.
        passed: How many tests, or cells.
        failed: Likewise.
        skipped: Likewise.
        seconds: How long it took.
        failures: What failed, and the first line of its message.
        facts: What the tests recorded: name and value.
        notes: What should be said about the part, a line each.
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_results(path: Path, name: str) -> Part:
    """Read what pytest wrote as JUnit XML.

    Args:
        path: The file.
        name: Of the part.

    Returns:
        The part, without its seconds.
    """
    part = Part(name)
    for case in ElementTree.parse(path).iter("testcase"):
        if not case.get("name"):
            continue  # the test that was interrupted
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        if problem is not None:
            part.failed += 1
            where = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            part.failures.append((where, _first_line(problem.get("message") or problem.text or "")))
        elif case.find("skipped") is not None:
            part.skipped += 1
        else:
            part.passed += 1
        part.facts += [(fact.get("name", ""), fact.get("value", "")) for fact in case.iter("property")]
    part.facts = list(dict.fromkeys(part.facts))
    return part


def table(parts: Sequence[Part]) -> str:
    """Write the results down: a line per part, then what failed, what there is to say, and what was measured.

    Args:
        parts: In the order of the lines.

    Returns:
        The text.
    """
    lines = [f"{'part':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for part in parts:
        lines.append(f"{part.name:<12}{part.passed:>8}{part.failed:>8}{part.skipped:>9}{part.seconds:>9.0f}")
    for part in parts:
        lines += [f"{part.name}: {note}" for note in part.notes]
        lines += [f"FAILED {where}: {message}" for where, message in part.failures]
    lines += [f"{name}: {value}" for part in parts for name, value in part.facts]
    return "\n".join(lines)


def needed(python_version: str | None = None, leave_out: Iterable[str] = ()) -> list[str]:
    """Name what the course and these tests need beyond `BESIDE_TORCH`, from the metadata of what is installed here.

    Args:
        python_version: Of the machine with the GPU, such as `3.12`; None means that of this Python.
        leave_out: Packages to do without, with all that only they need.

    Returns:
        Names of packages, in order.

    Raises:
        RunError: If one of them is not installed here.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    without = {*NOT_NEEDED, *leave_out}
    there = _closure(BESIDE_TORCH, python_version, without)
    return sorted(_closure((*project["dependencies"], *TEST_TOOLS), python_version, without) - there)


def _closure(roots: Iterable[str], python_version: str | None, without: set[str]) -> set[str]:
    """Return the packages that some need, with these themselves, and with what those need."""
    import importlib.metadata

    # Only where the folder is filled, by a Python that has pytest: it brings `packaging` along.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    version = {"python_version": python_version, "python_full_version": f"{python_version}.0"} if python_version else {}
    found: dict[str, set[str]] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), {"", *requirement.extras}
        if name in without or extras <= found.get(name, set()):
            continue
        found[name] = extras | found.get(name, set())
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            raise RunError(f"{name} is not installed here, so what it needs is not known: run `make install`") from None
        for need in map(Requirement, needs):
            if not need.marker or any(need.marker.evaluate({"extra": extra, **version}) for extra in extras):
                waiting.append(need)
    return set(found)


def fill(folder: Path, python_version: str | None, platforms: Sequence[str], leave_out: Sequence[str]) -> None:
    """Download what the machine with the GPU lacks, and say how large it is.

    Args:
        folder: Where the wheels go.
        python_version: See `needed`.
        platforms: Of that machine, such as `manylinux_2_28_x86_64`; none means that of this one.
        leave_out: See `needed`.

    Raises:
        RunError: If there are wheels in the folder already, or pip fails.
    """
    if list(folder.glob("*.whl")):
        raise RunError(f"{folder}: there are wheels already, perhaps for another Python; delete them first")
    names = needed(python_version, leave_out)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["-c", str(ROOT / "constraints.txt"), "-d", str(folder)]
    command += ["--python-version", python_version] if python_version else []
    for platform in platforms:
        command += ["--platform", platform]
    if subprocess.run([*command, *names]).returncode:
        raise RunError(f"{folder}: pip could not download all of {', '.join(names)}; see above")
    wheels = sorted(folder.glob("*.whl"), key=lambda wheel: wheel.stat().st_size)
    size = sum(wheel.stat().st_size for wheel in wheels)
    largest = f"{wheels[-1].name.partition('-')[0]} has {_mebibytes(wheels[-1].stat().st_size)} of them"
    print(f"{folder}: {len(wheels)} wheels, {_mebibytes(size)}; {largest}")


def install(folder: Path, into: Path) -> str:
    """Make an environment of what this Python has and of the wheels of a folder.

    Args:
        folder: The wheels.
        into: Where the environment goes.

    Returns:
        Its Python.

    Raises:
        RunError: If there are no wheels, or they cannot be installed.
    """
    wheels = sorted(map(str, folder.glob("*.whl")))
    if not wheels:
        raise RunError(
            f"{folder}: no wheels in it; on a machine with a network `python tests/gpu/run.py wheels FOLDER` fills a folder"
        )
    python = str(into / "bin" / "python")
    commands = [
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(into)],
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
            *wheels,
        ],
    ]
    # This Python may live in an environment itself, and the system's packages are not those of that one.
    mine = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    # Settings of pip on this machine could forbid the versions in the folder.
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    for command in commands:
        if subprocess.run(command, env=environment).returncode:
            raise RunError(f"{folder}: its wheels cannot be installed beside {sys.executable}; see above")
    theirs = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(theirs.strip(), "outer.pth").write_text("".join(f"{path}\n" for path in mine), encoding="utf-8")
    return python


def run_pytest(name: str, command: Sequence[str], environment: dict[str, str], limit: float) -> Part:
    """Run pytest, and stop it after a while.

    Args:
        name: Of the part.
        command: What to run: pytest with its arguments.
        environment: Its environment variables.
        limit: In seconds.

    Returns:
        What came of it.
    """
    print(f"\n{name}", flush=True)
    started, stopped = time.perf_counter(), False
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        # A group of its own, so that its workers end with it.
        process = subprocess.Popen(
            [*command, "-o", "junit_family=xunit1", f"--junitxml={results}"],
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            # A shell starts what runs in its background with SIGINT ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            stopped = True
            os.killpg(process.pid, signal.SIGINT)  # pytest then writes down what it has
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        finally:
            if stopped or process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        part = read_results(results, name) if results.is_file() else Part(name)
    part.seconds = time.perf_counter() - started
    if stopped:
        part.failures.append((name, f"stopped after {limit:.0f} s"))
    elif process.returncode not in (0, 1) or (process.returncode == 1 and not part.failures):
        part.failures.append((name, f"pytest ended with status {process.returncode}; see above"))
    return part


def choose_lessons(pattern: str, python: str, environment: dict[str, str]) -> tuple[list[str], list[str]]:
    """Choose the lessons to run: those that a pattern names, and whose imports are installed.

    Args:
        pattern: Such as `notebooks/*.ipynb`.
        python: The Python that is to run them.
        environment: Its environment variables.

    Returns:
        The notebooks, and a line for each that is left out.

    Raises:
        RunError: If the pattern names none.
    """
    books = sorted(ROOT.glob(pattern))
    if not books:
        raise RunError(f"{pattern}: no such notebooks below {ROOT}")
    imports = {book: _imports(book) for book in books}
    names = sorted(set().union(*imports.values()))
    # Import them for real: a package may be there, and lack what it needs.
    probe = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: [getattr(importlib.import_module(name), 'stft', None)]\n"  # librosa loads its parts when they are used
        "    except ImportError as error: print(name)"
    )
    missing = subprocess.check_output([python, "-c", probe, *names], text=True, env=environment).split()
    left_out = {book: sorted(imports[book] & set(missing)) for book in books}
    chosen = [str(book.relative_to(ROOT)) for book in books if not left_out[book]]
    notes = [f"{book.stem} is left out: {', '.join(lack)} missing" for book, lack in left_out.items() if lack]
    return chosen, notes


def _imports(book: Path) -> set[str]:
    """Return the packages that a notebook imports at the beginning of a line."""
    cells = json.loads(book.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))


def run_all(wheels: str | None, device: str, notebooks: str) -> int:
    """Run all parts and print the table.

    Args:
        wheels: The folder of wheels; None means that this Python has all that is needed.
        device: `cuda` or `cpu`.
        notebooks: Which lessons; none if empty.

    Returns:
        The exit status: 0 if nothing failed.

    Raises:
        RunError: If there is no GPU, no wheels, or no practice data.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(device, Path(folder) / "cache")
        if device == "cuda" and not _has_gpu(environment):
            raise RunError("there is no GPU that PyTorch can use; `--device cpu` runs the same tests without one")
        python = sys.executable if wheels is None else install(Path(wheels), Path(folder) / "venv")
        slower = SLOWER if device == "cpu" else 1
        pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        parts = [run_pytest("GPU tests", [*pytest, "tests/gpu/test_gpu.py"], environment, slower * LIMITS["GPU tests"])]
        if notebooks:
            parts.append(_run_lessons(notebooks, pytest, environment, slower * LIMITS["lessons"]))
        about = subprocess.run([python, "-c", ABOUT], env=environment, capture_output=True, text=True).stdout.strip()
    print(f"\n{table(parts)}\n{about}\n{os.cpu_count()} CPU cores, {time.perf_counter() - started:.0f} s in all")
    return int(any(part.failures for part in parts))


def _run_lessons(pattern: str, pytest: list[str], environment: dict[str, str], limit: float) -> Part:
    chosen, notes = choose_lessons(pattern, pytest[0], environment)
    practice = [pytest[0], "-m", "course_utils", "data", "mini"]
    if subprocess.run(practice, cwd=ROOT, env={**environment, "TQDM_DISABLE": "1"}).returncode:
        raise RunError("the practice data cannot be made; see above")
    # One thread each: the processes share the cores already. Kernels are of this Python, whatever is registered.
    lessons = {**environment, "COURSE_SIZE": "lesson", "COURSE_DATA": "mini", "OMP_NUM_THREADS": "1"}
    how = ["-n", "auto", "--dist", "loadscope", "--nbval", "--nbval-current-env"]
    part = run_pytest("lessons", [*pytest, *how, *chosen], lessons, limit) if chosen else Part("lessons")
    part.notes += notes
    return part


def _environment(device: str, cache: Path) -> dict[str, str]:
    """Return the environment variables of all parts: the course is found where it lies, and is not installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"COURSE_CACHE": str(cache), **os.environ, "PYTHONPATH": path, "COURSE_TEST_DEVICE": device}
    return environment if device == "cuda" else {**environment, "CUDA_VISIBLE_DEVICES": ""}


def _has_gpu(environment: dict[str, str]) -> bool:
    """Say whether PyTorch finds a GPU, in a process of its own, so that this one keeps none of its memory."""
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", probe], env=environment).returncode == 0


def _first_line(text: str) -> str:
    """Return the first line that says something, without colours."""
    plain = re.sub(r"(?:\x1b|#x1B)\[[0-9;]*m", "", text)
    return next((line.strip() for line in plain.splitlines() if line.strip()), "no message")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Without a value it is empty, as `make` gives it: that is refused in a sentence.
    whole.add_argument(
        "--wheels", nargs="?", const="", metavar="FOLDER", help="install these first; else this Python has all"
    )
    whole.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    whole.add_argument("--notebooks", default="notebooks/*.ipynb", metavar="GLOB", help="which lessons; '' for none")
    commands = whole.add_subparsers(dest="command")
    download = commands.add_parser("wheels", help="fill a folder of wheels, where there is a network")
    download.add_argument("folder", type=Path)
    download.add_argument("--python-version", help="of the machine with the GPU, such as 3.12")
    download.add_argument("--platform", action="append", default=[], help="of that machine; may be given several times")
    download.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="a package to do without; lessons that import it are left out there",
    )
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: The command line; None means that of this process.

    Returns:
        The exit status.
    """
    options = parser().parse_args(arguments)
    try:
        if options.command == "wheels":
            fill(options.folder, options.python_version, options.platform, options.leave_out)
            return 0
        if options.wheels == "":
            raise RunError("--wheels needs a folder: make test-gpu WHEELS=FOLDER, filled by `run.py wheels FOLDER`")
        return run_all(options.wheels, options.device, options.notebooks)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
