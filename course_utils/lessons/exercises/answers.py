"""What all checks of exercises share: blank answers, numbers, and what is said of right and wrong ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch


def asks_for(wanted: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
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


def check_number(
    answer: Any,
    right: float,
    why: str,
    hints: Mapping[int, tuple[str, str]] | Mapping[float, tuple[str, str]],
    *,
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
        no_number: The hint for an answer that is not a number.
        otherwise: The hint for any other number.
        tolerance: How far an answer may lie from `right`, or from a number of `hints`.
        wrong: What is said of any other number.
    """
    value = as_number(answer)
    if value is None:
        say_wrong("that is not a number.", no_number)
    elif abs(value - right) <= tolerance:
        say_right(why)
    else:
        known = (said for number, said in hints.items() if abs(value - number) <= tolerance)
        say_wrong(*next(known, (wrong.format(value), otherwise)))


def as_numbers(answer: Any) -> np.ndarray | None:
    """Return an answer as an array of finite float64, or None if it is something else."""
    try:
        values = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer, dtype=np.float64)
    except Exception:  # whatever a student's object may raise
        return None
    return values if np.isfinite(values).all() else None


def as_number(answer: Any) -> float | None:
    """Return an answer as one finite number, or None if it is something else."""
    values = as_numbers(answer)
    return None if values is None or values.ndim else float(values)


def values_of(function: Any, arguments: Sequence[float]) -> list[float] | None:
    """Return what a student's function gives for numbers or for tensors, or None if it gives no numbers."""
    for argument_type in (float, lambda value: torch.tensor(value, dtype=torch.float64)):
        try:
            return [float(function(argument_type(argument))) for argument in arguments]
        except Exception:  # whatever a student's function may raise
            continue
    return None


def say_right(why: str) -> None:
    """Print that an answer is right, and why."""
    print(f"Right: {why}")


def say_wrong(what: str, hint: str) -> None:
    """Print what is wrong with an answer, and a hint."""
    print(f"Not yet: {what} Hint: {hint}")
