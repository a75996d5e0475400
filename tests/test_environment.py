import subprocess
import sys
import textwrap

import pytest

from course_utils import environment
from course_utils.environment import check_torchaudio


@pytest.mark.parametrize(
    ("torch", "torchaudio", "state"),
    [
        ("2.11.0", "2.11.0", "ok"),
        ("2.11.0+cu130", "2.11.0", "ok"),
        ("2.10.1", "2.10.0", "ok"),
        ("2.15.0", "2.11.0", "note"),
        ("2.13.0+cpu", "2.11.0", "note"),
        ("2.11.0+cpu", "2.11.0+cu130", "note"),
        ("2.11.0", None, "note"),
    ],
)
def test_torchaudio_fits_torch_or_is_done_without(torch, torchaudio, state):
    found = check_torchaudio(torch, torchaudio)
    assert found.state == state
    assert bool(found.remedy) == (state == "note")


BROKEN = """
import importlib.metadata, sys
original = importlib.metadata.version
importlib.metadata.version = lambda name: {{"torch": "2.15.0", "torchaudio": "2.11.0"}}.get(name) or original(name)

class Loader:
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            raise OSError("libcudart.so.13: cannot open shared object file")

sys.meta_path.insert(0, Loader())
{code}
"""


def broken(name, code, *arguments):
    """Run code where torch and torchaudio do not match, and one of them fails in the loader."""
    text = BROKEN.format(name=name, code=textwrap.dedent(code))
    return subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True)


def test_nothing_needs_a_torchaudio_that_does_not_load():
    code = "from course_utils import environment, inference; print(environment.torchaudio())"
    assert broken("torchaudio", code).stdout.strip() == "None"
    result = broken("torchaudio", "from course_utils.__main__ import main; main()", "check")
    assert "note  torchaudio: torchaudio 2.11.0 beside torch 2.15.0: these two do not work together" in result.stdout


def test_check_runs_where_torch_does_not_load_and_names_the_remedy():
    result = broken("torch", "from course_utils.__main__ import main; main()", "check")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "FAULT torch: torch 2.15.0 does not load: libcudart.so.13" in result.stdout
    assert "pip install" in result.stdout


def test_a_command_says_the_same_in_one_line():
    result = broken("torch", "from course_utils.__main__ import main; main()", "train", "--data", "x", "--out", "y")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert (
        result.stderr.startswith("error: torch 2.15.0 does not load: libcudart.so.13")
        and "pip install" in result.stderr
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
