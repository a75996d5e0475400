"""Two lessons as another processor would run them; and what `make test-machines` watches.

Code that is watched gives the same answers, and what hangs on last digits is found.
"""

import ast
import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from course_utils.files import cache_folder

CACHE = cache_folder()  # where `mini` is, or will be; the other tests have caches of their own
HERE = Path(__file__).resolve().parent / "machines"
NO_ANSWER = "E   RuntimeError: Kernel died before replying to kernel_info"


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("machines_run", HERE / "run.py")
    module = sys.modules["machines_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Run code with everything watched; return its names, and what was noted."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("COURSE_MARGINS", str(tmp_path / "notes.jsonl"))
    import margins

    def execute(code, **names):
        tree = ast.fix_missing_locations(margins.Watch("here").visit(ast.parse(code)))
        exec(compile(tree, "here", "exec"), names)
        return names, [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]

    return execute


def test_watched_code_gives_the_same_answers(watched):
    code = """
answers = [x < 0.5, 0.1 < x < 0.2, 0.3 < x < 1 / 0 if False else x == 0.125, x >= 1, "a" < "b", 2 > 1]
mask = (array > 1).tolist()
text = f"{x:.2f} {x:5.1%} {x!r} {x}", array.round(1).tolist(), round(x, 1)
"""
    array, plain = np.array([0.51, 1.26]), {}
    exec(code, names := {"x": 0.125, "array": array})
    plain = {key: names[key] for key in ("answers", "mask", "text")}
    found, notes = watched(code, x=0.125, array=array)
    assert {key: found[key] for key in plain} == plain
    assert {"place": "here", "line": 4, "text": "{x:.2f}", "places": 2, "values": [0.125]} in notes
    assert [n["values"] for n in notes if n["text"] == "array.round(1)"] == [[0.51, 1.26]]
    pairs = [(n["left"], n["sign"], n["right"]) for n in notes if "sign" in n]
    assert (0.1, "<", 0.125) in pairs and (0.125, "<", 0.2) in pairs and (2.0, ">", 1.0) not in pairs


def test_watching_a_number_with_a_gradient_warns_of_nothing(watched):
    weight = torch.ones((), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, notes = watched('answer = weight < 1e-4, f"{weight.item():.2f}"', weight=weight)
    assert notes[0]["left"] == 1.0


def test_a_chain_stops_where_python_would(watched):
    found, notes = watched("answer = 0.5 < x < 3.5", x=0.25)
    assert found["answer"] is False and len(notes) == 1


def note(**more):
    return {"place": "a.ipynb cell 1", "line": 1, "text": "what", **more}


def error(left, right=1e-5):
    return note(sign="<", left=left, right=right, tolerance=True)


def rounded(value):
    return note(places=2, values=[value])


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (error(9e-7), error(8e-7), None),  # a factor of eleven to spare
        (error(9e-6), error(8e-6), 0.9),
        (error(1.2e-5), error(1.1e-5), 0.909),  # shut out, and nearly not
        (error(9e-6), error(9e-6), None),  # the same everywhere: no rounding
        (error(0.5), error(0.7), None),  # shut out by far
        (rounded(0.1251), rounded(0.1252), 1.0),  # 0.13 everywhere, but near to 0.12
        (rounded(0.1299), rounded(0.1298), None),
        (
            note(sign=">", left=0.30, right=0.2, tolerance=False),
            note(sign=">", left=0.22, right=0.2, tolerance=False),
            0.4,  # learned: the machines are four times further apart than the score is from its bound
        ),
        (
            note(sign=">", left=0.30, right=0.2, tolerance=False),
            note(sign=">", left=0.39, right=0.2, tolerance=False),
            None,  # learned, and further away than the machines lie apart
        ),
        (
            note(sign=">", left=0.20001, right=0.2, tolerance=False),
            note(sign=">", left=0.20002, right=0.2, tolerance=False),
            1,
        ),
        (
            note(sign=">", left=0.80, right=0.2, tolerance=False),
            note(sign=">", left=0.81, right=0.2, tolerance=False),
            None,
        ),
    ],
)
def test_what_has_less_than_a_factor_of_ten_to_spare_is_said(run, one, other, share):
    found = run.too_close({"one": [one], "other": [other]}, {})
    assert [float(line.split()[0]) for line in found] == ([] if share is None else [pytest.approx(share, abs=0.006)])


