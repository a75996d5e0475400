"""Every picture of the course, one function each; each takes an optional `ax`, and returns the one it drew on.

Sound is drawn alike everywhere: time in seconds to the right, the same colours for the same thing, and a colour map
that is even to the eye and safe for the colour-blind. Values may be arrays or tensors, on any device; those of a shape
that cannot be drawn are refused with a ValueError.
"""

from __future__ import annotations

import html
import inspect
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from course_utils import audio
from course_utils.audio import SAMPLE_RATE
from course_utils.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_MAP = "magma"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"  # of Okabe and Ito's colour-blind-safe palette
LINE_COLOURS, LINE_STYLES = (BLUE, ORANGE, "#009E73", GREY), ("-", "--", "-.", ":")
SHADES = 48  # of the colour map: finer than the eye sees, coarse enough for small files
_DOTS_PER_INCH = 110  # of pictures that are PNG files
DYNAMIC_RANGE = 80.0  # dB shown below the loudest cell


def waveform(samples: ArrayLike, ax: Axes | None = None, title: str = "", sample_rate: int = SAMPLE_RATE) -> Axes:
    """Draw a waveform `[T]` over time.

    Args:
        samples: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=1.8)
    values = _array(samples)
    ax.plot(np.arange(len(values)) / sample_rate, values, color=BLUE, linewidth=0.5)
    ax.set(xlabel="time in s", ylabel="amplitude", title=title, xlim=(0, len(values) / sample_rate), ylim=(-1.05, 1.05))
    return ax


def spectrum(
    curves: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    title: str = "",
    *,
    ylabel: str = "magnitude",
    max_frequency: float | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> Axes:
    """Draw one or more spectra `[1 + n_fft // 2]` of an even `n_fft`, from 0 Hz to half the sampling rate.

    Args:
        curves: Name → values; they may differ in their number of bins.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        ylabel: What the values are, with their unit.
        max_frequency: Right edge in Hz; None means half the sampling rate.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=2.6)
    looks = _looks()
    for (name, curve), (colour, style) in zip(curves.items(), looks, strict=False):
        values = _array(curve)
        hertz = np.linspace(0, sample_rate / 2, len(values))
        ax.plot(hertz, values, color=colour, linestyle=style, linewidth=1.2, label=name)
    ax.set(xlabel="frequency in Hz", ylabel=ylabel, xlim=(0, max_frequency or sample_rate / 2))
    _title_and_legend(ax, title, len(curves))
    return ax


def spectrogram(
    decibels: ArrayLike,
    ax: Axes | None = None,
    title: str = "",
    *,
    hop_length: int = 512,
    dynamic_range: float = DYNAMIC_RANGE,
    max_frequency: float | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> Axes:
    """Draw a spectrogram `[1 + n_fft // 2, frames]` in dB: bright is loud, low frequencies are below.

    Args:
        decibels: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        hop_length: Samples from one frame to the next.
        dynamic_range: Cells this many dB below the loudest, and weaker ones, are black.
        max_frequency: Upper edge in Hz; None means half the sampling rate.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=2.6)
    values = _array(decibels, 2)
    half_bin = sample_rate / (len(values) - 1) / 4
    _cells(ax, values, hop_length / sample_rate, (-half_bin, sample_rate / 2 + half_bin), dynamic_range=dynamic_range)
    ax.set(ylabel="frequency in Hz", title=title, ylim=(0, max_frequency or sample_rate / 2))
    return ax


def log_mel(
    decibels: ArrayLike,
    ax: Axes | None = None,
    title: str = "",
    *,
    hop_length: int = 512,
    fmin: float = 50.0,
    sample_rate: int = SAMPLE_RATE,
) -> Axes:
    """Draw a log-mel `[n_mels, frames]` in dB: bright is loud, low frequencies are below.

    Args:
        decibels: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        hop_length: Samples from one frame to the next.
        fmin: Lower edge of the first band, in Hz.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=2.6)
    values = _array(decibels, 2)
    _cells(ax, values, hop_length / sample_rate, (-0.5, len(values) - 0.5), dynamic_range=DYNAMIC_RANGE)
    _mark_bands(ax, len(values), fmin, sample_rate)
    ax.set_title(title)
    return ax


