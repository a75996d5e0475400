"""The checks of lesson 03."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import as_number, asks_for, say_right, say_wrong, values_of


@asks_for("a function of mel that returns Hz")
def check_03_1(answer: Any) -> None:
    """Check a function that converts mel to Hz on the HTK scale."""
    mels = (0.0, 500.0, 1_000.0, 2_840.0)
    values = values_of(answer, mels)
    wanted = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    if values is None:
        say_wrong("calling it with a number gives no number.", "Write `def answer(mel): return …`, or a lambda.")
    elif np.allclose(values, wanted, rtol=1e-4, atol=1e-2):
        say_right("700 (10^(mel / 2595) − 1), and 0 mel are 0 Hz.")
    elif np.allclose(values, [hertz + 700 for hertz in wanted], rtol=1e-4):
        say_wrong("0 mel give 700 Hz.", "log10(1 + f / 700): the 1 has to be taken away again.")
    elif np.allclose(values, [700 * (np.exp(mel / 2595) - 1) for mel in mels], rtol=1e-4, atol=1e-2):
        say_wrong("the values grow too slowly.", "The opposite of log10 is 10 to the power of.")
    else:
        say_wrong(
            f"2,840 mel give {values[3]:,.0f} Hz, not 8,000.",
            "Solve mel = 2595 log10(1 + f / 700) for f, one step after the other.",
        )


@asks_for("a whole number")
def check_03_2(answer: Any) -> None:
    """Check the largest number of mel bands without an empty filter at `n_fft` 256."""
    value = as_number(answer)
    if value is None:
        say_wrong("that is not a number.", "How many bands: a whole number.")
    elif value == 75:
        say_right("75 bands; of 76, one holds no bin.")
    elif value in (128, 129):
        say_wrong(
            "there are 129 bins, but they do not lie evenly.", "Low filters are narrower than the bins are apart."
        )
    elif value < 1 or value % 1:
        say_wrong(f"{value:g} is not a number of bands.", "How many bands: a whole number.")
    elif value > 75:
        say_wrong(f"with {value:g} bands some filters are empty.", "Count the rows of the filterbank whose sum is 0.")
    else:
        say_wrong(
            f"{value:g} bands work, but more would, too.", "Try all numbers in a loop; stop at the first empty row."
        )
