import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from conftest import make_dataset
from course_utils import data as run_data
from course_utils import evaluation, inference, storage, training
from course_utils import page as html_page
from course_utils.configuration import Config, Recipe

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a page holds; a tag that is not closed, or closed in the wrong place, is refused."""

    def __init__(self, path):
        super().__init__()
        self.open, self.images, self.sounds, self.rows, self.articles, self.text = [], [], [], {}, [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in VOID else []
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag == "audio":
            self.sounds.append(dict(attrs)["src"])
        elif tag == "tr":
            self.row = []
        elif tag in ("td", "th"):
            self.row.append("")
        elif tag == "article":
            self.articles.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr":
            self.rows[self.row[0]] = self.row[1:]

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.row[-1] += data
        if "article" in self.open:
            self.articles[-1] += data


def train_and_evaluate(data, folder, **options):
    options = {"recipe": Recipe(joint="slots", slot_seconds=0.5), "accelerator": "cpu", **options}
    config = Config(str(data), width=2, n_mels=16, hop_length=256, batch_size=16, test_folds=(3,), epochs=1, **options)
    training.train(config, folder, progress=False)
    return inference.evaluate(folder, progress=False)


@pytest.fixture(scope="module")
def result(tones, tmp_path_factory):
    """A network that has heard the ten tones once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train_and_evaluate(tones, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    html_page.write_html(result, path, "A run")
    assert path.stat().st_size < 3_000_000 and [p.name for p in path.parent.iterdir()] == ["report.html"]
    return Page(path)


def test_the_page_needs_nothing_else(page):
    source = re.sub(r"base64,[\w+/=]+", "", page.source)
    assert not re.search(r"http|url\(|@import|<script|<link|<iframe", source)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)', source))
    assert 'name="viewport" content="width=device-width' in source and "prefers-color-scheme: dark" in source


def test_the_page_says_what_was_scored(page, result):
    assert "A CNN10 of width 2, which gives a probability to each class, was scored on 60 mixtures" in page.text
    assert "audit: none of 60 test items shares a recording with training." in page.text
    assert all(name in page.text for name in result.mixtures.taxonomy.classes)


def test_the_numbers_are_those_of_the_report(page, result):
    found = result.report

    def shown(*values):
        return [f"{value:.3f}" for value in values]

    for row, value, interval, baseline in (
        ("exact match", found["exact_match"], "exact_match", "exact_match"),
        ("mAP", found["mAP"], "mAP", "mAP"),
        ("macro F1 of labels", found["labels"]["macro"]["f1"], "labels.macro.f1", "macro_f1"),
    ):
        low, high = shown(*found["intervals"][interval])
        others = [values[baseline] for values in found["baselines"].values()]
        assert page.rows[row] == [*shown(value), f"{low} … {high}", *shown(*others)]
    for kind in ("labels", "combinations"):
        for average, values in found[kind].items():
            assert page.rows[f"{kind}, {average}"] == shown(values["precision"], values["recall"], values["f1"])
    bars = [image["alt"] for image in page.images[:3]]
    for key, text in zip(("precision", "recall", "average_precision"), bars, strict=True):
        assert all(f"{name} {values[key]:.2f}" in text for name, values in found["per_class"].items())
    table = evaluation.calibration(result.scores.multi_hot, result.scores.label_scores)
    assert f"off by {evaluation.calibration_error(table):.3f}, the expected calibration error" in page.text
    absent = found["without_positives"]["combinations"]
    assert f"No test mixture has these combinations, which are left out: {', '.join(absent)}." in page.text


def test_every_picture_can_be_seen_and_has_a_text(page):
    assert len(page.images) == 6 + 10 and page.text.count("What to see: ") == 16
    for image in page.images:
        assert len(image["alt"]) > 10
        drawn = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))))
        assert drawn.format == "PNG" and drawn.width < 800


def test_ten_mixtures_can_be_heard(page):
    assert len(page.sounds) == 10
    for sound in page.sounds:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound.removeprefix("data:audio/mpeg;base64,"))))
        assert rate == 22_050 and len(samples) == pytest.approx(22_050, abs=3_000) and np.abs(samples).max() > 0.3


def test_the_worst_mixture_is_the_first(page, result):
    scores, taxonomy = result.scores, result.mixtures.taxonomy
    losses = evaluation.mixture_loss(scores.multi_hot, scores.label_scores)
    shown = [float(re.search(r"Loss: ([\d.]+)", article)[1]) for article in page.articles]
    assert shown == pytest.approx(np.sort(losses)[::-1][:10], abs=6e-4)
    row, first = int(losses.argmax()), page.articles[0]
    assert f"1. {taxonomy.name(scores.combination[row])}" in first
    plan, clips = result.mixtures.test.plan, result.mixtures.test.cache.clips
    names = [clips["slice_file_name"][plan[side][row]] for side in ("first", "second")]
    assert f"Clips: {', '.join(names)}" in first
    p = dict(zip(taxonomy.classes, scores.label_scores[row], strict=True))
    there = [f"{name} ({p[name]:.2f})" for name, one in zip(p, scores.multi_hot[row], strict=True) if one]
    assert f"There: {', '.join(there)}\n" in first
    named = sorted((name for name in p if p[name] >= result.report["threshold"]), key=p.get, reverse=True)
    assert f"Named: {', '.join(f'{name} ({p[name]:.2f})' for name in named) or 'nothing'}\n" in first


