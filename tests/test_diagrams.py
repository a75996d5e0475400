"""The static diagrams: drawn anew they equal what is in `figures/`, and each has a text for those who cannot see it."""

import base64
import io
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

from course_utils import diagrams

FIGURES = Path(__file__).resolve().parents[1] / "figures"


def pixels(source) -> np.ndarray:
    return np.asarray(Image.open(source).convert("RGB"), dtype=float)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    diagrams.save_all(folder)
    return folder


def test_every_figure_is_there_and_none_is_left_over():
    assert {path.stem for path in FIGURES.glob("*.png")} == set(diagrams.DIAGRAMS)


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_drawn_anew_a_figure_is_the_stored_one(name, drawn):
    new, stored = pixels(drawn / f"{name}.png"), pixels(FIGURES / f"{name}.png")
    assert new.shape == stored.shape
    assert np.abs(new - stored).mean() < 2, "make figures"
    others = [pixels(FIGURES / f"{other}.png") for other in diagrams.DIAGRAMS if other != name]
    assert all(o.shape != stored.shape or np.abs(o - stored).mean() > 10 for o in others), "the comparison sees nothing"


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


def test_texts_say_what_is_in_the_picture():
    for name, (_, text) in diagrams.DIAGRAMS.items():
        assert len(text.split()) >= 25, name
