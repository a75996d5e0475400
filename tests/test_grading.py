"""The grader, and work that harms: each submission gets its message, and neither the others nor the machine suffer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import samples

SECONDS = 15  # what a cell may take
SLOW = ("loops_on", "loops_inside")  # what is stopped again and again, for a minute each

# --- Harmful work ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mischief(grade, released, tmp_path_factory) -> Path:
    """Submissions, graded, that loop, print without end, delete, raise, end their kernel, are no notebooks or have odd names."""
    folder = tmp_path_factory.mktemp("mischief")
    (folder / "victim").mkdir()
    (folder / "victim" / "kept.txt").write_text("kept")
    wanted = ("loops", "fakes", "prints", "deletes", "raises", "dies", *SLOW * bool(os.environ.get("COURSE_SLOW")))
    samples.write_mischief(folder / "submitted", released, folder / "victim", wanted)
    blank = nbformat.read(released / "octave_bands.ipynb", as_version=4)
    for student, name in {"Ren\u00e9 O'Brien": "octave_bands (1)", "a[b]": "octave_bands"}.items():
        samples.write(blank, folder / "submitted", student, name)
    (folder / "submitted" / "bob").mkdir()
    (folder / "submitted" / "bob" / "octave_bands.ipynb").symlink_to(
        samples.ASSIGNMENTS / "source/octave_bands/octave_bands.ipynb"
    )
    book = samples.answered(blank, "octave_bands", lambda cell: cell == "octave_bands")
    book.cells = [cell for cell in book.cells if samples.cell_id(cell) != "test_octave_bands"]  # and is put back
    samples.write(book, folder / "submitted", "ada", "octave_bands")
    result = grade("grade", folder / "submitted", "--out", folder / "out", "--seconds", SECONDS)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize(
    ("student", "points", "message"),
    [
        ("loops", 12, "TookTooLong: stopped after 15 s"),
        pytest.param("loops_on", 0, "TookTooLong: stopped after 15 s", marks=pytest.mark.slow),
        pytest.param("loops_inside", 10, "TookTooLong: stopped after 15 s", marks=pytest.mark.slow),
        ("fakes", 11, ""),
        ("prints", 12, "PrintedTooMuch: stopped after 1,000,000 characters"),
        ("deletes", 12, "PermissionError: not allowed while grading: rmtree"),
        ("raises", 12, "code cell 4: ZeroDivisionError: division by zero"),
        ("dies", 0, "KernelEnded: the kernel ended"),
        ("cut_off", 0, "cannot be read as a notebook"),
        ("twice", 0, "handed in 2 times"),
        ("nothing", 0, "not handed in"),
    ],
)
def test_each_gets_its_message_and_the_others_are_graded(mischief, student, points, message):
    row = samples.by_student(mischief / "out", "three_sounds")[student]
    assert message in row["message"] and float(row["points"]) == points
    page = (mischief / "out" / "feedback" / student / "three_sounds.html").read_text(encoding="utf-8")
    shown = {"cut_off": message, "twice": message, "nothing": message, "fakes": "AssertionError"}
    assert shown.get(student, message.rpartition(": ")[0].rpartition(" ")[2]) in page


def test_nothing_outside_is_harmed_and_the_feedback_stays_small(mischief):
    assert (mischief / "victim" / "kept.txt").read_text() == "kept"
    assert (mischief / "out" / "feedback" / "prints" / "three_sounds.html").stat().st_size < 3_000_000


GUARDED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import guard
own = os.path.realpath(".")
places = guard.readable(os.path.realpath("../asked"))
guard.confine(own, places, 2**33)
guard.filter_system_calls()
guard.watch(own, places)
if "C." in code:
    import cffi
    F = cffi.FFI()
    F.cdef(C_FUNCTIONS)
    C, N, F = F.dlopen(None), F.NULL, F.cast
exec(code)
"""
# A library for C that reports nothing to Python.
C_FUNCTIONS = """
int unlink(const char *); int rename(const char *, const char *); int open(const char *, int, ...); int fork(void);
int chmod(const char *, unsigned); int chown(const char *, unsigned, unsigned); int socket(int, int, int);
int system(const char *); int execve(const char *, void *, void *); int kill(int, int);
int prlimit(int, int, void *, void *); long ptrace(int, int, void *, void *);
"""


