"""One check an exercise: it says what is right, what is off and by how much, and gives a hint; it never raises.

`check_00_1` belongs to exercise 0.1 of lesson 00. Three dots, as the notebooks have them, are "not attempted yet".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.taxonomy import Taxonomy


def check_00_1(answer: Any) -> None:
    """Check the multi-hot vector of a dog bark with a siren."""
    if answer is ...:
        _not_attempted("a list of ten zeros and ones")
        return
    taxonomy = Taxonomy()
    values = _numbers(answer)
    if values is None or values.shape != (taxonomy.n_classes,):
        _wrong("that is no list of ten numbers.", "One number a class, in the order of the class IDs.")
    elif not np.isin(values, (0, 1)).all():
        _wrong("a multi-hot vector holds only 0 and 1.", "1 where the class can be heard, 0 where it cannot.")
    else:
        heard = {taxonomy.classes[i] for i in np.flatnonzero(values)}
        if heard == {"dog_bark", "siren"}:
            _right("two ones, at dog_bark (class ID 3) and siren (class ID 8).")
        elif values.sum() == 1:
            _wrong(f"only {heard.pop()} is marked.", "Both sounds are in it: this is what one label a clip cannot say.")
        else:
            _wrong(
                f"marked: {', '.join(sorted(heard)) or 'nothing'}.", "Count from 0: air_conditioner is the first entry."
            )


def check_00_2(answer: Any) -> None:
    """Check the number of combinations of four classes."""
    if answer is ...:
        _not_attempted("a whole number")
        return
    value = _numbers(answer)
    if value is None or value.ndim:
        _wrong("that is no number.", "How many unordered pairs are there, equal ones included?")
    elif value == 10:
        _right("six pairs of different classes and four of equal ones: 4 · 5 / 2.")
    elif value == 6:
        _wrong("6 are the pairs of different classes.", "Two clips of one class can meet as well.")
    elif value == 16:
        _wrong("16 counts dog + siren and siren + dog as two.", "The order does not matter.")
    else:
        _wrong(
            f"{value:g} is not it.",
            "Write the classes along both sides of a 4 × 4 table, cross out every cell that repeats a pair, and count the rest.",
        )


def _numbers(answer: Any) -> np.ndarray | None:
    try:
        return np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _not_attempted(wanted: str) -> None:
    print(f"Not attempted yet: replace the three dots with {wanted}.")


def _right(why: str) -> None:
    print(f"Right: {why}")


def _wrong(what: str, hint: str) -> None:
    print(f"Not yet: {what} Hint: {hint}")
