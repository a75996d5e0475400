"""Every picture of the course, one function each; each takes an optional `ax`, and returns the one it drew on.

Sound is drawn alike everywhere: time in seconds to the right, the same colours for the same thing, and a colour map
that is even to the eye and safe for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from course_utils.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR_MAP = "magma"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"  # of Okabe and Ito's colour-blind-safe palette
DYNAMIC_RANGE = 80.0  # dB shown below the loudest cell


def waveform(samples: ArrayLike, ax: Axes | None = None, title: str = "", sample_rate: int = SAMPLE_RATE) -> Axes:
    """Draw a waveform `[T]` over time.

    Args:
        samples: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: Above the picture.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=1.8)
    values = np.asarray(samples)
    ax.plot(np.arange(len(values)) / sample_rate, values, color=BLUE, linewidth=0.5)
    ax.set(xlabel="time in s", ylabel="amplitude", title=title, xlim=(0, len(values) / sample_rate), ylim=(-1.05, 1.05))
    return ax


def log_mel(
    decibels: ArrayLike,
    ax: Axes | None = None,
    title: str = "",
    hop_length: int = 512,
    fmin: float = 50.0,
    sample_rate: int = SAMPLE_RATE,
) -> Axes:
    """Draw a log-mel `[n_mels, frames]` in dB: bright is loud, low frequencies are below.

    Args:
        decibels: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: Above the picture.
        hop_length: Samples from one frame to the next.
        fmin: Lower edge of the first band, in Hz.
        sample_rate: In Hz.
    """
    from course_utils.features import hz_to_mel

    ax = ax or _new_axes(height=2.6)
    values = np.asarray(decibels)
    bands, frames = values.shape
    loudest = float(values.max())
    seconds = frames * hop_length / sample_rate
    image = ax.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap=COLOUR_MAP,
        vmin=loudest - DYNAMIC_RANGE,
        vmax=loudest,
        extent=(0, seconds, -0.5, bands - 0.5),
        interpolation="nearest",
    )
    low, high = float(hz_to_mel(fmin)), float(hz_to_mel(sample_rate / 2))
    hertz = [h for h in (250, 500, 1000, 2000, 4000, 8000) if fmin < h < sample_rate / 2]
    places = [(float(hz_to_mel(float(h))) - low) / (high - low) * (bands + 1) - 1 for h in hertz]
    ax.set(
        xlabel="time in s", ylabel="frequency in Hz", title=title, yticks=places, yticklabels=[f"{h:,}" for h in hertz]
    )
    ax.figure.colorbar(image, ax=ax, label="power in dB", pad=0.02)
    return ax


def probabilities(
    values: Mapping[str, float], ax: Axes | None = None, title: str = "", truth: Sequence[str] = ()
) -> Axes:
    """Draw the probability of each class as a bar; the classes that are really there are orange and starred.

    Args:
        values: Class name → probability, drawn from top to bottom.
        ax: Where to draw; a new figure if not given.
        title: Above the picture.
        truth: Names of the classes that are there.
    """
    ax = ax or _new_axes(height=3.0, width=7.0)
    names = list(values)
    labels = [f"{name} *" if name in truth else name for name in names]
    colours = [ORANGE if name in truth else GREY for name in names]
    ax.barh(labels, [values[name] for name in names], color=colours)
    ax.invert_yaxis()
    ax.set(xlabel="probability", title=title, xlim=(0, 1))
    return ax


def history(table: Mapping[str, ArrayLike], ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the losses of a run, and its validation mAP on a second axis, over epochs.

    Args:
        table: The columns of `history.csv`.
        ax: Where to draw; a new figure if not given.
        title: Above the picture.
    """
    ax = ax or _new_axes(height=3.0, width=7.0)
    epochs = np.asarray(table["epoch"])
    ax.plot(epochs, np.asarray(table["train_loss"]), color=BLUE, label="training loss")
    ax.set(xlabel="epoch", ylabel="loss", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    if "valid_loss" in table:
        ax.plot(epochs, np.asarray(table["valid_loss"]), color=BLUE, linestyle="--", label="validation loss")
        right = ax.twinx()
        right.plot(epochs, np.asarray(table["valid_mAP"]), color=ORANGE, label="validation mAP")
        right.set(ylabel="mAP", ylim=(0, 1))
        handles = [*ax.get_lines(), *right.get_lines()]
        names = [str(line.get_label()) for line in handles]
        ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    return ax


def _new_axes(height: float, width: float = 9.0) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]
