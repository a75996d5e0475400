import warnings

import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from course_utils import audio, evaluation, features, plots
from course_utils.lessons import profile
from course_utils.taxonomy import Taxonomy

CALIBRATION = pd.DataFrame({"said": [0.1, 0.8], "true": [0.0, 0.5], "count": [3, 1]})
TABLE = {"epoch": [1, 2], "train_loss": [0.5, 0.4], "valid_loss": [0.6, 0.5], "valid_mAP": [0.2, 0.3]}
PICTURES = {
    plots.waveform: torch.zeros(22_050),
    plots.spectrum: {"one": torch.rand(513), "two": torch.rand(257)},
    plots.spectrogram: torch.linspace(-90, 0, 513 * 100).reshape(513, 100),
    plots.log_mel: torch.linspace(-90, 0, 64 * 100).reshape(64, 100),
    plots.pcen: torch.linspace(0, 2, 64 * 100).reshape(64, 100),
    plots.filterbank: torch.eye(20, 129),
    plots.probabilities: {"dog_bark": 0.9, "siren": 0.1},
    plots.history: TABLE,
    plots.trials: {"trials": [{"number": 0, "value": 0.5, "state": "complete"}]},
    plots.precision_recall: {"siren": pd.DataFrame({"precision": [1.0, 0.5], "recall": [0.5, 1.0]})},
    plots.calibration: CALIBRATION,
}


def test_tiles_lie_in_rows_and_have_names():
    ax = plots.tiles(np.arange(5 * 6).reshape(5, 2, 3), columns=2, title="maps", names=list("abcde"))
    assert len(ax.get_images()) == 5 and [t.get_text() for t in ax.texts] == list("abcde")
    places = [image.get_extent()[:3:2] for image in ax.get_images()]  # left, bottom
    assert places[0][1] == places[1][1] > places[2][1] > places[4][1] and places[0][0] == places[2][0] < places[1][0]
    assert ax.get_title() == "maps" and ax.get_images()[0].get_cmap().name == "magma"
    assert [t.get_text() for t in plots.tiles(np.zeros((2, 3, 3))).texts] == ["0", "1"]


def test_tiles_with_negative_values_are_white_at_zero():
    image = plots.tiles(torch.tensor([[[-1.0, 0.0, 0.5]]])).get_images()[0]
    assert (image.norm.vmin, image.norm.vmax) == (-1, 1) and image.get_cmap().name == "PuOr_r"


def test_learning_curves_mark_the_best_epoch():
    runs = {"a": {**TABLE, "valid_mAP": [0.4, 0.3]}, "b": TABLE}
    ax = plots.learning_curves(runs, "valid_loss", title="losses")
    dots = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [(d.get_xdata()[0], d.get_ydata()[0]) for d in dots] == [(1, 0.6), (2, 0.5)]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"] and ax.get_ylabel() == "valid_loss"


def test_curves_and_paths_are_drawn_where_their_numbers_are():
    lines = plots.curves([0, 1, 2], {"up": [1, 2, 3], "down": torch.tensor([3, 2, 1])}, xlabel="step").get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[1, 2, 3], [3, 2, 1]]
    ax = plots.descent(lambda x, y: x**2 + y**2, {"walk": [[-9.0, 2.0], [0.5, 0.0]]})
    assert list(ax.get_lines()[0].get_xdata()) == [-9.0, 0.5] and ax.get_lines()[1].get_xdata()[0] == -9.0


def test_trials_are_dots_and_the_best_complete_one_so_far_is_a_line():
    scores = {3: 0.5, 0: 0.3, 1: 0.2, 2: 0.6, 5: 0.4}
    rows = [{"number": n, "value": v, "state": "pruned" if n == 2 else "complete"} for n, v in scores.items()]
    ax = plots.trials({"trials": rows}, title="a sweep")
    best, complete, pruned = ax.get_lines()
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([0, 1, 2, 3, 5], [0.3, 0.3, 0.3, 0.5, 0.5])
    assert (list(complete.get_xdata()), list(complete.get_ydata())) == ([0, 1, 3, 5], [0.3, 0.2, 0.5, 0.4])
    assert (list(pruned.get_xdata()), list(pruned.get_ydata())) == ([2], [0.6])
    assert pruned.get_markerfacecolor() == "none" != complete.get_markerfacecolor()
    with pytest.raises(ValueError, match="none of them empty"):
        plots.trials({"trials": []})


