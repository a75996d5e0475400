"""An evaluation as one HTML page that needs nothing else: scores, pictures, and the worst mixtures to listen to.

The page is also for somebody who has not taken the course: each score is explained in a sentence, and each picture says
what to see. It holds its pictures and sounds, reads well on a telephone, and is light or dark as its reader's system is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from course_utils import audio, evaluation, plots
from course_utils.audio import SAMPLE_RATE
from course_utils.data import Part
from course_utils.features import MelSpectrogram, power_to_db
from course_utils.files import write_beside
from course_utils.inference import Evaluation
from course_utils.mixing import SIDES, LazyMixtures, level_columns, members_of
from course_utils.taxonomy import Taxonomy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORST = 10  # mixtures that are shown
CLASSES = 30  # that pictures show at the most
HEARD = 20  # seconds of a mixture that its player plays at most; even of noise, this many fit into one
WIDTH = 5.2  # of most pictures, in inches: two fit side by side, and one can be read on a telephone

_MEANINGS = {
    "Exact match": "the share of mixtures for which the most probable combination of classes is the right one.",
    "mAP": "sort all mixtures by the probability of a class: the higher up those with that class are, the nearer its "
    "average precision (AP) is to 1; mAP is the mean over the classes.",
    "Precision": "of the times that a class was named, the share in which it was there.",
    "Recall": "of the times that a class was there, the share in which it was named.",
    "F1": "precision and recall in one number, which is high only if both are.",
    "Macro, micro, samples": "the mean over the classes, rare or frequent; all decisions counted together; and the mean over "
    "the mixtures.",
    "lrap, lwlrap": "sort the classes of a mixture by probability. For each class that is there, take all classes from the "
    "top of the list down to it, and the share of these that are there. lrap is the mean over the classes of a mixture, and "
    "then over the mixtures (one without a class counts 1); lwlrap is the mean over all that are there in any mixture.",
    "One error, coverage error": "the share of mixtures whose most probable class is not there; and how many classes, from the "
    "most probable one on, it takes to have all that are there.",
    "Labels, combinations": "each class is a decision of its own; and each pair of classes is one answer.",
    "95 % interval": "where the score would lie nineteen times out of twenty, had other recordings been drawn.",
    "Baselines": "what one scores without listening: always saying the most frequent combination, saying that nothing is "
    "there, or guessing as often as each class is there.",
}

_OF_LABEL_SETS = {
    "Exact match": "the share of mixtures for which every class is right: named if it is there, and not named if not.",
    "Labels, combinations": "",
    "Baselines": "what one scores without listening: always naming the most frequent set of classes, saying that nothing is "
    "there, or guessing as often as each class is there.",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --page: #fff; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --page: #17191d; --line: #3c4048; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; }
p { max-width: 42rem; }
dl { columns: 2 22rem; column-gap: 2rem; }
dl div { break-inside: avoid; margin-bottom: .5rem; }
dt { font-weight: 600; }
dd { margin: 0; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; white-space: normal; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; }
figcaption { margin-top: .3rem; }
img { display: block; box-sizing: border-box; max-width: 100%; padding: .4rem; background: #fff; border-radius: 6px; }
audio { width: 100%; margin-top: .5rem; }
"""


def write_html(result: Evaluation, path: Path | str, title: str) -> None:
    """Write an evaluation as one HTML page without scripts and without anything to load.

    Args:
        result: As `inference.evaluate` gives it.
        path: The file to make or replace.
        title: The title of the page.
    """
    config, report = result.config, result.report
    knows = {"labels": "each class", "combinations": "each pair of classes"}[config.head]
    network = f"CNN10 of width {config.width}" if config.model == "cnn10" else "CRNN"
    scored = f"A {network}, which gives a probability to {knows}, was scored on "
    n_clips = config.recipe.n_clips
    of_each = {1: "", 2: " of two sounds each"}.get(n_clips, f" of {n_clips} sounds each")
    scored += f"{report['mixtures']:,} {config.recipe.noun}{of_each}"
    lead = "; ".join([scored, *(note for note in result.notes if note.startswith("audit"))])
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(lead)}.</p>",
        "<h2>Scores</h2>",
        *_score_tables(report),
        "<h2>Class by class</h2>",
        *_pictures(result),
        f"<h2>The {min(WORST, report['mixtures'])} worst {config.recipe.noun}</h2>",
        *_worst_mixtures(result),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )
    with write_beside(Path(path)) as partial_file:
        partial_file.write_text(page, encoding="utf-8")


