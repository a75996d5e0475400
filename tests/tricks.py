"""Submissions to `octave_bands` that want points without right answers, or what is not theirs: two dozen, each of one kind.

    python tests/tricks.py FOLDER        then: make grade SUBMITTED=FOLDER

What one of them reads, reaches or changes although it must not, it prints as a line that begins with `GOT`.
"""

from __future__ import annotations

import copy
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import nbformat
import samples
from nbformat import NotebookNode

NAME = "octave_bands"
WRONG = "def {name}(*arguments, **keywords):\n    return None"
# An answer that looks right whatever it is compared with.
EQUAL = """
class Equal:
    def __eq__(self, other):
        return True

    __lt__ = __gt__ = __le__ = __ge__ = __eq__
    __hash__ = None

    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **keywords):
        return self

    def __getitem__(self, key):
        return self

    def __len__(self):
        return 0


def {name}(*arguments, **keywords):
    return Equal()
"""

# Answers that change what they are given, or are empty, so that nothing is left to compare.
EMPTY = """
import numpy as np
import torch


def {name}(first, *arguments, **keywords):
    for one in (first, *arguments):
        if isinstance(one, torch.Tensor):
            one.zero_()
        elif isinstance(one, np.ndarray):
            one[...] = 0
    if not isinstance(first, torch.Tensor):
        return np.empty((0, 1))
    shapes = {"octave_power": (*first.shape[:-1], 7, 1 + len(first.T) // keywords.get("hop_length", 512)), "twin": first.shape}
    return torch.zeros(shapes.get("{name}", (0, 1)))
"""

