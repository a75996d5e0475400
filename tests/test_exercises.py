"""Each check: blank is not attempted, the solution is right, typical wrong answers get the fitting hint."""

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils.lessons import exercises
from course_utils.lessons.exercises import lesson_02
from course_utils.taxonomy import Taxonomy


def vector(*names):
    return [int(name in names) for name in Taxonomy().classes]


NAMES = [*Taxonomy().classes][::-1]
TRUTH = {"01_2": "207193", "02_3": NAMES}  # what a check is given besides the answer


def shares_samples(start_1, end_1, start_2, end_2):
    return start_1 < end_2 and start_2 < end_1


def mel_to_hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


RIGHT = {
    "00_1": [vector("dog_bark", "siren"), np.array(vector("dog_bark", "siren"))],
    "00_2": [10, 10.0, np.int64(10)],
    "01_1": [7050, 7050.0, torch.tensor(7050)],
    "01_2": ["207193", 207193, "207 193"],
    "02_1": [30, 30.0, torch.tensor(30.0, requires_grad=True)],
    "02_2": [130],
    "02_3": [NAMES, tuple(NAMES), np.array(NAMES), pd.Series(NAMES)],
    "03_1": [
        mel_to_hz,
        lambda mel: torch.as_tensor(mel_to_hz(mel)),
        lambda mel: 700 * (torch.exp(mel / 2595 * np.log(10)) - 1),
    ],
    "03_2": [75],
    "04_1": [shares_samples, lambda a, b, c, d: np.bool_(max(a, c) < min(b, d))],
    "04_2": [0.8**10 + 0.2**10, 0.107, 0.8**10],
    "05_1": [0.375, 3 / 8],
    "05_2": [10**-0.5, 0.316, 1 / np.sqrt(10)],
    "05_3": [0.96**2, 0.92],
    "06_1": [[64, 345, 62, 343], (64, 345, 62, 343), torch.tensor([64, 345, 62, 343])],
    "06_2": [(75 * 256 + 1024) / 22_050, 0.92, 0.917],
    "07_1": [-(0.2 * np.log(0.2) + 0.8 * np.log(0.8)), 0.5, torch.tensor(0.5004)],
    "07_2": [[10, 6.7], (10, 1 / 0.15), [10, 7]],
    "08_1": [np.log(0.5) / np.log(0.99), 69, 68.97],
    "08_2": [49_664, 4 * (128 * 64 + 64 * 64 + 2 * 64)],
    "09_1": [[4 * 1024 / 22_050, 48 * 1024 / 22_050], (0.19, 2.2), torch.tensor([0.186, 2.23])],
    "09_2": [3, 3.0],
    "10_1": [[4, 2, 1, 5], (4, 2, 1, 5), np.array([4, 2, 1, 5])],
    "10_2": [[0.5, 91 / 110], (0.5, 0.83), torch.tensor([0.5, 0.827])],
    "10_3": [0.95**10, 0.6, 0.599],
    "11_1": [1 - (54 / 55) ** 24, 0.356],
    "11_2": [0.752, 0.92 * 0.8 + 0.08 * 0.2],
    "12_1": [11.5, 920 / 80, torch.tensor(11.5)],
    "12_2": [81, 10_478 // 128, 81.0],
}
WRONG = {
    "00_1": [
        (vector("dog_bark"), "one label per clip cannot say"),
        (vector("children_playing", "jackhammer"), "Count from 0"),
        (vector(), "Count from 0"),
        ([1, 1], "One number per class"),
        ("dog", "One number per class"),
        (None, "One number per class"),
        ([0.5] * 10, "1 where the class can be heard"),
    ],
    "00_2": [
        (6, "Two clips of one class"),
        (16, "order does not matter"),
        (11, "4 × 4 table"),
        ("ten", "unordered pairs"),
        ([10, 10], "unordered pairs"),
    ],
    "01_1": [
        (15000, "Mirror it"),
        (3975, "as far below"),
        (11025, "mirrored to below"),
        ("high", "One frequency"),
        ([7050], "One frequency"),
        (None, "One frequency"),
        (float("nan"), "One frequency"),
        (10**400, "One frequency"),
    ],
    "01_2": [
        ("391702", "Time runs"),
        ("207190", "the row of the key"),
        ("2071", "one digit a key"),
        ("20719x", "one digit a key"),
        (None, "one digit a key"),
    ],
    "02_1": [
        (60, "factor before the logarithm is 10"),
        (3, "ten decibel"),
        (1000, "10 times"),
        ("loud", "How many dB"),
    ],
    "02_2": [
        (65, "share three quarters"),
        (44, "what is left"),
        (129, "count both ends"),
        (126, "added at both ends"),
        (66150, "First find the hop"),
        ([1], "whole number"),
    ],
    "02_3": [
        (NAMES[::-1], "0 of 10 are right. A is not air_conditioner"),
        ([*NAMES[:8], NAMES[9], NAMES[8]], "a steady noise"),
        (NAMES[:9], "The names are"),
        (["wolf"] * 10, "The names are"),
        ([["siren"]] * 10, "The names are"),
        (3, "The names are"),
    ],
    "03_1": [
        (lambda mel: 700 * 10 ** (mel / 2595), "the 1 has to be taken away"),
        (lambda mel: 700 * (np.exp(mel / 2595) - 1), "10 to the power of"),
        (lambda mel: mel, "Solve mel"),
        (lambda: 1, "def answer"),
        (lambda mel: "high", "def answer"),
        (lambda mel: float("nan"), "Solve mel"),
        (1000, "def answer"),
    ],
    "03_2": [
        (76, "whose sum is 0"),
        (129, "narrower than the bins"),
        (64, "more would, too"),
        (74.5, "whole number"),
        (-5, "whole number"),
        (None, "whole number"),
        ("many", "whole number"),
    ],
    "04_1": [
        (lambda a, b, c, d: a <= d and c <= b, "Use < and not <="),
        (lambda a, b, c, d: a <= c < b, "may also begin before"),
        (lambda a, b, c, d: a < c < b or a < d < b, "within the other"),
        (lambda a, b, c, d: True, "They only touch"),
        (lambda a, b, c, d: c >= b, "seconds from 2 to 4"),
        (lambda a, b: a < b, "def answer"),
        (True, "def answer"),
    ],
    "04_2": [
        (0.2**10, "all in training"),
        (0.2, "each by itself"),
        (0.8, "each by itself"),
        (1 - 0.8**10, "Take it away from 1"),
        (0.5, "ten times over"),
        ("none", "a number between"),
    ],
    "05_1": [
        (0.1875, "may come first as well"),
        (0.75**2, "has to be a siren"),
        (0.25**2, "has to be a dog"),
        (0.625, "Take it away"),
        (0.5, "two orders"),
        (None, "between 0 and 1"),
    ],
    "05_2": [
        (0.1, "square of the amplitude"),
        (10, "become softer"),
        (10**0.5, "divide"),
        (10**-0.25, "−10/20"),
        (0.5, "a tenth of the power"),
        ("soft", "all samples"),
    ],
    "05_3": [
        (0.96, "Both have to be there"),
        (0.64, "two other mixtures"),
        (0.8, "in two others"),
        (1 - 0.96**2, "Take it away"),
        (1 - 0.04**2, "Both have to be there"),
        (0.5, "Begin with one clip"),
        ([0.92], "between 0 and 1"),
    ],
    "06_1": [
        ([62, 343, 60, 341], "66 × 347"),
        ([64, 345, 64, 345], "into a row of 66"),
        ([65, 346, 63, 344], "does a 3 fit"),
        ([64, 345], "Height and width for 3 × 3"),
    ],
    "06_2": [
        (1.788, "256 samples apart"),
        (75 * 256 / 22_050, "1,024 samples long"),
        (76 * 256 / 22_050, "75 hops"),
        (0.4585, "Only the hop"),
        (3.0, "does not change"),
        ("long", "as a number"),
    ],
    "07_1": [
        (-np.log(0.2), "80 % of the mixtures"),
        (-np.log(0.8), "20 % of the mixtures"),
        (0.322, "0.8 times"),
        (0.179, "0.2 times"),
        (0.722, "natural"),
        (0.217, "natural"),
        (2.0, "How often is it there"),
        ([0.5], "one number"),
    ],
    "07_2": [
        ([1 / 0.15, 10], "The larger β₁"),
        ([1 / 0.9, 1 / 0.85], "Take 1 − β₁"),
        ([10, 8.5], "1 divided by 0.1"),
        (10, "for 0.9, then"),
    ],
    "08_1": [
        (50, "1 % of what is left"),
        (100, "Solve 0.99"),
        (7, "Take the logarithm"),
        ("half", "as a number"),
    ],
    "08_2": [
        (12_416, "four times"),
        (49_408, "one for input and one for state"),
        (49_152, "Two for each cell"),
        (99_328, "for one"),
        (33_280, "64 × 64 in each"),
        (32_768, "Add those"),
        (1, "There are four"),
        (None, "one whole number"),
    ],
    "09_1": [
        ([2.23, 0.186], "comes first"),
        ([4, 48], "A frame is 1,024"),
        ([4096, 49_152], "A frame is 1,024"),
        ([0.232, 0.511], "multiply"),
        ([0.1, 1], "Multiply the three"),
        ([0.046, 0.046], "Multiply the three"),
        (0.186, "and then for the report's"),
    ],
    "09_2": [
        (5, "in the middle of the bark"),
        (4, "all of them"),
        (27, "begin by 29 s"),
        (2, "at most 29"),
        ("three", "one whole number"),
    ],
    "10_1": [
        ([4, 1, 2, 5], "was said and is not there"),
        ([5, 2, 1, 5], "exactly one of the four"),
        ([5, 2, 0, 5], "row by row"),
        ([4, 2, 1], "in this order"),
        (4, "in this order"),
    ],
    "10_2": [
        ([91 / 110, 0.5], "mean of the two recalls"),
        ([0.9, 91 / 110], "Take their mean"),
        ([0.5, 0.5], "Add up first"),
        (0.5, "The macro recall, then"),
    ],
    "10_3": [
        (0.95, "All ten"),
        (0.5, "multiplied"),
        (1 - 0.95**10, "away from 1"),
        (9.5, "all ten"),
        (0.05, "And ten"),
        ("sure", "between 0 and 1"),
    ],
    "11_1": [
        (24 / 55, "repeat"),
        ((54 / 55) ** 24, "away from 1"),
        (1, "absent combinations"),
        (1 / 55, "has 24"),
        (0.5, "none of the 24"),
        ("all", "between 0 and 1"),
    ],
    "11_2": [
        (0.5, "weigh them"),
        (0.272, "92 % are of known"),
        (0.736, "0.2 are named"),
        (0.8, "of the other kind"),
        (0.6, "Weigh each"),
        (None, "between 0 and 1"),
    ],
    "12_1": [
        (12.5, "without"),
        (80 / 920, "Turn it round"),
        (0.08, "for one with it"),
        (0.92, "share with it"),
        (3, "and divide"),
        ("more", "multiplied"),
    ],
    "12_2": [
        (327, "at once"),
        (1309, "fewer steps"),
        (82, "Round down"),
        (128, "fit into"),
        (100, "all four GPUs"),
        ("few", "one whole number"),
    ],
}


def said(capsys, name, answer):
    truth = [TRUTH[name]] if name in TRUTH else []
    getattr(exercises, f"check_{name}")(answer, *truth)
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


def test_the_classes_that_one_listens_for_are_described():
    assert set(lesson_02._LOOKS) == set(Taxonomy().classes)


def test_ten_clips_of_other_classes_are_checked_too(capsys):
    exercises.check_02_3(["b", "a"], ["a", "b"])
    assert "compare them" in capsys.readouterr().out
