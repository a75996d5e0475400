"""One check an exercise: it says what is right, what is off and by how much, and gives a hint; it never raises.

`check_00_1` belongs to exercise 0.1 of lesson 00. Three dots, as the notebooks have them, are "not attempted yet".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from course_utils.taxonomy import Taxonomy


def _asks_for(wanted: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a check say "not attempted yet" to the three dots, and what should stand there."""

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def checked(answer: Any, *truth: Any) -> None:
            if answer is ...:
                print(f"Not attempted yet: replace the three dots with {wanted}.")
            else:
                check(answer, *truth)

        return checked

    return decorate


@_asks_for("a list of ten zeros and ones")
def check_00_1(answer: Any) -> None:
    """Check the multi-hot vector of a dog bark with a siren."""
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


@_asks_for("a whole number")
def check_00_2(answer: Any) -> None:
    """Check the number of combinations of four classes."""
    hints = {
        6: ("6 are the pairs of different classes.", "Two clips of one class can meet as well."),
        16: ("16 counts dog + siren and siren + dog as two.", "The order does not matter."),
    }
    _check_number(
        answer,
        10,
        "six pairs of different classes and four of equal ones: 4 · 5 / 2.",
        hints,
        no_number="How many unordered pairs are there, equal ones included?",
        otherwise="Write the classes along both sides of a 4 × 4 table, cross out every cell that repeats a pair, "
        "and count the rest.",
    )


@_asks_for("a number in Hz")
def check_01_1(answer: Any) -> None:
    """Check the frequency at which 15,000 Hz appears after sampling at 22,050 Hz."""
    hints = {
        15_000: (
            "15,000 Hz lies above the Nyquist frequency, so samples cannot hold it.",
            "Mirror it at 11,025 Hz.",
        ),
        3_975: ("3,975 Hz is how far the tone lies above the Nyquist frequency.", "Go as far below 11,025 Hz."),
    }
    _check_number(
        answer,
        7_050,
        "22,050 − 15,000 = 7,050 Hz. It lies as far below 11,025 Hz as the tone lies above.",
        hints,
        no_number="One frequency in Hz.",
        otherwise="Half the sampling rate is 11,025 Hz. What lies above is mirrored to below.",
        tolerance=1,
        wrong="{:,.0f} Hz is not it.",
    )


@_asks_for("six digits, as text")
def check_01_2(answer: Any, number: str) -> None:
    """Check the dialled number, given the true one."""
    dialled = str(answer).replace(" ", "")
    right = sum(a == b for a, b in zip(dialled, number, strict=False))
    if dialled == number:
        _right("you have read a sound.")
    elif len(dialled) != len(number) or not dialled.isdigit():
        _wrong(f"that is not {len(number)} digits.", 'Write them as text, one digit a key: "123456".')
    elif sorted(dialled) == sorted(number):
        _wrong("these are the digits, in another order.", "Time runs to the right.")
    else:
        wrong = next(i for i, (a, b) in enumerate(zip(dialled, number, strict=True), start=1) if a != b)
        _wrong(
            f"{right} of {len(number)} digits are right; number {wrong} is the first that is not.",
            "The lower line gives the row of the key, the upper one its column.",
        )


@_asks_for("a number in dB")
def check_02_1(answer: Any) -> None:
    """Check a thousandfold power in dB."""
    hints = {
        60: ("60 dB is a factor of 1,000 in amplitude.", "For powers the factor before the logarithm is 10."),
        3: ("3 is the logarithm.", "That is 3 bel; one bel has ten decibel."),
    }
    _check_number(
        answer,
        30,
        "10 log10(1,000) = 30 dB: ten for every factor of ten.",
        hints,
        no_number="How many dB is a factor of 1,000 in power?",
        otherwise="10 times the logarithm, to base 10, of the ratio of the powers.",
        tolerance=0.05,
        wrong="{:g} dB is not it.",
    )


