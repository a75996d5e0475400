"""Commands about one set and one run: mix, train, evaluate, predict."""

import dataclasses
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from course_utils import files
from course_utils.cli.options import (
    DevicesOption,
    Json,
    LogMelOptions,
    MixingOptions,
    Places,
    Run,
    SplitOptions,
    TrainingOptions,
    configure,
    folds_of,
    options_of,
    refuse_ignored,
)
from course_utils.cli.shared import app, plain_errors
from course_utils.configuration import Config, ConfigurationError

if TYPE_CHECKING:
    from course_utils.inference import Evaluation, Prediction

_WIDEST = 40  # characters of a class in a table


@app.command("mix")
@dataclass(kw_only=True)
class Mix(LogMelOptions, MixingOptions, SplitOptions, Places):
    """Write the student report's stored data sets: log-mels in shards, or WAV files and a table."""

    form: Annotated[Literal["mel", "wav"], typer.Option(help="`mel` (CNN10's) or `wav` (the CRNN's).")] = "mel"
    overwrite: Annotated[bool, typer.Option(help="Make it again, and replace the set in that folder.")] = False

    def __post_init__(self) -> None:
        with plain_errors():
            self.run()

    def run(self) -> None:
        """Prepare the mixtures, and write them."""
        import pandas as pd

        from course_utils import data as run_data
        from course_utils.mixing import LazyMixtures
        from course_utils.storage import is_stored_set, write_set

        if is_stored_set(self.data):
            raise ConfigurationError(f"{self.data}: this is already a stored set; --data takes a folder of clips")
        refuse_ignored({**options_of(self), "form": self.form}, self.context)
        config = dataclasses.replace(configure(self), fresh_pairs=False)  # they are written down
        parts = run_data.prepare(config)
        assert isinstance(parts.test, LazyMixtures)  # of a folder of clips
        typer.echo("\n".join(parts.notes))
        plan = pd.concat([part.plan for part in (parts.train, parts.valid, parts.test)], ignore_index=True)
        of_split = ("split", "train_folds", "valid_folds", "test_folds", "valid_fraction")
        try:
            write_set(
                self.out,
                self.form,
                parts.test.cache,
                plan,
                taxonomy=parts.taxonomy,
                recipe=config.recipe,
                mel=config.mel,
                noise_snr=config.noise_snr,
                seed=config.seed,
                split={name: getattr(config, name) for name in of_split},
                overwrite=self.overwrite,
            )
        except KeyboardInterrupt:
            says = f"stopped; what is finished is kept in {self.out}, and the same command goes on from there"
            typer.echo(says, err=True)
            raise typer.Exit(130) from None
        size = sum(file.stat().st_size for file in self.out.rglob("*") if file.is_file())
        typer.echo(f"{len(plan):,} {config.recipe.noun}, {size / 1e6:.0f} MB, in {self.out}")


@app.command("train")
@dataclass(kw_only=True)
class Train(LogMelOptions, MixingOptions, SplitOptions, TrainingOptions, DevicesOption, Places):
    """Train a network; the same command resumes a run that was stopped."""

    def __post_init__(self) -> None:
        with plain_errors():
            if not train_run(configure(self), self.out):
                raise typer.Exit(130)
            typer.echo(f"next: python -m course_utils evaluate --run {self.out}")


