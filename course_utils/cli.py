"""The command line, `python -m course_utils COMMAND`; every command has `--help`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import re
import statistics
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from course_utils import environment, files
from course_utils.configuration import Config, ConfigurationError, Recipe

if typing.TYPE_CHECKING:
    from course_utils.inference import Prediction

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[str, typer.Option(help="A folder of clips, a stored set, or the name mini, urbansound8k or measured.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path, typer.Option(help="The folder to write to.")]
Run = Annotated[Path, typer.Option(help="The folder of a run, as `train --out` made it.")]
_FOLDS = ("train_folds", "valid_folds", "test_folds")
_SPLIT = ("split", *_FOLDS, "valid_fraction", "seed", "skip_bad")
_MIXING = tuple(field.name for field in dataclasses.fields(Recipe))
_FEATURES = ("n_fft", "hop_length", "n_mels", "noise_snr")
_MACHINE = ("accelerator", "devices", "precision", "workers")
# What only one of several choices uses: an option of another one would be ignored.
_ONLY_FOR = {
    ("model", "cnn10"): ("width", *_FEATURES, "spec_augment"),
    ("model", "crnn"): ("norm", "time_pooling", "readout"),
    ("joint", "overlay"): ("snr_range", "max_onset"),
    ("form", "mel"): _FEATURES,
}
_MOST_FOLDS = 1_000  # that one range may name
_TRAINING = (
    *("model", "width", "head", "norm", "time_pooling", "readout", "train_share", "fresh_pairs", "spec_augment"),
    *("mixup", "pos_weight", "epochs"),
    *(
        "batch_size",
        "optimizer",
        "learning_rate",
        "beta1",
        "weight_decay",
        "decay",
        "clip_norm",
        "schedule",
        "patience",
        *_MACHINE,
    ),
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # for a terminal that knows no arrows, and names that are no text
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    app(prog_name="python -m course_utils")


@app.command()
def check(as_json: Json = False) -> None:
    """Look at this machine: versions, GPU, disk, data; what to do about each."""
    found = [*environment.findings(), *_data_findings()]
    if as_json:
        typer.echo(files.as_json([dataclasses.asdict(finding) for finding in found]))
    else:
        signs = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}
        for finding in found:
            typer.echo(f"{signs[finding.state]} {finding.name}: {finding.says}")
            if finding.remedy:
                typer.echo(f"      → {finding.remedy}")
    if any(finding.state == "fault" for finding in found):
        raise typer.Exit(1)


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="mini, urbansound8k or measured.")],
    root: Annotated[Path | None, typer.Option(help="The folder to hold it; the course's own if not given.")] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Stop once so many clips are out (urbansound8k).")] = None,
) -> None:
    """Make `mini`, or download UrbanSound8K, whole or in part; then say what is there.

    `measured` are the 2,148 clips of UrbanSound8K that the course's results were measured on: it downloads the whole, and
    selects them.
    """
    with _plain_errors():
        from course_utils import datasets
        from course_utils.datasets import mini, urbansound8k

        if name not in datasets.NAMES:
            raise datasets.DatasetError(f"no data set {name!r}; there are {', '.join(datasets.NAMES)}")
        if clips is not None and name != "urbansound8k":
            raise datasets.DatasetError(f"--clips is for urbansound8k; {name} is whole")
        place = root or datasets.default_root(name)
        if name == "mini":
            folder = mini.build(place)
        elif clips is None:
            folder = urbansound8k.download(place)
        else:
            folder = urbansound8k.stream(place, clips)
        found = datasets.open_folder(folder, name)
        found = datasets.select_measured(found) if name == "measured" else found
        typer.echo(f"{found.describe()}\n  in {folder}")


@app.command()
def clean(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Empty the course's cache folder: delete what the course has put there, and nothing else.

    It says what is there, with sizes, and asks before it deletes each kind.
    """
    with _plain_errors():
        kinds, others = files.cached()
        typer.echo(f"in {files.cache_folder()}:")
        for kind in kinds:
            typer.echo(f"{files.in_words(kind.size):>10s}  {kind.name}")
        if others:
            names = [path.relative_to(files.cache_folder()).as_posix() for path in others]
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            typer.echo(f"left alone, for the course did not make it: {', '.join(names[:10])}{more}")
        if not kinds:
            typer.echo("nothing to delete")
        elif not yes and not _is_terminal():
            raise ConfigurationError("nobody is there to be asked; to delete all this, say --yes")
        for kind in kinds:
            size = files.in_words(kind.size)
            if yes or typer.confirm(f"Delete {size} {kind.name}?"):
                try:
                    files.delete_cached(kind)
                except OSError as error:
                    _fail(f"{error}; close the notebooks that use it, and run this again")
                typer.echo(f"deleted: {size} {kind.name}")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _with_options(*names: str) -> Callable[[Callable], Callable]:
    """Give a command an option for each of these fields of `Config` and `Recipe`, in place of its `**options`.

    Types, defaults and help come from the two classes, so that an option is described once.
    """

    def decorate(command: Callable) -> Callable:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = signature.replace(parameters=own + [_option(name) for name in names])
        command.__annotations__ = {p.name: p.annotation for p in command.__signature__.parameters.values()}
        return command

    return decorate


