"""Commands that only this course needs: grid, results."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from course_utils.cli.options import FoldOptions, MachineOptions, Places, as_given, configure, is_given
from course_utils.cli.shared import app, plain_errors
from course_utils.configuration import Config, ConfigurationError, describe


@app.command("grid")
@dataclass(kw_only=True)
class RunGrid(FoldOptions, MachineOptions, Places):
    """Run a named grid of experiments, and write its results file; the same command goes on where it stopped."""

    name: Annotated[str, typer.Argument(help="Name of the grid; an unknown name lists the ones there are.")]
    results: Annotated[Path, typer.Option(help="The JSON file to write.")]
    width: Annotated[int, typer.Option(help=describe(Config, "width"))] = Config.width
    epochs: Annotated[int, typer.Option(help=describe(Config, "epochs"))] = Config.epochs

    def __post_init__(self) -> None:
        with plain_errors():
            self.run()

    def run(self) -> None:
        """Run what is missing, and show the table."""
        from course_utils.lessons import grids

        where = f"--data FOLDER --out runs/{self.name} --results figures/results/{self.name}.json"
        command = " ".join(["python -m course_utils grid", self.name, where, *as_given(self)])
        base = configure(self, split="official")
        if self.name in grids.GRIDS:  # a grid knows its epochs and its folds
            of_grid = grids.published_base(self.name, base, base.test_folds)
            kept = [key for key in ("epochs", "train_folds") if not is_given(key, self.context)]
            base = replace(base, **{key: getattr(of_grid, key) for key in kept})
        found = grids.run_grid(self.name, base, self.out, self.results, command=command, say=typer.echo)
        if found is None:
            typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
            raise typer.Exit(130)
        typer.echo(grids.table(found).round(3).to_string())


@app.command()
def results(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option(help="Clips to run what is missing on; without them, only the table is made.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs"),
    full: Annotated[bool, typer.Option("--full", help="Use width 64, for a GPU; its results are kept apart.")] = False,
) -> None:
    """Run every grid, and write the table of results; the same command goes on where it stopped."""
    with plain_errors():
        from course_utils.lessons import results as table

        if not Path("README.md").is_file():
            raise ConfigurationError("no README.md here; run this in the project's folder")
        if data is None and (full or is_given("out", context)):
            raise ConfigurationError("--full and --out are for running what is missing, which also needs --data")
        if data is not None:
            size = "width 64" if full else "width 16"
            base = Config(data=data, width=table.WIDTHS[size], precision="bf16-mixed")
            if not table.run_all(base, out / size.replace(" ", "-"), table.SIZES[size], say=typer.echo):
                typer.echo("stopped; finished epochs are kept, and the same command goes on from there", err=True)
                raise typer.Exit(130)
        found = table.collect(table.SIZES)
        table.write(found, "figures/results.json", "README.md")
        typer.echo(table.to_markdown(found))