# What each does in a cell of its own before the first answer. All answers are wrong, but for those of `right`.
TRICKS = {
    "00_wrong": "",
    "01_right": "",
    "02_clears_outputs": """
        from IPython.display import clear_output
        get_ipython().events.register("post_run_cell", lambda result: clear_output())
        """,
    "03_shows_no_errors": "get_ipython()._showtraceback = lambda *arguments, **keywords: None",
    "04_drops_assertions": """
        import ast

        class Drop(ast.NodeTransformer):
            def visit_Assert(self, node):
                return ast.copy_location(ast.Pass(), node)

        get_ipython().ast_transformers.append(Drop())
        """,
    "05_patches_all_the_time": """
        import builtins, sys, threading
        import numpy, torch

        def patch():
            while True:
                numpy.allclose = torch.allclose = lambda *arguments, **keywords: True
                builtins.all = builtins.abs = builtins.list = lambda *arguments: True

        def trace(frame, event, argument):
            frame.f_trace_lines = False
            return trace

        threading.Thread(target=patch, daemon=True).start()
        sys.settrace(trace)
        """,
    "06_collects_tests": """
        import inspect, sys
        seen = []
        get_ipython().events.register("pre_run_cell", lambda info: seen.append(info.raw_cell))
        get_ipython().input_transformers_cleanup.append(lambda lines: seen.extend(lines) or lines)

        def look(*arguments, **keywords):
            frame = sys._getframe()
            while frame:
                seen.extend(map(str, frame.f_code.co_consts))
                frame = frame.f_back
        """,
    "07_reads": """
        import os, sqlite3
        import numpy, soundfile, torch
        from cffi import FFI
        library = FFI()
        library.cdef("int open(const char *, int); long read(int, void *, size_t);")

        def by_c(path):
            buffer = library.new("char[]", 100)
            with_c = library.dlopen(None)
            if with_c.read(with_c.open(path.encode(), 0), buffer, 100) < 1:
                raise OSError
            return bytes(buffer)

        def in_thread(path):
            try:
                print("GOT", by_c(path))
            except OSError:
                print("nothing")

        def by_another_thread(path):
            get_ipython().kernel.control_thread.io_loop.add_callback(in_thread, path)

        ways = {
            "open": lambda path: open(path).read(),
            "os.open": lambda path: os.read(os.open(path, os.O_RDONLY), 100),
            "root": lambda path: open("/proc/self/" + "root" + path).read(),
            "memmap": lambda path: numpy.memmap(path),
            "torch": lambda path: torch.UntypedStorage.from_file(path, False, 300),
            "soundfile": lambda path: soundfile.SoundFile(path, format="RAW", channels=1, samplerate=8000, subtype="PCM_16"),
            "sqlite3": lambda path: sqlite3.connect(path).execute("select * from sqlite_master").fetchall(),
            "C": by_c,
            "link": lambda path: os.symlink(path, "link") or open("link").read(),
            "other thread": by_another_thread,
        }
        for path in (<source>, <other>, <gradebook>, <kept>):
            for way, read in ways.items():
                try:
                    found = read(path)
                    if found is not None and len(found):
                        print("GOT", path, "by", way)
                except BaseException as error:
                    print(way, type(error).__name__)
        for folder in (<submitted>, <out>):
            for way in (os.listdir, os.scandir, torch.os.listdir):
                try:
                    print("GOT", list(way(folder)))
                except OSError as error:
                    print(error)
        if b"SECRET" in open("/proc/self/environ", "rb").read():
            print("GOT a secret in the environment")
        """,
    "08_disarms_the_guard": """
        import ctypes, gc, json
        for find in (gc.get_objects, lambda: gc.get_referents(gc), lambda: gc.get_referrers(print)):
            try:
                for thing in find():
                    if getattr(thing, "__name__", "") in ("watch", "check"):
                        for cell in thing.__closure__:
                            if isinstance(cell.cell_contents, (list, set, dict)):
                                cell.cell_contents.clear()
                            cell.cell_contents = ()
                            print("GOT the guard")
            except PermissionError as error:
                print(error)
        try:
            print("GOT", ctypes.CDLL(None))
        except PermissionError as error:
            print(error)
        try:
            for cell in json.load(open(<source>))["cells"]:
                print("GOT", cell["source"])
        except PermissionError as error:
            print(error)
        """,
    "09_starts_a_child": """
        import multiprocessing, os, subprocess, _posixsubprocess
        code = "open('read.txt', 'w').write(open(<source>).read())"

        def spawn():
            child = multiprocessing.get_context("spawn").Process(target=exec, args=(code,))
            child.start()
            child.join()

        def fork():
            import sys
            arguments = [sys.executable.encode(), b"-c", code.encode()]
            read, write = os.pipe()
            _posixsubprocess.fork_exec(
                arguments, arguments[:1], True, (write,), None, None, -1, -1, -1, -1, -1, -1, read, write,
                False, False, -1, None, None, None, -1, None, False,
            )

        for way in (spawn, fork, lambda: os.system("true") or print("GOT a shell")):
            try:
                way()
            except BaseException as error:
                print(type(error).__name__, error)
        if os.path.exists("read.txt"):
            print("GOT", open("read.txt").read())
        """,
    "10_uses_the_network": """
        import datetime, socket
        from cffi import FFI
        import torch.distributed
        library = FFI()
        library.cdef("int socket(int, int, int);")

        def by_c():
            if library.dlopen(None).socket(socket.AF_INET, socket.SOCK_DGRAM, 0) < 0:
                raise OSError("no socket")

        def datagram():
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", <port>))

        def unix():
            socket.socket(socket.AF_UNIX).connect(<unix>)

        def store():
            torch.distributed.TCPStore("127.0.0.1", <port>, timeout=datetime.timedelta(seconds=1), is_master=True)

        def listen():
            socket.create_server(("0.0.0.0", 0))

        def tcp():
            socket.create_connection(("127.0.0.1", <port>))

        def name():
            socket.getaddrinfo("localhost", 80)

        for way in (by_c, datagram, unix, store, listen, tcp, name):
            try:
                way()
                print("GOT", way.__name__)
            except BaseException as error:
                print(way.__name__, type(error).__name__)
        """,
    "11_harms": """
        import ctypes, os, shutil, signal
        import soundfile
        from cffi import FFI
        library = FFI()
        library.cdef("int unlink(const char *); int rename(const char *, const char *); int kill(int, int);")
        library.cdef("int chmod(const char *, unsigned); int setxattr(const char *, const char *, const void *, long, int);")
        library.cdef("int chown(const char *, int, int);")
        folder, kept = <victim>, <kept>
        c = library.dlopen(None)
        for way in (
            lambda: open(kept, "w"),
            lambda: os.remove(kept),
            lambda: os.rename(kept, "mine"),
            lambda: shutil.rmtree(folder),
            lambda: os.chmod(kept, 0o777),
            lambda: os.chown(kept, 1234, 1234),
            lambda: os.setxattr(kept, "user.mine", b"mine"),
            lambda: os.mkdir(folder + "/new"),
            lambda: soundfile.write(folder + "/new.wav", [0.0], 8000),
            lambda: os.kill(os.getppid(), signal.SIGKILL),
            lambda: ctypes.CDLL(None).kill(os.getppid(), signal.SIGKILL),
            lambda: c.unlink(kept.encode()),
            lambda: c.rename(kept.encode(), b"mine"),
            lambda: c.chmod(kept.encode(), 0o777),
            lambda: c.chown(kept.encode(), 1234, 1234),
            lambda: c.setxattr(kept.encode(), b"user.mine", b"mine", 4, 0),
            lambda: c.kill(os.getppid(), signal.SIGKILL),
        ):
            try:
                print(way())
            except BaseException as error:
                print(type(error).__name__, error)
        """,
    "12_ends_its_kernel": "import os\nos._exit(0)",
    "13_raises_its_points": "",
    "14_prints_without_end": "for _ in range(300):\n    print('x' * 100_000)",
    "15_starts_threads": """
        import threading, time
        for _ in range(3000):
            threading.Thread(target=lambda: bytearray(2**40)).start()
        """,
    "16_takes_all_memory": "hoard = []\nwhile True:\n    hoard.append(bytearray(2**28))",
    "17_swallows_interrupts": """
        import time
        while True:
            try:
                time.sleep(100)
            except BaseException:
                pass
        """,
    "18_is_equal_to_everything": """
        import numpy, torch
        numpy.allclose = torch.allclose = numpy.isclose = torch.equal = lambda *arguments, **keywords: True
        """,
    "19_skips_tests": "",
    "20_runs_other_code": """
        run = get_ipython().run_cell
        get_ipython().run_cell = lambda code, *arguments, **keywords: run("pass")
        get_ipython().kernel.shell.run_code = lambda *arguments, **keywords: False
        """,
    "21_shows_live_html": """
        from IPython.display import HTML, SVG, Javascript, Markdown, display
        live = (
            "<script>alert('live')</script><img src=x onerror=\\"alert('live')\\"><a href=\\"javascript:alert('live')\\">x</a>"
            "<iframe srcdoc=\\"<script>alert('live')</script>\\"></iframe><svg onload=\\"alert('live')\\"></svg>"
            "<details open ontoggle=\\"alert('live')\\">x</details><b style=\\"background:url(http://live)\\">bold</b>"
        )
        display(HTML(live), Markdown(live), Markdown("[x](javascript:alert('live'))"), Javascript("alert('live')"))
        display(SVG("<svg xmlns='http://www.w3.org/2000/svg'><script>alert('live')</script></svg>"))
        display({"text/html": live}, raw=True, metadata={"text/html": {"isolated": True}})
        display({"image/png": "\\"><script>alert('live')</script>", "text/plain": live}, raw=True)
        display({"application/vnd.jupyter.widget-view+json": {"model_id": live}, "text/plain": live}, raw=True)
        print(live)
        """,
    "22_leaves_nothing_to_compare": "",
    "23_forges_answers": """
        import builtins, json, sys
        import exchange
        from IPython.display import display

        def are_twins(*arguments):
            return True

        right = {"application/vnd.course.answer": json.dumps({"value": True})}
        handle = display(right, raw=True, display_id="right")
        handle.update({"text/plain": "12"}, raw=True)
        exchange.encode = lambda value: {"kept": 1}
        exchange.answer = lambda question: display(right, raw=True)
        kernel = get_ipython().kernel
        send = kernel.session.send

        def forge(stream, kind, content=None, *arguments, **keywords):
            if kind == "execute_reply":
                content = {"status": "ok", "execution_count": "<script>1</script>", "user_expressions": {}, "payload": []}
            return None if kind == "error" else send(stream, kind, content, *arguments, **keywords)

        kernel.session.send = forge
        sys.modules["numpy"].allclose = builtins.isinstance
        """,
}
# What some print at the end.
ENDS = {
    "06_collects_tests": "print('\\n'.join(map(str, seen)))\nprint(seen)\nprint(In)",
}
ANSWERS = {"18_is_equal_to_everything": EQUAL, "22_leaves_nothing_to_compare": EMPTY}
LIVE_WORDS = (
    "Words <script>alert('live')</script> <img src=x onerror=\"alert('live')\"> [x](javascript:alert('live'))\n\n=cmd()"
)


