import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from course_utils import plots, profile

TABLE = {"epoch": [1, 2], "train_loss": [0.5, 0.4], "valid_loss": [0.6, 0.5], "valid_mAP": [0.2, 0.3]}
PICTURES = {
    plots.waveform: torch.zeros(22_050),
    plots.log_mel: torch.linspace(-90, 0, 64 * 100).reshape(64, 100),
    plots.probabilities: {"dog_bark": 0.9, "siren": 0.1},
    plots.history: TABLE,
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("draw", PICTURES)
def test_pictures_draw_where_they_are_told_and_label_their_axes(draw):
    _, ax = plt.subplots()
    assert draw(PICTURES[draw], ax, title="a title") is ax
    assert ax.get_xlabel() and ax.get_title() == "a title"
    alone = draw(PICTURES[draw])
    assert alone is not ax and alone.figure is not ax.figure
    alone.figure.canvas.draw()


def test_a_waveform_lasts_as_long_as_it_is():
    line = plots.waveform(np.zeros(44_100)).get_lines()[0]
    assert line.get_xdata()[-1] == pytest.approx(2.0, abs=1e-3)


def test_a_log_mel_has_its_bands_at_their_frequencies():
    from course_utils.features import MelSpectrogram

    time = torch.arange(22_050) / 22_050
    ax = plots.log_mel(MelSpectrogram()(torch.sin(2 * torch.pi * 1000 * time)))
    band = int(MelSpectrogram()(torch.sin(2 * torch.pi * 1000 * time)).mean(dim=1).argmax())
    place = dict(zip([t.get_text() for t in ax.get_yticklabels()], ax.get_yticks(), strict=True))["1,000"]
    assert abs(place - band) <= 1


def test_the_true_classes_are_starred():
    labels = [
        t.get_text() for t in plots.probabilities({"dog_bark": 0.9, "siren": 0.1}, truth=["siren"]).get_yticklabels()
    ]
    assert labels == ["dog_bark", "siren *"]


def test_profile_reads_the_setting_and_says_it(monkeypatch, capsys):
    monkeypatch.delenv("COURSE_SIZE", raising=False)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert profile.current().pick(1, 2) == 1 and capsys.readouterr().out == "size: lesson, data: mini\n"
    monkeypatch.setenv("COURSE_SIZE", "full")
    monkeypatch.setenv("COURSE_DATA", "somewhere")
    assert profile.current() == profile.Profile("full", "somewhere") and profile.current().pick(1, 2) == 2
    monkeypatch.setenv("COURSE_SIZE", "huge")
    with pytest.raises(ValueError, match="'lesson' or 'full'"):
        profile.current()
