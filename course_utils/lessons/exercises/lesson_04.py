"""The checks of lesson 04."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number, say_right, say_wrong


@asks_for("a function of start_1, end_1, start_2 and end_2 that returns True or False")
def check_04_1(answer: Any) -> None:
    """Check a function that says whether two clips of one recording share samples."""
    cases = (
        ((0, 4, 2, 6), True, "Both hold the seconds from 2 to 4."),
        ((0, 4, 4, 8), False, "They only touch: the first ends where the second begins. Use < and not <=."),
        ((0, 4, 6, 10), False, "There are two seconds between them."),
        ((2, 6, 0, 4), True, "The second may also begin before the first."),
        ((0, 4, 1, 2), True, "One may lie within the other: then they share all of it."),
        ((1, 2, 0, 4), True, "One may lie within the other: then they share all of it."),
        ((4, 8, 0, 4), False, "They only touch: the second ends where the first begins. Use < and not <=."),
    )
    for times, shares, hint in cases:
        try:
            value = bool(answer(*times))
        except Exception:  # whatever a student's function may raise
            say_wrong("calling it with four numbers gives no True or False.", "Write `def answer(start_1, end_1, …)`.")
            return
        if value != shares:
            say_wrong(f"for {times[0]}–{times[1]} s and {times[2]}–{times[3]} s it returns {value}.", hint)
            return
    say_right("each begins before the other ends.")


@asks_for("a probability between 0 and 1")
def check_04_2(answer: Any) -> None:
    """Check the probability that ten clips, each in the test with probability 0.2, all land on one side."""
    hints = {
        0: ("that is about the probability that all ten are in the test.", "They may also be all in training."),
        0.2: (
            "0.2 is the probability for one clip to be in the test.",
            "Ten clips have to do the same, each by itself.",
        ),
        0.8: (
            "0.8 is the probability for one clip to be in training.",
            "Ten clips have to do the same, each by itself.",
        ),
        0.893: ("that is the probability that both sides have some.", "Take it away from 1."),
    }
    check_number(
        answer,
        0.8**10 + 0.2**10,
        "0.8^10 + 0.2^10. With nine recordings of ten, both sides get some.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="All ten in training: 0.8 times 0.8, ten times over. Then add all ten in the test.",
        tolerance=0.001,
    )
