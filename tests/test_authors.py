"""An author's notebook passes nbval a second time, and on another machine; an author's scripts run on the package alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from course_utils.datasets import ClipCache, open_folder

ROOT = Path(__file__).resolve().parents[1]
CELLS = (
    "import os\nfrom course_utils import datasets, features, training\nfrom course_utils.data import prepare\n"
    "from course_utils.configuration import Config, Recipe",
    "data = datasets.load(os.environ['AUTHORS_CLIPS'])\nprint(data.describe())",
    "cache = datasets.ClipCache.open(data)\nlen(cache)",
    "data.clips.head()",
    "data",
    "cache",
    "features.mel_filterbank(n_fft=256, n_mels=128).shape",
    "config = Config(str(data.root), width=2, n_mels=16, recipe=Recipe(joint='slots', slot_seconds=0.5), test_folds=(3,),"
    " epochs=1, accelerator='cpu')\nmixtures = prepare(config)\nprint(*mixtures.notes, sep='\\n')\nmixtures",
    "state = training.train(config, os.environ['AUTHORS_RUN'])\nstate.epoch",
)
SANITIZED = (
    "print(data.root)",
    "import warnings\nwarnings.warn('mine')",
    "print(object())",
    "print('C:' + chr(92) + os.environ['AUTHORS_RUN'][-4:])",
    "print('1/2 and 3/4 s, and/or', '4.0 s')",
)


def settings(tmp_path, tones, name):
    """Environment of a machine of its own: other places, and nothing prepared."""
    shutil.copytree(tones, tmp_path / name / "clips")
    places = {"COURSE_CACHE": "cache", "AUTHORS_CLIPS": "clips", "AUTHORS_RUN": f"run-{name}"}
    return os.environ | {key: str(tmp_path / name / place) for key, place in places.items()}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory, tones):
    """A notebook with its stored outputs, as its author has executed it."""
    folder = tmp_path_factory.mktemp("author")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (*CELLS, *SANITIZED)])
    environment = settings(folder, tones, "one")
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # here the clips are decoded already, and on the other machine they are not
        patch.setenv("COURSE_CACHE", environment["COURSE_CACHE"])
        ClipCache.open(open_folder(environment["AUTHORS_CLIPS"]))
    client = NotebookClient(book, timeout=300)
    client.execute(env=environment)
    nbformat.write(book, folder / "own.ipynb")
    return folder / "own.ipynb"


def test_the_stored_outputs_name_no_place_and_show_no_bar(notebook):
    cells = nbformat.read(notebook, as_version=4).cells[: len(CELLS)]
    text = "\n".join(str(output) for cell in cells for output in cell.outputs)
    assert str(notebook.parent) not in text and "it/s" not in text and "%|" not in text and "ipykernel" not in text
    assert "stay silent" in text and "120 clips" in text


def test_it_passes_on_another_machine_with_the_sanitizer(notebook, tones, tmp_path):
    rules = ROOT / "notebooks" / "nbval-sanitize.cfg"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", notebook.name]
    environment = settings(tmp_path, tones, "two")
    result = subprocess.run(
        [*command, "--nbval-sanitize-with", rules, "-c", ROOT / "pyproject.toml", "--rootdir", notebook.parent],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:]
    assert f"{len(CELLS) + len(SANITIZED)} passed" in result.stdout


@pytest.mark.parametrize("script", sorted((ROOT / "tests" / "authors").glob("*.py")), ids=lambda path: path.stem)
def test_an_authors_script_runs_in_an_empty_folder(script, tones, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tones)]
    result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout
