"""Each notebook alone: in an empty folder, with nothing but the installed package, writing nowhere but into the cache.

One lesson runs so with the other tests. `COURSE_ALONE="*"` runs all of them, `COURSE_ALONE="0[67]*"` some.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import nbformat
import pytest
from nbclient import NotebookClient

from course_utils import datasets, files
from course_utils.datasets import default_root, mini

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9A-Z]*.ipynb"))
CHOSEN = sorted((ROOT / "notebooks").glob(os.environ.get("COURSE_ALONE", "02_*").removesuffix(".ipynb") + ".ipynb"))
READY = default_root("mini")  # where `make lab` has made it; the tests have caches of their own

NOT_COPIED = (".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "data", "node_modules")
PROBE = """
import json, sys
from course_utils.lessons.grids import published_file
found = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
print(json.dumps({"modules": found, "published": str(published_file("crnn.pt"))}))
"""


def program(*arguments: object) -> None:
    result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def content(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


# --- The package as it is installed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package, built from a copy of the project: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*NOT_COPIED))
    options = ("--wheel", "--no-build-isolation", "--offline", "--no-config", "--python", sys.executable)
    program("-m", "uv", "build", *options, "--out-dir", folder / "out", folder / "copy")
    (built,) = (folder / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The package, and nothing else, in an otherwise empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    program(*("-m", "uv", "pip", "install", "--no-deps", "--offline", "--no-config", "--target"), folder, wheel)
    return folder


def test_the_wheel_holds_the_modules_and_the_results_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    endings = (".py", "measured.txt")
    modules = {f"course_utils/{name}" for name in content(ROOT / "course_utils") if name.endswith(endings)}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["course_utils.results"]
    place = ROOT / "figures" / "results"
    results = {path.relative_to(place).as_posix() for pattern in patterns for path in place.glob(pattern)}
    assert held == modules | {f"course_utils/results/{name}" for name in results}
    some = {"files.py", "cli/runs.py", "datasets/mini.py", "models/crnn.py", "results/crnn.pt", "datasets/measured.txt"}
    assert {f"course_utils/{name}" for name in some} <= held
    assert all(name.startswith("course_utils/") for name in held)


# --- A lesson, run alone --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini_root(tmp_path_factory) -> Path:
    """`mini`, from where `make lab` has put it, or made here."""
    return READY if READY.is_dir() else mini.build(tmp_path_factory.mktemp("mini") / READY.name, progress=False)


@pytest.fixture
def places(tmp_path, monkeypatch, own_cache, installed, mini_root) -> dict[str, Path]:
    """Folders of its own for all that a kernel may write to, and `mini` in the cache."""
    found = {name: tmp_path / name for name in ("work", "home", "temp", "tools")}
    for folder in found.values():
        folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("COURSE_", "XDG_", "JUPYTER_", "PYTHON"))]:
        monkeypatch.delenv(name)
    tools = ("IPYTHONDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    settings = {"HOME": "home", "USERPROFILE": "home", "LOCALAPPDATA": "home", "TMPDIR": "temp", "TEMP": "temp"}
    settings |= {"TMP": "temp", "JUPYTER_RUNTIME_DIR": "tools"} | dict.fromkeys(tools, "tools")
    for variable, name in settings.items():
        monkeypatch.setenv(variable, str(found[name]))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("COURSE_CACHE", str(own_cache))
    shutil.copytree(mini_root, own_cache / READY.name)
    return found | {"cache": own_cache}


def test_there_is_a_lesson_to_run():
    assert CHOSEN, f'COURSE_ALONE={os.environ["COURSE_ALONE"]!r} fits no lesson: write "*", or 07_training_cnn10'


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_a_lesson_runs_alone(path, places, installed):
    shutil.copy(path, places["work"])
    book = nbformat.read(places["work"] / path.name, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(PROBE))
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(places["work"])}}).execute()
    found = json.loads(book.cells[-1].outputs[0].text)
    modules = [Path(name) for name in found["modules"]]
    package = {name for name in modules if "course_utils" in name.parts}
    assert package and all(name.is_relative_to(installed) for name in [*package, Path(found["published"])])
    mine = [name for name in modules if name.is_relative_to(ROOT) and not name.is_relative_to(sys.prefix)]
    assert not mine, "imported from the checkout"
    assert [output for cell in book.cells for output in cell.get("outputs", []) if output.output_type == "error"] == []
    assert content(places["work"]) == {path.name}
    assert content(places["home"]) == set()
    assert content(places["temp"]) == set(), "write into `course_utils.files.new_folder()`"
    assert files.cached([*datasets.kinds(), files.SCRATCH])[1] == [], (
        "in the cache, but `python -m course_utils clean` does not know it"
    )


# --- What a lesson reads and writes, by its source ------------------------------------------------------------------

TAKE_A_PATH = {
    *("open", "Path", "PurePath", "listdir", "scandir", "walk", "glob", "iglob", "mkdir", "makedirs", "remove"),
    *("read_csv", "read_json", "read_parquet", "read_pickle", "to_csv", "to_json", "to_parquet", "to_pickle"),
    *("loadtxt", "savetxt", "savez", "save", "fromfile", "tofile", "imread", "imsave", "savefig", "imwrite"),
    *("read", "write", "write_set", "write_html", "write_json", "save_all", "upload_file", "SummaryWriter"),
}
OTHER_PLACES = {
    *("cwd", "getcwd", "chdir", "__file__", "home", "expanduser", "gettempdir", "mkdtemp", "mkstemp"),
    *("TemporaryDirectory", "TemporaryFile", "NamedTemporaryFile"),
}
FILE = r"\S*\w\.(csv|json|wav|mp3|ogg|flac|png|jpg|svg|pdf|html|txt|md|pt|pth|npy|npz|pkl|py|ipynb|zip|tar|gz|db|log)"


def places_in(source: str) -> list[str]:
    """What of a code cell depends on where the notebook lies, or writes elsewhere than into the cache."""
    found = re.findall(r"^\s*[%!].*", source, flags=re.M)
    tree = ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M))
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
        if name in OTHER_PLACES:
            found.append(name)
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name in OTHER_PLACES]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"(\.\.?|~)[/\\]", node.value):
            found.append(node.value)
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            for i, argument in enumerate(given):
                text = beginning(argument)
                is_path = (i == 0 and called in TAKE_A_PATH) or re.fullmatch(FILE, text)
                if text and is_path and not re.match(r"https?://", text) and not is_absolute(text):
                    found.append(text)
    return found


def beginning(node: ast.expr) -> str:
    """The text that a path begins with: `a` of `"a"`, of `"a" / b` and of `f"a{b}"`; empty where it is computed."""
    while isinstance(node, ast.BinOp):
        node = node.left
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def is_absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_reads_and_writes_nothing_where_it_lies(path):
    setup, *cells = (cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert [found for cell in cells for found in places_in(cell.source)] == []
    assert [found.split()[0] for found in places_in(setup.source)] == ["%pip"]


PICTURES = r"!\[[^\]]*\]\((?!https:|attachment:)|<img[^>]*src=\"(?!https:|data:)"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_shows_no_picture_that_lies_elsewhere(path):
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert [found for text in texts for found in re.findall(PICTURES, text)] == []


@pytest.mark.parametrize(
    "source",
    [
        'open("notes.txt")',
        'Path("runs")',
        'with open("a", "w") as file:\n    pass',
        'pd.read_csv("../data/clips.csv")',
        'pd.read_csv(f"data/{name}.csv")',
        'table.to_csv("out.csv")',
        'figure.savefig("picture.png")',
        'plt.savefig(fname="picture.png")',
        'np.save("x", array)',
        'torch.save(weights, "best.pt")',
        'torch.load("best.pt")',
        'json.loads((Path("figures") / "results" / "a.json").read_text())',
        'datasets.load("../mini")',
        'subprocess.run([python, "./script.py"])',
        "os.chdir(folder)",
        "Path.cwd()",
        "tempfile.mkdtemp()",
        "from tempfile import TemporaryDirectory",
        "!ls",
        "if missing:\n    %run other.ipynb",
        'audio.write("street.wav", sound)',
    ],
)
def test_a_place_is_found(source):
    assert places_in(source)


@pytest.mark.parametrize(
    "source",
    [
        'pd.read_csv(folder / "wav" / "plan.csv")',
        'audio.write(file := f"{run}/street.wav", sound)',
        'datasets.load("mini")',
        "datasets.load(setting.data)",
        '(folder / "train.py").write_text(SCRIPT)',
        'print("a ratio of 3/4, in m/s ...")',
        'open(path, "w")',
        'diagrams.show("framing")',
    ],
)
def test_what_is_no_place_is_not_found(source):
    assert places_in(source) == []
    assert re.search(PICTURES, "![a sketch](../figures/x.png)") and re.search(PICTURES, '<img alt="x" src="x.png">')
    assert not re.search(PICTURES, "![badge](https://colab.research.google.com/assets/colab-badge.svg)")