def _score_tables(report: dict) -> Iterable[str]:
    """Return scores beside baselines, the averages, what was left out of them, and what the words mean."""
    baselines, macro = report["baselines"], report["labels"]["macro"]
    scores = (
        ("exact match", report["exact_match"], "exact_match", "exact_match"),
        ("mAP", report["mAP"], "mAP", "mAP"),
        ("macro F1 of labels", macro["f1"], "labels.macro.f1", "macro_f1"),
    )
    rows = []
    for name, value, interval, baseline in scores:
        low, high = report["intervals"][interval]
        others = [f"{values[baseline]:.3f}" for values in baselines.values()]
        rows.append([name, f"{value:.3f}", f"{low:.3f} … {high:.3f}", *others])
    yield _table("Scores and baselines", ["", "score", "95 % interval", *map(_readable, baselines)], rows)
    rows = [
        [f"{kind}, {average}", *(f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))]
        for kind in ("labels", "combinations")
        for average, values in report.get(kind, {}).items()
    ]
    yield _table("Averages", ["", "precision", "recall", "F1"], rows)
    yield _table(
        "Ranking",
        ["", *map(_readable, report["ranking"])],
        [["ranking of classes", *(f"{value:.3f}" for value in report["ranking"].values())]],
    )
    if report["intervals_over"] == "clips":
        yield "<p>Recordings are not known: intervals are over clips, and too narrow if several clips are of one recording.</p>"
    for kind, names in report["without_positives"].items():
        if names:
            yield f"<p>No test mixture has these {kind}, which are left out: {escape(', '.join(names))}.</p>"
    meanings = _MEANINGS if "combinations" in report else _MEANINGS | _OF_LABEL_SETS
    if report["intervals_over"] == "clips":
        meanings = meanings | {"95 % interval": _MEANINGS["95 % interval"].replace("recordings", "clips")}
    words = "".join(f"<div><dt>{word}</dt><dd>{meaning}</dd></div>" for word, meaning in meanings.items() if meaning)
    yield f"<dl>{words}</dl>"


