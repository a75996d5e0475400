"""The checks of lesson 11."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number


@asks_for("a share between 0 and 1")
def check_11_1(answer: Any) -> None:
    """Check the share of 55 equally frequent combinations that is expected in a batch of 24."""
    hints = {
        24 / 55: (
            "that would be right if all 24 mixtures were of different combinations.",
            "Some combinations repeat.",
        ),
        (54 / 55) ** 24: ("that is the probability that a combination is absent.", "Take it away from 1."),
        1.0: ("the classifier is perfect, the score is not.", "What do the absent combinations count?"),
        1 / 55: ("that is the share of one mixture.", "The batch has 24 of them."),
    }
    check_number(
        answer,
        1 - (54 / 55) ** 24,
        "1 − (54/55)^24. A little more than a third of the combinations is there; the others count 0.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="With which probability is one given combination in none of the 24 mixtures?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@asks_for("a share between 0 and 1")
def check_11_2(answer: Any) -> None:
    """Check the accuracy on a test of which 92 % are of known recordings, at 0.8 on those and 0.2 on the others."""
    hints = {
        0.5: ("that is the plain mean.", "The two kinds are not equally frequent: weigh them."),
        0.272: ("the weights are exchanged.", "92 % are of known recordings, with 0.8."),
        0.736: ("you left the other 8 % out.", "Of those, 0.2 are named, too."),
        0.8: ("that is the accuracy on the known ones alone.", "8 % of the test is of the other kind."),
    }
    check_number(
        answer,
        0.92 * 0.8 + 0.08 * 0.2,
        "0.92 · 0.8 + 0.08 · 0.2. The one number hides that the network names one in five of what is new to it.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="Weigh each accuracy by the share of its mixtures, and add up.",
        tolerance=0.003,
        wrong="{:.3g} is not it.",
    )
