"""The checks of lesson 06."""

from __future__ import annotations

from typing import Any

from course_utils.lessons.exercises.answers import as_numbers, asks_for, check_number, say_right, say_wrong


@asks_for("a list of four numbers")
def check_06_1(answer: Any) -> None:
    """Check the shapes of a 64 × 345 picture after a 3 × 3 and a 5 × 5 filter, both with a border of one."""
    values = as_numbers(answer)
    if values is None or values.shape != (4,):
        say_wrong("those are not four numbers.", "Height and width for 3 × 3, then height and width for 5 × 5.")
    elif values.tolist() == [64, 345, 62, 343]:
        say_right("a filter takes its size minus 1 away, the border gives 2 back: 64 + 2 − 2 and 64 + 2 − 4.")
    elif values.tolist()[:2] == [62, 343]:
        say_wrong("62 × 343 is without the border.", "The border makes the picture 66 × 347 first.")
    elif values.tolist()[:2] == [64, 345]:
        say_wrong("the first shape is right, the second is not.", "On how many places does a 5 fit into a row of 66?")
    else:
        say_wrong(
            "the first shape is not it.", "The picture becomes 66 × 347. On how many places does a 3 fit into 66?"
        )


@asks_for("a number of seconds")
def check_06_2(answer: Any) -> None:
    """Check the receptive field of CNN10 in seconds at a hop of 256."""
    hints = {
        1.788: ("that is the receptive field at a hop of 512.", "Frames now lie 256 samples apart."),
        0.871: ("you left out the window.", "The last frame is 1,024 samples long, not 256."),
        0.882: ("76 frames have only 75 hops between them.", "75 hops, and then the last frame in full length."),
        0.917 / 2: ("you halved twice.", "Only the hop is halved; the window is as long as before."),
    }
    check_number(
        answer,
        (75 * 256 + 1024) / 22_050,
        "75 hops of 256 and one window of 1,024: 0.917 s. With more overlap the same network hears less time.",
        hints,
        no_number="Seconds, as a number.",
        otherwise="The number of frames, 76, does not change. How many samples do 76 frames cover at a hop of 256?",
        tolerance=0.004,
        wrong="{:.3g} s is not it.",
    )
