"""The checks of lesson 09."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import as_numbers, asks_for, check_number, say_right, say_wrong


@asks_for("a list of two numbers")
def check_09_1(answer: Any) -> None:
    """Check the seconds between two steps of the CRNN, fine and as reported."""
    values, steps = as_numbers(answer), np.array([4.0, 48.0])
    if values is None or values.shape != (2,):
        say_wrong("those are not two numbers.", "Seconds, for the fine pooling and then for the report's.")
    elif np.allclose(values, steps * 1024 / 22_050, rtol=0.03):
        say_right("4 · 1,024 / 22,050 = 0.19 s, and 48 · 1,024 / 22,050 = 2.2 s.")
    elif np.allclose(values, steps[::-1] * 1024 / 22_050, rtol=0.03):
        say_wrong("the two are the other way round.", "The fine pooling comes first, and has the shorter steps.")
    elif np.allclose(values, steps) or np.allclose(values, steps * 1024):
        say_wrong("that is in frames, or in samples.", "A frame is 1,024 samples, a second 22,050 of them.")
    elif np.allclose(values, np.array([5.0, 11.0]) * 1024 / 22_050, rtol=0.03):
        say_wrong("the poolings are added.", "Each pooling works on what the one before has left: multiply.")
    else:
        say_wrong(
            "at least one is not it.", "Multiply the three poolings, then the hop, and divide by the sampling rate."
        )


@asks_for("a whole number")
def check_09_2(answer: Any) -> None:
    """Check how many windows of 8 s, every 2 s, contain a bark from 29 s to 31 s."""
    hints = {
        5: ("five windows contain a part of it.", "Two of them begin or end in the middle of the bark."),
        4: ("each moment lies in four windows.", "The bark lasts two seconds, and a window must contain all of them."),
        27: ("so many windows has the whole recording.", "Which of them begin by 29 s and end at 31 s or later?"),
    }
    check_number(
        answer,
        3,
        "those that begin at 24, 26 and 28 s.",
        hints,
        no_number="Count windows: one whole number.",
        otherwise="A window beginning at t contains it if t is at most 29 and t + 8 at least 31. t is a multiple of 2.",
    )
