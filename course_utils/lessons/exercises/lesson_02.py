"""The checks of lesson 02."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from course_utils.lessons.exercises.answers import asks_for, check_number, say_right, say_wrong


@asks_for("a number in dB")
def check_02_1(answer: Any) -> None:
    """Check a thousandfold power in dB."""
    hints = {
        60: ("60 dB is a factor of 1,000 in amplitude.", "For powers the factor before the logarithm is 10."),
        3: ("3 is the logarithm.", "That is 3 bel; one bel has ten decibel."),
    }
    check_number(
        answer,
        30,
        "10 log10(1,000) = 30 dB: ten for every factor of ten.",
        hints,
        no_number="How many dB is a factor of 1,000 in power?",
        otherwise="10 times the logarithm, to base 10, of the ratio of the powers.",
        tolerance=0.05,
        wrong="{:g} dB is not it.",
    )


@asks_for("a whole number")
def check_02_2(answer: Any) -> None:
    """Check the number of frames of 3 s, `n_fft` 2,048, at overlap 3/4."""
    hints = {
        65: ("65 frames belong to overlap 0.5.", "What is the hop when neighbours share three quarters?"),
        44: ("that is a hop of 1,536.", "1,536 samples are shared; the hop is what is left of 2,048."),
        129: ("the last one is missing.", "A frame is centred on sample 0, too: count both ends."),
        126: ("that is without padding.", "Half a frame is added at both ends: frames are centred on 0, 512, 1,024 …"),
    }
    check_number(
        answer,
        130,
        "the hop is 512, and 1 + 66,150 // 512 = 130.",
        hints,
        no_number="Count the frames: a whole number.",
        otherwise="First find the hop. Then count its multiples from 0 to 66,150.",
    )


_LOOKS = {
    "air_conditioner": "a steady noise, strongest below, perhaps with a thin line or two; nothing changes",
    "car_horn": "straight, steady lines one above the other",
    "children_playing": "short lines in patches, at irregular times and heights: voices",
    "dog_bark": "short bright columns with pauses between",
    "drilling": "a whirr as high as the picture, which starts and stops and bends when it does",
    "engine_idling": "quick, even thumps, strong at the bottom and weak at the top",
    "gun_shot": "a column that begins at once and fades slowly",
    "jackhammer": "a quick, even row of blows that reach the top",
    "siren": "a line that glides or jumps up and down",
    "street_music": "lines in steps: notes",
}


@asks_for("a list of ten class names, for A to J")
def check_02_3(answer: Any, names: Sequence[str]) -> None:
    """Check the guessed classes of ten clips, given the true ones."""
    guesses = [str(guess) for guess in answer] if np.iterable(answer) else []
    right = sum(a == b for a, b in zip(guesses, names, strict=False))
    if len(guesses) != len(names) or not set(guesses) <= set(names):
        say_wrong(f"that is not a list of {len(names)} names of classes.", f"The names are {', '.join(sorted(names))}.")
    elif right == len(names):
        say_right("all ten.")
    else:
        place = next(i for i, (a, b) in enumerate(zip(guesses, names, strict=True)) if a != b)
        guess = guesses[place]
        say_wrong(
            f"{right} of {len(names)} are right. {chr(ord('A') + place)} is not {guess}.",
            f"{guess} looks like {_LOOKS.get(guess, 'another one: compare them')}.",
        )
