"""The checks of lesson 12."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number


@asks_for("a number")
def check_12_1(answer: Any) -> None:
    """Check the positive weight of a class that is in 80 of 1,000 mixtures."""
    hints = {
        12.5: ("12.5 is all mixtures over those with the class.", "How many are there *without* it?"),
        0.087: ("that is with the class over without it.", "Turn it round."),
        0.08: ("that is the share of the class.", "How many mixtures without the class are there for one with it?"),
        0.92: ("that is the share without the class.", "Divide by the share with it."),
    }
    check_number(
        answer,
        11.5,
        "920 / 80. Each mixture with the class counts as much as the 11.5 without it that come with it.",
        hints,
        no_number="One number, by which the loss of a mixture with the class is multiplied.",
        otherwise="Count the mixtures without the class, and those with it, and divide.",
        tolerance=0.004,
        wrong="{:.3g} is not it.",
    )


@asks_for("a whole number")
def check_12_2(answer: Any) -> None:
    """Check the steps of an epoch of 10,478 mixtures on four GPUs with batches of 32 each."""
    hints = {
        327: ("that is with one GPU.", "In one step four batches of 32 are worked on at once."),
        1309: ("you multiplied by four.", "Four times as many mixtures per step: fewer steps."),
        82: ("the last batch is not full, and is dropped.", "Round down."),
        128: ("that is the number of mixtures in a step.", "How often does it fit into 10,478?"),
    }
    check_number(
        answer,
        81,
        "10,478 / 128, rounded down. A quarter of the steps, so a learning rate for one GPU need not fit four.",
        hints,
        no_number="Count steps: one whole number.",
        otherwise="How many mixtures go into one step, on all four GPUs together?",
    )
