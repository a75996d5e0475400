"""The checks of lesson 07."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import as_numbers, asks_for, check_number, say_right, say_wrong


@asks_for("a number")
def check_07_1(answer: Any) -> None:
    """Check the cross-entropy of always saying 0.2 where a class is in 20 % of the mixtures."""
    hints = {
        1.609: ("that is −ln 0.2, the loss where the class is there.", "In 80 % of the mixtures it is not."),
        0.223: ("that is −ln 0.8, the loss where the class is not there.", "In 20 % of the mixtures it is."),
        0.322: ("you have counted only the mixtures with the class.", "Add 0.8 times the loss of the others."),
        0.179: ("you have counted only the mixtures without the class.", "Add 0.2 times the loss of the others."),
        0.722: ("this is in bits.", "Take the natural logarithm, as torch does."),
        0.217: ("you took the logarithm to the base of 10.", "Take the natural logarithm, as torch does."),
    }
    check_number(
        answer,
        0.5004,
        "0.2 · 1.609 + 0.8 · 0.223 = 0.50. What a network must beat.",
        hints,
        no_number="The mean of two losses, weighted by how often each occurs: one number.",
        otherwise="Where the class is there, it costs −ln 0.2; where it is not, −ln 0.8. How often is it there?",
        tolerance=0.003,
        wrong="{:.3g} is not it.",
    )


@asks_for("a list of two numbers")
def check_07_2(answer: Any) -> None:
    """Check the memory, in steps, of running means with 0.9 and 0.85."""
    values = as_numbers(answer)
    if values is None or values.shape != (2,):
        say_wrong("those are not two numbers.", "The steps for 0.9, then the steps for 0.85.")
    elif np.allclose(values, [10, 1 / 0.15], atol=0.5):
        say_right("1 / 0.1 = 10 steps, 1 / 0.15 = 6.7 steps.")
    elif np.allclose(values, [1 / 0.15, 10], atol=0.5):
        say_wrong("the two are the other way round.", "The larger β₁, the longer the memory.")
    elif np.allclose(values, [1 / 0.9, 1 / 0.85], atol=0.05):
        say_wrong("that is 1 / β₁.", "Take 1 − β₁ first: the share of the new gradient.")
    else:
        say_wrong("at least one is not it.", "For 0.9: 1 divided by 0.1.")
