import subprocess
import sys
import textwrap

import pytest

from course_utils import environment
from course_utils.environment import check_pair


@pytest.mark.parametrize(
    ("torch", "torchaudio", "state"),
    [
        ("2.11.0", "2.11.0", "ok"),
        ("2.11.0+cu130", "2.11.0", "ok"),
        ("2.10.1", "2.10.0", "ok"),
        ("2.15.0", "2.11.0", "fault"),
        ("2.13.0+cpu", "2.11.0", "fault"),
        ("2.11.0+cpu", "2.11.0+cu130", "fault"),
        ("2.11.0", None, "fault"),
        (None, "2.11.0", "fault"),
    ],
)
def test_pairs(torch, torchaudio, state):
    found = check_pair(torch, torchaudio)
    assert found.state == state
    assert bool(found.remedy) == (state == "fault")


BROKEN = """
import importlib.metadata, sys
original = importlib.metadata.version
importlib.metadata.version = lambda name: {{"torch": "2.15.0", "torchaudio": "2.11.0"}}.get(name) or original(name)

class Loader:
    def find_spec(self, name, path=None, target=None):
        if name == "torchaudio":
            raise OSError("libcudart.so.13: cannot open shared object file")

sys.meta_path.insert(0, Loader())
{code}
"""


def broken(code, *arguments):
    """Run code where torch and torchaudio do not match, and torchaudio fails in the loader."""
    text = BROKEN.format(code=textwrap.dedent(code))
    return subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True)


def test_check_runs_on_a_broken_pair_and_names_the_remedy():
    result = broken("from course_utils.__main__ import main; main()", "check")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert (
        "FAULT torch and torchaudio: torch 2.15.0, torchaudio 2.11.0: these two do not work together" in result.stdout
    )
    assert "pip install" in result.stdout


def test_importing_a_room_says_the_same():
    result = broken("import course_utils.models")
    assert "ImportError: torch 2.15.0, torchaudio 2.11.0: these two do not work together" in result.stderr
    assert "pip install" in result.stderr and "libcudart" not in result.stderr.splitlines()[-1]


def test_a_command_says_the_same_in_one_line():
    result = broken("from course_utils.__main__ import main; main()", "train", "--data", "x", "--out", "y")
    assert (
        result.returncode == 2 and result.stderr.startswith("error: torch 2.15.0") and "Traceback" not in result.stderr
    )


def test_every_finding_has_a_remedy_unless_it_is_fine():
    for finding in environment.findings():
        assert finding.state == "ok" or finding.remedy, finding


def test_missing_widgets_and_little_disk_are_named(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda name: None if name == "ipywidgets" else "2.11.0")
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda place: type("U", (), {"free": 1e8})())
    found = {finding.name: finding for finding in environment.findings()}
    assert found["ipywidgets"].remedy == "pip install ipywidgets"
    assert found["disk"].state == "fault" and "COURSE_CACHE" in found["disk"].remedy


def test_a_cache_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    found = {finding.name: finding for finding in environment.findings()}["cache folder"]
    assert found.state == "fault" and str(tmp_path / "file") in found.says and "COURSE_CACHE" in found.remedy
