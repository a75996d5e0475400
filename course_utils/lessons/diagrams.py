"""The static diagrams of the lessons: each drawn by code, with a text for those who cannot see it.

`make figures` writes them into `figures/`; a lesson shows one with `show`. They stand on a light card of their own, so
that they also read well on a dark page.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike

from course_utils import plots
from course_utils.audio import SAMPLE_RATE
from course_utils.files import write_beside
from course_utils.plots import BLUE, COLOUR_MAP, GREY, ORANGE
from course_utils.taxonomy import Taxonomy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

CARD, INK, GREEN = "#FBFBF8", "#222222", "#009E73"


def framing() -> Figure:
    """Draw how a waveform is cut into frames, and how a window fades one of them in and out.

    Lesson: 01_stft
    """
    time = np.arange(2_800)
    sound = np.sin(2 * np.pi * time / 90) * (0.35 + 0.6 * np.exp(-(((time - 900) / 500) ** 2))) * 0.9
    n_fft, hop = 1024, 512
    above, below = cast("list[Figure]", _card(9.0, 5.2).subfigures(2, 1, height_ratios=(3, 2), facecolor=CARD))
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
    import torch

    from course_utils import features

    n_mels = 10
    hertz = np.linspace(0, SAMPLE_RATE / 2, 500)
    mels = features.hz_to_mel(torch.from_numpy(hertz)).numpy()
    edges = np.linspace(mels[0], mels[-1], n_mels + 2)
    places = features.mel_to_hz(torch.from_numpy(edges)).numpy()
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


def slices() -> Figure:
    """Draw how overlapping slices are cut from one recording.

    Lesson: 04_urbansound8k
    """
    rng, seconds = np.random.default_rng(3), 11.0
    time = np.arange(0, seconds, 0.004)
    barks = sum(np.exp(-(((time - at) / 0.35) ** 2)) for at in (1.2, 2.9, 4.7, 6.4, 9.4))
    figure = _card(9.0, 3.6)
    ax = figure.subplots()
    ax.plot(time, 0.45 * (0.06 + barks) * rng.uniform(-1, 1, len(time)), color=GREY, linewidth=0.6)
    ax.text(seconds, 0.62, "one recording, fsID 200417", ha="right", color=INK)
    for i, start in enumerate((0.5, 2.5, 4.5, 6.5)):
        y = -1.05 - 0.42 * i
        ax.barh(y, 4, left=start, height=0.3, color=BLUE)
        others = [(max(start, s), min(start + 4, s + 4)) for s in (0.5, 2.5, 4.5, 6.5) if 0 < abs(s - start) < 4]
        for low, high in others:
            ax.barh(y, high - low, left=low, height=0.3, color=ORANGE)
        ax.text(start - 0.1, y, f"200417-3-0-{i}.wav", ha="right" if i else "left", va="center", fontsize=9)
    ax.texts[1].set_position((4.6, -1.05))
    ax.annotate("", (0.5, -0.76), (2.5, -0.76), arrowprops={"arrowstyle": "<->", "color": INK})
    ax.text(1.5, -0.74, "hop 2 s", ha="center", va="bottom", fontsize=9)
    ax.text(seconds, -2.75, "orange: samples that another clip also holds", ha="right", color=ORANGE)
    ax.set(xlim=(-0.1, seconds + 0.1), ylim=(-2.95, 0.85), title="Four clips of 4 s from one recording")
    ax.axis("off")
    return figure


def pairs() -> Figure:
    """Draw the table of all pairs of ten classes, with the combination ID in each cell that counts.

    Lesson: 05_dataset_mixing
    """
    taxonomy = Taxonomy()
    n = taxonomy.n_classes
    figure = _card(7.6, 5.6)
    ax = figure.subplots()
    for row in range(n):
        for column in range(n):
            counts = column >= row
            colour = (BLUE if column > row else ORANGE) if counts else CARD
            ax.add_patch(_rectangle(column, row, colour, "white" if counts else "#DDDDDD"))
            number = str(taxonomy.combination_id(row, column)) if counts else "·"
            ax.text(column, row, number, ha="center", va="center", color="white" if counts else GREY, fontsize=9)
    ax.set_xticks(range(n), taxonomy.classes, rotation=40, ha="left")
    ax.set_yticks(range(n), taxonomy.classes)
    ax.xaxis.tick_top()
    ax.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal", facecolor=CARD)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.supxlabel("45 pairs of two classes (blue) and 10 of one class (orange): 55 combinations", fontsize=10)
    return figure


def mixing() -> Figure:
    """Draw the report's way from clips to mixtures, and what a split after mixing does.

    Lesson: 05_dataset_mixing
    """
    colours = {"A": BLUE, "B": ORANGE, "C": "#009E73", "D": "#666666"}
    replicas = "ABCD" * 3
    shuffled = "CABDACDBBACD"
    test = (2, 5)  # pairs
    figure = _card(9.0, 4.6)
    ax = figure.subplots()

    def write(x: float, y: float, letter: str) -> None:
        ax.add_patch(_rectangle(x, y, colours[letter], CARD, size=0.9))
        ax.text(x, y, letter, ha="center", va="center", color="white", fontsize=10)

    for x, letters in ((0.0, "ABCD"), (3.0, replicas), (6.0, shuffled)):
        for i, letter in enumerate(letters):
            write(x, 5.5 + i - (len(letters) - 1) / 2, letter)
    for i, (first, second) in enumerate(zip(shuffled[::2], shuffled[1::2], strict=True)):
        y, is_test = 2.0 * i + 0.5, i in test
        write(9, y, first)
        write(10, y, second)
        says = f"test: {first} and {second} are also in training" if is_test else "training"
        ax.text(15.2, y, says, va="center", fontsize=10, color=INK, fontweight="bold" if is_test else "normal")
    for x, head in (
        (0.0, "clips"),
        (3.0, "three replicas"),
        (6.0, "shuffled"),
        (9.5, "pairs, joined"),
        (12.9, "stored"),
    ):
        ax.text(x, -1.5, head, ha="center", va="bottom", fontsize=10)
    ax.text(15.2, -1.5, "split", va="bottom", fontsize=10)
    ax.text(12.9, 5.5, "as mel\nspectro-\ngrams,\nwith noise", ha="center", va="center", fontsize=9)
    for x in (0.8, 3.8, 6.8, 10.7, 14.1):
        ax.annotate("", (x + 1.0, 5.5), (x, 5.5), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.4})
    ax.set(xlim=(-0.8, 23.5), ylim=(12, -2.3))
    ax.axis("off")
    return figure


def cnn10() -> Figure:
    """Draw CNN10 as boxes from left to right, each with what it does and the shape that leaves it.

    Lesson: 06_cnn10
    """
    # (head, what it does, shape that leaves it, height of the box, its width, face)
    stages = [
        ("log-mel", "batch norm", "1 × 64 × 345", 3.2, 0.5, "#666666"),
        ("block 1", "64 channels", "64 × 32 × 172", 2.6, 0.65, BLUE),
        ("block 2", "128 channels", "128 × 16 × 86", 2.0, 0.8, BLUE),
        ("block 3", "256 channels", "256 × 8 × 43", 1.5, 0.95, BLUE),
        ("block 4", "512 channels", "512 × 4 × 21", 1.1, 1.1, BLUE),
        ("mean over\nfrequency", "", "512 × 21", 0.75, 1.1, ORANGE),
        ("max + mean\nover time", "dropout 0.5", "512", 0.5, 1.1, ORANGE),
        ("fully\nconnected", "ReLU", "512", 0.5, 1.1, GREEN),
        ("fully\nconnected", "10 logits", "10", 0.3, 0.9, GREEN),
    ]
    figure = _card(10.5, 5.0)
    ax = figure.subplots()
    for i, (head, does, shape, height, width, face) in enumerate(stages):
        x = 1.5 * i
        ax.add_patch(_box(x - width / 2, -height / 2, width, height, face=face))
        ax.text(x, 2.15, head, ha="center", va="center", fontsize=9, fontweight="bold")
        ax.text(x, -1.95, does, ha="center", va="center", fontsize=9, color=INK)
        ax.text(x, -2.4, shape, ha="center", va="center", fontsize=9, color=face)
        if i:
            start = x - 1.5 + stages[i - 1][4] / 2 + 0.05
            ax.annotate("", (x - width / 2 - 0.03, 0), (start, 0), arrowprops={"arrowstyle": "->", "color": INK})
    ax.text(-0.55, -2.9, "below each box: the shape that leaves it, channels × bands × frames", fontsize=9, color=INK)
    steps = ["3×3\nconvolution", "batch\nnorm", "ReLU"] * 2 + ["2×2 average\npooling", "dropout\n0.2"]
    for i, step in enumerate(steps):
        x = 1.6 + 1.45 * i
        ax.add_patch(_box(x - 0.6, -5.0, 1.2, 0.85, face=CARD, edge=BLUE))
        ax.text(x, -4.575, step, ha="center", va="center", fontsize=9)
        if i:
            ax.annotate("", (x - 0.6, -4.575), (x - 0.85, -4.575), arrowprops={"arrowstyle": "->", "color": INK})
    ax.text(1.0, -3.85, "inside a block", ha="left", va="center", fontsize=9, fontweight="bold", color=BLUE)
    ax.set(xlim=(-0.7, 12.7), ylim=(-5.2, 2.6))
    ax.axis("off")
    return figure


def crnn() -> Figure:
    """Draw the report's CRNN and the repaired one as two rows of boxes, with the shapes that leave them.

    Lesson: 08_crnn
    """
    heads = [
        "mel",
        "convolution\n1, pooled",
        "convolution\n2, pooled",
        "convolution\n3, pooled",
        "LSTM,\nboth ways",
        "readout",
        "linear",
    ]
    rows = [
        ("as in the report", "dB, or no log", ["3 × 3", "4 × 4", "4 × 4"], (57, 13, 2), "last step", ORANGE),
        ("repaired", "in dB", ["3 × 1", "4 × 2", "4 × 2"], (171, 84, 41), "attention", BLUE),
    ]
    figure = _card(10.5, 5.6)
    ax = figure.subplots()
    for i, head in enumerate(heads):
        ax.text(1.9 * i, 1.75, head, ha="center", va="center", fontsize=9, fontweight="bold")
    for row, (name, norm, poolings, frames, readout, face) in enumerate(rows):
        y = -3.6 * row
        ax.text(-1.0, y + 1.2, name, fontsize=10, fontweight="bold", color=face)
        does = [norm, *(f"pooled by {pooling}" for pooling in poolings), "2 layers of 64", readout, "dropout, norm"]
        shapes = ["1 × 128 × 173"]
        shapes += [f"{c} × {b} × {f}" for c, b, f in zip((32, 64, 64), (42, 10, 2), frames, strict=True)]
        shapes += [f"{frames[-1]} × 128", "128", "10"]
        widths = [1.5, *(1.5 * (f / 173) ** 0.5 for f in frames), 1.5 * (frames[-1] / 173) ** 0.5, 0.16, 0.16]
        heights = [1.9, 1.35, 0.85, 0.5, 1.1, 1.1, 0.5]
        for i, (what, shape, width, height) in enumerate(zip(does, shapes, widths, heights, strict=True)):
            x = 1.9 * i
            colour = "#666666" if i == 0 else GREEN if i > 3 else face
            ax.add_patch(_box(x - width / 2, y - height / 2, width, height, face=colour))
            ax.text(x, y - 1.25, what, ha="center", va="center", fontsize=9)
            ax.text(x, y - 1.65, shape, ha="center", va="center", fontsize=9, color=colour)
            if i:
                start = x - 1.9 + widths[i - 1] / 2 + 0.05
                ax.annotate("", (x - width / 2 - 0.03, y), (start, y), arrowprops={"arrowstyle": "->", "color": INK})
    ax.text(
        -1.0,
        -5.95,
        "shapes: channels × bands × frames, then steps × features; up to the LSTM the width shows the frames",
        fontsize=9,
    )
    ax.set(xlim=(-1.2, 12.3), ylim=(-6.2, 2.2))
    ax.axis("off")
    return figure


def known_and_new() -> Figure:
    """Draw recordings cut into clips, some of them held out, and the five kinds of test mixtures made of them.

    Lesson: 11_cnn_versus_crnn
    """
    recordings = {"A": "kkkk", "B": "knkk", "C": "kk.n", "D": "kkkn", "E": "n.kk", "X": "eee", "Y": "eeee", "Z": "ee"}
    faces = {"k": BLUE, "n": ORANGE, "e": "#666666"}
    figure = _card(10.0, 4.4)
    ax = figure.subplots()

    def clip(x: float, y: float, name: str, kind: str) -> None:
        ax.add_patch(_rectangle(x, y, faces[kind], CARD, size=0.9))
        ax.text(x, y, name, ha="center", va="center", color="white", fontsize=9)

    for row, (name, kinds) in enumerate(recordings.items()):
        y = row + (0.9 if name in "XYZ" else 0)
        ax.text(-0.9, y, f"recording {name}", ha="right", va="center", fontsize=9)
        for i, kind in enumerate(kinds):
            if kind in faces:
                clip(i, y, f"{name}{i + 1}", kind)
    ax.text(4.5, 2.0, "training\nfolds", va="center", fontsize=9)
    ax.text(4.5, 6.9, "another fold", va="center", fontsize=9)
    tests = {
        "known + known": (("A2", "k"), ("C1", "k")),
        "known + new": (("A3", "k"), ("B2", "n")),
        "new + new": (("B2", "n"), ("D4", "n")),
        "new + new, apart": (("C4", "n"), ("E1", "n")),
        "new recordings": (("X1", "e"), ("Z2", "e")),
    }
    says = (
        "both clips are in training",
        "one clip is",
        "both are held out",
        "both are, and no neighbour is known",
        "nothing is known",
    )
    for row, ((name, pair), text) in enumerate(zip(tests.items(), says, strict=True)):
        y = 1.75 * row + 0.3
        for i, (label, kind) in enumerate(pair):
            clip(8.6 + i, y, label, kind)
        ax.text(10.4, y - 0.22, name, va="center", fontsize=10, fontweight="bold")
        ax.text(10.4, y + 0.42, text, va="center", fontsize=9)
    ax.annotate("", (7.7, 4.0), (6.5, 4.0), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.4})
    for x, head in ((1.5, "recordings, cut into clips"), (10.8, "five tests")):
        ax.text(x, -1.3, head, ha="center", va="center", fontsize=10)
    legend = (("in training", BLUE), ("held out", ORANGE), ("never touched", "#666666"))
    for i, (text, colour) in enumerate(legend):
        ax.add_patch(_rectangle(0.5 + 4.6 * i, 9.4, colour, CARD, size=0.6))
        ax.text(1.0 + 4.6 * i, 9.4, text, va="center", fontsize=9)
    ax.set(xlim=(-3.8, 15.6), ylim=(10.0, -1.9))
    ax.axis("off")
    return figure


def data_parallel() -> Figure:
    """Draw one step of training on four GPUs: parts of a batch, four gradients, their mean, one step of all copies.

    Lesson: 12_going_further
    """
    figure = _card(10.0, 3.9)
    ax = figure.subplots()

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.1})

    ax.add_patch(_box(0, -0.45, 1.5, 3.9, face="#666666"))
    ax.text(0.75, 1.5, "batch\nof 128", ha="center", va="center", color="white", fontsize=10)
    ax.add_patch(_box(8.2, 0.6, 1.6, 1.8, face=ORANGE))
    ax.text(9.0, 1.5, "mean of\nthe four", ha="center", va="center", color="white", fontsize=10)
    for i in range(4):
        y = 3.0 - i
        ax.add_patch(_box(2.6, y - 0.35, 2.1, 0.7, face=BLUE))
        ax.text(3.65, y, f"GPU {i}: 32", ha="center", va="center", color="white", fontsize=10)
        ax.add_patch(_box(5.5, y - 0.35, 1.7, 0.7, face=CARD, edge=BLUE))
        ax.text(6.35, y, f"gradient {i}", ha="center", va="center", fontsize=9)
        ax.add_patch(_box(11.0, y - 0.35, 2.6, 0.7, face=GREEN))
        ax.text(12.3, y, "the same step", ha="center", va="center", color="white", fontsize=9)
        arrow((1.5, y), (2.55, y))
        arrow((4.7, y), (5.45, y))
        arrow((7.2, y), (8.15, 1.5 + 0.35 * (y - 1.5)))
        arrow((9.8, 1.5 + 0.35 * (y - 1.5)), (10.95, y))
    heads = (
        (0.75, "shared out"),
        (3.65, "a copy of the\nnetwork on each"),
        (6.35, "of its own part"),
        (9.0, "exchanged"),
    )
    for x, head in (*heads, (12.3, "so that the copies\nstay equal")):
        ax.text(x, 4.05, head, ha="center", va="center", fontsize=9)
    ax.set(xlim=(-0.3, 13.9), ylim=(-0.7, 4.6))
    ax.axis("off")
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
        "far apart above. Below: ten triangles whose corners are at these places; they become wider to the right.",
    ),
    "slices": (
        slices,
        "The waveform of a recording of eleven seconds with five barks. Below it four bars, its slices, each four "
        "seconds long and two seconds after the one before. Where bars overlap they are orange: all of the two in the "
        "middle, half of the first and half of the last.",
    ),
    "pairs": (
        pairs,
        "A table of ten classes by ten classes. On the diagonal, in orange, are the ten pairs of one class; above it, "
        "in blue, the 45 pairs of two classes. Each has its combination ID, from 0 to 54, row after row. The cells "
        "below the diagonal repeat those above and hold only a dot.",
    ),
    "mixing": (
        mixing,
        "Four clips A, B, C and D are written down three times each, shuffled, and joined in six pairs. Each pair "
        "is stored as a mel spectrogram with noise. Then the pairs are split. Two pairs are for the test; each of their clips is also in a training pair.",
    ),
    "cnn10": (
        cnn10,
        "CNN10 as a row of boxes. A log-mel of 1 × 64 × 345 goes through four blocks and becomes 64 × 32 × 172, 128 × 16 "
        "× 86, 256 × 8 × 43 and 512 × 4 × 21: more and more channels, ever smaller maps. The mean over frequency leaves "
        "512 × 21, maximum plus mean over time 512; two fully connected layers give 512 and then 10 numbers. Inside a "
        "block: convolution, batch norm and ReLU, all three again, average pooling, dropout.",
    ),
    "crnn": (
        crnn,
        "The CRNN twice, as a row of boxes. In the report, a mel spectrogram of 1 × 128 × 173 becomes "
        "32 × 42 × 57, 64 × 10 × 13 and 64 × 2 × 2, so the LSTM has two steps, of which the last is read. Repaired, "
        "the maps keep their width, 32 × 42 × 171, 64 × 10 × 84 and 64 × 2 × 41: the LSTM has 41 "
        "steps, and attention weighs them. A linear layer gives ten numbers.",
    ),
    "known_and_new": (
        known_and_new,
        "Left, eight recordings, each cut into two to four clips. Of five recordings most clips are in training, and "
        "four single clips are held out, two of them beside clips of the training and two with a gap; three recordings are "
        "of another fold and never touched. Right, five tests: two training clips; a training clip and a held-out one; two "
        "held-out clips; two held-out clips without a known neighbour; and two clips of the untouched recordings.",
    ),
    "data_parallel": (
        data_parallel,
        "A batch of 128 is shared out to four GPUs, 32 mixtures each. Each GPU has a copy of the network and computes the "
        "gradient of its own part. The mean of the four gradients goes back to all four, which take the same step.",
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
    data = base64.b64encode(plots.png(draw, CARD)).decode()
    style = "max-width: 100%; border-radius: 6px"
    display(HTML(f'<img alt="{html.escape(text)}" style="{style}" src="data:image/png;base64,{data}">'))


def save_all(folder: Path | str) -> None:
    """Write every diagram as a PNG file into a folder, replacing what is there."""
    for name, (draw, _) in DIAGRAMS.items():
        with write_beside(Path(folder) / f"{name}.png") as partial:
            partial.write_bytes(plots.png(draw, CARD))


def _card(width: float, height: float) -> Figure:
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    return plt.figure(figsize=(width, height), layout=engine, facecolor=CARD)


def _picture(ax: Axes, values: ArrayLike, title: str) -> None:
    ax.imshow(np.asarray(values), origin="lower", aspect="auto", cmap=COLOUR_MAP, interpolation="nearest")
    ax.set_title(title, fontsize=10)


def _rectangle(x: float, y: float, face: str, edge: str, *, size: float = 1.0) -> Patch:
    from matplotlib.patches import Rectangle

    return Rectangle((x - size / 2, y - size / 2), size, size, facecolor=face, edgecolor=edge)


def _box(x: float, y: float, width: float, height: float, *, face: str, edge: str = INK) -> Patch:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.08"
    return FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=0.8)
