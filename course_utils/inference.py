"""A trained network on new sound: test mixtures, or recordings of any length."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from course_utils import audio, containers, datasets, evaluation, training
from course_utils import data as run_data
from course_utils.configuration import Config, ConfigurationError
from course_utils.data import Mixtures
from course_utils.datasets import DatasetError
from course_utils.progress import bar
from course_utils.taxonomy import Taxonomy

_WINDOWS_AT_ONCE = 16  # what bounds the memory


@dataclass(frozen=True)
class Prediction:
    """What a network hears in a recording.

    Attributes:
        path: The file.
        seconds: Its length.
        threshold: The probability from which a class counts as heard.
        labels: The classes at or above the threshold in some window, the most probable first.
        probabilities: The highest probability of each class over all windows.
        timeline: One row per window: `start`, `end` (seconds), and a column of probabilities for each class.
    """

    path: str
    seconds: float
    threshold: float
    labels: list[str]
    probabilities: dict[str, float]
    timeline: pd.DataFrame

    def to_dict(self) -> dict:
        """Return plain values, for JSON."""
        return {**vars(self), "timeline": self.timeline.to_dict("records")}


@dataclass(frozen=True)
class Evaluation:
    """How a network did on test mixtures.

    Attributes:
        report: See `evaluation.report`.
        notes: Remarks about the data, one line each.
        scores: Truth and scores of every mixture, in the order of `mixtures.test`.
        mixtures: The data.
        config: Of the run.
    """

    report: dict
    notes: list[str]
    scores: training.Scores
    mixtures: Mixtures
    config: Config


@torch.inference_mode()
def probabilities(
    network: nn.Module, waveforms: np.ndarray, config: Config, taxonomy: Taxonomy, *, lengths: np.ndarray | None = None
) -> np.ndarray:
    """Return the probability of every class in waveforms.

    Args:
        network: As `training.load_network` gives it.
        waveforms: `[B, T]`, at `config.sample_rate`.
        config: Of the run.
        taxonomy: The classes.
        lengths: How many samples of each are sound, `[B]`; all if not given.

    Returns:
        `[B, n_classes]`.

    Raises:
        ValueError: If the waveforms have another shape, or hold samples that are NaN or infinite.
        DivergedError: If an output of the network is NaN or infinite.
    """
    waveforms = np.asarray(waveforms)
    if waveforms.ndim != 2 or not waveforms.size:
        raise ValueError(f"waveforms must be [B, T], with at least one sample, not {list(waveforms.shape)}")
    if not np.isfinite(waveforms).all():
        raise ValueError("the waveforms hold samples that are NaN or infinite")
    device = next(network.parameters()).device
    sounds = torch.from_numpy(np.ascontiguousarray(waveforms, np.float32)).to(device)
    if lengths is None:
        lengths = np.full(len(sounds), sounds.shape[-1])
    logits = network(sounds, torch.as_tensor(lengths))
    if not torch.isfinite(logits).all():
        raise training.DivergedError("the network gives NaN or infinity for this sound: its training has diverged")
    scores = logits.float().sigmoid().cpu().double().numpy()
    return scores if config.head == "labels" else evaluation.combinations_to_labels(scores, taxonomy)


def predict(
    run: Path | str,
    path: Path | str,
    *,
    window: float | None = None,
    hop: float | None = None,
    progress: bool | None = None,
    network: nn.Module | None = None,
) -> Prediction:
    """Name the classes in a recording of any length, window by window, in memory that does not grow with it.

    Args:
        run: The folder of a run, or a checkpoint.
        path: A sound file.
        window: Length of a window in seconds; None means that of the mixtures that the network was trained on.
        hop: Seconds from one window to the next, at most `window`; None means half of it. The last window ends with the
            recording.
        progress: Show a progress bar; None: only in a terminal.
        network: Of a run that was trained with a network of its author's: see `training.load_network`.

    Returns:
        Labels, probabilities and a timeline.

    Raises:
        AudioError: If the file cannot be read.
        ConfigurationError: If there is no checkpoint that can be read, or window and hop do not fit.

    Example:
        >>> prediction = predict("runs/first", "street.wav", window=4, hop=1)  # doctest: +SKIP
    """
    network, config, taxonomy, threshold = training.load_network(run, network)
    network.to(training.device_of(config))
    window = config.recipe.seconds if window is None else window
    hop = window / 2 if hop is None else hop
    if not 1 / config.sample_rate <= hop <= window < np.inf:
        raise ConfigurationError(
            f"hop and window are in seconds, and a hop is at most a window, or parts are skipped; got hop {hop}, "
            f"window {window}"
        )
    seconds = audio.duration(path)
    count = 1 + max(0, int(np.ceil((seconds - window) / hop - 1e-9)))
    starts, samples, rows = hop * np.arange(count), round(window * config.sample_rate), []
    starts[-1] = max(0.0, min(starts[-1], seconds - window))  # the last window ends with the recording
    parts = np.split(starts, range(_WINDOWS_AT_ONCE, count, _WINDOWS_AT_ONCE))
    for some in bar(parts, "listen", unit="part", progress=progress):
        sounds = [audio.read(path, config.sample_rate, start, window)[:samples] for start in some]
        filled = np.stack([audio.fit_length(sound, samples) for sound in sounds])
        rows.append(
            probabilities(network, filled, config, taxonomy, lengths=np.array([len(sound) for sound in sounds]))
        )
    scores = np.concatenate(rows)
    timeline = pd.DataFrame(scores, columns=list(taxonomy.classes))
    timeline.insert(0, "start", starts)
    timeline.insert(1, "end", np.minimum(starts + window, seconds))
    highest = scores.max(axis=0)
    order = np.argsort(-highest, kind="stable")
    labels = [taxonomy.classes[i] for i in order if highest[i] >= threshold]
    of_classes = {taxonomy.classes[i]: float(highest[i]) for i in order}
    return Prediction(containers.shown(path), seconds, threshold, labels, of_classes, timeline)


def evaluate(
    run: Path | str,
    *,
    data: str | None = None,
    table: str | None = None,
    columns: str | None = None,
    folds: tuple[int, ...] | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    network: nn.Module | None = None,
    metrics: Mapping[str, training.Metric] | None = None,
) -> Evaluation:
    """Score the network of a run on its test part, or on other clips.

    Args:
        run: The folder of the run.
        data: Clips other than the run's; None means the run's.
        table: The table of the clips, see `Config`; None means the one that the run names.
        columns: Its columns, see `Config`; None means those that the run names.
        folds: Test folds other than the run's; None means the run's, or all folds of other data.
        progress: Show a progress bar; None: only in a terminal.
        say: What to call with a line about the data, before the work begins.
        network: As in `evaluate_on`.
        metrics: As in `evaluate_on`.

    Returns:
        The report, and what it was computed from.

    Raises:
        ConfigurationError, DatasetError, SplitError: If the run or the data cannot be used.

    Example:
        >>> evaluate("runs/first").report["mAP"]  # doctest: +SKIP
    """
    _, config, taxonomy, _ = training.load_network(run, network)
    is_known = data in datasets.NAMES  # and its table with it
    table = ("" if is_known else config.table) if table is None else table
    columns = ("" if is_known else config.columns) if columns is None else columns
    is_assumed = data is not None and (config.table, config.columns) == (table, columns) != ("", "")
    config = dataclasses.replace(config, table=table, columns=columns)
    try:
        mixtures = _test_mixtures(run, config, data, folds=folds, taxonomy=taxonomy, progress=progress)
    except DatasetError as error:
        hint = ". Table and columns are those of the run; if these clips have others, say so (--table, --columns)"
        raise DatasetError(f"{error}{hint if is_assumed else ''}") from error
    if say is not None:
        say("\n".join([*mixtures.notes, f"scoring {len(mixtures.test):,} test {config.recipe.noun}"]))
    return evaluate_on(run, mixtures, progress, network=network, metrics=metrics)


def evaluate_on(
    run: Path | str,
    mixtures: Mixtures,
    progress: bool | None = None,
    *,
    network: nn.Module | None = None,
    metrics: Mapping[str, training.Metric] | None = None,
) -> Evaluation:
    """Score the network of a run on the test part of these mixtures.

    Args:
        run: The folder of the run, or a checkpoint file.
        mixtures: The data; only its test part is used.
        progress: Show a progress bar; None: only in a terminal.
        network: Of a run that was trained with a network of its author's: see `training.load_network`.
        metrics: Name → a metric of your own: truth and scores, `[N, n_classes]` each, to one number. They are in the report,
            under `own`.

    Returns:
        The report, and what it was computed from.

    Raises:
        ConfigurationError: If there is no checkpoint that can be read.
        DatasetError: If the network knows only combinations, and some label sets are not combinations.
    """
    network, config, taxonomy, threshold = training.load_network(run, network)
    device = training.device_of(config)
    if config.head == "combinations" and not mixtures.are_coded:
        raise DatasetError(
            "the network has an output for each combination of one or two classes, but some of these label sets have "
            "no class, or more than two; test it on other clips"
        )
    batches = run_data.loader(config, mixtures.test, taxonomy)
    scores = training.score(
        network.to(device),
        batches,
        config.head,
        taxonomy,
        device=device,
        progress=progress,
        as_combinations=mixtures.have_combinations(config.head),
    )
    report = evaluation.report(
        scores.multi_hot,
        scores.combination,
        scores.label_scores,
        scores.predicted_combination,
        taxonomy=taxonomy,
        threshold=threshold,
        recordings=mixtures.test_recordings,
        intervals_over="recordings" if mixtures.recordings_are_known else "clips",
        seed=config.seed,
    )
    if metrics:
        report["own"] = training.own_scores(metrics, scores.multi_hot, scores.label_scores)
    return Evaluation(report, mixtures.notes, scores, mixtures, config)


def _test_mixtures(
    run: Path | str,
    config: Config,
    data: str | None,
    *,
    folds: tuple[int, ...] | None,
    taxonomy: Taxonomy,
    progress: bool | None,
) -> Mixtures:
    checkpoint = training.load_checkpoint(Path(run) if Path(run).is_file() else Path(run) / "best.pt")
    if data is not None:
        there = dataclasses.replace(config, data=data)
        if run_data.fingerprint(there, progress) == checkpoint["data"]:  # the run's own, which has moved
            config, data = there, None
    if data is None and config.data not in datasets.NAMES and not Path(config.data).exists():
        raise DatasetError(f"{config.data}: the data of {run} is no longer there; if it has moved, say where (--data)")
    if data is not None or folds is not None:
        own = checkpoint["data"]
        return run_data.other_test(config, data, folds, taxonomy.classes, own=own, progress=progress)
    mixtures = run_data.prepare(config, progress)
    if difference := training.other_data(checkpoint, mixtures):
        raise ConfigurationError(
            f"{config.data}: holds {difference} than {run} was split from, so its test part cannot be made again; name "
            "folds that it was not trained on (--folds), or other data (--data)"
        )
    return mixtures