def _option(name: str) -> inspect.Parameter:
    owner = Recipe if name in _MIXING else Config
    kind, default = (
        typing.get_type_hints(owner)[name],
        getattr(Config(data="").recipe if owner is Recipe else Config(data=""), name),
    )
    if name.endswith("_folds"):
        kind, default = str, ",".join(map(str, default or ()))
    elif typing.get_origin(kind) is Literal:
        kind = str
    text = re.search(rf"^ +{name}: (.+?)(?=\n +\w+: |\n\n|\n *$)", owner.__doc__, re.MULTILINE | re.DOTALL).group(1)
    annotation = Annotated[kind, typer.Option(help=" ".join(text.split()))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _config(data: str, options: dict, context: typer.Context) -> Config:
    from course_utils.storage import is_stored_set

    options = options | {name: _folds(options[name], name) for name in options if name.endswith("_folds")}
    _refuse_ignored(options, context)
    if is_stored_set(data):
        options |= _stored_options(data, options, context)
    elif options["split"] == "random" and any(options[name] and _is_given(name, context) for name in _FOLDS):
        raise ConfigurationError("--split random takes no folds: it splits mixtures of all clips")
    elif options["split"] == "clips" and any(_is_given(name, context) for name in ("valid_folds", "test_folds")):
        raise ConfigurationError(
            "--split clips takes no --valid-folds and no --test-folds: shares of the clips do both"
        )
    elif options["valid_folds"] and _is_given("valid_fraction", context):
        raise ConfigurationError("--valid-folds and --valid-fraction both say what validates; leave one out")
    recipe = Recipe(**{name: options.pop(name) for name in _MIXING if name in options})
    options["train_folds"] = options["train_folds"] or None
    return Config(data=data, recipe=recipe, **options)


def _refuse_ignored(options: dict, context: typer.Context) -> None:
    """Refuse an option that was given, and that the chosen network, joint or form does not use.

    Raises:
        ConfigurationError: If there is one; `--no-spec-augment` and the like ask for what is so anyway, and pass.
    """
    for (choice, value), names in _ONLY_FOR.items():
        chosen = options.get(choice, value)
        for name in names if chosen != value else ():
            if name in options and _is_given(name, context) and options[name] is not False:
                raise ConfigurationError(
                    f"{_flag(name)} is only for --{choice} {value}; with {chosen} it would do nothing, so leave it out"
                )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _stored_options(data: str, options: dict, context: typer.Context) -> dict:
    """Return what a stored set was made with, of these options; refuse a flag that says otherwise."""
    from course_utils.storage import read_configuration

    made = read_configuration(data)
    stored = {**made["recipe"], **made["mel"], **made["split"]}
    stored |= {name: tuple(value or ()) for name, value in stored.items() if name.endswith("_folds")}
    if made["form"] == "mel":
        stored["noise_snr"] = made["noise_snr"]
    stored = {name: value for name, value in stored.items() if name in options}
    for name, value in stored.items():
        if _is_given(name, context) and options[name] != value:
            raise ConfigurationError(
                f"{data}: made with {name} {value}, and {options[name]} is asked for; leave {_flag(name)} out, or make "
                "another set"
            )
    return stored


def _folds(text: str, name: str) -> tuple[int, ...]:
    """Read `1,2,5-9`; nothing, if nothing is given."""
    folds: list[int] = []
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in parts:
        match = re.fullmatch(r"(\d+)(?: *- *(\d+))?", part, re.ASCII)
        if not match:
            raise ConfigurationError(f"{_flag(name)}: {part!r} is not a fold; write 1,2 or 5-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST_FOLDS:
            says = "is an empty range" if last < first else f"names more than {_MOST_FOLDS:,} folds"
            raise ConfigurationError(f"{_flag(name)}: {part} {says}; write the lower fold first, as 5-9")
        folds += range(first, last + 1)
    return tuple(folds)


@app.command()
@_with_options(*_SPLIT, *_MIXING, *_FEATURES)
def mix(
    context: typer.Context,
    data: Data,
    out: Out,
    form: Annotated[str, typer.Option(help="`mel` (CNN10's) or `wav` (the CRNN's).")] = "mel",
    overwrite: Annotated[bool, typer.Option(help="Make it anew, and replace the set in that folder.")] = False,
    **options: Any,
) -> None:
    """Write the report's stored data sets: log-mels in shards, or WAV files and a table."""
    with _plain_errors():
        import pandas as pd

        from course_utils import experiment
        from course_utils.storage import is_stored_set, write_set

        if is_stored_set(Path(data)):
            raise ConfigurationError(f"{data}: a stored set already; --data takes a folder of clips")
        _refuse_ignored({**options, "form": form}, context)
        config = dataclasses.replace(_config(data, options, context), fresh_pairs=False)  # they are written down
        parts = experiment.prepare(config)
        typer.echo("\n".join(parts.notes))
        plan = pd.concat([part.plan for part in (parts.train, parts.valid, parts.test)], ignore_index=True)
        try:
            write_set(
                *(out, form, parts.test.cache, plan, parts.taxonomy, config.recipe, config.mel, config.noise_snr),
                seed=config.seed,
                split={name: getattr(config, name) for name in _SPLIT if name not in ("seed", "skip_bad")},
                overwrite=overwrite,
            )
        except KeyboardInterrupt:
            typer.echo(f"stopped; what is finished is kept in {out}, and the same command goes on from there", err=True)
            raise typer.Exit(130) from None
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        typer.echo(f"{len(plan):,} mixtures, {size / 1e6:.0f} MB, in {out}")


@app.command()
@_with_options(*_TRAINING, *_SPLIT, *_MIXING, *_FEATURES)
def train(context: typer.Context, data: Data, out: Out, **options: Any) -> None:
    """Train a network; the same command goes on with a run that was stopped."""
    with _plain_errors():
        if not _train(_config(data, options, context), out):
            raise typer.Exit(130)
        typer.echo(f"next: python -m course_utils evaluate --run {out}")


@app.command()
def evaluate(
    run: Run,
    data: Annotated[str | None, typer.Option(help="Test on other clips than those of the run.")] = None,
    folds: Annotated[str, typer.Option(help="Test on these folds, as 1,2,5-9.")] = "",
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write a page with pictures and the worst mixtures to this HTML file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the network of a run on its test part: scores, intervals, baselines."""
    with _plain_errors():
        found = _evaluate(run, data, _folds(folds, "folds") or None, quiet=as_json, page=report)
        typer.echo(files.as_json(found) if as_json else _table(found))


@app.command()
def predict(
    run: Run,
    sounds: Annotated[list[Path], typer.Argument(help="Sound files of any length.", metavar="FILES...")],
    window: Annotated[
        float | None, typer.Option(help="Length of a window in s; that of the mixtures if not given.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(help="From one window to the next in s; half a window if not given.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a table, a picture and JSON of each file into a folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the classes in recordings: labels, probabilities, a timeline."""
    with _plain_errors():
        from course_utils import inference
        from course_utils.audio import AudioError

        names = [file.name for file in sounds]
        if save and len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigurationError(f"--save: two files are called {twice}; save each into a folder of its own")
        if save and save.exists() and not save.is_dir():
            raise ConfigurationError(f"--save: {save} is a file; name a folder")
        found, failed = [], False
        for file in sounds:
            try:
                prediction = inference.predict(run, file, window, hop)
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


@app.command()
@_with_options(
    *_TRAINING, *(name for name in _SPLIT if not name.endswith("_folds") and name != "split"), *_MIXING, *_FEATURES
)
def crossval(
    context: typer.Context,
    data: Data,
    out: Out,
    folds: Annotated[
        str, typer.Option(help="Folds to test on in turn, as 1,2,3; all that are there if not given.")
    ] = "",
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train on all folds but one, test on that one, in turn; the same command goes on where it stopped."""
    with _plain_errors():
        from course_utils import datasets
        from course_utils.files import write_json
        from course_utils.storage import is_stored_set

        if is_stored_set(data):
            raise ConfigurationError(
                f"{data}: a stored set has its split; crossval splits a folder of clips by its folds, one after the other"
            )
        present = sorted(datasets.load(data).clips["fold"].unique().tolist())
        chosen = _folds(folds, "folds") or tuple(present)
        reports = {}
        for fold in chosen:
            others = ",".join(str(f) for f in present if f != fold)
            fold_options = {
                **options,
                "split": "official",
                "train_folds": others,
                "valid_folds": "",
                "test_folds": str(fold),
            }
            config, run = _config(data, fold_options, context), out / f"fold{fold}"
            if not _train(config, run, quiet=as_json):
                raise typer.Exit(130)
            reports[fold] = _evaluate(run, None, None, quiet=True)
            typer.echo(f"fold {fold}: {_headline(reports[fold])}", err=as_json)
        summary = _summary(reports)
        write_json(out / "crossval.json", summary)
        typer.echo(files.as_json(summary) if as_json else f"mean of {len(reports)} folds: {_headline(summary['mean'])}")
        typer.echo(f"results: {out / 'crossval.json'}", err=True)


@app.command()
@_with_options("width", "epochs", "accelerator", "precision", "workers", "train_folds", "valid_folds", "test_folds")
def grid(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which grid; one that is not there names those that are.")],
    data: Data,
    out: Out,
    results: Annotated[Path, typer.Option(help="The JSON file to write.")],
    **options: Any,
) -> None:
    """Run a named grid of experiments, and write its results file; the same command goes on where it stopped."""
    with _plain_errors():
        from course_utils.lessons import grids

        given = _given(options, context)
        where = f"--data FOLDER --out runs/{name} --results figures/results/{name}.json"
        command = " ".join(["python -m course_utils grid", name, where, *given])
        base = _config(data, {**options, "split": "official"}, context)
        if name in grids.GRIDS:  # a grid knows its epochs and its folds
            of_grid = grids.published_base(name, base, base.test_folds)
            kept = [key for key in ("epochs", "train_folds") if not _is_given(key, context)]
            base = dataclasses.replace(base, **{key: getattr(of_grid, key) for key in kept})
        found = grids.run_grid(name, base, out, results, command, say=typer.echo)
        if found is None:
            typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
            raise typer.Exit(130)
        typer.echo(grids.table(found).round(3).to_string())


@app.command()
@_with_options(*(name for name in _TRAINING if name != "devices"), *_SPLIT, *_MIXING, *_FEATURES)
def sweep(
    context: typer.Context,
    data: Data,
    out: Out,
    trials: Annotated[int, typer.Option(min=1, help="How many to finish, by all processes together.")],
    as_json: Json = False,
    **options: Any,
) -> None:
    """Search for hyperparameters; the same command goes on where it stopped, and more processes of it take part.

    The options are those of `train`; the first trial has their values.
    """
    with _plain_errors():
        from course_utils import sweep as search

        where = f"--data FOLDER --out runs/{out.name} --trials {trials}"
        command = " ".join(["python -m course_utils sweep", where, *_given(options, context)])
        base = _config(data, options, context)
        found = search.run_sweep(base, out, trials, command, say=functools.partial(typer.echo, err=as_json))
        if found is None:
            typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
            raise typer.Exit(130)
        best = search.table(found).head(10)
        typer.echo(files.as_json(found) if as_json else best.to_string(float_format="{:.3g}".format))
        typer.echo(f"results: {out / 'sweep.json'}", err=True)


@app.command()
def results(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option(help="Clips to run what is missing on; without them, only the table is made.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs"),
    full: Annotated[bool, typer.Option("--full", help="Width 64, for a GPU; with results of its own.")] = False,
) -> None:
    """Run every grid, and write the table of results; the same command goes on where it stopped."""
    with _plain_errors():
        from course_utils.lessons import results as table

        if not Path("README.md").is_file():
            raise ConfigurationError("no README.md here; run this in the project's folder")
        if data is None and (full or _is_given("out", context)):
            raise ConfigurationError("--full and --out are for running what is missing: give them --data")
        if data is not None:
            size = "width 64" if full else "width 16"
            base = Config(data=data, width=table.WIDTHS[size], precision="bf16-mixed")
            if not table.run_all(base, out / size.replace(" ", "-"), table.SIZES[size], say=typer.echo):
                typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
                raise typer.Exit(130)
        found = table.collect(table.SIZES)
        table.write(found, "figures/results.json", "README.md")
        typer.echo(table.to_markdown(found))


def _is_given(name: str, context: typer.Context) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _given(options: dict, context: typer.Context) -> list[str]:
    """Return the options that were given on the command line, as they were given."""
    given = []
    for name, value in options.items():
        if _is_given(name, context):
            switch = {True: _flag(name), False: f"--no-{name.replace('_', '-')}"}
            given.append(switch[value] if isinstance(value, bool) else f"{_flag(name)} {value}")
    return given


def _train(config: Config, out: Path, quiet: bool = False) -> bool:
    """Say what will be done, train, say what came of it; return False if Ctrl-C ended it."""
    from course_utils import experiment, training

    mixtures = experiment.prepare(config)
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"  # of several processes that train one network
    say = functools.partial(typer.echo, err=quiet) if is_first else lambda text: None
    say("\n".join(mixtures.notes))
    if is_first:
        say(training.describe(config, mixtures, out))
    state = training.train(config, out, mixtures)
    if state.interrupted:
        say(f"stopped; {state.epoch} finished epochs are kept in {out}, and the same command goes on from there")
        return False
    best = f"; best validation mAP {state.best:.3f} in epoch {state.best_epoch}" if state.best >= 0 else ""
    say(f"{state.epoch} epochs done{best}; checkpoints and history.csv in {out}")
    return True


def _evaluate(
    run: Path, data: str | None, folds: tuple[int, ...] | None, quiet: bool, page: Path | None = None
) -> dict:
    from course_utils import inference
    from course_utils.files import write_json

    found = inference.evaluate(run, data, folds, say=functools.partial(typer.echo, err=quiet))
    other = "".join(
        f"-{part}" for part in (data and Path(data).name, folds and "fold" + "_".join(map(str, folds))) if part
    )
    path = (run if run.is_dir() else run.parent) / f"evaluation{other}.json"
    write_json(path, found.report)
    typer.echo(f"results: {path}", err=quiet)
    if page:
        from course_utils import report

        report.write_html(found, page, f"Evaluation of {run.resolve().name}{other}")
        typer.echo(f"report: {page}", err=quiet)
    return found.report


def _in_words(prediction: Prediction) -> str:
    heard = ", ".join(prediction.labels) or "none of the classes"
    lines = [f"{prediction.path}, {prediction.seconds:.1f} s: {heard}"]
    lines += [f"  {name:20s} {value:.2f}" for name, value in list(prediction.probabilities.items())[:5]]
    for row in prediction.timeline.to_dict("records"):
        start, end = row.pop("start"), row.pop("end")
        top = sorted(row.items(), key=lambda item: -item[1])[:2]
        lines.append(f"  {start:6.1f}–{end:.1f} s  " + "  ".join(f"{name} {value:.2f}" for name, value in top))
    return "\n".join(lines)


def _save_prediction(prediction: Prediction, name: str, folder: Path) -> None:
    import matplotlib.pyplot as plt

    from course_utils import plots
    from course_utils.files import write_beside, write_json

    with write_beside(folder / f"{name}.csv") as partial:
        prediction.timeline.to_csv(partial, index=False, float_format="%.4f")
    write_json(folder / f"{name}.json", prediction.to_dict())
    title = f"{Path(prediction.path).name}: {', '.join(prediction.labels) or 'none of the classes'}"
    figure = plots.timeline(prediction.timeline, title=title).figure
    with write_beside(folder / f"{name}.png") as partial:
        figure.savefig(partial)
    plt.close(figure)
    typer.echo(f"saved: {folder / name} .csv, .json, .png", err=True)


def _headline(report: dict) -> str:
    macro = report["labels"]["macro"]
    return f"mAP {report['mAP']:.3f}, macro F1 {macro['f1']:.3f}, exact match {report['exact_match']:.3f}"


def _summary(reports: dict[int, dict]) -> dict:
    """Return mean and spread over folds of every number that a report holds."""

    def combine(values: list, how: Callable) -> Any:
        if isinstance(values[0], dict):
            return {key: combine([value[key] for value in values], how) for key in values[0]}
        return how(values)

    kept = ("mixtures", "exact_match", "mAP", "labels", "combinations", "baselines")
    parts = [{key: report[key] for key in kept} for report in reports.values()]
    return {
        "folds": list(reports),
        "mean": combine(parts, statistics.fmean),
        "stdev": combine(parts, lambda values: statistics.stdev(values) if len(values) > 1 else 0.0),
    }


def _table(report: dict) -> str:
    def row(name: str, value: float, key: str, baseline: str) -> str:
        low, high = report["intervals"][key]
        others = "  ".join(f"{b[baseline]:13.3f}" for b in report["baselines"].values())
        return f"  {name:22s} {value:6.3f}  [{low:.3f}, {high:.3f}]  {others}"

    labels, combinations = report["labels"], report["combinations"]
    heads = "  ".join(f"{name.replace('_', ' '):>13s}" for name in report["baselines"])
    lines = [
        f"{report['mixtures']:,} mixtures".ljust(33) + f"{'95 % interval':14s}  {heads}",
        row("exact match", report["exact_match"], "exact_match", "exact_match"),
        row("mAP", report["mAP"], "mAP", "mAP"),
        row("macro F1", labels["macro"]["f1"], "labels.macro.f1", "macro_f1"),
        "",
        f"  {'':22s} {'precision':>9s} {'recall':>9s} {'F1':>9s} {'AP':>9s} {'positives':>9s}",
    ]
    for title, scores in (("labels", labels), ("combinations", combinations)):
        for kind, values in scores.items():
            lines.append(
                f"  {title + ', ' + kind:22s} " + " ".join(f"{values[k]:9.3f}" for k in ("precision", "recall", "f1"))
            )
    for name, values in report["per_class"].items():
        numbers = [values[k] for k in ("precision", "recall", "f1", "average_precision")]
        shown = " ".join("        –" if v is None else f"{v:9.3f}" for v in numbers)
        lines.append(f"  {name:22s} {shown} {values['positives']:9.0f}")
    without = report["without_positives"]
    for kind, names in without.items():
        if names:
            lines.append(f"  {kind} without positives, left out of macro: {', '.join(names)}")
    return "\n".join(lines)


def _data_findings() -> list[environment.Finding]:
    try:
        from course_utils import datasets
        from course_utils.datasets.urbansound8k import HOW_TO_GET_IT
    except ImportError as error:
        return [environment.Finding("data", "fault", str(error), environment.PAIR)]
    found = []
    for name in ("mini", "urbansound8k"):
        place, remedy = datasets.default_root(name), "made at first use" if name == "mini" else HOW_TO_GET_IT
        if not place.is_dir():
            found.append(environment.Finding(f"data, {name}", "note", f"not in {place}", remedy))
            continue
        try:
            found.append(environment.Finding(f"data, {name}", "ok", datasets.open_folder(place, name).describe()))
        except (ValueError, OSError) as error:
            remedy = f"delete {place}; it is made anew" if name == "mini" else remedy
            found.append(environment.Finding(f"data, {name}", "note", f"not finished: {error}", remedy))
    return found


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn errors that have a remedy into one sentence and exit code 2."""
    try:
        yield
    except (ConfigurationError, ImportError, OSError) as error:
        _fail(error)
    except ValueError as error:  # DatasetError, AudioError, SplitError and the like: bad input, named
        if type(error).__module__.startswith("course_utils") or type(error) is ValueError:
            _fail(error)
        raise
    except (RuntimeError, MemoryError) as error:
        if not environment.is_out_of_memory(error):
            raise
        where = "the GPU" if "cuda" in str(error).lower() or "mps" in str(error).lower() else "this machine"
        _fail(
            f"the memory of {where} is full: use a smaller --batch-size or --width, shorter slots, frames or windows, or "
            "another --accelerator"
        )
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


def _fail(error: object) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2) from None