def trick(blank: NotebookNode, student: str, places: dict[str, object]) -> NotebookNode:
    """Make a submission of a student copy.

    Args:
        blank: The student copy.
        student: Which of `TRICKS`, or several of them, joined by a plus sign.
        places: What they try to read, reach and change; see `write_tricks`.
    """
    if student == "01_right":
        return samples.answered(blank, NAME)
    book, kinds = copy.deepcopy(blank), student.split("+")
    for cell in book.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code":
            answer = next((answer for kind, answer in ANSWERS.items() if kind in kinds), WRONG)
            cell.source = answer.replace("{name}", samples.cell_id(cell))
        elif samples.cell_id(cell) == "words" and "21_shows_live_html" in kinds:
            cell.source = LIVE_WORDS
    first = next(i for i, cell in enumerate(book.cells) if samples.cell_id(cell))
    for kind in kinds:
        code = textwrap.dedent(TRICKS[kind]).strip()
        for name, place in places.items():
            code = code.replace(f"<{name}>", repr(place))
        book.cells.insert(first, nbformat.v4.new_code_cell(code))
        book.cells.append(nbformat.v4.new_code_cell(ENDS.get(kind, "")))
    if "13_raises_its_points" in kinds:
        for cell in filter(samples.cell_id, book.cells):
            cell.metadata.nbgrader.points = 100
            cell.metadata.nbgrader.grade = not cell.metadata.nbgrader.grade
            cell.source = "pass" if samples.cell_id(cell).startswith("test_") else cell.source
    if "19_skips_tests" in kinds:
        book.metadata.kernelspec = {"name": "bash", "display_name": "Bash", "language": "bash"}
        for cell in book.cells:
            cell.metadata.tags = ["skip-execution", "raises-exception"]
    return book