def test_intervals_have_a_row_each_from_the_top():
    ax = plots.intervals({"a": 0.5, "b": 0.7}, {"b": (0.6, 0.9), "a": (0.4, 0.8)}, title="scores", xlabel="mAP")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"] and ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_lines()[0].get_xdata().tolist() == [0.5, 0.7]
    ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert ends == [[0.4, 0.8], [0.6, 0.9]] and (ax.get_title(), ax.get_xlabel()) == ("scores", "mAP")
    assert ax.get_ylim() == (1.5, -0.5)  # the outer rows are not cut


def test_points_are_drawn_where_they_are():
    ax = plots.points([1, 2, 2], torch.tensor([0.5, 0.0, 1.0]), title="t", xlabel="count", ylabel="recall")
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [1, 2, 2] and line.get_ydata().tolist() == [0.5, 0, 1]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("t", "count", "recall")


def test_a_timeline_averages_the_windows_that_cover_a_moment():
    table = pd.DataFrame({"start": [0, 1], "end": [2, 3], "dog": [1.0, 0.0], "cat": [0.0, 0.5]})
    ax = plots.timeline(table, title="found")
    drawn = ax.collections[0]
    assert np.asarray(drawn.get_array()).reshape(2, 3).tolist() == [[1, 0.5, 0], [0, 0.25, 0.5]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["dog", "cat"] and ax.get_title() == "found"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first class is above


def test_a_timeline_of_windows_that_only_touch_has_no_slivers_and_a_long_one_is_drawn():
    start = 0.1 * np.arange(30)
    table = pd.DataFrame({"start": start, "end": start + 0.1, "dog": np.linspace(0, 1, 30)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plots.timeline(table).collections[0].get_array()
    assert np.asarray(drawn).ravel() == pytest.approx(table["dog"].to_numpy())
    start = 0.1 * np.arange(36_000)  # an hour; windows times moments would be 10 GB
    plots.timeline(pd.DataFrame({"start": start, "end": start + 8, "dog": 0.5}))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("draw", PICTURES)
def test_pictures_draw_where_they_are_told_and_label_their_axes(draw):
    _, ax = plt.subplots()
    assert draw(PICTURES[draw], ax, title="a title") is ax
    assert ax.get_xlabel() and "a title" in (ax.get_title(), ax.get_title(loc="left"))
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


def test_pcen_is_drawn_from_nothing_to_its_maximum_and_not_in_decibels():
    values = features.PCEN()(sine(1000))
    ax = plots.pcen(values, title="PCEN")
    image, bar = ax.get_images()[0], ax.figure.axes[-1]
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((0, float(values.max())), abs=1e-6)
    assert bar.get_ylabel() == "PCEN" and ax.get_yticks().tolist() == plots.log_mel(values).get_yticks().tolist()
    assert plots.pcen(torch.zeros(64, 5)).get_images()[0].norm.vmax > 0  # silence is dark


def sine(hertz):
    return torch.sin(2 * torch.pi * hertz * torch.arange(22_050) / 22_050)


def test_a_spectrum_and_a_spectrogram_have_their_peak_at_its_frequency():
    power = features.power_spectrogram(sine(3000))
    line = plots.spectrum({"power": power[:, 10]}).get_lines()[0]
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(3000, abs=11)
    image = plots.spectrogram(features.power_to_db(power)).get_images()[0]
    left, right, bottom, top = image.get_extent()
    rows, columns = image.get_array().shape
    row = int(np.asarray(image.get_array()).mean(axis=1).argmax())
    assert bottom + (row + 0.5) * (top - bottom) / rows == pytest.approx(3000, abs=11)
    assert left + 0.5 * (right - left) / columns == pytest.approx(0.0)  # frame 0 is centred on 0 s


def test_the_dynamic_range_is_what_is_shown_below_the_loudest_cell():
    image = plots.spectrogram(torch.tensor([[-100.0, 5.0], [0.0, -3.0]]), dynamic_range=40).get_images()[0]
    assert image.get_clim() == (-35.0, 5.0)


def test_a_window_sum_is_the_sum_of_its_windows():
    lines = plots.window_sum(torch.hann_window(1024), 512).get_lines()
    total = lines[-1].get_ydata()
    assert len(lines) == 9 and total[512:-512] == pytest.approx(np.ones(len(total) - 1024), abs=1e-6)


def test_slices_are_bars_from_start_to_end_and_orange_where_another_overlaps():
    clips = pd.DataFrame({"slice_file_name": list("abc"), "start": [0.0, 2.0, 6.0], "end": [4.0, 6.0, 7.0]}, [5, 3, 9])
    ax = plots.slices(clips, title="a recording")
    bars = [
        (bar.get_x(), round(bar.get_y() + 0.35), bar.get_width(), to_hex(bar.get_facecolor()).upper())
        for bar in ax.patches
    ]
    whole = [(0.0, 0, 4.0, plots.BLUE), (2.0, 1, 4.0, plots.BLUE), (6.0, 2, 1.0, plots.BLUE)]
    shared = [(2.0, 0, 2.0, plots.ORANGE), (2.0, 1, 2.0, plots.ORANGE)]
    assert sorted(bars) == sorted(whole + shared)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"] and ax.yaxis_inverted()
    assert "in s" in ax.get_xlabel() and ax.get_title() == "a recording"


def test_pair_counts_stand_in_their_cells():
    taxonomy = Taxonomy(("dog", "cat", "cow"))
    _, given = plt.subplots()
    ax = plots.pair_counts([1, 2, 3, 4, 5, 6], taxonomy, given, "a title")
    assert ax is given and ax.get_title() == "a title"
    cells = np.asarray(ax.collections[0].get_array().filled(-1)).reshape(3, 3)
    assert cells.tolist() == [[1, 2, 3], [-1, 4, 5], [-1, -1, 6]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dog", "cat", "cow"]
    with pytest.raises(ValueError, match="6 combinations; got 5"):
        plots.pair_counts(range(5), taxonomy)


def test_a_confusion_stands_in_its_cells_and_is_blank_where_there_is_nothing():
    taxonomy = Taxonomy(("dog", "cat"))
    _, given = plt.subplots()
    ax = plots.confusion([[0.25, np.nan], [0.5, 1.0]], taxonomy, given, "a title")
    assert ax is given and (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("a title", "was named", "was there")
    cells = np.asarray(ax.collections[0].get_array().filled(-1)).reshape(2, 2)
    assert cells.tolist() == [[0.25, -1], [0.5, 1]] and ax.collections[0].get_clim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["0.25", "0.50", "1.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dog", "cat"]
    with pytest.raises(ValueError, match=r"shape \(2, 2\), not \(1, 3\)"):
        plots.confusion([[1, 2, 3]], taxonomy)


def test_bars_have_their_values_at_their_ends_from_the_top():
    _, given = plt.subplots()
    ax = plots.bars({"dog": 0.256, "cat": 1.0}, given, "recall", "share")
    assert ax is given and (ax.get_title(), ax.get_xlabel()) == ("recall", "share")
    assert [bar.get_width() for bar in ax.patches] == [0.256, 1.0] and ax.yaxis_inverted()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dog", "cat"]
    assert [text.get_text() for text in ax.texts] == ["0.26", "1.00"] and ax.get_xlim()[1] > 1.1
    plots.bars({"dog": 0.0}).figure.canvas.draw()


@pytest.mark.parametrize("count", [1, 4, 5, 10])
def test_the_area_below_a_curve_is_its_average_precision(count):
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, (50, count)), rng.uniform(size=(50, count)).round(1)
    found = {str(c): evaluation.precision_recall_curve(truth[:, c], scores[:, c]) for c in range(count)}
    ax = plots.precision_recall(found, title="curves")
    for line, expected in zip(ax.get_lines(), evaluation.average_precision(truth, scores), strict=True):
        assert line.get_drawstyle() == "steps-pre"  # the height of a step is that of its right end
        x, y = line.get_data()
        assert (np.diff(x) * y[1:]).sum() == pytest.approx(expected) and x[0] == 0
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}) == count
    legend = ax.get_legend()
    assert (legend is None) == (count == 1) and ax.get_title(loc="left") == "curves"
    if legend:
        assert [text.get_text() for text in legend.get_texts()] == list(found)
        ax.figure.canvas.draw()
        hidden = legend.get_window_extent().overlaps(ax.get_window_extent())
        assert not hidden


def test_calibration_has_its_dots_where_its_numbers_are():
    ax = plots.calibration(CALIBRATION)
    diagonal, dots = ax.get_lines()
    assert diagonal.get_label() == "what is said is true" and to_hex(diagonal.get_color()) == plots.GREY
    assert dots.get_xydata().tolist() == [[0.1, 0.0], [0.8, 0.5]]
    assert [bar.get_height() for bar in ax.patches] == [0.75, 0.25]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("probability said", "share that is true")


def test_empty_filters_are_not_drawn():
    weights = torch.zeros(3, 129)
    weights[0, 5] = weights[2, 9] = 1.0
    assert len(plots.filterbank(weights).get_lines()) == 2


@pytest.fixture
def boxes(monkeypatch):
    """What is shown below one another."""
    boxes = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundle)
    monkeypatch.setattr("ipywidgets.VBox", lambda children: boxes.append(children) or ipywidgets.Box(children))
    return boxes


def test_sliders_redraw_the_picture(boxes):
    drawn = []

    def draw(height=2, ax=None):
        drawn.append(height)
        return plots.waveform(torch.full((100,), float(height) / 10), ax)

    plots.explore(draw, height=[1, 2, 3, "high"])
    slider, message, picture = boxes[0]
    before = bytes(picture.value)
    assert drawn == [2] and slider.value == 2 and before.startswith(b"\x89PNG")
    slider.value = 3
    after = bytes(picture.value)
    assert drawn == [2, 3] and after.startswith(b"\x89PNG") and after != before
    slider.value = "high"
    assert "ValueError" in message.value and bytes(picture.value) == after
    slider.value = 1
    assert message.value == "" and not plt.get_fignums()


def test_sliders_change_what_is_heard(boxes):
    def tone(hertz=440):
        if hertz == 0:
            raise ValueError("no tone")
        return sine(hertz), f"<{hertz}> Hz"

    plots.explore(lambda hertz=440: plots.waveform(sine(hertz)), sound=tone, hertz=[0, 440, 880])
    slider, player, message, _ = boxes[0]
    assert player.value == audio.player(sine(440), "<440> Hz") and "&lt;440&gt; Hz" in player.value
    slider.value = 880
    assert player.value == audio.player(sine(880), "<880> Hz") and message.value == ""
    slider.value = 0
    assert "no tone" in message.value and not plt.get_fignums()


def test_sliders_need_a_parameter_with_its_default_among_the_choices():
    for wrong in ({"title": ["a"]}, {"width": [1]}):
        with pytest.raises(ValueError, match="as default"):
            plots.explore(plots.waveform, **wrong)


def test_silence_is_dark_and_one_frame_can_be_drawn():
    image = plots.spectrogram(torch.full((5, 4), -100.0)).get_images()[0]
    assert image.get_clim() == (-100.0, -20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.log_mel(torch.rand(64, 1))


def test_tensors_with_a_gradient_are_drawn_and_wrong_shapes_are_refused():
    plots.waveform(torch.zeros(10, requires_grad=True))
    for draw, wrong in ((plots.spectrogram, torch.rand(1, 513, 3)), (plots.waveform, []), (plots.filterbank, [1.0])):
        with pytest.raises(ValueError, match="dimension"):
            draw(wrong)


def test_the_true_classes_are_starred():
    labels = [
        t.get_text() for t in plots.probabilities({"dog_bark": 0.9, "siren": 0.1}, truth=["siren"]).get_yticklabels()
    ]
    assert labels == ["dog_bark", "siren *"]


def test_profile_reads_the_setting_and_says_it(monkeypatch, capsys):
    monkeypatch.delenv("COURSE_SIZE", raising=False)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert profile.current().pick(1, 2) == 1 and capsys.readouterr().out.startswith(
        "size: lesson, data: mini, training on"
    )
    monkeypatch.setenv("COURSE_SIZE", "full")
    monkeypatch.setenv("COURSE_DATA", "somewhere")
    assert profile.current() == profile.Profile("full", "somewhere") and profile.current().pick(1, 2) == 2
    monkeypatch.setenv("COURSE_SIZE", "huge")
    with pytest.raises(ValueError, match="'lesson' or 'full'"):
        profile.current()
