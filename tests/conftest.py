"""Shared parts of the tests: real clips where they are, a small data set of noise, and a cache of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import samples
import soundfile

from course_utils.datasets import ClipCache, open_folder
from course_utils.taxonomy import URBANSOUND8K_CLASSES

REAL = Path(os.environ.get("COURSE_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

GRADER = samples.ASSIGNMENTS / "grade.py"
INSTRUCTOR = (
    Path(__file__).resolve().parents[1] / ".venv-instructor" / ("Scripts" if os.name == "nt" else "bin") / "python"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave slow tests out, unless they are asked for."""
    if not os.environ.get("COURSE_SLOW"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: `make test-slow`"))


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The folder with the real clips of UrbanSound8K that this project measures on."""
    if not (REAL / "urbansound8k").is_dir():
        pytest.skip(f"no real clips in {REAL}; set COURSE_REAL_DATA to a folder that holds urbansound8k/")
    return REAL / "urbansound8k"


@pytest.fixture(scope="session")
def originals() -> list[Path]:
    """Ten clips exactly as UrbanSound8K released them."""
    files = sorted((REAL / "urbansound8k-originals").glob("*.wav"))
    if not files:
        pytest.skip(f"no original clips in {REAL}; set COURSE_REAL_DATA to a folder that holds urbansound8k-originals/")
    return files


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    return folder


def make_dataset(
    root: Path,
    folds: int = 3,
    recordings: int = 2,
    slices: int = 2,
    seconds: float = 0.5,
    classes: tuple[str, ...] = (),
) -> Path:
    """Write a tiny data set in the official layout: each class a tone of its own, in noise.

    Every class has `recordings` recordings in every fold, each with `slices` slices that overlap by half.
    """
    classes, rng, rows = classes or URBANSOUND8K_CLASSES, np.random.default_rng(0), []
    rate = 22_050
    time = np.arange(int(rate * seconds * (slices + 1) / 2)) / rate
    recording = 1000
    for fold in range(1, folds + 1):
        (root / "audio" / f"fold{fold}").mkdir(parents=True, exist_ok=True)
        for class_id, name in enumerate(classes):
            for _ in range(recordings):
                recording += 1
                tone = 0.3 * np.sin(2 * np.pi * 200 * (class_id + 1) * time) + 0.02 * rng.standard_normal(len(time))
                for number in range(slices):
                    start = number * seconds / 2
                    file = f"{recording}-{class_id}-0-{number}.wav"
                    piece = tone[int(start * rate) :][: int(seconds * rate)].astype(np.float32)
                    soundfile.write(root / "audio" / f"fold{fold}" / file, piece, rate)
                    rows.append((file, recording, start, start + seconds, 1, fold, class_id, name))
    (root / "metadata").mkdir(exist_ok=True)
    columns = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata" / "UrbanSound8K.csv", index=False)
    return root


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set: three folds, ten classes, 120 clips of half a second."""
    return make_dataset(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def cache(tones: Path) -> ClipCache:
    """The decoded clips of the tiny data set."""
    return ClipCache.open(open_folder(tones), progress=False)


@pytest.fixture(scope="session")
def instructor() -> Path:
    """The Python that has nbgrader."""
    python = Path(sys.executable) if importlib.util.find_spec("nbgrader") else INSTRUCTOR
    if not python.exists():
        pytest.skip("nbgrader is not installed: `make install-instructor`, or the extra `instructor`")
    return python


@pytest.fixture(scope="session")
def grade(instructor: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the grader, with the user's cache: `mini` is made once."""
    environment = dict(os.environ)

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [instructor, GRADER, *arguments]
        return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def released(grade, tmp_path_factory) -> Path:
    """The student copies."""
    folder = tmp_path_factory.mktemp("release")
    result = grade("release", "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder
