"""The checks of lesson 08."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number


@asks_for("a number of steps")
def check_08_1(answer: Any) -> None:
    """Check after how many steps half of a memory is left when 0.99 of it stays at each step."""
    hints = {
        50: ("50 would be right if each step took 1 % of the memory it began with.", "It takes 1 % of what is left."),
        100: ("after 100 steps a little more than a third is left.", "Solve 0.99 to the power of n = 0.5."),
    }
    check_number(
        answer,
        68.97,
        "0.99 to the power of 69 is 0.5. At 0.9 it would be 7 steps.",
        hints,
        no_number="Steps, as a number.",
        otherwise="After n steps 0.99 to the power of n is left. When is that 0.5? Take the logarithm of both sides.",
        tolerance=1.0,
    )


@asks_for("a whole number")
def check_08_2(answer: Any) -> None:
    """Check the number of parameters of one direction of an LSTM layer with 128 inputs and 64 cells."""
    hints = {
        12_416: ("that is one of the four tables.", "Three gates and the new: four times as many."),
        49_408: (
            "there are two biases a cell, and you have counted one.",
            "Torch keeps one for input and one for state.",
        ),
        49_152: ("the biases are missing.", "Two for each cell, in each of the four tables."),
        99_328: ("those are both directions.", "The question was for one."),
        33_280: ("the weights from cell to cell are missing.", "64 × 64 in each table."),
        32_768: (
            "these are the weights from the inputs only.",
            "Add those from cell to cell, 64 × 64, and the biases.",
        ),
    }
    check_number(
        answer,
        49_664,
        "4 · (128 · 64 + 64 · 64 + 2 · 64). Both directions and both layers: 198,656, three quarters of the network.",
        hints,
        no_number="Count the weights and the biases: one whole number.",
        otherwise="One table: 128 · 64 weights from the inputs, 64 · 64 from the cells, 2 · 64 biases. There are four.",
    )