def test_a_rounded_number_that_is_not_compared_may_differ(run):
    notes = {"one": [rounded(0.1251)], "other": [rounded(0.1249)]}
    assert run.too_close(notes, {"a.ipynb cell 1": "scores 0.13 and 0.5"})
    assert not run.too_close(notes, {"a.ipynb cell 1": ""}) and not run.too_close(notes, {"a.ipynb cell 1": "0.139"})


@pytest.mark.parametrize(
    ("text", "value", "places"), [("12,345.7 Hz", 12345.67, 1), ("13%", 0.1267, 2), ("0.5", 0.5, 3)]
)
def test_a_number_is_found_in_what_was_printed(run, text, value, places):
    assert run._stands_in(text, [note(places=places, values=[value])])


def test_outputs_that_nbval_compares(run, tmp_path):
    def cell(text, *tags):
        outputs = [{"output_type": "stream", "name": "stdout", "text": [text]}]
        return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": "", "outputs": outputs}

    cells = [cell("0.5\n"), {"cell_type": "markdown", "source": ""}, cell("0.6\n", "nbval-ignore-output")]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert run.compared_text(tmp_path / "a.ipynb") == {"a.ipynb cell 1": "0.5\n", "a.ipynb cell 2": ""}


def test_every_setting_occurs_on_some_machine(run):
    machines = run.machines().values()
    values = {(key, value) for settings in machines for key, value in settings.items()}
    wanted = {
        "ATEN_CPU_CAPABILITY": {"default", "avx2"},
        "ONEDNN_MAX_CPU_ISA": {"SSE41", "AVX2"},
        "MKL_CBWR": {"COMPATIBLE"},
        "OMP_NUM_THREADS": {"1", "2"},
        "PYTHONHASHSEED": {"0", "random"},
        "LANG": {"C"},
        run.HIGH_RESOLUTION: {"yes"},
    }
    assert len(machines) == 4
    assert {(key, value) for key, several in wanted.items() for value in several} <= values
    keys = {key for key, _ in values}
    assert {"NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "TZ"} <= keys
    assert len([value for key, value in values if key == "TZ"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["06_cnn10", "12_going_further"])
def test_a_lesson_that_trains_holds_with_another_instruction_set(run, tmp_path, monkeypatch, lesson):
    """CNN10 in the first; in the second the CRNN, and two processes against one."""
    monkeypatch.setenv("COURSE_CACHE", str(CACHE))
    settings = run.another_instruction_set()
    assert settings["ONEDNN_MAX_CPU_ISA"] in ("AVX2", "SSE41")
    outcome = run.run(f"notebooks/{lesson}.ipynb", settings, tmp_path / "notes", watch=False)
    assert outcome.failed == {} and outcome.passed > 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def test():\n>   assert 1 == 2\nE   assert 1 == 2\nE    and more\n", "E   assert 1 == 2  E    and more"),
        (
            "#x1B[94mCell 6: differs\nInput:\n#x1B[0mx = 1\n#x1B[94mTraceback:#x1B[0m\n mismatch 'stdout'\n\n<<< old\n0.1\n",
            "mismatch 'stdout'  <<< old  0.1",
        ),
    ],
)
def test_what_failed_says_why(run, text, expected):
    assert run._reason(text) == expected


@pytest.mark.parametrize(
    ("first", "times"),
    [
        ((0, {"Cell 0": NO_ANSWER, "Cell 1": NO_ANSWER}), 2),
        ((3, {"Cell 1": NO_ANSWER}), 1),
        ((0, {"Cell 0": "E  AssertionError"}), 1),
        ((5, {}), 1),
    ],
)
def test_only_a_kernel_that_never_answered_begins_once_more(run, tmp_path, monkeypatch, first, times):
    outcomes, folders = [run.Outcome(*first, 1.0), run.Outcome(5, {}, 1.0)], []
    monkeypatch.setattr(
        run, "_run_once", lambda what, settings, folder, watch: folders.append(folder) or outcomes[len(folders) - 1]
    )
    assert run.run("notebook", {}, tmp_path / "0") is outcomes[times - 1]
    assert len(set(folders)) == times