def _pictures(result: Evaluation) -> Iterable[str]:
    """Return the pictures of classes: bars, confusion, curves, calibration."""
    truth, scores = result.scores.multi_hot, result.scores.label_scores
    taxonomy, threshold = result.mixtures.taxonomy, result.report["threshold"]
    yield f"<p>A class counts as named from a probability of {threshold:.2f} on.</p>"
    known = {name: values for name, values in result.report["per_class"].items() if values["positives"]}
    if len(known) > CLASSES:
        ranked = sorted(known, key=lambda name: known[name]["average_precision"])
        known = {name: known[name] for name in [*ranked[: -CLASSES // 2 - 1 : -1], *ranked[: CLASSES // 2][::-1]]}
        yield f"<p>The pictures show {len(known)} of {taxonomy.n_classes} classes: half of them have the highest average "
        yield "precision, half the lowest.</p>"
    columns = {label: taxonomy.class_id(label) for label in known}
    yield '<div class="pictures">'
    for key, name in (("precision", "precision"), ("recall", "recall"), ("average_precision", "average precision")):
        values = {label: numbers[key] for label, numbers in known.items()}
        best, worst = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
        yield _figure(
            name.capitalize(),
            partial(plots.bars, values, xlabel=name),
            (WIDTH, 0.8 + 0.27 * len(values)),
            alt=f"Bars, {name}: {', '.join(f'{label} {value:.2f}' for label, value in values.items())}.",
            see=f"{best} has the highest {name}, {values[best]:.2f}, and {worst} the lowest, {values[worst]:.2f}."
            if values[best] > values[worst]
            else f"all classes have the same {name}, {values[best]:.2f}.",
        )
    some = Taxonomy(tuple(known)) if len(known) == CLASSES else taxonomy
    rows = list(columns.values()) if len(known) == CLASSES else list(range(taxonomy.n_classes))
    matrix = evaluation.label_confusion(truth, scores >= threshold)[np.ix_(rows, rows)]
    yield _figure(
        "Which class is mistaken for which",
        partial(plots.confusion, matrix, some),
        (2.6 + 0.36 * some.n_classes, 1.7 + 0.36 * some.n_classes),
        alt="Table of class by class: recall on the diagonal, and off it what was named where a class was missed.",
        see="a bright cell off the diagonal is a class (its column) that is often named where another (its row) is missed; "
        "the diagonal is the recall.",
    )
    curves = {label: evaluation.precision_recall_curve(truth[:, c], scores[:, c]) for label, c in columns.items()}
    yield _figure(
        "Precision against recall",
        partial(plots.precision_recall, curves),
        (WIDTH, max(3.4, 0.17 * len(curves))),
        alt=f"Curves of precision over recall, one per class: {', '.join(curves)}.",
        see="the longer a curve stays up on its way to the right, the better; a class that is guessed is a flat line at the "
        "share of mixtures that have it.",
    )
    table = evaluation.calibration(truth, scores)
    error = evaluation.calibration_error(table)
    yield _figure(
        "Are the probabilities true?",
        partial(plots.calibration, table),
        (WIDTH, 3.4),
        alt="What came true over the probability said: "
        f"{', '.join(f'{true:.2f} at {said:.2f}' for said, true in zip(table['said'], table['true'], strict=True))}.",
        see="dots below the line are probabilities that promise too much, dots above it too little; on average they are off "
        f"by {error:.3f}, the expected calibration error.",
    )
    yield "</div>"


def _worst_mixtures(result: Evaluation) -> Iterable[str]:
    """Return the mixtures with the highest loss: what was there, what was named, how it looks and sounds."""
    truth, scores = result.scores.multi_hot, result.scores.label_scores
    taxonomy, test, mel = result.mixtures.taxonomy, result.mixtures.test, MelSpectrogram(**result.config.mel)
    losses = evaluation.mixture_loss(truth, scores)
    worst = np.argsort(-losses, kind="stable")[:WORST]
    has_sound = test[int(worst[0])][0].dim() == 1
    yield "<p>Those with the highest loss, the mean binary cross-entropy over the classes; the worst is first. The number "
    yield "after a class is the probability that it was given.</p>"
    if not has_sound:
        yield "<p>The stored set holds log-mels and no sound, so there is nothing to listen to.</p>"
    yield '<div class="pictures">'

    def named(row: int, ids: np.ndarray) -> str:
        return ", ".join(f"{taxonomy.classes[c]} ({scores[row, c]:.2f})" for c in ids) or "nothing"

    for place, row in enumerate(worst.tolist(), 1):
        sound, _ = test[row]
        decibels = power_to_db(mel(sound)) if has_sound else sound
        clips = _clips_of(test, row)
        by_probability = np.argsort(-scores[row], kind="stable")
        facts = {
            "There": named(row, np.flatnonzero(truth[row])),
            "Named": named(row, by_probability[scores[row, by_probability] >= result.report["threshold"]]),
            "Clips": ", ".join(file for file, _ in clips),
            "Loss": f"{losses[row]:.3f}",
        }
        lines = "<br>\n".join(f"<strong>{name}:</strong> {escape(text)}" for name, text in facts.items())
        mixture = test.plan.iloc[row]
        is_pair = "combination" in test.plan
        title = taxonomy.name(mixture["combination"]) if is_pair else taxonomy.set_name(truth[row]) or "no class"
        yield f"<article>\n<h3>{place}. {escape(title)}</h3>\n<p>{lines}</p>"
        yield _figure(
            "",
            partial(
                plots.log_mel,
                decibels,
                hop_length=result.config.hop_length,
                fmin=result.config.fmin,
                sample_rate=result.config.sample_rate,
            ),
            (WIDTH, 1.9),
            alt=f"Log-mel of {', '.join(label for _, label in clips)}.",
            see=f"{_order_in_words(clips, mixture)}bright is loud, low frequencies are below.",
        )
        if has_sound:
            rate = result.config.sample_rate
            is_long = len(sound) > HEARD * rate
            heard = audio.resample(np.asarray(sound[: HEARD * rate]), rate, SAMPLE_RATE)  # not every rate can be played
            yield audio.player(heard, f"the first {HEARD} s" if is_long else "")
        yield "</article>"
    yield "</div>"


def _clips_of(test: Part, row: int) -> list[tuple[str, str]]:
    """Return file name and classes of the clips of a mixture, lazy or stored."""
    if isinstance(test, LazyMixtures):
        clips = test.cache.clips.iloc[members_of(test.plan.iloc[[row]])[0]]
        found = list(zip(clips["slice_file_name"], clips["class"], strict=True))
    else:
        mixture = test.plan.iloc[row]
        sides = [side for side in SIDES if f"{side}_slice_file_name" in mixture]
        found = [(mixture[f"{side}_slice_file_name"], mixture[f"{side}_class"]) for side in sides]
    return [(file, label or "a clip of no class") for file, label in found]


def _order_in_words(clips: list[tuple[str, str]], mixture: pd.Series) -> str:
    """Say where the clips of a mixture are in its picture; nothing of a single clip."""
    if len(clips) == 1:
        return ""
    says = [f"{clips[0][1]} begins at the left"]
    for side, (_, label) in zip(SIDES[1:], clips[1:], strict=False):
        onset = level_columns(side)[1]
        says.append(f"{label} " + (f"comes in after {mixture[onset]:.1f} s" if onset in mixture else "follows it"))
    return ", and ".join(says) + "; "


def _table(name: str, heads: list[str], rows: list[list[str]]) -> str:
    """Return a table that, where it is too wide, scrolls in a box of its own."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in others)}</tr>'
        for first, *others in rows
    )
    box = f'<div class="table" role="region" aria-label="{escape(name)}" tabindex="0">'
    return f"{box}\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>\n</div>"


def _figure(title: str, draw: Callable[..., Axes], size: tuple[float, float], *, alt: str, see: str) -> str:
    """Return a picture with its heading, its text for those who cannot see it, and what to see."""
    import matplotlib.pyplot as plt

    def drawn() -> Figure:
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        draw(ax=ax)
        return figure

    data = base64.b64encode(plots.png(drawn)).decode()
    heading = f"<h3>{escape(title)}</h3>\n" if title else ""
    picture = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
    return f"<figure>\n{heading}{picture}\n<figcaption>What to see: {escape(see)}</figcaption>\n</figure>"


def _readable(name: str) -> str:
    return name.replace("_", " ")
