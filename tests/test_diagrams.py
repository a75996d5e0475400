"""The static diagrams: drawn anew they equal what is in `figures/`, and each has a text for those who cannot see it."""

import base64
import io
import re
from pathlib import Path

import matplotlib
import matplotlib.style
import matplotlib.text
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

from course_utils import plots
from course_utils.lessons import diagrams

FIGURES = Path(__file__).resolve().parents[1] / "figures"
SAME = 0.005  # mean difference of 256 levels: one changed digit is more


def pixels(source) -> np.ndarray:
    return np.asarray(Image.open(source).convert("RGB"), dtype=float)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    diagrams.save_all(folder)
    return folder


def test_every_figure_is_there_and_none_is_left_over():
    assert {path.stem for path in FIGURES.glob("*.png")} == set(diagrams.DIAGRAMS)


def difference(one, other) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_drawn_anew_a_figure_is_the_stored_one(name, drawn):
    if f"matplotlib=={matplotlib.__version__}" not in (FIGURES.parent / "constraints.txt").read_text(encoding="utf-8"):
        pytest.skip("another matplotlib than that of constraints.txt draws letters a little differently")
    new = pixels(drawn / f"{name}.png")
    assert difference(new, pixels(FIGURES / f"{name}.png")) < SAME, "make figures"


def test_the_comparison_sees_a_changed_word(drawn):
    def changed():
        figure = diagrams.framing()
        word = next(text for text in figure.findobj(matplotlib.text.Text) if text.get_text() == "hop: 512")
        word.set_text("hop: 256")
        return figure

    assert difference(pixels(io.BytesIO(plots.png(changed, diagrams.CARD))), pixels(drawn / "framing.png")) > SAME


def test_a_diagram_does_not_depend_on_the_style_that_a_user_has_set(drawn):
    with matplotlib.style.context("dark_background"):
        styled = pixels(io.BytesIO(plots.png(diagrams.framing, diagrams.CARD)))
    assert difference(styled, pixels(drawn / "framing.png")) == 0


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_a_figure_can_be_read_on_a_light_and_on_a_dark_page(name):
    """It brings its own light ground, opaque to the edge, and dark ink on it."""
    picture = Image.open(FIGURES / f"{name}.png")
    assert "transparency" not in picture.info
    values = pixels(FIGURES / f"{name}.png")
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    assert border.min() > 240 and values.min() < 60


def test_it_is_shown_with_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    diagrams.show("framing")
    page = shown[0].data
    assert diagrams.DIAGRAMS["framing"][1].replace("'", "&#x27;") in page and len(page) < 90_000
    picture = base64.b64decode(re.search(r'base64,([^"]+)"', page)[1])
    assert pixels(io.BytesIO(picture)).shape == pixels(FIGURES / "framing.png").shape


def test_texts_are_more_than_a_title():
    for name, (_, text) in diagrams.DIAGRAMS.items():
        assert len(text.split()) >= 25, name


def test_an_unknown_diagram_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="framing"):
        diagrams.show("frames")
