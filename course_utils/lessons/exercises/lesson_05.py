"""The checks of lesson 05."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import asks_for, check_number


@asks_for("a share between 0 and 1")
def check_05_1(answer: Any) -> None:
    """Check the share of mixtures with a dog and a siren, of clips that are dogs by 3/4 and sirens by 1/4."""
    hints = {
        0.1875: ("that is first the dog, then the siren.", "The siren may come first as well."),
        0.5625: ("that is the share of two dogs.", "One clip has to be a siren."),
        0.0625: ("that is the share of two sirens.", "One clip has to be a dog."),
        0.625: ("that is the share of the mixtures of one class.", "Take it away from 1."),
    }
    check_number(
        answer,
        0.375,
        "2 · 0.75 · 0.25: the dog first, or the siren first.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="Multiply the share of the dogs by that of the sirens, for each of the two orders.",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@asks_for("a number")
def check_05_2(answer: Any) -> None:
    """Check the factor for the amplitude that lowers the level by 10 dB."""
    hints = {
        0.1: ("0.1 is the factor for the power.", "Power is the square of the amplitude."),
        10: ("a factor above 1 makes it louder, and 10 is one for the power.", "It has to become softer."),
        3.162: ("that makes the clip louder by 10 dB.", "It has to become softer: divide."),
        0.562: ("0.562 is 10 to the power of −10/40.", "The exponent is −10/20."),
    }
    check_number(
        answer,
        10**-0.5,
        "10^(−10/20), which is √0.1: the power becomes a tenth, the amplitude the root of a tenth.",
        hints,
        no_number="One number, by which all samples are multiplied.",
        otherwise="10 dB less is a tenth of the power. By what must one multiply the samples for that?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@asks_for("a probability between 0 and 1")
def check_05_3(answer: Any) -> None:
    """Check the probability that both clips of a test mixture are in training mixtures, too."""
    hints = {
        0.96: ("0.96 is the probability for one of the two clips.", "Both have to be there."),
        0.64: ("0.64 holds if each clip were in one other mixture.", "There are two other mixtures with each."),
        0.8: ("0.8 is the probability that one other mixture is in training.", "Each clip is in two others."),
        0.0784: ("that is the probability that at least one is new.", "Take it away from 1."),
        0.998: ("that is about the probability that at least one of the two is in training.", "Both have to be there."),
    }
    check_number(
        answer,
        0.96**2,
        "one clip: 1 − 0.2² = 0.96. Two clips: 0.96² = 0.92.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="Begin with one clip. It is unknown only if both of its other mixtures are in the test: 0.2 · 0.2.",
        tolerance=0.0045,
        wrong="{:.3g} is not it.",
    )