@_asks_for("a whole number")
def check_02_2(answer: Any) -> None:
    """Check the number of frames of 3 s, `n_fft` 2,048, at overlap 3/4."""
    hints = {
        65: ("65 frames belong to overlap 0.5.", "What is the hop when neighbours share three quarters?"),
        44: ("that is a hop of 1,536.", "1,536 samples are shared; the hop is what is left of 2,048."),
        129: ("the last one is missing.", "A frame is centred on sample 0, too: count both ends."),
        126: ("that is without padding.", "Half a frame is added at both ends: frames are centred on 0, 512, 1,024 …"),
    }
    _check_number(
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


@_asks_for("a list of ten class names, for A to J")
def check_02_3(answer: Any, names: Sequence[str]) -> None:
    """Check the guessed classes of ten clips, given the true ones."""
    guesses = [str(guess) for guess in answer] if np.iterable(answer) else []
    right = sum(a == b for a, b in zip(guesses, names, strict=False))
    if len(guesses) != len(names) or not set(guesses) <= set(names):
        _wrong(f"that is not a list of {len(names)} names of classes.", f"The names are {', '.join(sorted(names))}.")
    elif right == len(names):
        _right("all ten.")
    else:
        place = next(i for i, (a, b) in enumerate(zip(guesses, names, strict=True)) if a != b)
        guess = guesses[place]
        _wrong(
            f"{right} of {len(names)} are right. {chr(ord('A') + place)} is not {guess}.",
            f"{guess} looks like {_LOOKS.get(guess, 'another one: compare them')}.",
        )


@_asks_for("a function of mel that returns Hz")
def check_03_1(answer: Any) -> None:
    """Check a function that converts mel to Hz on the HTK scale."""
    mels = (0.0, 500.0, 1_000.0, 2_840.0)
    values = _calls(answer, mels)
    wanted = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    if values is None:
        _wrong("calling it with a number gives no number.", "Write `def answer(mel): return …`, or a lambda.")
    elif np.allclose(values, wanted, rtol=1e-4, atol=1e-2):
        _right("700 (10^(mel / 2595) − 1), and 0 mel are 0 Hz.")
    elif np.allclose(values, [hertz + 700 for hertz in wanted], rtol=1e-4):
        _wrong("0 mel give 700 Hz.", "log10(1 + f / 700): the 1 has to be taken away again.")
    elif np.allclose(values, [700 * (np.exp(mel / 2595) - 1) for mel in mels], rtol=1e-4, atol=1e-2):
        _wrong("the values grow too slowly.", "The opposite of log10 is 10 to the power of.")
    else:
        _wrong(
            f"2,840 mel give {values[3]:,.0f} Hz, not 8,000.",
            "Solve mel = 2595 log10(1 + f / 700) for f, one step after the other.",
        )


@_asks_for("a whole number")
def check_03_2(answer: Any) -> None:
    """Check the largest number of mel bands without an empty filter at `n_fft` 256."""
    value = _number(answer)
    if value is None:
        _wrong("that is no number.", "How many bands: a whole number.")
    elif value == 75:
        _right("75 bands; of 76, one holds no bin.")
    elif value in (128, 129):
        _wrong("there are 129 bins, but they do not lie evenly.", "Low filters are narrower than the bins are apart.")
    elif value < 1 or value % 1:
        _wrong(f"{value:g} is no number of bands.", "How many bands: a whole number.")
    elif value > 75:
        _wrong(f"with {value:g} bands some filters are empty.", "Count the rows of the filterbank whose sum is 0.")
    else:
        _wrong(f"{value:g} bands work, but more would, too.", "Try all numbers in a loop; stop at the first empty row.")


@_asks_for("a function of start_1, end_1, start_2 and end_2 that returns True or False")
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
            _wrong("calling it with four numbers gives no True or False.", "Write `def answer(start_1, end_1, …)`.")
            return
        if value != shares:
            _wrong(f"for {times[0]}–{times[1]} s and {times[2]}–{times[3]} s it returns {value}.", hint)
            return
    _right("each begins before the other ends.")


@_asks_for("a probability between 0 and 1")
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
    _check_number(
        answer,
        0.8**10 + 0.2**10,
        "0.8^10 + 0.2^10. With nine recordings of ten, both sides get some.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="All ten in training: 0.8 times 0.8, ten times over. Then add all ten in the test.",
        tolerance=0.001,
    )


@_asks_for("a share between 0 and 1")
def check_05_1(answer: Any) -> None:
    """Check the share of mixtures with a dog and a siren, of clips that are dogs by 3/4 and sirens by 1/4."""
    hints = {
        0.1875: ("that is first the dog, then the siren.", "The siren may come first as well."),
        0.5625: ("that is the share of two dogs.", "One clip has to be a siren."),
        0.0625: ("that is the share of two sirens.", "One clip has to be a dog."),
        0.625: ("that is the share of the mixtures of one class.", "Take it away from 1."),
    }
    _check_number(
        answer,
        0.375,
        "2 · 0.75 · 0.25: the dog first, or the siren first.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="Multiply the share of the dogs by that of the sirens, for each of the two orders.",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a number")
def check_05_2(answer: Any) -> None:
    """Check the factor for the amplitude that lowers the level by 10 dB."""
    hints = {
        0.1: ("0.1 is the factor for the power.", "Power is the square of the amplitude."),
        10: ("a factor above 1 makes it louder, and 10 is one for the power.", "It has to become softer."),
        3.162: ("that makes the clip louder by 10 dB.", "It has to become softer: divide."),
        0.562: ("0.562 is 10 to the power of −10/40.", "The exponent is −10/20."),
    }
    _check_number(
        answer,
        10**-0.5,
        "10^(−10/20), which is √0.1: the power becomes a tenth, the amplitude the root of a tenth.",
        hints,
        no_number="One number, by which all samples are multiplied.",
        otherwise="10 dB less is a tenth of the power. By what must one multiply the samples for that?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a probability between 0 and 1")
def check_05_3(answer: Any) -> None:
    """Check the probability that both clips of a test mixture are in training mixtures, too."""
    hints = {
        0.96: ("0.96 is the probability for one of the two clips.", "Both have to be there."),
        0.64: ("0.64 holds if each clip were in one other mixture.", "There are two other mixtures with each."),
        0.8: ("0.8 is the probability that one other mixture is in training.", "Each clip is in two others."),
        0.0784: ("that is the probability that at least one is new.", "Take it away from 1."),
        0.998: ("that is about the probability that at least one of the two is in training.", "Both have to be there."),
    }
    _check_number(
        answer,
        0.96**2,
        "one clip: 1 − 0.2² = 0.96. Two clips: 0.96² = 0.92.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="Begin with one clip. It is unknown only if both of its other mixtures are in the test: 0.2 · 0.2.",
        tolerance=0.0045,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a list of four numbers")
def check_06_1(answer: Any) -> None:
    """Check the shapes of a 64 × 345 picture after a 3 × 3 and a 5 × 5 filter, both with a border of one."""
    values = _numbers(answer)
    if values is None or values.shape != (4,):
        _wrong("those are not four numbers.", "Height and width for 3 × 3, then height and width for 5 × 5.")
    elif values.tolist() == [64, 345, 62, 343]:
        _right("a filter takes its size minus 1 away, the border gives 2 back: 64 + 2 − 2 and 64 + 2 − 4.")
    elif values.tolist()[:2] == [62, 343]:
        _wrong("62 × 343 is without the border.", "The border makes the picture 66 × 347 first.")
    elif values.tolist()[:2] == [64, 345]:
        _wrong("the first shape is right, the second is not.", "On how many places does a 5 fit into a row of 66?")
    else:
        _wrong("the first shape is not it.", "The picture becomes 66 × 347. On how many places does a 3 fit into 66?")


@_asks_for("a number of seconds")
def check_06_2(answer: Any) -> None:
    """Check the receptive field of CNN10 in seconds at a hop of 256."""
    hints = {
        1.788: ("that is the receptive field at a hop of 512.", "Frames now lie 256 samples apart."),
        0.871: ("you left out the window.", "The last frame is 1,024 samples long, not 256."),
        0.882: ("76 frames have only 75 hops between them.", "75 hops, and then the last frame in full length."),
        0.917 / 2: ("you halved twice.", "Only the hop is halved; the window is as long as before."),
    }
    _check_number(
        answer,
        (75 * 256 + 1024) / 22_050,
        "75 hops of 256 and one window of 1,024: 0.917 s. With more overlap the same network hears less time.",
        hints,
        no_number="Seconds, as a number.",
        otherwise="The number of frames, 76, does not change. How many samples do 76 frames cover at a hop of 256?",
        tolerance=0.004,
        wrong="{:.3g} s is not it.",
    )


@_asks_for("a number")
def check_07_1(answer: Any) -> None:
    """Check the cross-entropy of always saying 0.2 where a class is in 20 % of the mixtures."""
    hints = {
        1.609: ("that is −ln 0.2, the loss where the class is there.", "In 80 % of the mixtures it is not."),
        0.223: ("that is −ln 0.8, the loss where the class is not there.", "In 20 % of the mixtures it is."),
        0.322: ("you have counted only the mixtures with the class.", "Add 0.8 times the loss of the others."),
        0.179: ("you have counted only the mixtures without the class.", "Add 0.2 times the loss of the others."),
        0.722: ("this is in bits.", "Take the natural logarithm, as torch does."),
        0.217: ("you took the logarithm to the base of 10.", "Take the natural logarithm, as torch does."),
    }
    _check_number(
        answer,
        0.5004,
        "0.2 · 1.609 + 0.8 · 0.223 = 0.50. What a network must beat.",
        hints,
        no_number="The mean of two losses, weighted by how often each occurs: one number.",
        otherwise="Where the class is there, it costs −ln 0.2; where it is not, −ln 0.8. How often is it there?",
        tolerance=0.003,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a list of two numbers")
def check_07_2(answer: Any) -> None:
    """Check the memory, in steps, of running means with 0.9 and 0.85."""
    values = _numbers(answer)
    if values is None or values.shape != (2,):
        _wrong("those are not two numbers.", "The steps for 0.9, then the steps for 0.85.")
    elif np.allclose(values, [10, 1 / 0.15], atol=0.5):
        _right("1 / 0.1 = 10 steps, 1 / 0.15 = 6.7 steps.")
    elif np.allclose(values, [1 / 0.15, 10], atol=0.5):
        _wrong("the two are the other way round.", "The larger β₁, the longer the memory.")
    elif np.allclose(values, [1 / 0.9, 1 / 0.85], atol=0.05):
        _wrong("that is 1 / β₁.", "Take 1 − β₁ first: the share of the new gradient.")
    else:
        _wrong("at least one is not it.", "For 0.9: 1 divided by 0.1.")


@_asks_for("a number of steps")
def check_08_1(answer: Any) -> None:
    """Check after how many steps half of a memory is left when 0.99 of it stays at each step."""
    hints = {
        50: ("50 would be right if each step took 1 % of the memory it began with.", "It takes 1 % of what is left."),
        100: ("after 100 steps a little more than a third is left.", "Solve 0.99 to the power of n = 0.5."),
    }
    _check_number(
        answer,
        68.97,
        "0.99 to the power of 69 is 0.5. At 0.9 it would be 7 steps.",
        hints,
        no_number="Steps, as a number.",
        otherwise="After n steps 0.99 to the power of n is left. When is that 0.5? Take the logarithm of both sides.",
        tolerance=1.0,
    )


@_asks_for("a whole number")
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
    _check_number(
        answer,
        49_664,
        "4 · (128 · 64 + 64 · 64 + 2 · 64). Both directions and both layers: 198,656, three quarters of the network.",
        hints,
        no_number="Count the weights and the biases: one whole number.",
        otherwise="One table: 128 · 64 weights from the inputs, 64 · 64 from the cells, 2 · 64 biases. There are four.",
    )


@_asks_for("a list of two numbers")
def check_09_1(answer: Any) -> None:
    """Check the seconds between two steps of the CRNN, fine and as reported."""
    values, steps = _numbers(answer), np.array([4.0, 48.0])
    if values is None or values.shape != (2,):
        _wrong("those are not two numbers.", "Seconds, for the fine pooling and then for the report's.")
    elif np.allclose(values, steps * 1024 / 22_050, rtol=0.03):
        _right("4 · 1,024 / 22,050 = 0.19 s, and 48 · 1,024 / 22,050 = 2.2 s.")
    elif np.allclose(values, steps[::-1] * 1024 / 22_050, rtol=0.03):
        _wrong("the two are the other way round.", "The fine pooling comes first, and has the shorter steps.")
    elif np.allclose(values, steps) or np.allclose(values, steps * 1024):
        _wrong("that is in frames, or in samples.", "A frame is 1,024 samples, a second 22,050 of them.")
    elif np.allclose(values, np.array([5.0, 11.0]) * 1024 / 22_050, rtol=0.03):
        _wrong("the poolings are added.", "Each pooling works on what the one before has left: multiply.")
    else:
        _wrong("at least one is not it.", "Multiply the three poolings, then the hop, and divide by the sampling rate.")


@_asks_for("a whole number")
def check_09_2(answer: Any) -> None:
    """Check how many windows of 8 s, every 2 s, contain a bark from 29 s to 31 s."""
    hints = {
        5: ("five windows contain a part of it.", "Two of them begin or end in the middle of the bark."),
        4: ("each moment lies in four windows.", "The bark lasts two seconds, and a window must contain all of them."),
        27: ("so many windows has the whole recording.", "Which of them begin by 29 s and end at 31 s or later?"),
    }
    _check_number(
        answer,
        3,
        "those that begin at 24, 26 and 28 s.",
        hints,
        no_number="Count windows: one whole number.",
        otherwise="A window beginning at t contains it if t is at most 29 and t + 8 at least 31. t is a multiple of 2.",
    )


@_asks_for("a list of four numbers")
def check_10_1(answer: Any) -> None:
    """Check the four counts of twelve answers to the question whether there is a dog."""
    values, right = _numbers(answer), [4, 2, 1, 5]
    if values is None or values.shape != (4,):
        _wrong("those are not four numbers.", "TP, FP, FN and TN, in this order.")
    elif values.tolist() == right:
        _right("four hits, two false alarms (2 and 8), one miss (6), and five times rightly no.")
    elif values.tolist() == [4, 1, 2, 5]:
        _wrong("false positives and false negatives are exchanged.", "A false positive was said and is not there.")
    elif values.sum() != 12:
        _wrong(f"they add up to {values.sum():g}.", "Each of the twelve mixtures is exactly one of the four cases.")
    else:
        wrong = next(name for name, a, b in zip(("TP", "FP", "FN", "TN"), values, right, strict=True) if a != b)
        _wrong(f"{wrong} is not it.", "Go down the table row by row: is there a dog, and was a dog said?")


@_asks_for("a list of two numbers")
def check_10_2(answer: Any) -> None:
    """Check macro and micro recall of 90 of 100 and 1 of 10."""
    values, right = _numbers(answer), np.array([0.5, 91 / 110])
    if values is None or values.shape != (2,):
        _wrong("those are not two numbers.", "The macro recall, then the micro recall.")
    elif np.allclose(values, right, atol=0.003):
        _right(
            "(0.9 + 0.1) / 2 = 0.5, and 91 / 110 = 0.83. The small class weighs a half in one, an eleventh in the other."
        )
    elif np.allclose(values, right[::-1], atol=0.003):
        _wrong("the two are the other way round.", "Macro is the mean of the two recalls.")
    elif abs(values[0] - 0.5) > 0.003:
        _wrong("the macro recall is not it.", "The recalls are 90/100 and 1/10. Take their mean.")
    else:
        _wrong("the micro recall is not it.", "Add up first: how many hits, and how many were there to find?")


@_asks_for("a probability between 0 and 1")
def check_10_3(answer: Any) -> None:
    """Check the probability that ten independent answers are all right when each is with 0.95."""
    hints = {
        0.95: ("that is the probability of one right answer.", "All ten must be right."),
        0.5: ("you took 0.05 away ten times.", "Independent probabilities are multiplied."),
        0.401: ("that is the probability that some answer is wrong.", "Take it away from 1."),
        9.5: ("that is how many are right on average.", "What is the probability that it is all ten?"),
    }
    _check_number(
        answer,
        0.95**10,
        "0.95 to the power of 10.",
        hints,
        no_number="A probability: a number between 0 and 1.",
        otherwise="Two right answers have the probability 0.95 times 0.95. And ten?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a share between 0 and 1")
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
    _check_number(
        answer,
        1 - (54 / 55) ** 24,
        "1 − (54/55)^24. A little more than a third of the combinations is there; the others count 0.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="With which probability is one given combination in none of the 24 mixtures?",
        tolerance=0.002,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a share between 0 and 1")
def check_11_2(answer: Any) -> None:
    """Check the accuracy on a test of which 92 % are of known recordings, at 0.8 on those and 0.2 on the others."""
    hints = {
        0.5: ("that is the plain mean.", "The two kinds are not equally frequent: weigh them."),
        0.272: ("the weights are exchanged.", "92 % are of known recordings, with 0.8."),
        0.736: ("you left the other 8 % out.", "Of those, 0.2 are named, too."),
        0.8: ("that is the accuracy on the known ones alone.", "8 % of the test is of the other kind."),
    }
    _check_number(
        answer,
        0.92 * 0.8 + 0.08 * 0.2,
        "0.92 · 0.8 + 0.08 · 0.2. The one number hides that the network names one in five of what is new to it.",
        hints,
        no_number="A share: a number between 0 and 1.",
        otherwise="Weigh each accuracy by the share of its mixtures, and add up.",
        tolerance=0.003,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a number")
def check_12_1(answer: Any) -> None:
    """Check the positive weight of a class that is in 80 of 1,000 mixtures."""
    hints = {
        12.5: ("12.5 is all mixtures over those with the class.", "How many are there *without* it?"),
        0.087: ("that is with the class over without it.", "Turn it round."),
        0.08: ("that is the share of the class.", "How many mixtures without the class are there for one with it?"),
        0.92: ("that is the share without the class.", "Divide by the share with it."),
    }
    _check_number(
        answer,
        11.5,
        "920 / 80. Each mixture with the class counts as much as the 11.5 without it that come with it.",
        hints,
        no_number="One number, by which the loss of a mixture with the class is multiplied.",
        otherwise="Count the mixtures without the class, and those with it, and divide.",
        tolerance=0.004,
        wrong="{:.3g} is not it.",
    )


@_asks_for("a whole number")
def check_12_2(answer: Any) -> None:
    """Check the steps of an epoch of 10,478 mixtures on four GPUs with batches of 32 each."""
    hints = {
        327: ("that is with one GPU.", "In one step four batches of 32 are worked on at once."),
        1309: ("you multiplied by four.", "Four times as many mixtures a step: fewer steps."),
        82: ("the last batch is not full, and is dropped.", "Round down."),
        128: ("that is the number of mixtures in a step.", "How often does it fit into 10,478?"),
    }
    _check_number(
        answer,
        81,
        "10,478 / 128, rounded down. A quarter of the steps, so a learning rate for one GPU need not fit four.",
        hints,
        no_number="Count steps: one whole number.",
        otherwise="How many mixtures go into one step, on all four GPUs together?",
    )


def _check_number(
    answer: Any,
    right: float,
    why: str,
    hints: Mapping[float, tuple[str, str]],
    no_number: str,
    otherwise: str,
    tolerance: float = 0.0,
    wrong: str = "{:g} is not it.",
) -> None:
    """Check an answer that is one number.

    Args:
        answer: The student's.
        right: The right one.
        why: Said of the right one.
        hints: Typical wrong number → what is wrong with it, and a hint.
        no_number: The hint for an answer that is no number.
        otherwise: The hint for any other number.
        tolerance: How far an answer may lie from `right`, or from a number of `hints`.
        wrong: What is said of any other number.
    """
    value = _number(answer)
    if value is None:
        _wrong("that is no number.", no_number)
    elif abs(value - right) <= tolerance:
        _right(why)
    else:
        known = (said for number, said in hints.items() if abs(value - number) <= tolerance)
        _wrong(*next(known, (wrong.format(value), otherwise)))


def _numbers(answer: Any) -> np.ndarray | None:
    try:
        values = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer, dtype=np.float64)
    except Exception:  # whatever a student's object may raise
        return None
    return values if np.isfinite(values).all() else None


def _number(answer: Any) -> float | None:
    values = _numbers(answer)
    return None if values is None or values.ndim else float(values)


def _calls(function: Any, arguments: Sequence[float]) -> list[float] | None:
    """Return what a student's function gives for numbers or for tensors, or None if it gives no numbers."""
    for argument_type in (float, lambda value: torch.tensor(value, dtype=torch.float64)):
        try:
            return [float(function(argument_type(argument))) for argument in arguments]
        except Exception:  # whatever a student's function may raise
            continue
    return None


def _right(why: str) -> None:
    print(f"Right: {why}")


def _wrong(what: str, hint: str) -> None:
    print(f"Not yet: {what} Hint: {hint}")
