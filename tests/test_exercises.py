"""Each check: blank is not attempted, the solution is right, typical wrong answers get the fitting hint."""

import numpy as np
import pytest

from course_utils import exercises
from course_utils.taxonomy import Taxonomy


def vector(*names):
    return [int(name in names) for name in Taxonomy().classes]


RIGHT = {"00_1": [vector("dog_bark", "siren"), np.array(vector("dog_bark", "siren"))], "00_2": [10, 10.0, np.int64(10)]}
WRONG = {
    "00_1": [
        (vector("dog_bark"), "one label a clip cannot say"),
        (vector("children_playing", "jackhammer"), "Count from 0"),
        (vector(), "Count from 0"),
        ([1, 1], "One number a class"),
        ("dog", "One number a class"),
        (None, "One number a class"),
        ([0.5] * 10, "1 where the class can be heard"),
    ],
    "00_2": [
        (6, "Two clips of one class"),
        (16, "order does not matter"),
        (11, "4 × 4 table"),
        ("ten", "unordered pairs"),
        ([10, 10], "unordered pairs"),
    ],
}


def said(capsys, name, answer):
    getattr(exercises, f"check_{name}")(answer)
    return capsys.readouterr().out


def test_every_check_is_tested():
    checks = {name.removeprefix("check_") for name in dir(exercises) if name.startswith("check_")}
    assert checks == set(RIGHT) == set(WRONG)
    assert all(len(cases) >= 2 for cases in WRONG.values())


@pytest.mark.parametrize("name", RIGHT)
def test_blank_is_not_attempted(capsys, name):
    assert said(capsys, name, ...).startswith("Not attempted yet")


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_solutions_are_right(capsys, name, answer):
    assert said(capsys, name, answer).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "hint"), [(n, *case) for n, cases in WRONG.items() for case in cases])
def test_wrong_answers_get_the_fitting_hint(capsys, name, answer, hint):
    text = said(capsys, name, answer)
    assert text.startswith("Not yet: ") and hint in text