def guarded(code: str, folder: Path) -> str:
    """Run Python code behind the guard; return the last line that it says."""
    for name in ("own", "asked"):
        (folder / name).mkdir(exist_ok=True)
    program = f"code, C_FUNCTIONS = {code!r}, {C_FUNCTIONS!r}\n{GUARDED}"
    command = [sys.executable, "-c", program, samples.ASSIGNMENTS]
    own = {name: str(folder / "own") for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")}
    result = subprocess.run(
        list(map(str, command)), cwd=folder / "own", env={**os.environ, **own}, capture_output=True, text=True
    )
    return (result.stdout + result.stderr).strip().splitlines()[-1]


@pytest.fixture
def places(tmp_path) -> Path:
    for name in ("victim", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept.txt").write_text("kept")
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        "import shutil; shutil.rmtree('../victim')",
        "os.remove('../victim/kept.txt')",
        "os.rename('../victim/kept.txt', 'mine.txt')",
        "import shutil; shutil.move('../victim', 'mine')",
        "os.replace('x', '../victim/kept.txt')",
        "open('../victim/kept.txt', 'w')",
        "open('../victim/kept.txt', 'r+')",
        "open('../victim/new.txt', 'x')",
        "os.open('../victim/kept.txt', os.O_WRONLY | os.O_TRUNC)",
        "os.truncate('../victim/kept.txt', 0)",
        "os.chmod('../victim', 0)",
        "os.mkdir('../victim/new')",
        "os.symlink('../victim', 'link'); import shutil; shutil.rmtree('link/.')",
        "os.symlink('../victim/kept.txt', 'link'); open('link', 'w')",
        "f = os.open('../victim', os.O_RDONLY); os.remove('kept.txt', dir_fd=f)",
        "import pathlib; pathlib.Path('../victim/kept.txt').unlink()",
        "os.system('rm ../victim/kept.txt')",
        "import subprocess; subprocess.run(['rm', '../victim/kept.txt'])",
        "os.fork()",
        "os.kill(os.getppid(), 9)",
        "open('../secret/kept.txt').read()",
        "os.open('../secret/kept.txt', os.O_RDONLY)",
        "import numpy; numpy.memmap('../secret/kept.txt')",
        "import sqlite3; sqlite3.connect('../secret/kept.txt')",
        "os.listdir('../secret')",
        "os.listdir('..')",
        "os.scandir(b'../secret')",
        "import glob, pathlib; list(pathlib.Path('..').iterdir())",
        "os.symlink('../secret', 'link'); os.listdir('link')",
        "os.setxattr('../victim/kept.txt', 'user.a', b'a')",
        "os.removexattr('../victim/kept.txt', 'user.a')",
        "os.chown('../victim/kept.txt', 1, 1)",
        "import gc; gc.get_objects()",
        "import gc; gc.get_referents(os)",
        "import ctypes; ctypes.CDLL(None)",
        "import ctypes; ctypes.string_at(id(1), 8)",
        "import multiprocessing as m; m.get_context('spawn').Process(target=print).start()",
        "import _posixsubprocess; _posixsubprocess.fork_exec()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "import socket; socket.socket(socket.AF_UNIX).connect('socket')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'a', ('127.0.0.1', 9))",
        "import socket; socket.create_server(('127.0.0.1', 0))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "os.symlink('../victim/kept.txt', 'link'); os.truncate('link', 0)",
        "os.symlink('../victim/kept.txt', 'link'); os.chmod('link', 0)",
    ],
)
def test_the_guard_refuses(places, code):
    said = guarded(code, places)
    assert "not allowed while grading" in said or ("import socket" in code and "not permitted" in said)
    assert all((places / name / "kept.txt").read_text() == "kept" for name in ("victim", "secret"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux refuses what libraries in C do")
@pytest.mark.parametrize(
    "code",
    [
        "import soundfile; soundfile.write('../victim/new.wav', [0.0], 8000)",
        "import sqlite3; sqlite3.connect('../victim/new.db').execute('create table a (b)')",
        "import torch; torch.save([1], '../victim/kept.txt')",
        "assert not C.unlink(b'../victim/kept.txt')",
        "assert not C.rename(b'../victim/kept.txt', b'mine')",
        "assert C.open(b'../victim/new.txt', os.O_CREAT | os.O_WRONLY, F('int', 0o600)) >= 0",
        "f = os.open('../victim', os.O_RDONLY); os.open('kept.txt', os.O_WRONLY | os.O_TRUNC, dir_fd=f)",
    ],
)
def test_linux_refuses_what_python_does_not_see(places, code):
    assert guarded(f"{code}; print('done')", places) != "done"
    assert [path.name for path in (places / "victim").iterdir()] == ["kept.txt"]
    assert (places / "victim" / "kept.txt").read_text() == "kept"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux refuses what libraries in C do")
@pytest.mark.parametrize(
    "code",
    [
        "assert C.open(b'../secret/kept.txt', os.O_RDONLY) >= 0",
        "assert C.open(b'/etc/shadow', os.O_RDONLY) >= 0",
        "assert C.open(b'..', os.O_DIRECTORY) >= 0",
        "import torch; torch.UntypedStorage.from_file('../secret/kept.txt', False, 4)",
        "import soundfile as s; s.SoundFile('../secret/kept.txt', format='RAW', channels=1, samplerate=8000, subtype='PCM_S8')",
        "assert C.socket(2, 1, 0) >= 0",
        "assert C.socket(2, 2, 0) >= 0",
        "assert C.socket(1, 1, 0) >= 0",
        "assert C.fork() >= 0",
        "assert C.system(b'true') == 0",
        "assert C.execve(b'/bin/true', N, N) >= 0",
        "assert C.kill(os.getppid(), 0) == 0",
        "assert C.prlimit(os.getppid(), 0, N, N) == 0",
        "assert C.ptrace(16, os.getppid(), N, N) == 0",
    ],
)
def test_linux_refuses_libraries_in_c_what_python_is_refused(places, code):
    assert guarded(f"{code}; print('done')", places) != "done"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ignores what libraries in C do")
@pytest.mark.parametrize(
    "code",
    ["C.chmod(b'../victim/kept.txt', 0o777)", "C.chown(b'../victim/kept.txt', 1234, 1234)"],
)
def test_linux_ignores_changes_of_modes_and_owners(places, code):
    before = (places / "victim" / "kept.txt").stat()
    assert guarded(f"{code}; print('done')", places) == "done"
    after = (places / "victim" / "kept.txt").stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize(
    "code",
    [
        "open('a.txt', 'w').write('x'); os.rename('a.txt', 'b.txt'); os.remove('b.txt')",
        "import tempfile; t = tempfile.TemporaryDirectory(dir='.'); open(t.name + '/a', 'w'); t.cleanup()",
        "os.symlink('../victim', 'link'); os.remove('link')",
        "open(os.__file__).read(); os.listdir('../asked'); os.listdir(); os.scandir('.')",
        "import sqlite3; sqlite3.connect(':memory:').execute('select 1')",
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
        "import shutil; open('a', 'w'); shutil.copy2('a', 'b'); os.chmod('b', 0o600)",
        "import matplotlib.pyplot as plt; plt.plot([1]); plt.savefig('a.png')",
        "import sklearn.cluster, numpy; sklearn.cluster.KMeans(2).fit(numpy.eye(3))",
        "import pandas, torch; torch.save(pandas.DataFrame({'a': [1]}), 'a'); pandas.read_csv(open('b.csv', 'w+'), names=['a'])",
        "open(os.devnull, 'w').write('x')",
        "import soundfile; soundfile.write('new.wav', [0.0], 8000)",
        "os.mkdir('a'); open('b', 'w'); os.rename('b', 'a/b'); os.truncate('a/b', 0)",
    ],
)
def test_the_guard_lets_through_what_stays_in_its_folder(places, code):
    assert guarded(f"{code}; print('done')", places) == "done"
    assert (places / "victim" / "kept.txt").read_text() == "kept"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps the limit")
def test_the_guard_limits_memory(places):
    assert guarded("hoard = [bytearray(2**30) for _ in range(12)]", places) == "MemoryError"


# --- What the instructor gets wrong ----------------------------------------------------------------------------------


def test_a_folder_without_submissions_is_named(grade, tmp_path):
    result = grade("grade", tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 1 and "no folder in it" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_submission_earned_is_gone_when_a_broken_one_follows(mischief, grade, tmp_path):
    assert float(samples.by_student(mischief / "out", "octave_bands")["ada"]["points"]) == 2
    shutil.copytree(mischief / "out", tmp_path / "out")
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / "octave_bands.ipynb").write_text(json.dumps({"cells": 1}))
    assert grade("grade", tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    row = samples.by_student(tmp_path / "out", "octave_bands")["ada"]
    assert float(row["points"]) == 0 and "cannot be read" in row["message"]


# --- One submission, as nbgrader gets it: run with the Python that has nbgrader ---------------------------------------

READ = """
import copy, json, sys
from pathlib import Path
import nbformat
sys.path.insert(0, sys.argv[1])
import grade

blank = nbformat.read(sys.argv[2], as_version=4)
wanted = [grade.cell_id(cell) for cell in blank.cells if grade.cell_id(cell)]
for spoil in json.loads(sys.argv[3]):
    book = json.loads(Path(sys.argv[2]).read_text())
    marked = [cell for cell in book["cells"] if cell["metadata"].get("nbgrader")]
    exec(spoil)
    Path("submission.ipynb").write_text(json.dumps(book))
    try:
        taken, again = (grade.completed(Path("submission.ipynb"), blank) for _ in range(2))
    except grade.GradingError as error:
        print(error)
        continue
    parts = [cell for cell in taken.cells if grade.cell_id(cell)]
    points = sum(cell.metadata.nbgrader.get("points", 0) for cell in parts)
    print(taken == again, [grade.cell_id(cell) for cell in parts] == wanted, points)
"""
SPOILT = {
    "pass": "True True 17",
    "book['cells'] = [c for c in book['cells'] if not c['metadata'].get('nbgrader', {}).get('grade')]": "True True 17",
    "marked[1]['metadata']['nbgrader']['points'] = 100": "True True 17",
    "marked[0]['metadata']['nbgrader'] |= {'grade': True, 'points': 5}": "True True 17",
    "[c['metadata'].update(tags=['skip-execution']) for c in marked]": "True True 17",
    "book['cells'].insert(0, copy.deepcopy(marked[0]))": "True True 17",
    "book['metadata']['widgets'] = {'a': {}}": "True True 17",
    "[c.update(id='same') for c in book['cells']]": "True True 17",
    "marked[0]['metadata']['nbgrader'] = None": "True True 17",
    "[c['metadata'].clear() for c in book['cells']]": "none of its cells is one of the assignment",
    r"book['cells'][0]['source'] = '\ud83d'": "cannot be read as a notebook (UnicodeEncodeError)",
    "book['cells'] = 1": "cannot be read as a notebook",
}


def test_of_a_submission_only_words_and_code_count(released, instructor, tmp_path):
    command = [instructor, "-c", READ, samples.ASSIGNMENTS, released / "three_sounds.ipynb", json.dumps(list(SPOILT))]
    result = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    said = result.stdout.splitlines()
    assert len(said) == len(SPOILT), result.stderr
    for (spoil, expected), found in zip(SPOILT.items(), said, strict=True):
        assert found.startswith(expected), spoil


def test_names_and_links_that_cannot_be_taken_are_said(mischief):
    rows = samples.by_student(mischief / "out", "octave_bands")
    said = {student: rows[student]["message"] for student in ("Ren\u00e9 O'Brien", "a[b]", "bob")}
    assert "rename it to octave_bands.ipynb" in said["Ren\u00e9 O'Brien"]
    assert "rename the folder" in said["a[b]"] and "is a link" in said["bob"]
    assert {rows[student]["points"] for student in said} == {"0"}