@app.command()
def evaluate(
    run: Run,
    data: Annotated[str | None, typer.Option(help="Test on clips other than those of the run.")] = None,
    table: Annotated[
        str | None, typer.Option(help="The table of the clips, as in `train`; the one that the run names if not given.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Its columns, as in `train`; those that the run names if not given.")
    ] = None,
    folds: Annotated[str, typer.Option(help="Test on these folds, for example 1,2,5-9.")] = "",
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write a page with pictures and the worst mixtures to this HTML file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the network of a run on its test part: scores, intervals, baselines."""
    with plain_errors():
        found = evaluate_run(
            run,
            data,
            folds_of(folds, "folds") or None,
            table=table,
            columns=columns,
            quiet=as_json,
            page=report,
        )
        typer.echo(files.as_json(found.report) if as_json else _table(found.report, found.config.recipe.noun))


@app.command()
def predict(
    run: Run,
    sounds: Annotated[list[Path], typer.Argument(help="Sound files of any length.", metavar="FILES...")],
    window: Annotated[
        float | None, typer.Option(help="Length of a window in seconds; that of the run's mixtures if not given.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; half a window if not given.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a table, a picture and JSON of each file into a folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the classes in recordings: labels, probabilities, a timeline."""
    with plain_errors():
        from course_utils import inference
        from course_utils.containers import AudioError

        names = [file.name for file in sounds]
        if save and len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigurationError(f"--save: two files are called {twice}; save each into a folder of its own")
        if save and save.exists() and not save.is_dir():
            raise ConfigurationError(f"--save: {save} is a file; name a folder")
        found, failed = [], False
        for file in sounds:
            try:
                prediction = inference.predict(run, file, window=window, hop=hop)
                found.append(prediction)
                if not as_json:
                    typer.echo(_in_words(prediction))
                if save:
                    _save_prediction(prediction, file.name, save)
            except (AudioError, OSError, UnicodeError) as error:
                failed = True
                typer.echo(str(error), err=True)
        if as_json:
            typer.echo(files.as_json([prediction.to_dict() for prediction in found]))
        if failed:
            raise typer.Exit(2)


def train_run(config: Config, out: Path, quiet: bool = False) -> bool:
    """Say what will be done, train, and say what came of it; return False if Ctrl-C ended it."""
    from course_utils import data as run_data
    from course_utils import models, training

    models.builder_of(config.model)  # refuses an unknown one before any work
    mixtures = run_data.prepare(config)
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"  # of several processes that train one network
    say = functools.partial(typer.echo, err=quiet) if is_first else lambda text: None
    say("\n".join(mixtures.notes))
    if is_first:
        say(training.describe(config, mixtures, out))
    state = training.train(config, out, mixtures)
    if state.interrupted:
        say(f"stopped after {state.epoch} of {config.epochs} epochs, kept in {out}; the same command continues")
        return False
    best = f"; best validation mAP {state.best:.3f} in epoch {state.best_epoch}" if state.best >= 0 else ""
    say(f"epochs done: {state.epoch}{best}; checkpoints and history.csv in {out}")
    return True


def evaluate_run(
    run: Path,
    data: str | None,
    folds: tuple[int, ...] | None,
    *,
    quiet: bool,
    table: str | None = None,
    columns: str | None = None,
    page: Path | None = None,
) -> "Evaluation":
    """Score a run, write its results beside it, and a page if asked for."""
    from course_utils import inference
    from course_utils.files import write_json

    say = functools.partial(typer.echo, err=quiet)
    found = inference.evaluate(run, data=data, table=table, columns=columns, folds=folds, say=say)
    other = "".join(
        f"-{part}" for part in (data and Path(data).name, folds and "fold" + "_".join(map(str, folds))) if part
    )
    path = (run if run.is_dir() else run.parent) / f"evaluation{other}.json"
    write_json(path, found.report)
    typer.echo(f"results: {path}", err=quiet)
    if page:
        from course_utils import page as html

        html.write_html(found, page, f"Evaluation of {run.resolve().name}{other}")
        typer.echo(f"report: {page}", err=quiet)
    return found


def _in_words(prediction: "Prediction") -> str:
    heard = ", ".join(prediction.labels) or "none of the classes"
    lines = [f"{prediction.path}, {prediction.seconds:.1f} s: {heard}"]
    lines += [f"  {_fitted(name, 20)} {value:.2f}" for name, value in list(prediction.probabilities.items())[:5]]
    for row in prediction.timeline.to_dict("records"):
        start, end = row.pop("start"), row.pop("end")
        top = sorted(row.items(), key=lambda item: -item[1])[:2]
        lines.append(f"  {start:6.1f}–{end:.1f} s  " + "  ".join(f"{name} {value:.2f}" for name, value in top))
    return "\n".join(lines)


def _save_prediction(prediction: "Prediction", name: str, folder: Path) -> None:
    import matplotlib.pyplot as plt

    from course_utils import plots
    from course_utils.files import write_beside, write_json

    with write_beside(folder / f"{name}.csv") as partial:
        prediction.timeline.to_csv(partial, index=False, float_format="%.4f")
    write_json(folder / f"{name}.json", prediction.to_dict())
    title = f"{Path(prediction.path).name}: {', '.join(prediction.labels) or 'none of the classes'}"
    figure = plots.figure_of(plots.timeline(prediction.timeline, title=title))
    with write_beside(folder / f"{name}.png") as partial:
        figure.savefig(partial)
    plt.close(figure)
    typer.echo(f"saved: {folder / name} .csv, .json, .png", err=True)


def headline(report: dict) -> str:
    """Return the three scores of a report in one line."""
    macro = report["labels"]["macro"]
    return f"mAP {report['mAP']:.3f}, macro F1 {macro['f1']:.3f}, exact match {report['exact_match']:.3f}"


def _fitted(name: str, width: int) -> str:
    """Return a name, padded or shortened to a width."""
    return f"{name:{width}s}" if len(name) <= width else f"{name[: width - 1]}…"


def _table(report: dict, noun: str) -> str:
    width = min(max(22, *map(len, report["per_class"])), _WIDEST)

    def row(name: str, value: float, key: str, baseline: str) -> str:
        low, high = report["intervals"][key]
        others = "  ".join(f"{b[baseline]:13.3f}" for b in report["baselines"].values())
        return f"  {name:{width}s} {value:6.3f}  [{low:.3f}, {high:.3f}]  {others}"

    heads = "  ".join(f"{name.replace('_', ' '):>13s}" for name in report["baselines"])
    lines = [
        f"{report['mixtures']:,} {noun}".ljust(width + 11) + f"{'95 % interval':14s}  {heads}",
        row("exact match", report["exact_match"], "exact_match", "exact_match"),
        row("mAP", report["mAP"], "mAP", "mAP"),
        row("macro F1", report["labels"]["macro"]["f1"], "labels.macro.f1", "macro_f1"),
        "  " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in report["ranking"].items()),
        "",
        f"  {'':{width}s} {'precision':>9s} {'recall':>9s} {'F1':>9s} {'AP':>9s} {'positives':>9s}",
    ]
    for title in ("labels", "combinations"):
        for kind, values in report.get(title, {}).items():
            lines.append(
                f"  {title + ', ' + kind:{width}s} "
                + " ".join(f"{values[k]:9.3f}" for k in ("precision", "recall", "f1"))
            )
    for name, values in report["per_class"].items():
        numbers = [values[k] for k in ("precision", "recall", "f1", "average_precision")]
        shown = " ".join("        –" if v is None else f"{v:9.3f}" for v in numbers)
        lines.append(f"  {_fitted(name, width)} {shown} {values['positives']:9.0f}")
    if report["intervals_over"] == "clips":
        lines.append(
            "  recordings are not known: intervals are over clips, and too narrow if several are of one recording"
        )
    without = report["without_positives"]
    for kind, names in without.items():
        if names:
            lines.append(f"  {kind} without positives, left out of macro: {', '.join(names)}")
    return "\n".join(lines)