def pcen(
    values: ArrayLike,
    ax: Axes | None = None,
    title: str = "",
    *,
    hop_length: int = 512,
    fmin: float = 50.0,
    sample_rate: int = SAMPLE_RATE,
) -> Axes:
    """Draw what `PCEN` gives, `[n_mels, frames]`: bright is louder than the moments before, low frequencies are below.

    Args:
        values: An array or a tensor, not negative; the least that is shown is 0, the most their maximum.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        hop_length: Samples from one frame to the next.
        fmin: Lower edge of the first band, in Hz.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=2.6)
    values = _array(values, 2)
    edges = (-0.5, len(values) - 0.5)
    shown = float(values.max()) or 1.0
    _cells(ax, values, hop_length / sample_rate, edges, dynamic_range=shown, label="PCEN")
    _mark_bands(ax, len(values), fmin, sample_rate)
    ax.set_title(title)
    return ax


def filterbank(weights: ArrayLike, ax: Axes | None = None, title: str = "", sample_rate: int = SAMPLE_RATE) -> Axes:
    """Draw the filters `[n_mels, 1 + n_fft // 2]` of a mel filterbank over frequency, neighbours in two colours.

    Args:
        weights: An array or a tensor.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        sample_rate: In Hz.
    """
    ax = ax or _new_axes(height=2.6)
    values = _array(weights, 2)
    hertz = np.linspace(0, sample_rate / 2, values.shape[1])
    for i, row in enumerate(values):
        held = np.flatnonzero(row)
        if len(held):
            part = slice(max(held[0] - 1, 0), held[-1] + 2)
            ax.plot(hertz[part], row[part], color=(BLUE, ORANGE)[i % 2], linewidth=0.9)
    ax.set(xlabel="frequency in Hz", ylabel="weight", title=title, xlim=(0, sample_rate / 2), ylim=(0, None))
    return ax


def window_sum(window: ArrayLike, hop_length: int, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw copies of a window, each `hop_length` after the one before, and their sum.

    Args:
        window: `[n_fft]`, an array or a tensor.
        hop_length: Samples from one copy to the next.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    ax = ax or _new_axes(height=2.0)
    values = _array(window)
    starts = range(0, 4 * len(values), hop_length)
    total = np.zeros(starts[-1] + len(values))
    for start in starts:
        ax.plot(np.arange(start, start + len(values)), values, color=GREY, linewidth=0.8)
        total[start : start + len(values)] += values
    ax.plot(total, color=ORANGE, linewidth=2)
    ax.set(xlabel="sample", ylabel="weight", title=title, xlim=(0, len(total)), ylim=(0, None))
    return ax


def probabilities(
    values: Mapping[str, float], ax: Axes | None = None, title: str = "", truth: Sequence[str] = ()
) -> Axes:
    """Draw the probability of each class as a bar; the classes that are really there are orange and starred.

    Args:
        values: Class name → probability, drawn from top to bottom.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
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


def timeline(table: pd.DataFrame, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the probability of each class over the time of a recording: bright is probable.

    Where windows overlap, the mean of those that cover a moment is drawn.

    Args:
        table: One row per window: `start`, `end` in seconds, and a column of probabilities for each class.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    import matplotlib as mpl

    classes = [column for column in table.columns if column not in ("start", "end")]
    ax = ax or _new_axes(height=0.9 + 0.22 * len(classes))
    start, end = (table[name].to_numpy().round(6) for name in ("start", "end"))  # 0.1 + 0.2 is 0.3
    edges = np.unique(np.concatenate([start, end]))
    windows = np.column_stack([np.ones(len(table)), table[classes]])  # to count them, and to add them up
    change = np.zeros((len(edges), windows.shape[1]))
    np.add.at(change, np.searchsorted(edges, start), windows)
    np.subtract.at(change, np.searchsorted(edges, end), windows)
    count, *sums = change.cumsum(axis=0)[:-1].T
    shown = np.where(count > 0.5, sums / count.clip(min=1), np.nan)
    colours = mpl.colormaps[COLOUR_MAP].resampled(SHADES)
    image = ax.pcolormesh(edges, np.arange(len(classes) + 1) - 0.5, shown, vmin=0, vmax=1, cmap=colours)
    ax.set_yticks(range(len(classes)), classes)
    ax.invert_yaxis()
    ax.set(xlabel="time in s", title=title)
    ax.figure.colorbar(image, ax=ax, label="probability", pad=0.02)
    return ax


def slices(clips: pd.DataFrame, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the slices of one recording on its time line; what another slice also holds is orange.

    Args:
        clips: The rows of one recording, with `slice_file_name`, `start` and `end` in seconds.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    ax = ax or _new_axes(height=0.6 + 0.3 * len(clips))
    for place, clip in enumerate(clips.itertuples()):
        ax.barh(place, clip.end - clip.start, left=clip.start, height=0.7, color=BLUE)
        for other in clips.drop(clip.Index).itertuples():
            start, end = max(clip.start, other.start), min(clip.end, other.end)
            if start < end:
                ax.barh(place, end - start, left=start, height=0.7, color=ORANGE)
    ax.set_yticks(range(len(clips)), clips["slice_file_name"])
    ax.invert_yaxis()
    ax.set(xlabel="time in the recording, in s", title=title)
    return ax


def pair_counts(counts: ArrayLike, taxonomy: Taxonomy, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw how many mixtures there are of each combination, as a table of class by class.

    Args:
        counts: `[n_combinations]`, in the order of the combination IDs.
        taxonomy: The classes.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.

    Raises:
        ValueError: If there is not one number per combination.
    """
    values, n = _array(counts), taxonomy.n_classes
    if len(values) != taxonomy.n_combinations:
        raise ValueError(f"{n} classes have {taxonomy.n_combinations} combinations; got {len(values)} numbers")
    table = np.full((n, n), np.nan)
    table[tuple(taxonomy.pairs.T)] = values
    return _class_by_class(table, taxonomy, ax, title, label="mixtures", fmt=".0f")


def co_occurrence(multi_hot: ArrayLike, taxonomy: Taxonomy, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw in how many label sets two classes are together, as a table of class by class; the diagonal counts each class.

    Args:
        multi_hot: Label sets of any size, `[N, n_classes]`.
        taxonomy: The classes.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.

    Raises:
        ValueError: If there is not one column per class.
    """
    sets = _array(multi_hot, 2)
    if sets.shape[1] != taxonomy.n_classes:
        raise ValueError(f"{taxonomy.n_classes} classes need one column each; got {sets.shape[1]}")
    table = np.where(np.tri(taxonomy.n_classes, k=-1, dtype=bool), np.nan, sets.T @ sets)
    return _class_by_class(table, taxonomy, ax, title, label="label sets", fmt=".0f")


def confusion(matrix: ArrayLike, taxonomy: Taxonomy, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw what is named where a class is missed, as a table of class by class; the diagonal is the recall.

    Args:
        matrix: `[n_classes, n_classes]`, as `evaluation.label_confusion` gives it; NaN is left blank.
        taxonomy: The classes.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.

    Raises:
        ValueError: If there is not one row and one column per class.
    """
    values, n = _array(matrix, 2), taxonomy.n_classes
    if values.shape != (n, n):
        raise ValueError(f"{n} classes need a matrix of shape {(n, n)}, not {values.shape}")
    ax = _class_by_class(values, taxonomy, ax, title, label="share", fmt=".2f", vmax=1)
    ax.set(xlabel="was named", ylabel="was there")
    return ax


def history(table: Mapping[str, ArrayLike], ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the losses of a run, and its validation mAP on a second axis, over epochs.

    Args:
        table: The columns of `history.csv`.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    ax = ax or _new_axes(height=3.0, width=7.0)
    epochs = np.asarray(table["epoch"])
    ax.plot(epochs, np.asarray(table["train_loss"]), color=BLUE, label="training loss")
    ax.set(xlabel="epoch", ylabel="loss", title=title)
    _tick_whole_numbers(ax)
    if "valid_loss" in table:
        ax.plot(epochs, np.asarray(table["valid_loss"]), color=BLUE, linestyle="--", label="validation loss")
        right = ax.twinx()
        right.plot(epochs, np.asarray(table["valid_mAP"]), color=ORANGE, label="validation mAP")
        right.set(ylabel="mAP", ylim=(0, 1))
        handles = [*ax.get_lines(), *right.get_lines()]
        names = [str(line.get_label()) for line in handles]
        ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    return ax


def tiles(
    images: ArrayLike, ax: Axes | None = None, title: str = "", *, columns: int = 8, names: Sequence[str] = ()
) -> Axes:
    """Draw small images side by side, such as the filters or the feature maps of a layer; each has its own scale.

    Where some value is negative, 0 is white, orange is above and purple below.

    Args:
        images: `[N, height, width]`, an array or a tensor; row 0 of each is drawn at the bottom.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        columns: Tiles in a row.
        names: Above the tiles; numbers from 0 if not given.
    """
    import matplotlib as mpl

    values = _array(images, 3)
    count, height, width = values.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    ax = ax or _new_axes(height=min(9.0 / columns * rows * 0.75 + 0.3, 9.0))
    signed = values.min() < 0
    colours = mpl.colormaps["PuOr_r" if signed else COLOUR_MAP].resampled(SHADES)
    for i, image in enumerate(values):
        reach = float(np.abs(image).max()) or 1.0
        left, bottom = i % columns * 1.06, -(i // columns) * 1.12
        limits = (-reach, reach) if signed else (float(image.min()), max(float(image.max()), float(image.min()) + 1e-9))
        ax.imshow(
            image,
            origin="lower",
            aspect="auto",
            cmap=colours,
            vmin=limits[0],
            vmax=limits[1],
            extent=(left, left + 1, bottom, bottom + 1),
            interpolation="nearest" if max(height, width) <= 16 else "antialiased",
        )
        ax.text(left, bottom + 1.01, names[i] if names else str(i), fontsize=8, va="bottom")
    ax.set(xlim=(-0.02, columns * 1.06), ylim=(-(rows - 1) * 1.12 - 0.02, 1.14), title=title)
    ax.axis("off")
    return ax


def curves(
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    title: str = "",
    *,
    xlabel: str = "",
    ylabel: str = "",
) -> Axes:
    """Draw one or more curves `[N]` over the same places.

    Args:
        x: Places, `[N]`.
        lines: Name → values.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        xlabel: What the places are, with their unit.
        ylabel: What the values are, with their unit.
    """
    ax = ax or _new_axes(height=2.6)
    looks = _looks()
    for (name, values), (colour, style) in zip(lines.items(), looks, strict=False):
        ax.plot(_array(x), _array(values), color=colour, linestyle=style, linewidth=1.6, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _title_and_legend(ax, title, len(lines))
    return ax


def descent(
    height: Callable[[np.ndarray, np.ndarray], np.ndarray],
    paths: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw paths `[steps, 2]` over the contour lines of a valley; each begins at a ring and ends at a dot.

    Args:
        height: Height of the valley at x and y.
        paths: Name → places, one row per step.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture, which goes from −10 to 10 in x and from −3 to 3 in y.
    """
    ax = ax or _new_axes(height=2.8)
    x, y = np.meshgrid(np.linspace(-10, 10, 200), np.linspace(-3, 3, 100))
    ax.contour(x, y, height(x, y), levels=12, colors=GREY, linewidths=0.5)
    looks = _looks()
    for (name, path), (colour, style) in zip(paths.items(), looks, strict=False):
        places = _array(path, 2)
        ax.plot(*places.T, color=colour, linestyle=style, linewidth=1.3, label=name)
        ax.plot(*places[0], "o", color=colour, markerfacecolor="none", markersize=9)
        ax.plot(*places[-1], "o", color=colour, markersize=6)
    ax.plot(0, 0, "x", color="black", markersize=9)
    ax.set(xlabel="first weight", ylabel="second weight")
    _title_and_legend(ax, title, len(paths))
    return ax


def learning_curves(
    runs: Mapping[str, Mapping[str, ArrayLike]],
    column: str,
    ax: Axes | None = None,
    title: str = "",
    *,
    ylabel: str = "",
) -> Axes:
    """Draw one column of the history of several runs over epochs, with a dot at the best validation mAP of each.

    Args:
        runs: Name → the columns of `history.csv`.
        column: Which to draw.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        ylabel: What the values are, with their unit; the column's name if not given.
    """
    ax = ax or _new_axes(height=3.2)
    for (name, table), (colour, style) in zip(runs.items(), _many_looks(), strict=False):
        epochs, values = np.asarray(table["epoch"]), np.asarray(table[column])
        ax.plot(epochs, values, color=colour, linestyle=style, linewidth=1.3, label=name)
        at = int(np.argmax(np.asarray(table["valid_mAP"])))
        ax.plot(epochs[at], values[at], "o", color=colour, markersize=6)
    ax.set(xlabel="epoch", ylabel=ylabel or column, title=title)
    _tick_whole_numbers(ax)
    if len(runs) > 1:
        _legend_at_the_right(ax)
    return ax


def trials(found: Mapping[str, Any], ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the trials of a sweep: a dot each, hollow if it was pruned, and a line at the best complete one so far.

    Args:
        found: As `sweep.read` gives it.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.

    Raises:
        ValueError: If there is no trial.
    """
    rows = sorted(found["trials"], key=lambda trial: trial["number"])
    numbers, values = _array([row["number"] for row in rows]), _array([row["value"] for row in rows])
    pruned = np.array([row["state"] == "pruned" for row in rows])
    ax = ax or _new_axes(height=3.0)
    best = np.fmax.accumulate(np.where(pruned, np.nan, values))
    ax.step(numbers, best, where="post", color=ORANGE, linewidth=1.3, label="best so far")
    ax.plot(numbers[~pruned], values[~pruned], "o", color=BLUE, label="complete")
    ax.plot(numbers[pruned], values[pruned], "o", color=BLUE, markerfacecolor="none", label="pruned")
    ax.set(xlabel="trial", ylabel="validation mAP")
    _tick_whole_numbers(ax)
    _title_and_legend(ax, title, 3)
    return ax


def intervals(
    values: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    ax: Axes | None = None,
    title: str = "",
    *,
    xlabel: str = "",
) -> Axes:
    """Draw one value per row as a dot, with a line through it from its lower to its upper bound.

    Args:
        values: Name → value; the first is at the top.
        bounds: Name → lower and upper bound.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        xlabel: What the values are, with their unit.
    """
    ax = ax or _new_axes(height=0.9 + 0.28 * len(values))
    rows = range(len(values))
    low, high = np.array([bounds[name] for name in values]).T
    ax.hlines(rows, low, high, colors=GREY, linewidth=3)
    ax.plot(list(values.values()), rows, "o", color=LINE_COLOURS[0])
    ax.set_yticks(rows, list(values))
    ax.set(xlabel=xlabel, title=title, ylim=(len(values) - 0.5, -0.5))
    return ax


def points(
    x: ArrayLike, y: ArrayLike, ax: Axes | None = None, title: str = "", *, xlabel: str = "", ylabel: str = ""
) -> Axes:
    """Draw one dot for each pair of values; where several are on top of each other, it is darker.

    Args:
        x: `[N]`.
        y: `[N]`.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        xlabel: What the first are, with their unit.
        ylabel: What the others are, with their unit.
    """
    ax = ax or _new_axes(height=3.2)
    ax.plot(_array(x), _array(y), "o", color=BLUE, alpha=0.5, markersize=6, markeredgewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax


def bars(values: Mapping[str, float], ax: Axes | None = None, title: str = "", xlabel: str = "") -> Axes:
    """Draw one value per row as a bar, with the value written at its end.

    Args:
        values: Name → value; the first is at the top.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
        xlabel: What the values are, with their unit.
    """
    ax = ax or _new_axes(height=0.9 + 0.28 * len(values), width=7.0)
    ax.bar_label(ax.barh(list(values), list(values.values()), color=BLUE), fmt="%.2f", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)  # room for what is written
    ax.set(xlabel=xlabel, title=title)
    return ax


def precision_recall(curves: Mapping[str, pd.DataFrame], ax: Axes | None = None, title: str = "") -> Axes:
    """Draw precision over recall, in steps: the area below a curve is its average precision.

    Args:
        curves: Name → the columns `precision` and `recall`, as `evaluation.precision_recall_curve` gives them.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    many = len(curves) > len(LINE_COLOURS)
    ax = ax or _new_axes(height=3.6, width=7.0)
    looks = _many_looks() if many else _looks()
    for (name, curve), (colour, style) in zip(curves.items(), looks, strict=False):
        recall, precision = (np.asarray(curve[column]) for column in ("recall", "precision"))
        x, y = np.insert(recall, 0, 0.0), np.insert(precision, 0, precision[0])
        ax.step(x, y, where="pre", color=colour, linestyle=style, linewidth=1.3, label=name)
    ax.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    _title_and_legend(ax, title, 1 if many else len(curves))
    if many:
        _legend_at_the_right(ax)
    return ax


def calibration(table: pd.DataFrame, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw how often probabilities come true, over what was said; grey bars are the share of values in each bin.

    Args:
        table: The columns `said`, `true` and `count`, as `evaluation.calibration` gives them.
        ax: Where to draw; a new figure if not given.
        title: The title of the picture.
    """
    ax = ax or _new_axes(height=3.6, width=7.0)
    ax.bar(table["said"], table["count"] / table["count"].sum(), 0.03, color=GREY, alpha=0.4, label="values in the bin")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="what is said is true")
    ax.plot(table["said"], table["true"], "o-", color=BLUE, linewidth=1, label="what came true")
    ax.set(xlabel="probability said", ylabel="share that is true", title=title, xlim=(-0.02, 1.02), ylim=(0, 1.02))
    ax.legend(frameon=False, loc="upper left")
    return ax


def explore(
    draw: Callable[..., Axes],
    sound: Callable[..., tuple[ArrayLike, str]] | None = None,
    **choices: Sequence[Any],
) -> None:
    """Show sliders, and below them the picture that a function draws with their values, or the error that it raises.

    Args:
        draw: Draws into a new figure and returns its axes. Each slider begins at the default of its parameter.
        sound: If given, what to listen to: takes the same parameters, returns a waveform `[T]` and a label. Its player
            is between the sliders and the picture.
        **choices: For each parameter with a slider, the values to choose from.

    Raises:
        ValueError: If a parameter has no default among its choices.
    """
    import ipywidgets
    import matplotlib.pyplot as plt
    from IPython.display import display

    parameters, sliders = inspect.signature(draw).parameters, {}
    for name, values in choices.items():
        if name not in parameters or parameters[name].default not in values:
            raise ValueError(f"the function needs a parameter {name} with one of these as default: {list(values)}")
        sliders[name] = ipywidgets.SelectionSlider(
            options=[(str(value), value) for value in values],
            value=parameters[name].default,
            description=name,
            continuous_update=False,
        )
    # No margin at the sides: it would come on top of the 100 %.
    layout = {"max_width": "100%", "margin": "2px 0", "align_self": "flex-start"}
    picture = ipywidgets.Image(format="png", layout=layout)
    message = ipywidgets.HTML()
    player = ipywidgets.HTML()

    def redraw(_change: Any = None) -> None:
        values = {name: slider.value for name, slider in sliders.items()}
        try:
            file = io.BytesIO()
            figure_of(draw(**values)).savefig(file, format="png")
            if sound:
                player.value = audio.player(*sound(**values))
            picture.value, message.value = file.getvalue(), ""
        except Exception as error:  # else a slider would just do nothing
            message.value = html.escape(f"{type(error).__name__}: {error}")
        finally:
            plt.close()

    for slider in sliders.values():
        slider.observe(redraw, "value")
    redraw()
    box = ipywidgets.VBox([*sliders.values(), *([player] if sound else []), message, picture])
    view = {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
    bundle = {"text/plain": "Run this cell to see its sliders.", "application/vnd.jupyter.widget-view+json": view}
    display(bundle, raw=True)


def figure_of(ax: Axes) -> Figure:
    """Return the figure that axes are on."""
    return cast("Figure", ax.get_figure(root=True))


def png(draw: Callable[[], Figure], background: str = "white") -> bytes:
    """Draw a figure as a PNG of 128 colours, which makes it a third as large, whatever style the user has set.

    Args:
        draw: Returns a new figure, which is closed afterwards.
        background: Its colour.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    style = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context(style):
        figure = draw()
        figure.savefig(drawn, format="png", dpi=_DOTS_PER_INCH, facecolor=background)
        plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(128).save(small, format="PNG", optimize=True)
    return small.getvalue()


def _array(values: ArrayLike, dimensions: int = 1) -> np.ndarray:
    """Return an array or a tensor, wherever it is, as an array; refuse another number of dimensions."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim != dimensions or 0 in array.shape:
        raise ValueError(f"need {dimensions} dimension{'s' * (dimensions > 1)}, none of them empty; got {array.shape}")
    return array


def _looks() -> Iterator[tuple[str, str]]:
    """Return the colour and line style of each line in turn."""
    return itertools.cycle(zip(LINE_COLOURS, LINE_STYLES, strict=True))


def _many_looks() -> Iterator[tuple[str, str]]:
    """Return the colour and line style of each of many lines in turn: eight colours, then another style."""
    colours = [*LINE_COLOURS, "#CC79A7", "#E69F00", "#56B4E9", "#222222"]
    return itertools.cycle([(colour, style) for style in LINE_STYLES for colour in colours])


def _title_and_legend(ax: Axes, title: str, lines: int) -> None:
    """Put the title above the left corner, and the legend, where there is more than one line, above the right one."""
    ax.set_title(title, loc="left")
    if lines > 1:
        ax.legend(frameon=False, ncols=lines, loc="lower right", bbox_to_anchor=(1, 1))


def _legend_at_the_right(ax: Axes) -> None:
    """Put a legend of many lines beside the picture, where it hides none of them."""
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _tick_whole_numbers(ax: Axes) -> None:
    ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]


def _new_axes(height: float, width: float = 9.0) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _class_by_class(
    table: np.ndarray,
    taxonomy: Taxonomy,
    ax: Axes | None,
    title: str,
    *,
    label: str,
    fmt: str,
    vmax: float | None = None,
) -> Axes:
    """Draw a table `[n_classes, n_classes]`, from 0 on, with its numbers in it; NaN is left blank."""
    import matplotlib as mpl
    import seaborn

    ax = ax or _new_axes(height=5.6, width=8.0)
    style = {"annot": True, "fmt": fmt, "annot_kws": {"size": 8}, "linewidths": 0.5, "square": True}
    colours, labels = mpl.colormaps[COLOUR_MAP].resampled(SHADES), taxonomy.classes
    seaborn.heatmap(table, ax=ax, vmin=0, vmax=vmax, cmap=colours, xticklabels=labels, yticklabels=labels, **style)
    cast(Any, ax.collections[0].colorbar).set_label(label)
    ax.set_title(title)
    ax.tick_params(length=0)
    return ax


def _mark_bands(ax: Axes, bands: int, fmin: float, sample_rate: int) -> None:
    """Write frequencies beside mel bands."""
    from course_utils.features import hz_to_mel

    low, high = float(hz_to_mel(fmin)), float(hz_to_mel(sample_rate / 2))
    hertz = [h for h in (500, 1000, 2000, 4000, 8000) if fmin < h < sample_rate / 2]
    places = [(float(hz_to_mel(float(h))) - low) / (high - low) * (bands + 1) - 1 for h in hertz]
    ax.set(ylabel="frequency in Hz", yticks=places, yticklabels=[f"{h:,}" for h in hertz])


def _cells(
    ax: Axes,
    values: np.ndarray,
    seconds_per_frame: float,
    edges: tuple[float, float],
    *,
    dynamic_range: float,
    label: str = "power in dB",
) -> None:
    """Draw values `[rows, frames]` between two vertical edges, frame `i` centred on `i * seconds_per_frame`."""
    import matplotlib as mpl

    loudest, frames = float(values.max()), values.shape[1]
    if values.min() == loudest:  # silence is dark, although it is its own loudest cell
        loudest += dynamic_range
    image = ax.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap=mpl.colormaps[COLOUR_MAP].resampled(SHADES),
        vmin=loudest - dynamic_range,
        vmax=loudest,
        extent=(-seconds_per_frame / 2, (frames - 0.5) * seconds_per_frame, *edges),
        interpolation="antialiased",  # where cells are smaller than pixels, no thin line gets lost
        interpolation_stage="data",
    )
    ax.set(xlabel="time in s", xlim=(0, max(frames - 1, 0.5) * seconds_per_frame))
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.02)
