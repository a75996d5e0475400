"""Commands that train many networks: crossval, sweep."""

import functools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from course_utils import files
from course_utils.cli.options import (
    DevicesOption,
    Json,
    LogMelOptions,
    MixingOptions,
    Places,
    ShareOptions,
    SplitOptions,
    TrainingOptions,
    as_given,
    configure,
    folds_of,
)
from course_utils.cli.runs import evaluate_run, headline, train_run
from course_utils.cli.shared import app, plain_errors
from course_utils.configuration import ConfigurationError, names_of_columns


@app.command("crossval")
@dataclass(kw_only=True)
class CrossVal(LogMelOptions, MixingOptions, ShareOptions, TrainingOptions, DevicesOption, Places):
    """Train on all folds but one, test on that one, in turn; the same command goes on where it stopped."""

    folds: Annotated[str, typer.Option(help="Folds to test on in turn, as 1,2,3; all folds if not given.")] = ""
    as_json: Json = False

    def __post_init__(self) -> None:
        with plain_errors():
            self.run()

    def run(self) -> None:
        """Train and score fold by fold, and write the mean and the spread."""
        from course_utils import datasets
        from course_utils.splits import folds_of as folds_of_clips
        from course_utils.storage import is_stored_set

        if is_stored_set(self.data):
            raise ConfigurationError(
                f"{self.data}: a stored set has its split; crossval splits a folder of clips by its folds, one after the "
                "other"
            )
        columns = names_of_columns(self.columns) or None
        clips = datasets.load(self.data, table=self.table or None, columns=columns).clips
        if clips["fold"].isna().any():
            raise ConfigurationError(
                f"{self.data}: crossval tests fold by fold, and these clips have none; name a column (--columns fold=…)"
            )
        present = folds_of_clips(clips)
        reports = {}
        for fold in folds_of(self.folds, "folds") or tuple(present):
            others = ",".join(str(f) for f in present if f != fold)
            config = configure(self, split="official", train_folds=others, valid_folds="", test_folds=str(fold))
            run = self.out / f"fold{fold}"
            if not train_run(config, run, quiet=self.as_json):
                raise typer.Exit(130)
            reports[fold] = evaluate_run(run, None, None, quiet=True).report
            typer.echo(f"fold {fold}: {headline(reports[fold])}", err=self.as_json)
        summary = _summary(reports)
        files.write_json(self.out / "crossval.json", summary)
        in_words = f"mean of {len(reports)} folds: {headline(summary['mean'])}"
        typer.echo(files.as_json(summary) if self.as_json else in_words)
        typer.echo(f"results: {self.out / 'crossval.json'}", err=True)


@app.command("sweep")
@dataclass(kw_only=True)
class Sweep(LogMelOptions, MixingOptions, SplitOptions, TrainingOptions, Places):
    """Search for hyperparameters; the same command resumes where it stopped, and several processes can run it at once.

    The options are those of `train`; the first trial has their values.
    """

    trials: Annotated[int, typer.Option(min=1, help="How many trials to finish, counting all processes together.")]
    as_json: Json = False

    def __post_init__(self) -> None:
        with plain_errors():
            self.run()

    def run(self) -> None:
        """Search, and show the best trials."""
        from course_utils import sweep

        where = f"--data FOLDER --out runs/{self.out.name} --trials {self.trials}"
        command = " ".join(["python -m course_utils sweep", where, *as_given(self)])
        found = sweep.run_sweep(
            configure(self), self.out, self.trials, command=command, say=functools.partial(typer.echo, err=self.as_json)
        )
        if found is None:
            typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
            raise typer.Exit(130)
        best = sweep.table(found).head(10)
        typer.echo(files.as_json(found) if self.as_json else best.to_string(float_format="{:.3g}".format))
        typer.echo(f"results: {self.out / 'sweep.json'}", err=True)


def _summary(reports: dict[int, dict]) -> dict:
    """Return mean and spread over folds of every number that a report holds."""

    def combine(values: list, how: Callable) -> Any:
        if isinstance(values[0], dict):
            return {key: combine([value[key] for value in values], how) for key in values[0]}
        return how(values)

    kept = ("mixtures", "exact_match", "mAP", "labels", "combinations", "ranking", "baselines")
    parts = [{key: report[key] for key in kept if key in report} for report in reports.values()]
    return {
        "folds": list(reports),
        "mean": combine(parts, statistics.fmean),
        "stdev": combine(parts, lambda values: statistics.stdev(values) if len(values) > 1 else 0.0),
    }
