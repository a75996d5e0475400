"""The checks of lesson 10."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import as_numbers, asks_for, check_number, say_right, say_wrong


@asks_for("a list of four numbers")
def check_10_1(answer: Any) -> None:
    """Check the four counts of twelve answers to the question whether there is a dog."""
    values, right = as_numbers(answer), [4, 2, 1, 5]
    if values is None or values.shape != (4,):
        say_wrong("those are not four numbers.", "TP, FP, FN and TN, in this order.")
    elif values.tolist() == right:
        say_right("four hits, two false alarms (2 and 8), one miss (6), and five times rightly no.")
    elif values.tolist() == [4, 1, 2, 5]:
        say_wrong("false positives and false negatives are exchanged.", "A false positive was said and is not there.")
    elif values.sum() != 12:
        say_wrong(f"they add up to {values.sum():g}.", "Each of the twelve mixtures is exactly one of the four cases.")
    else:
        wrong = next(name for name, a, b in zip(("TP", "FP", "FN", "TN"), values, right, strict=True) if a != b)
        say_wrong(f"{wrong} is not it.", "Go down the table row by row: is there a dog, and was a dog said?")


@asks_for("a list of two numbers")
def check_10_2(answer: Any) -> None:
    """Check macro and micro recall of 90 of 100 and 1 of 10."""
    values, right = as_numbers(answer), np.array([0.5, 91 / 110])
    if values is None or values.shape != (2,):
        say_wrong("those are not two numbers.", "The macro recall, then the micro recall.")
    elif np.allclose(values, right, atol=0.003):
        say_right(
            "(0.9 + 0.1) / 2 = 0.5, and 91 / 110 = 0.83. The small class weighs a half in one, an eleventh in the other."
        )
    elif np.allclose(values, right[::-1], atol=0.003):
        say_wrong("the two are the other way round.", "Macro is the mean of the two recalls.")
    elif abs(values[0] - 0.5) > 0.003:
        say_wrong("the macro recall is not it.", "The recalls are 90/100 and 1/10. Take their mean.")
    else:
        say_wrong("the micro recall is not it.", "Add up first: how many hits, and how many were there to find?")


@asks_for("a probability between 0 and 1")
def check_10_3(answer: Any) -> None:
    """Check the probability that ten independent answers are all right when each is with 0.95."""
    hints = {
        0.95: ("that is the probability of one right answer.", "All ten must be right."),
        0.5: ("you took 0.05 away ten times.", "Independent probabilities are multiplied."),
        0.401: ("that is the probability that some answer is wrong.", "Take it away from 1."),
        9.5: ("that is how many are right on average.", "What is the probability that it is all ten?"),
    }
    check_number(
        answer,
        0.95**10,
        "0.95 to the power of 10.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="Two right answers have the probability 0.95 times 0.95. And ten?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )
