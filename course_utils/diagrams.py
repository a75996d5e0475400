"""The static diagrams of the lessons: each drawn by code, with a text for those who cannot see it.

`make figures` writes them into `figures/`; a lesson shows one with `show`. They stand on a light card of their own, so
that they read well on a dark page, too.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from course_utils.audio import SAMPLE_RATE
from course_utils.files import write_beside
from course_utils.plots import BLUE, COLOUR_MAP, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CARD, INK = "#FBFBF8", "#222222"
DOTS_PER_INCH = 110


def framing() -> Figure:
    """Draw how a waveform is cut into frames, and how a window fades one of them in and out.

    Lesson: 01_stft
    """
    time = np.arange(2_800)
    sound = np.sin(2 * np.pi * time / 90) * (0.35 + 0.6 * np.exp(-(((time - 900) / 500) ** 2))) * 0.9
    n_fft, hop = 1024, 512
    above, below = _card(9.0, 5.2).subfigures(2, 1, height_ratios=(3, 2), facecolor=CARD)
    ax = above.subplots()
    ax.plot(time, sound, color=GREY, linewidth=0.8)
    for i in range(4):
        colour, height = (BLUE if i == 1 else INK), -1.35 - 0.42 * i
        ax.annotate("", (i * hop, height), (i * hop + n_fft, height), arrowprops={"arrowstyle": "<->", "color": colour})
        ax.text(
            i * hop + n_fft / 2,
            height + 0.06,
            f"frame {i}: 1,024 samples" if i == 1 else f"frame {i}",
            ha="center",
            va="bottom",
            color=colour,
            fontsize=9,
        )
    ax.axvspan(hop, hop + n_fft, color=BLUE, alpha=0.1)
    ax.annotate("", (0, 1.25), (hop, 1.25), arrowprops={"arrowstyle": "<->", "color": ORANGE})
    ax.text(hop / 2, 1.32, "hop: 512", ha="center", color=ORANGE)
    ax.set(xlim=(-20, 2_820), ylim=(-2.75, 1.75), title="1. Cut the waveform into frames that overlap")
    ax.axis("off")

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    piece = sound[hop : hop + n_fft]
    spectrum = np.abs(np.fft.rfft(piece * window))[:60]
    parts = (("frame 1", piece), ("window", window), ("windowed frame", piece * window), ("spectrum", spectrum))
    axes = below.subplots(1, 4)
    for ax, (name, values), sign in zip(axes, parts, ("×", "=", "→", ""), strict=True):
        ax.plot(values, color=ORANGE if name == "window" else BLUE, linewidth=1.0)
        ax.set(xticks=[], yticks=[], xlabel=name, facecolor=CARD)
        ax.spines[["top", "right"]].set_visible(False)
        if name != "spectrum":
            ax.axhline(0, color=GREY, linewidth=0.6)
            ax.set_ylim(-1.05, 1.15)
        ax.text(1.07, 0.5, sign, transform=ax.transAxes, ha="center", va="center", fontsize=15)
    below.suptitle("2. Fade each frame with a window, and transform it: one column of the STFT")
    return above.figure


def resolution() -> Figure:
    """Draw how the window length trades resolution in time against resolution in frequency.

    Lesson: 02_spectrogram
    """
    figure = _card(9.0, 3.6)
    for ax, (name, columns) in zip(
        figure.subplots(1, 3), (("short window", 32), ("medium window", 8), ("long window", 2)), strict=True
    ):
        bins = 64 // columns
        for i in range(columns + 1):
            ax.plot([i / columns] * 2, [0, 1], color=GREY, linewidth=0.7)
        for i in range(bins + 1):
            ax.plot([0, 1], [i / bins] * 2, color=GREY, linewidth=0.7)
        column, row = columns // 2, bins // 2
        ax.fill_between(
            [column / columns, (column + 1) / columns], row / bins, (row + 1) / bins, color=ORANGE, alpha=0.8
        )
        ax.set(title=name, xlabel="time", xticks=[], yticks=[], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        ax.set_facecolor(CARD)
        ax.spines[:].set_visible(False)
    figure.axes[0].set_ylabel("frequency")
    figure.supxlabel("every cell has the same area: fine in time means coarse in frequency", fontsize=10)
    return figure


def waveform_to_mel() -> Figure:
    """Draw the way from a waveform to its log-mel, step by step, with shapes.

    Lesson: 03_mel_scale
    """
    import torch

    from course_utils import features

    time = torch.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sweep = torch.sin(2 * torch.pi * (600 * time - 250 / torch.pi * torch.cos(2 * torch.pi * time)))
    clicks = torch.zeros_like(time)
    clicks[SAMPLE_RATE // 2 :: SAMPLE_RATE // 2] = 30.0
    sound = 0.4 * (sweep + 0.5 * torch.sin(2 * torch.pi * 3_000 * time) * (time > 1)) + clicks
    power = features.power_spectrogram(sound)
    weights = features.mel_filterbank()
    mel = weights @ power
    figure = _card(9.0, 5.4)
    axes = figure.subplots(2, 3)
    axes[0, 0].plot(np.asarray(sound.clamp(-1, 1)), color=BLUE, linewidth=0.3)
    axes[0, 0].set(ylim=(-1.3, 1.3))
    _picture(axes[0, 1], power, f"1. power of the STFT\n513 × {power.shape[1]}")
    _picture(axes[0, 2], features.power_to_db(power).clamp(min=-40), "in dB, to look at it")
    axes[1, 0].imshow(
        np.asarray(weights.clamp(max=0.012)), origin="lower", aspect="auto", cmap="Greys", interpolation="nearest"
    )
    axes[1, 0].set(xlabel="frequency bin", ylabel="mel band")
    _picture(axes[1, 1], mel, f"3. filterbank × power\n64 × {mel.shape[1]}")
    _picture(axes[1, 2], features.power_to_db(mel).clamp(min=-40), f"4. in dB: the log-mel\n64 × {mel.shape[1]}")
    axes[0, 0].set_title("the waveform\n44,100 numbers", fontsize=10)
    axes[1, 0].set_title("2. the filterbank\n64 × 513", fontsize=10)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], facecolor=CARD)
    return figure


def mel_filters() -> Figure:
    """Draw how bands of equal width in mel become wider and wider in Hz.

    Lesson: 03_mel_scale
    """
    from course_utils import features

    n_mels = 10
    hertz = np.linspace(0, SAMPLE_RATE / 2, 500)
    mels = np.asarray(features.hz_to_mel(hertz))
    edges = np.linspace(mels[0], mels[-1], n_mels + 2)
    places = np.asarray(features.mel_to_hz(edges))
    figure = _card(9.0, 5.0)
    curve, triangles = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    curve.plot(hertz, mels, color=BLUE, linewidth=2)
    for i, (place, edge) in enumerate(zip(places, edges, strict=True)):
        curve.plot([0, place, place], [edge, edge, 0], color=GREY, linewidth=0.7)
        if 0 < i <= n_mels:
            triangles.plot(places[i - 1 : i + 2], [0, 1, 0], color=(ORANGE, BLUE)[i % 2])
    curve.set(ylabel="mel", ylim=(0, mels[-1]), title="Equal steps in mel …")
    triangles.set(xlabel="frequency in Hz", ylabel="weight", ylim=(0, 1.1), title="… are growing steps in Hz")
    triangles.set_xlim(0, SAMPLE_RATE / 2)
    for ax in (curve, triangles):
        ax.set_facecolor(CARD)
    return figure


DIAGRAMS: dict[str, tuple[Callable[[], Figure], str]] = {
    "framing": (
        framing,
        "A waveform with four frames marked below it. Each frame is 1,024 samples long and begins 512 samples, one hop, "
        "after the one before, so that neighbours overlap by half. Below: frame 1, times a bell-shaped window, gives a "
        "frame that fades in and out; its Fourier transform is a spectrum with one peak.",
    ),
    "resolution": (
        resolution,
        "The plane of time and frequency, cut into equal cells in three ways. A short window gives narrow, tall cells; "
        "a medium window squarer ones; a long window wide, flat cells. All cells have the same area.",
    ),
    "waveform_to_mel": (
        waveform_to_mel,
        "Six panels. Above: a waveform of 44,100 numbers; the power of its STFT, almost black; the same in decibels, "
        "with a wavy line, a straight line and upright clicks. Below: the filterbank, a matrix of 64 rows, in which a "
        "dark band climbs steeply at first and flattens to the right, growing paler; the product of filterbank and "
        "power; the same in decibels, the log-mel of 64 rows, in which the wavy line fills more of the height.",
    ),
    "mel_filters": (
        mel_filters,
        "Above: a curve of mel over frequency, steep at first and flatter later. Twelve marks, equally spaced on the "
        "mel axis, meet the curve and fall onto the frequency axis, where they lie close together below 1,000 Hz and "
        "far apart above. Below: ten triangles whose corners stand on these places; they become wider to the right.",
    ),
}


def show(name: str) -> None:
    """Show a diagram in the notebook, with its text for those who cannot see it.

    Args:
        name: One of `DIAGRAMS`.

    Raises:
        ValueError: If there is no such diagram.
    """
    from IPython.display import HTML, display

    if name not in DIAGRAMS:
        raise ValueError(f"there is no diagram {name!r}, only {', '.join(DIAGRAMS)}")
    draw, text = DIAGRAMS[name]
    data = base64.b64encode(_png(draw)).decode()
    style = "max-width: 100%; border-radius: 6px"
    display(HTML(f'<img alt="{html.escape(text)}" style="{style}" src="data:image/png;base64,{data}">'))


def save_all(folder: Path | str) -> None:
    """Write every diagram as a PNG file into a folder, replacing what is there."""
    for name, (draw, _) in DIAGRAMS.items():
        with write_beside(Path(folder) / f"{name}.png") as partial:
            partial.write_bytes(_png(draw))


def _card(width: float, height: float) -> Figure:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained", facecolor=CARD)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    return figure


def _picture(ax: Axes, values: ArrayLike, title: str) -> None:
    ax.imshow(np.asarray(values), origin="lower", aspect="auto", cmap=COLOUR_MAP, interpolation="nearest")
    ax.set_title(title, fontsize=10)


def _png(draw: Callable[[], Figure]) -> bytes:
    """Draw a figure as a PNG of 128 colours, which makes it a third as large, whatever style the user has set."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    style = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context(style):
        figure = draw()
        figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH, facecolor=CARD)
        plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(128).save(small, format="PNG", optimize=True)
    return small.getvalue()
