"""The checks of lesson 01."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number, say_right, say_wrong


@asks_for("a number in Hz")
def check_01_1(answer: Any) -> None:
    """Check the frequency at which 15,000 Hz appears after sampling at 22,050 Hz."""
    hints = {
        15_000: (
            "15,000 Hz lies above the Nyquist frequency, so samples cannot hold it.",
            "Mirror it at 11,025 Hz.",
        ),
        3_975: ("3,975 Hz is how far the tone lies above the Nyquist frequency.", "Go as far below 11,025 Hz."),
    }
    check_number(
        answer,
        7_050,
        "22,050 − 15,000 = 7,050 Hz. It lies as far below 11,025 Hz as the tone lies above.",
        hints,
        no_number="One frequency in Hz.",
        otherwise="Half the sampling rate is 11,025 Hz. What lies above is mirrored to below.",
        tolerance=1,
        wrong="{:,.0f} Hz is not it.",
    )


@asks_for("six digits, as text")
def check_01_2(answer: Any, number: str) -> None:
    """Check the dialled number, given the true one."""
    dialled = str(answer).replace(" ", "")
    right = sum(a == b for a, b in zip(dialled, number, strict=False))
    if dialled == number:
        say_right("you have read a sound.")
    elif len(dialled) != len(number) or not dialled.isdigit():
        say_wrong(f"that is not {len(number)} digits.", 'Write them as text, one digit a key: "123456".')
    elif sorted(dialled) == sorted(number):
        say_wrong("these are the digits, in another order.", "Time runs to the right.")
    else:
        wrong = next(i for i, (a, b) in enumerate(zip(dialled, number, strict=True), start=1) if a != b)
        say_wrong(
            f"{right} of {len(number)} digits are right; number {wrong} is the first that is not.",
            "The lower line gives the row of the key, the upper one its column.",
        )