def test_names_are_escaped_absent_classes_are_named_and_long_sounds_are_cut(tmp_path, monkeypatch):
    root = make_dataset(tmp_path / "own", classes=("<frog>", "rain & hail", "wind"), recordings=4)
    table = pd.read_csv(root / "metadata" / "UrbanSound8K.csv")
    table[(table["fold"] < 3) | (table["class"] != "wind")].to_csv(root / "metadata" / "UrbanSound8K.csv", index=False)
    monkeypatch.setattr(html_page, "HEARD", 1)
    found = train_and_evaluate(root, tmp_path / "run", recipe=Recipe(joint="slots", slot_seconds=0.75))
    html_page.write_html(found, tmp_path / "report.html", "<b>A run</b>")
    page = Page(tmp_path / "report.html")
    assert "<frog>" in page.text and "rain & hail" in page.text and "<b>A run</b>" in page.text
    assert "<frog>" not in page.source and "<b>" not in page.source and "rain & hail" not in page.source
    assert "No test mixture has these labels, which are left out: wind." in page.text
    assert "wind" not in page.images[0]["alt"] and len(page.sounds) == 10
    assert page.text.count("the first 1 s") == 10


@pytest.mark.parametrize(("form", "joint"), [("mel", "overlay"), ("wav", "slots")])
def test_a_stored_set_is_heard_only_where_it_holds_sound(tones, tmp_path, form, joint):
    recipe = Recipe(joint=joint, slot_seconds=0.5, max_onset=0.3)
    config = Config(str(tones), n_mels=16, hop_length=256, test_folds=(3,), recipe=recipe, accelerator="cpu")
    parts = run_data.prepare(config, progress=False)
    plan = pd.concat([parts.train.plan, parts.valid.plan, parts.test.plan], ignore_index=True)
    made = {"taxonomy": parts.taxonomy, "recipe": recipe, "mel": config.mel}
    storage.write_set(tmp_path / "set", form, parts.test.cache, plan, **made, progress=False)
    found = train_and_evaluate(tmp_path / "set", tmp_path / "run", recipe=recipe, fresh_pairs=False)
    html_page.write_html(found, tmp_path / "report.html", "A run")
    page = Page(tmp_path / "report.html")
    losses = evaluation.mixture_loss(found.scores.multi_hot, found.scores.label_scores)
    worst = parts.test.plan.iloc[int(losses.argmax())]
    names = [parts.test.cache.clips["slice_file_name"][worst[side]] for side in ("first", "second")]
    assert len(page.articles) == 10 and f"Clips: {', '.join(names)}" in page.articles[0]
    assert len(page.sounds) == (0 if form == "mel" else 10)
    assert ("there is nothing to listen to" in page.text) == (form == "mel")
    later = f"comes in after {worst['onset']:.1f} s" if joint == "overlay" else "follows it"
    assert later in page.articles[0]


def test_fewer_mixtures_than_ten_are_all_shown(result, tmp_path):
    few = {name: values[:3] for name, values in vars(result.scores).items() if name != "loss"}
    recordings, taxonomy = result.mixtures.test_recordings[:3], result.mixtures.taxonomy
    found = evaluation.report(
        *few.values(), taxonomy=taxonomy, threshold=result.report["threshold"], recordings=recordings
    )
    small = dataclasses.replace(result, scores=training.Scores(loss=0.7, **few), report=found)
    html_page.write_html(small, tmp_path / "report.html", "A run")
    page = Page(tmp_path / "report.html")
    assert "The 3 worst mixtures" in page.text and len(page.articles) == len(page.sounds) == 3


def test_an_interruption_leaves_the_old_page(result, tmp_path, monkeypatch):
    def half(path, text, **how):
        path.write_bytes(text.encode()[: len(text) // 2])
        raise KeyboardInterrupt

    for slow in ("_pictures", "_worst_mixtures"):
        monkeypatch.setattr(html_page, slow, lambda _: [])
    (tmp_path / "report.html").write_text("the old page")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", half)
        html_page.write_html(result, tmp_path / "report.html", "A run")
    assert (tmp_path / "report.html").read_text() == "the old page" and len(list(tmp_path.iterdir())) == 1
    html_page.write_html(result, tmp_path / "report.html", "A run")
    assert "A run" in Page(tmp_path / "report.html").text
