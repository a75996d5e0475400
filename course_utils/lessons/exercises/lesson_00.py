"""The checks of lesson 00."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import as_numbers, asks_for, check_number, say_right, say_wrong
from course_utils.taxonomy import Taxonomy


@asks_for("a list of ten zeros and ones")
def check_00_1(answer: Any) -> None:
    """Check the multi-hot vector of a dog bark with a siren."""
    taxonomy = Taxonomy()
    values = as_numbers(answer)
    if values is None or values.shape != (taxonomy.n_classes,):
        say_wrong("that is not a list of ten numbers.", "One number per class, in the order of the class IDs.")
    elif not np.isin(values, (0, 1)).all():
        say_wrong("a multi-hot vector holds only 0 and 1.", "1 where the class can be heard, 0 where it cannot.")
    else:
        heard = {taxonomy.classes[i] for i in np.flatnonzero(values)}
        if heard == {"dog_bark", "siren"}:
            say_right("two ones, at dog_bark (class ID 3) and siren (class ID 8).")
        elif values.sum() == 1:
            say_wrong(
                f"only {heard.pop()} is marked.", "Both sounds are in it: this is what one label per clip cannot say."
            )
        else:
            say_wrong(
                f"marked: {', '.join(sorted(heard)) or 'nothing'}.", "Count from 0: air_conditioner is the first entry."
            )


@asks_for("a whole number")
def check_00_2(answer: Any) -> None:
    """Check the number of combinations of four classes."""
    hints = {
        6: ("6 are the pairs of different classes.", "Two clips of one class can meet as well."),
        16: ("16 counts dog + siren and siren + dog as two.", "The order does not matter."),
    }
    check_number(
        answer,
        10,
        "six pairs of different classes and four of equal ones: 4 · 5 / 2.",
        hints,
        no_number="How many unordered pairs are there, equal ones included?",
        otherwise="Write the classes along both sides of a 4 × 4 table, cross out every cell that repeats a pair, "
        "and count the rest.",
    )