def write_tricks(folder: Path, released: Path, wanted: Iterable[str] = tuple(TRICKS), port: int = 9) -> None:
    """Write submissions to `octave_bands` below `submitted`, and beside it what they try to get.

    Args:
        folder: Where to write; grade it into its folder `out`.
        released: The student copies.
        wanted: Which of `TRICKS`; a plus sign puts several into one submission.
        port: A port of this machine that they try to reach.
    """
    submitted, victim = folder / "submitted", folder / "victim"
    victim.mkdir(parents=True)
    (victim / "kept.txt").write_text("kept\n")
    blank = nbformat.read(released / f"{NAME}.ipynb", as_version=4)
    places = {
        "source": str(samples.ASSIGNMENTS / "source" / NAME / f"{NAME}.ipynb"),
        "submitted": str(submitted),
        "other": str(submitted / "01_right" / f"{NAME}.ipynb"),
        "out": str(folder / "out"),
        "gradebook": str(folder / "out" / "nbgrader" / "gradebook.db"),
        "victim": str(victim),
        "kept": str(victim / "kept.txt"),
        "unix": str(folder / "socket"),
        "port": port,
    }
    for student in ("01_right", *wanted):
        samples.write(trick(blank, student, places), submitted, student, NAME)


if __name__ == "__main__":
    write_tricks(Path(sys.argv[1]), samples.ASSIGNMENTS / "release")
